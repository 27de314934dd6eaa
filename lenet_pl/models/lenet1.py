"""LeNet-1 as published in 1990."""

from collections import OrderedDict

from torch import Tensor, nn

from lenet_pl.models.layers import build_lenet_features, init_weights_, parse_connection_table

# Connections of the maps of H2 (rows) to those of H3 (columns)
H3_TABLE = """
1 1 1 0 1 1 0 0 0 0 0 0
0 1 1 1 1 1 0 0 0 0 0 0
0 0 0 0 0 0 1 1 1 0 1 1
0 0 0 0 0 0 0 1 1 1 1 1
"""


class LeNet1(nn.Module):
    """LeNet-1, with 2,578 trainable parameters for gray images and ten classes.

    The outputs are logits, whereas the paper squashes them and trains with squared errors. The paper's digits are
    16×16 px in the middle of 28×28 px, whereas MNIST's are up to 20×20 px.

    Args:
        num_classes: The number of classes, K; 10 in the paper.
        in_channels: The number of image channels, C; 1 in the paper.
        fan_in_exponent: The exponent of the number of inputs F of a unit in the range of the initial weights, which are
            uniform in ±2.4 / F**exponent: 1, as printed in the paper, to 0.

    Source: LeCun et al. 1990, "Handwritten digit recognition with a back-propagation network", section 3. The name is
    from LeCun et al. 1998, section III.C.
    """

    image_size = 28  # px, height and width of the images, as published

    def __init__(self, num_classes: int = 10, in_channels: int = 1, *, fan_in_exponent: float = 1) -> None:
        super().__init__()
        self.channels, self.classes = in_channels, num_classes
        # The paper's layers H1 (24 px), H2 (12 px), H3 (8 px) and H4 (4 px)
        self.features = build_lenet_features(in_channels, 4, parse_connection_table(H3_TABLE))
        self.classifier = nn.Sequential(OrderedDict(flatten=nn.Flatten(), output=nn.Linear(12 * 4 * 4, num_classes)))
        init_weights_(self, fan_in_exponent)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized images, float of shape (B, C, 28, 28), to logits of shape (B, K)."""
        return self.classifier(self.features(images))  # type: ignore[no-any-return]
