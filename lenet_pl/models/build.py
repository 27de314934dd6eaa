"""Build a network from its settings, and check what a plug-in returns."""

import torch
from torch import Tensor, nn

from lenet_pl.errors import SettingError
from lenet_pl.plugins.build import build, entry_of
from lenet_pl.plugins.loading import line_in_plugin
from lenet_pl.settings import AnyModelSettings


def build_model(settings: AnyModelSettings, in_channels: int, num_classes: int) -> nn.Module:
    """Build a network of any architecture, also that of a plug-in, with random weights.

    Args:
        settings: The settings of the model; `architecture` chooses the class.
        in_channels: The number of image channels, C: 1 for gray, 3 for color.
        num_classes: The number of classes, K.

    Raises:
        SettingError: The layers do not fit the image size, or the network of a plug-in does not map images to logits.
    """
    sizes = {"channels": in_channels, "in_channels": in_channels, "num_classes": num_classes, "classes": num_classes}
    model: nn.Module = build("model", settings, **sizes)
    if entry_of("model", settings).plugin:
        check_network(model, settings, in_channels, num_classes)
    return model


def check_network(model: nn.Module, settings: AnyModelSettings, in_channels: int, num_classes: int) -> None:
    """Check that the network of a plug-in maps images to logits.

    Raises:
        SettingError: It is no module, fails on images of the input size, or returns something else.
    """
    who = f"model: {settings.architecture}"
    if not isinstance(model, nn.Module):
        raise SettingError(f"{who} returns {type(model).__name__}; must be a torch.nn.Module")
    shape = (2, in_channels, settings.image_size, settings.image_size)
    training = model.training
    try:
        with torch.no_grad():
            logits = model.eval()(torch.zeros(shape))
    except Exception as error:  # code from outside may raise anything
        where = f", {line}" if (line := line_in_plugin(error)) else ""
        raise SettingError(
            f"{who} fails on images of shape {shape} ({type(error).__name__}: {' '.join(str(error).split())[:200]}"
            f"{where}); must map them to logits, or model.image_size must be another"
        ) from error
    finally:
        model.train(training)
    if not isinstance(logits, Tensor) or logits.shape != (2, num_classes):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise SettingError(f"{who} maps images of shape {shape} to {got}; must be logits of shape {(2, num_classes)}")
