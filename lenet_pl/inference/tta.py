"""Test-time augmentation (TTA): shifted and mirrored copies of each image."""

from collections.abc import Iterator

from torch import Tensor
from torch.nn import functional

from lenet_pl.settings.evaluate import TtaSettings


def augmented_copies(images: Tensor, tta: TtaSettings, background: int) -> Iterator[Tensor]:
    """Yield the copies of a batch of images for test-time augmentation.

    There are (2·shift + 1)²·(1 + hflip) views, and classification costs as many forward passes. The unchanged images
    come first. All mirrored copies follow the unmirrored ones. Vertical shifts vary slowest. The order of the shifts in
    each direction is 0, -1, 1, -2, 2, ... px.

    Args:
        images: Images as stored, uint8 (N, C, h, w).
        tta: `shift`, the largest shift in each direction, px; `hflip`, whether to add left-right mirrored copies.
        background: The gray level of the pixels that shifting exposes, 0 to 255.

    Yields:
        One copy of all images, uint8 (N, C, h, w).
    """
    height, width = images.shape[2:]
    padded = functional.pad(images, [tta.shift] * 4, value=background)
    steps = sorted(range(-tta.shift, tta.shift + 1), key=abs)
    for mirrored in (False, True) if tta.hflip else (False,):
        for down in steps:
            for right in steps:
                top, left = tta.shift - down, tta.shift - right
                view = padded[:, :, top : top + height, left : left + width]
                yield view.flip(3) if mirrored else view
