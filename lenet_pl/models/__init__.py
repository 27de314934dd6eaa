"""Networks for small images: `lenet_pl.models.lenet5(num_classes=10, in_channels=1)`, as in torchvision."""

from lenet_pl.models.by_name import (
    AnyModel,
    cnn3_bn,
    cnn5_bn,
    cnn_plain,
    get_model,
    lenet1,
    lenet5,
    lenet5_1998,
    lenet5_bn,
    lenet_avg_dropout,
    lenet_bn,
    lenet_sigmoid,
    lenet_sigmoid_avg,
    list_models,
)
from lenet_pl.models.convnet import ConvNet
from lenet_pl.models.lenet1 import LeNet1
from lenet_pl.models.lenet5_1998 import LeNet5Original

__all__ = [
    "AnyModel",
    "ConvNet",
    "LeNet1",
    "LeNet5Original",
    "cnn3_bn",
    "cnn5_bn",
    "cnn_plain",
    "get_model",
    "lenet1",
    "lenet5",
    "lenet5_1998",
    "lenet5_bn",
    "lenet_avg_dropout",
    "lenet_bn",
    "lenet_sigmoid",
    "lenet_sigmoid_avg",
    "list_models",
]
