"""Augmentation followed by transforms of plug-ins."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lenet_pl.data.augment import Augment
from lenet_pl.errors import SettingError
from lenet_pl.runtime.seeding import keep_global, seed_global
from lenet_pl.settings import AugmentSettings


class TransformedAugment(Augment):
    """`Augment`, then transforms that draw from torch's global generators.

    The generators are seeded for each batch, so that the numbers depend on seed, epoch and step only; their state is
    restored afterwards.

    Args:
        settings: The strength of each transform of `Augment`.
        background: The gray level in [0, 1] of pixels that come from outside the image.
        transforms: Functions of a batch, float (B, C, H, W) in [0, 1], that return one of the same shape.
    """

    def __init__(
        self, settings: AugmentSettings, background: float, transforms: Sequence[Callable[[Tensor], Tensor]]
    ) -> None:
        super().__init__(settings, background)
        self.transforms = transforms

    @property
    def active(self) -> bool:
        """Whether at least one transform is enabled."""
        return super().active or bool(self.transforms)

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Transform a batch; arguments as for `Augment`.

        Raises:
            SettingError: A transform changes the shape of the batch.
        """
        changed = super().__call__(pixels, generator)
        seed = int(torch.randint(2**63 - 1, (), generator=generator))
        with keep_global(pixels.device), torch.no_grad():
            seed_global(seed, pixels.device)
            for transform in self.transforms:
                changed = transform(changed)
                if not isinstance(changed, Tensor) or changed.shape != pixels.shape:
                    got = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
                    name = getattr(transform, "__name__", type(transform).__name__)
                    raise SettingError(
                        f"transforms: {name} maps a batch of shape {tuple(pixels.shape)} to {got}; must be the same"
                    )
        return changed.to(pixels.dtype)
