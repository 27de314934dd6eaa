"""Explanations of a prediction as tensors: feature maps, and attribution maps of the pixels that support a class.

The functions leave mode, weights, gradients and hooks of a network as they were. They are not thread-safe, since
attribution methods register hooks on the network during the call.
"""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lenet_pl.attribution.feature_maps import activations_before_pooling, first_filters, in_stages, layer_maps
from lenet_pl.errors import SettingError
from lenet_pl.inference.trained_run import BLOCK, TrainedRun


def captum() -> Any:
    """Import the module `captum.attr`, an optional dependency.

    Raises:
        SettingError: captum is not installed.
    """
    try:
        return import_module("captum.attr")
    except ImportError:
        raise SettingError("explain: needs captum; pip install 'lenet_pl[explain]'") from None


def feature_maps(run: TrainedRun, images: Tensor) -> dict[str, Tensor]:
    """Compute the output of each convolution layer, after its activation and before any pooling.

    Args:
        run: A trained network.
        images: Images as stored, uint8 (N, C, h, w).

    Returns:
        The feature maps of conv1, conv2, ..., float (N, channels, H, W).
    """
    return layer_maps(run.model, run.preprocess(images))


def filters(run: TrainedRun) -> Tensor:
    """Return the weights of the first convolution, float (out_channels, C, k, k)."""
    return first_filters(run.model)


def grad_cam(run: TrainedRun, images: Tensor, targets: Tensor | None = None) -> Tensor:
    """Compute Grad-CAM maps: the regions in which the last convolution layer finds support for a class.

    Args:
        run: A trained network.
        images: Images as stored, uint8 (N, C, h, w).
        targets: The classes to explain, int64 (N,); None for the predicted classes.

    Returns:
        Float (N, H, W) in [0, 1], at the input size of the network. The maximum of each image is 1; the map is 0
        everywhere if nothing supports the class.

    Raises:
        SettingError: captum is not installed, or a target is not a class of the network.

    Source: Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via gradient-based localization".
    """
    targets = _classes(run, images, targets)
    network, last = _up_to_last_convolution(run.model, run.preprocess(images[:1]))
    inputs = run.preprocess(images).requires_grad_()
    with torch.enable_grad():
        coarse = captum().LayerGradCam(network, last).attribute(inputs, targets, relu_attributions=True).detach()
    size = run.image_size
    fine = functional.interpolate(coarse, (size, size), mode="bilinear", align_corners=False)[:, 0]
    return fine / fine.amax((1, 2), keepdim=True).clamp(min=torch.finfo(fine.dtype).tiny)


def _up_to_last_convolution(model: nn.Module, example: Tensor) -> tuple[nn.Module, nn.Module]:
    """Return a network and the layer whose maps are weighted: the last convolution, with its activation if known."""
    if not in_stages(model):
        return model, model.get_submodule(list(layer_maps(model, example))[-1])
    features = activations_before_pooling(model.get_submodule("features"))  # type: ignore[arg-type]
    last = [layer for name, layer in features.named_children() if name.startswith("activation")][-1]
    return nn.Sequential(features, model.get_submodule("classifier")), last


def integrated_gradients(
    run: TrainedRun, images: Tensor, targets: Tensor | None = None, steps: int = 32
) -> tuple[Tensor, Tensor]:
    """Attribute the difference between the logits of an image and of an empty background to the pixels.

    Args:
        run: A trained network.
        images: Images as stored, uint8 (N, C, h, w).
        targets: The classes to explain, int64 (N,); None for the predicted classes.
        steps: The number of integration steps from the background to the image. The cost is proportional to it.

    Returns:
        The attribution maps, float (N, H, W), at the input size of the network, summed over the channels; positive
        values support the class. The completeness error, float (N,): the sum of each map minus the difference of the
        logits. It approaches 0 with more steps.

    Raises:
        SettingError: captum is not installed, or a target is not a class of the network.

    Source: Sundararajan et al. 2017, "Axiomatic attribution for deep networks".
    """
    targets = _classes(run, images, targets)
    with torch.enable_grad():
        maps, delta = (
            captum()
            .IntegratedGradients(run.model)
            .attribute(
                run.preprocess(images),
                _background(run),
                targets,
                n_steps=steps,
                internal_batch_size=max(len(images), BLOCK),
                return_convergence_delta=True,
            )
        )
    return maps.detach().sum(1), delta.detach()


def occlusion(
    run: TrainedRun, images: Tensor, targets: Tensor | None = None, window: int = 6, stride: int = 2
) -> Tensor:
    """Measure by how much the logit of a class drops when a square of background covers part of the image.

    Args:
        run: A trained network.
        images: Images as stored, uint8 (N, C, h, w).
        targets: The classes to explain, int64 (N,); None for the predicted classes.
        window: The side of the square, in px of the network's input.
        stride: The distance between neighboring squares, px; at most `window`.

    Returns:
        The mean drop over all squares that cover a pixel, float (N, H, W), at the input size of the network.

    Raises:
        SettingError: captum is not installed, a target is not a class of the network, or `window` or `stride` is out
            of range.

    Source: Zeiler & Fergus 2014, "Visualizing and understanding convolutional networks", section 4.2, here with logits
    instead of probabilities, which saturate for confident predictions.
    """
    if not 1 <= window <= run.image_size:
        raise SettingError(f"window_size: got {window}; must be 1 to {run.image_size} px, the network's input size")
    if not 1 <= stride <= window:
        raise SettingError(
            f"stride: got {stride}; must be 1 to {window} px, the size of the window, to cover every pixel"
        )
    targets = _classes(run, images, targets)
    with torch.no_grad():
        maps: Tensor = (
            captum()
            .Occlusion(run.model)
            .attribute(
                run.preprocess(images),
                (run.channels, window, window),
                (run.channels, stride, stride),
                _background(run),
                targets,
                perturbations_per_eval=max(1, BLOCK // max(1, len(images))),
            )
        )
    return maps[:, 0]  # a square covers all channels, which get the same value


def select_examples(logits: Tensor, labels: Tensor, count: int) -> list[int]:
    """Select examples: the first correctly classified image and the most confident mistake of each class.

    Args:
        logits: Logits of the images, float (N, K).
        labels: True classes, int64 (N,).
        count: The largest number of examples. If there are enough of either, half of them are mistakes.

    Returns:
        The indices of correct images in the order of their classes, then those of mistakes, most confident first.
    """
    shares, predicted = logits.softmax(1).max(1)
    by_confidence = shares.sort(descending=True, stable=True).indices
    wrong = by_confidence[(predicted != labels)[by_confidence]].tolist()
    right = torch.nonzero(predicted == labels)[:, 0].tolist()
    # In the reversed lists the first image of each class comes last, and thus stays in the dictionary
    firsts, mistakes = (list({int(labels[i]): i for i in reversed(some)}.values()) for some in (right, wrong))
    mistakes = sorted(mistakes, key=wrong.index)[: max(count // 2, count - len(firsts))]
    firsts = sorted(firsts, key=lambda i: int(labels[i]))[: count - len(mistakes)]
    return firsts + mistakes


def _background(run: TrainedRun) -> Tensor:
    """Build the network's input for an empty background, float (1, C, H, W)."""
    size = run.image_size
    return run.preprocess.normalize(torch.full((1, run.channels, size, size), run.preprocess.background))


def _classes(run: TrainedRun, images: Tensor, targets: Tensor | None) -> Tensor:
    if targets is None:
        return run.predict_logits(images).argmax(1)
    count = len(run.classes)
    for target in targets.tolist():
        if not 0 <= target < count:
            raise SettingError(f"targets: got {target}; must be 0 to {count - 1}, a class of {run.name}")
    return targets
