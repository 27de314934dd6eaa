"""LeNet-1, as it was published in 1990."""

from collections import OrderedDict

from torch import Tensor, nn

from lenet_pl.model.layers import convolve_twice, draw_weights, read_table
from lenet_pl.settings import LeNet1Settings

# Which maps of H2 (rows) each map of H3 (columns) sees
H3_TABLE = """
1 1 1 0 1 1 0 0 0 0 0 0
0 1 1 1 1 1 0 0 0 0 0 0
0 0 0 0 0 0 1 1 1 0 1 1
0 0 0 0 0 0 0 1 1 1 1 1
"""


class LeNet1(nn.Module):
    """LeNet-1: 2,578 trainable parameters for grey images and ten classes.

    The ten outputs are logits; the paper squashes them and trains with squared errors. Its images are digits of
    16×16 px in the middle of 28×28, MNIST's are up to 20×20 px large.

    Args:
        settings: of the model; all sizes are the paper's.
        channels: C of the images; the paper has 1.
        classes: K; the paper has 10.

    Source: LeCun et al. 1990, "Handwritten digit recognition with a back-propagation network", section 3; the name is
    that of LeCun et al. 1998, section III.C.
    """

    def __init__(self, settings: LeNet1Settings, channels: int, classes: int) -> None:
        super().__init__()
        self.image_size, self.channels, self.classes = settings.image_size, channels, classes
        # H1, 24 px; H2, 12 px; H3, 8 px; H4, 4 px
        self.features = convolve_twice(channels, 4, read_table(H3_TABLE))
        self.classifier = nn.Sequential(OrderedDict(flatten=nn.Flatten(), output=nn.Linear(12 * 4 * 4, classes)))
        draw_weights(self, settings.fan_in_exponent)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images, float (B, C, 28, 28), to logits (B, K)."""
        return self.classifier(self.features(images))  # type: ignore[no-any-return]
