"""Random transforms of the caller, such as those of torchvision v2, between resizing and normalization."""

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lenet_pl.data.augment import Augment
from lenet_pl.data.mixing import Mixing
from lenet_pl.errors import SettingError
from lenet_pl.runtime.seeding import keep_global, seed_global
from lenet_pl.settings import AugmentSettings, validate
from lenet_pl.settings.choices import read_choice

AnyAugment = str | Mapping[str, Any] | AugmentSettings | Augment | Callable[[Tensor], Tensor] | None


class CallableAugment:
    """A random transform of the caller, with the interface of `Augment`.

    The global generators of torch, NumPy and Python are seeded for each call and restored after it, so that the result
    depends only on the generator, that is on seed, epoch and step.

    Transforms of torchvision draw their parameters once per call, so they are called for each image, as by a torch
    `Dataset`. For a batch of 128 images of 32×32 px this takes 8 to 35 ms on one CPU core, compared with 1 ms for
    `Augment`.

    Args:
        transform: A function or module, float in [0, 1] of shape (B, C, H, W) → the same shape; of shape (C, H, W) if
            it is called for each image.
        per_image: Whether to call it for each image; None for True if it is from torchvision. A transform that is
            called for the whole batch and draws the same parameters for all images causes a warning.
        name: The setting that an error names.
    """

    active = True

    def __init__(
        self, transform: Callable[[Tensor], Tensor], *, per_image: bool | None = None, name: str = "augment"
    ) -> None:
        self.transform, self.name = transform, name
        self.per_image = is_from_torchvision(transform) if per_image is None else per_image
        self._is_checked = self.per_image

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Transform a batch.

        Args:
            pixels: Images in [0, 1] of shape (B, C, H, W).
            generator: The source of the seed, on the CPU.

        Raises:
            SettingError: If the transform returns anything but float images of the same shape.
        """
        seed = int(torch.randint(2**63 - 1, (), generator=generator))
        with _seeded(seed, pixels.device):
            if self.per_image:
                changed = torch.stack([self._checked(self.transform(image), image) for image in pixels])
            else:
                changed = self._checked(self.transform(pixels), pixels)
        if not self._is_checked and draws_once_per_batch(self.transform, pixels):
            warnings.warn(
                f"{self.name}: the transform draws the same parameters for all images of a batch; use "
                "CallableAugment(transform, per_image=True) for independent ones",
                stacklevel=2,
            )
        self._is_checked = True
        return changed

    def _checked(self, changed: Any, pixels: Tensor) -> Tensor:
        if isinstance(changed, Tensor) and changed.shape == pixels.shape and changed.is_floating_point():
            return changed
        what = (
            f"{changed.dtype} of shape {tuple(changed.shape)}"
            if isinstance(changed, Tensor)
            else type(changed).__name__
        )
        raise SettingError(
            f"{self.name}: the transform returned {what} for {pixels.dtype} of shape {tuple(pixels.shape)}; must be "
            "floating point of the same shape"
        )


def choose_augment(
    augment: AnyAugment, background: float = 0.0, mean: Sequence[float] | None = None
) -> Augment | CallableAugment:
    """Convert whatever describes an augmentation into a function of a batch and a generator.

    Args:
        augment: A name in `conf/augment/` such as "affine", strengths such as `{"degrees": 10}`, `AugmentSettings`, an
            `Augment`, a transform of torchvision, any function of a float batch, or None for no augmentation.
        background: The gray level in [0, 1] of pixels that come from outside the image; transforms of the caller choose
            their own.
        mean: The mean of the training images per channel, with which cutout fills; None for `background`.

    Raises:
        SettingError: If a name or strength is unknown, or a value is out of range.
    """
    if isinstance(augment, Augment | CallableAugment):
        return augment
    if augment is None or isinstance(augment, str | Mapping):
        name, changes = (augment, {}) if isinstance(augment, str) else ("none", augment or {})
        augment = validate(AugmentSettings, read_choice("augment", name, changes))
    if isinstance(augment, AugmentSettings):
        return Augment(augment, background, mean)
    if callable(augment):
        return CallableAugment(augment)
    raise SettingError(
        f"augment: got {type(augment).__name__}; must be a name, strengths, a transform of torchvision, or a function "
        "of a float batch"
    )


def mixing_of(augment: Augment | CallableAugment) -> Mixing:
    """Return mixup and CutMix of the settings of an augmentation; transforms of the caller mix no images."""
    if isinstance(augment, Augment):
        return Mixing(augment.settings.mixup, augment.settings.cutmix)
    return Mixing()


class ChainedAugment:
    """Several augmentations, one after another.

    Args:
        augments: The augmentations, in order.
    """

    active = True

    def __init__(self, augments: Sequence[Augment | CallableAugment]) -> None:
        self.augments = augments

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Transform a batch; arguments and errors as for `CallableAugment`."""
        for augment in self.augments:
            pixels = augment(pixels, generator)
        return pixels


AnyBatchAugment = Augment | CallableAugment | ChainedAugment


def chain_augments(
    first: Augment | CallableAugment, transforms: Sequence[Callable[[Tensor], Tensor] | CallableAugment]
) -> AnyBatchAugment:
    """Append transforms of the caller to an augmentation."""
    if not transforms:
        return first
    own = [one if isinstance(one, CallableAugment) else CallableAugment(one, name="transforms") for one in transforms]
    return ChainedAugment([first, *own] if first.active else own)


def is_from_torchvision(transform: object) -> bool:
    """Whether a transform is an object of torchvision, or of a class derived from one."""
    return any(kind.__module__.startswith("torchvision.transforms") for kind in type(transform).__mro__)


def draws_once_per_batch(transform: Callable[[Tensor], Tensor], pixels: Tensor, trials: int = 8) -> bool:
    """Whether a transform changes from call to call, but never from image to image of a batch.

    Args:
        transform: The transform of a batch.
        pixels: Images of shape (B, C, H, W), for their shape, dtype and device alone.
        trials: The number of calls. A transform that is applied less often than in one of them may remain undetected.
    """
    noise = torch.rand(pixels.shape[1:], generator=torch.Generator().manual_seed(0)).to(pixels)
    same = noise.expand(4, *noise.shape)
    found = []
    for seed in range(trials):
        with _seeded(seed, pixels.device):
            found.append(transform(same.clone()))
    varies = any(not torch.equal(batch, found[0]) for batch in found)
    return varies and all(torch.equal(image, batch[0]) for batch in found for image in batch)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed all global generators, and restore their states on exit."""
    python, numpy = random.getstate(), np.random.get_state()
    with keep_global(device), torch.no_grad():
        seed_global(seed, device)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
