"""LeNet-5 as it was published in 1998."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from lenet_pl.errors import SettingError
from lenet_pl.model.layers import (
    RBFOutput,
    ScaledTanh,
    SparseConv2d,
    TrainableSubsampling,
    digit_codes,
)
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
        table = [[place == "1" for place in row.split()] for row in C3_TABLE.strip().splitlines()]
        layers: OrderedDict[str, nn.Module] = OrderedDict(  # 32 px
            conv1=nn.Conv2d(channels, 6, 5),  # C1, 28 px
            activation1=ScaledTanh(),
            subsampling1=TrainableSubsampling(6),  # S2, 14 px
            squashing1=ScaledTanh(),
            conv2=SparseConv2d(table, 5),  # C3, 10 px
            activation2=ScaledTanh(),
            subsampling2=TrainableSubsampling(16),  # S4, 5 px
            squashing2=ScaledTanh(),
        )
        self.features = nn.Sequential(layers)
        layers = OrderedDict(
            flatten=nn.Flatten(),
            linear1=nn.Linear(16 * 5 * 5, 120),  # C5, whose 5×5 kernels see all of S4
            activation1=ScaledTanh(),
            linear2=nn.Linear(120, codes.shape[1]),  # F6
            activation2=ScaledTanh(),
            output=RBFOutput(codes[:classes]),
        )
        self.classifier = nn.Sequential(layers)
        self.reset_parameters(settings.fan_in_exponent)

    def reset_parameters(self, exponent: float) -> None:
        """Draw weights and biases uniformly from ±2.4/F**exponent, where F is the number of inputs of a unit."""
        for layer in self.modules():
            if isinstance(layer, SparseConv2d):
                # One F for each connection, and one for each output map
                bounds = {"weight": layer.fan_in[layer.places // layer.maps[1]].view(-1, 1, 1), "bias": layer.fan_in}
            else:
                weight = getattr(layer, "weight", None)
                inputs = (
                    4 if isinstance(layer, TrainableSubsampling) else weight[0].numel() if weight is not None else 1
                )
                bounds = {name: torch.tensor(inputs) for name, _ in layer.named_parameters(recurse=False)}
            for name, inputs_of in bounds.items():
                with torch.no_grad():
                    layer.get_parameter(name).uniform_(-1, 1).mul_(2.4 / inputs_of**exponent)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images, float (B, C, 32, 32), to logits (B, K): minus the squared distances y of the paper."""
        return self.classifier(self.features(images))  # type: ignore[no-any-return]
