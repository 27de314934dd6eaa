"""LeNet-5 as it was published in 1998."""

from collections import OrderedDict

from torch import Tensor, nn

from lenet_pl.errors import SettingError
from lenet_pl.model.layers import RBFOutput, ScaledTanh, convolve_twice, digit_codes, draw_weights, read_table
from lenet_pl.settings import LeNet1998Settings

# Table I: which maps of S2 (rows) each map of C3 (columns) sees
C3_TABLE = """
1 0 0 0 1 1 1 0 0 1 1 1 1 0 1 1
1 1 0 0 0 1 1 1 0 0 1 1 1 1 0 1
1 1 1 0 0 0 1 1 1 0 0 1 0 1 1 1
0 1 1 1 0 0 1 1 1 1 0 0 1 0 1 1
0 0 1 1 1 0 0 1 1 1 1 0 1 1 0 1
0 0 0 1 1 1 0 0 1 1 1 1 0 1 1 1
"""


class LeNet1998(nn.Module):
    """LeNet-5 of the paper: 60,000 trainable parameters for grey images and ten classes.

    Layers have the names that the rest of the package looks for; the paper's are in the comments. Where this differs
    from the paper is in docs/lenet5_1998.md.

    Args:
        settings: of the model; all sizes are the paper's.
        channels: C of the images; the paper has 1.
        classes: K, at most the ten that have a drawing.

    Raises:
        SettingError: there are more classes than drawings.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.B.
    """

    def __init__(self, settings: LeNet1998Settings, channels: int, classes: int) -> None:
        super().__init__()
        codes = digit_codes()
        if classes > len(codes):
            raise SettingError(
                f"model.architecture: lenet5_1998 has drawings of {len(codes)} classes to compare with, the data has "
                f"{classes}; accepted are 2 to {len(codes)} classes, or another model"
            )
        self.image_size, self.channels, self.classes = settings.image_size, channels, classes
        # C1, 28 px; S2, 14 px; C3, 10 px; S4, 5 px
        self.features = convolve_twice(channels, 6, read_table(C3_TABLE))
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            flatten=nn.Flatten(),
            linear1=nn.Linear(16 * 5 * 5, 120),  # C5, whose 5×5 kernels see all of S4
            activation1=ScaledTanh(),
            linear2=nn.Linear(120, codes.shape[1]),  # F6
            activation2=ScaledTanh(),
            output=RBFOutput(codes[:classes]),
        )
        self.classifier = nn.Sequential(layers)
        draw_weights(self, settings.fan_in_exponent)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images, float (B, C, 32, 32), to logits (B, K): minus the squared distances y of the paper."""
        return self.classifier(self.features(images))  # type: ignore[no-any-return]
