"""Why a network answers as it does: feature maps, and maps of what in an image speaks for a class.

Nothing is written or drawn here. A network is the same after each call: evaluation mode, weights, gradients and hooks.
The attributions put hooks on the network while they work, so that one thread at a time may explain it.
"""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lenet_pl.errors import SettingError
from lenet_pl.explanation.layers import activation_first, first_filters, layer_maps
from lenet_pl.trained import BLOCK, TrainedRun


def captum() -> Any:
    """Import captum's attribution methods, which are an extra.

    Raises:
        SettingError: captum is not installed.
    """
    try:
        return import_module("captum.attr")
    except ImportError:
        raise SettingError("explain: needs captum; pip install 'lenet_pl[explain]'") from None


def feature_maps(run: TrainedRun, images: Tensor) -> dict[str, Tensor]:
    """Compute what each convolution layer shows to the next one, after its activation and before a pooling.

    Args:
        run: a trained network.
        images: uint8 (N, C, h, w).

    Returns:
        For conv1, conv2, ... float (N, maps, H, W).
    """
    return layer_maps(run.model, run.to_input(images))


def filters(run: TrainedRun) -> Tensor:
    """Return the weights of the first convolution, float (maps, C, k, k)."""
    return first_filters(run.model)


def grad_cam(run: TrainedRun, images: Tensor, targets: Tensor | None = None) -> Tensor:
    """Show where the last convolution finds what speaks for a class: gradient-weighted class activation.

    Args:
        run: a trained network.
        images: uint8 (N, C, h, w).
        targets: int64 (N,), the classes asked about; None: the predicted ones.

    Returns:
        Float (N, H, W) in [0, 1], at the size of the network's input; the strongest place of each image is 1, and all
        is 0 if nothing speaks for the class.

    Raises:
        SettingError: captum is not installed, or there is no such class.

    Source: Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via gradient-based localization".
    """
    targets = _classes(run, images, targets)
    features = activation_first(run.model.features)
    network = nn.Sequential(features, run.model.classifier)
    last = [layer for name, layer in features.named_children() if name.startswith("activation")][-1]
    inputs = run.to_input(images).requires_grad_()
    with torch.enable_grad():
        coarse = captum().LayerGradCam(network, last).attribute(inputs, targets, relu_attributions=True).detach()
    size = run.model.image_size
    fine = functional.interpolate(coarse, (size, size), mode="bilinear", align_corners=False)[:, 0]
    return fine / fine.amax((1, 2), keepdim=True).clamp(min=torch.finfo(fine.dtype).tiny)


def integrated_gradients(
    run: TrainedRun, images: Tensor, targets: Tensor | None = None, steps: int = 32
) -> tuple[Tensor, Tensor]:
    """Share out, among the pixels, how far the logit of a class is above that of an image of mere background.

    Args:
        run: a trained network.
        images: uint8 (N, C, h, w).
        targets: int64 (N,), the classes asked about; None: the predicted ones.
        steps: between background and image; the more, the more exact.

    Returns:
        Float (N, H, W) at the size of the network's input, summed over colours; positive speaks for the class. Float
        (N,), the sum of each map less the logits' difference, which is 0 but for the finite number of steps.

    Raises:
        SettingError: captum is not installed, or there is no such class.

    Source: Sundararajan et al. 2017, "Axiomatic attribution for deep networks".
    """
    targets = _classes(run, images, targets)
    with torch.enable_grad():
        maps, delta = (
            captum()
            .IntegratedGradients(run.model)
            .attribute(
                run.to_input(images),
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
    """Measure how much of the logit of a class is lost when a square of background covers a place.

    Args:
        run: a trained network.
        images: uint8 (N, C, h, w).
        targets: int64 (N,), the classes asked about; None: the predicted ones.
        window: px of the network's input, side of the square.
        stride: px from one place to the next, at most `window`.

    Returns:
        Float (N, H, W) at the size of the network's input: the mean loss over all squares that cover the pixel.

    Raises:
        SettingError: captum is not installed, there is no such class, or window or stride do not fit.

    Source: Zeiler & Fergus 2014, "Visualizing and understanding convolutional networks", section 4.2, with logits in
    place of probabilities, which hardly move where a network is sure.
    """
    if not 1 <= window <= run.model.image_size:
        raise SettingError(f"window: got {window}; accepted is 1 to {run.model.image_size} px, the network's input")
    if not 1 <= stride <= window:
        raise SettingError(
            f"stride: got {stride}; accepted is 1 to {window} px, the window, so that no pixel is left out"
        )
    targets = _classes(run, images, targets)
    with torch.no_grad():
        maps: Tensor = (
            captum()
            .Occlusion(run.model)
            .attribute(
                run.to_input(images),
                (run.channels, window, window),
                (run.channels, stride, stride),
                _background(run),
                targets,
                perturbations_per_eval=max(1, BLOCK // max(1, len(images))),
            )
        )
    return maps[:, 0]  # a square covers all colours, so that they share a value


def telling_images(logits: Tensor, labels: Tensor, count: int) -> list[int]:
    """Choose images worth a look: the most confident mistake of each class, and the first right image of each.

    Args:
        logits: float (N, K).
        labels: int64 (N,).
        count: at most so many; half of them mistakes, the most confident first, if there are enough of either.

    Returns:
        Places of right images in the order of their classes, then of mistakes.
    """
    shares, predicted = logits.softmax(1).max(1)
    by_confidence = shares.sort(descending=True, stable=True).indices
    wrong = by_confidence[(predicted != labels)[by_confidence]].tolist()
    right = torch.nonzero(predicted == labels)[:, 0].tolist()
    # The first of each class comes last in the reversed lists, and stays
    firsts, mistakes = (list({int(labels[i]): i for i in reversed(some)}.values()) for some in (right, wrong))
    mistakes = sorted(mistakes, key=wrong.index)[: max(count // 2, count - len(firsts))]
    firsts = sorted(firsts, key=lambda i: int(labels[i]))[: count - len(mistakes)]
    return firsts + mistakes


def _background(run: TrainedRun) -> Tensor:
    """Make the network's input for an image of mere background, float (1, C, H, W)."""
    size = run.model.image_size
    return run.to_input.normalise(torch.full((1, run.channels, size, size), run.to_input.background))


def _classes(run: TrainedRun, images: Tensor, targets: Tensor | None) -> Tensor:
    if targets is None:
        return run.logits(images).argmax(1)
    count = len(run.classes)
    for target in targets.tolist():
        if not 0 <= target < count:
            raise SettingError(f"targets: got {target}; accepted is 0 to {count - 1}, the classes of {run.name}")
    return targets
