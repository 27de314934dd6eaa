"""Corruptions of whole batches, to measure how robust a network is: the fifteen of MNIST-C, in five severities each.

Source: Mu and Gilmer 2019, "MNIST-C: A robustness benchmark for computer vision". The strengths are those of its
authors' code where that has five, else see each function; the published set has one of each.
Lengths are in px of 28×28 images, and scale with the image.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Generator, Tensor

from lenet_pl.evaluate.corruptions.blur import glass_blur, motion_blur
from lenet_pl.evaluate.corruptions.canny import canny_edges
from lenet_pl.evaluate.corruptions.color import brightness, stripe
from lenet_pl.evaluate.corruptions.fog import fog
from lenet_pl.evaluate.corruptions.geometry import rotate, scale, shear, translate
from lenet_pl.evaluate.corruptions.lines import dotted_line, zigzag
from lenet_pl.evaluate.corruptions.noise import impulse_noise, shot_noise, spatter
from lenet_pl.runtime.seeding import keyed_generator

Corruption = Callable[[Tensor, int, Generator], Tensor]
"""Function of images in [0, 1], float (B, C, H, W), a severity from 1 to 5, and a generator. The images are kept."""

CORRUPTIONS: dict[str, Corruption] = {
    function.__name__: function
    for function in (
        shot_noise,
        impulse_noise,
        glass_blur,
        motion_blur,
        shear,
        scale,
        rotate,
        brightness,
        translate,
        stripe,
        fog,
        spatter,
        dotted_line,
        zigzag,
        canny_edges,
    )
}
SEVERITIES = (1, 2, 3, 4, 5)
BLOCK = 500  # images at a time; the random numbers depend on it


def corrupt(images: Tensor, name: str, severity: int) -> Tensor:
    """Corrupt images. The same images always come out the same, so that networks are compared on equal terms.

    Args:
        images: Images as stored, uint8 (N, C, H, W).
        name: The kind, a key of `CORRUPTIONS`.
        severity: The severity, from 1 to 5.

    Returns:
        The corrupted images, uint8, of the same shape.

    Example:
        >>> corrupt(torch.zeros(1, 1, 28, 28, dtype=torch.uint8), "brightness", 2).unique()
        tensor([51], dtype=torch.uint8)
    """
    return torch.cat(list(_blocks(images, name, severity))) if len(images) else images


def _blocks(images: Tensor, name: str, severity: int) -> Iterator[Tensor]:
    key = list(CORRUPTIONS).index(name)
    for number, block in enumerate(torch.split(images, BLOCK)):
        generator = keyed_generator("corruption", key, severity, number)
        corrupted = CORRUPTIONS[name](block.float() / 255, severity, generator)
        yield (corrupted.clamp(0, 1) * 255).round().to(torch.uint8)


def mean_error(accuracies: Sequence[Sequence[float]]) -> float:
    """Return the mean corruption error: the mean over severities, then over kinds, of the fraction of wrong answers.

    It is not divided by the errors of another network, as for CIFAR-10-C in Hendrycks et al. 2020, "AugMix", section 4.
    """
    return 1 - sum(sum(row) / len(row) for row in accuracies) / len(accuracies)
