"""LeNet-5 as published in 1998."""

from collections import OrderedDict

from torch import Tensor, nn

from lenet_pl.errors import SettingError
from lenet_pl.models.layers import (
    RBFOutput,
    ScaledTanh,
    build_lenet_features,
    digit_codes,
    init_weights_,
    parse_connection_table,
)

# Table I: connections of the maps of S2 (rows) to those of C3 (columns)
C3_TABLE = """
1 0 0 0 1 1 1 0 0 1 1 1 1 0 1 1
1 1 0 0 0 1 1 1 0 0 1 1 1 1 0 1
1 1 1 0 0 0 1 1 1 0 0 1 0 1 1 1
0 1 1 1 0 0 1 1 1 1 0 0 1 0 1 1
0 0 1 1 1 0 0 1 1 1 1 0 1 1 0 1
0 0 0 1 1 1 0 0 1 1 1 1 0 1 1 1
"""


class LeNet5Original(nn.Module):
    """LeNet-5 of the paper, with 60,000 trainable parameters for gray images and ten classes.

    Layers are named as in the other models; the paper's names are in the comments. Differences from the paper are
    documented in docs/lenet5_1998.md.

    Args:
        num_classes: The number of classes, K; at most ten, because each needs a bitmap.
        in_channels: The number of image channels, C; 1 in the paper.
        fan_in_exponent: The exponent of the number of inputs F of a unit in the range of the initial weights, which are
            uniform in ±2.4 / F**exponent: 1, as printed in the paper, to 0.

    Raises:
        SettingError: If there are more classes than bitmaps.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.B.
    """

    image_size = 32  # px, height and width of the images, as published

    def __init__(self, num_classes: int = 10, in_channels: int = 1, *, fan_in_exponent: float = 1) -> None:
        super().__init__()
        codes = digit_codes()
        if num_classes > len(codes):
            raise SettingError(
                f"model.architecture: lenet5_1998 has bitmaps for only {len(codes)} classes, but the data has "
                f"{num_classes}; must be 2 to {len(codes)} classes, or use another model"
            )
        self.channels, self.classes = in_channels, num_classes
        # The paper's layers C1 (28 px), S2 (14 px), C3 (10 px) and S4 (5 px)
        self.features = build_lenet_features(in_channels, 6, parse_connection_table(C3_TABLE))
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            flatten=nn.Flatten(),
            linear1=nn.Linear(16 * 5 * 5, 120),  # C5, whose 5×5 kernels cover all of S4
            activation1=ScaledTanh(),
            linear2=nn.Linear(120, codes.shape[1]),  # F6
            activation2=ScaledTanh(),
            output=RBFOutput(codes[:num_classes]),
        )
        self.classifier = nn.Sequential(layers)
        init_weights_(self, fan_in_exponent)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized images, float of shape (B, C, 32, 32), to logits of shape (B, K).

        The logits are the negative squared distances -y of the paper.
        """
        return self.classifier(self.features(images))  # type: ignore[no-any-return]
