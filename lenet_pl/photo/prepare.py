"""The user's own image: read with care, and brought to the form of the images that a network was trained on."""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lenet_pl.errors import DataError
from lenet_pl.image_file import eight_bit, read_image
from lenet_pl.photo import ink
from lenet_pl.photo.frame import without_frame
from lenet_pl.settings import FolderDataSettings
from lenet_pl.settings.predict import PhotoSettings
from lenet_pl.settings.trained import RecordedSettings

EDGE = 0.15  # of full ink; what is fainter does not count for the bounding box
WORKING_SIDE = 1024  # px in which ink is looked for; more takes time and finds no more


class TrainedOn(Protocol):
    """What of a `TrainedRun` says how its images look."""

    @property
    def settings(self) -> RecordedSettings: ...
    @property
    def side(self) -> int: ...
    @property
    def channels(self) -> int: ...


class Handwriting(NamedTuple):
    """How a data set of light handwriting on black places it."""

    box: float  # longer side of the ink, as a share of the image's side
    by_mass: bool  # the middle is the centre of mass, else the centre of the box


HANDWRITING = {
    "mnist": Handwriting(20 / 28, by_mass=True),  # LeCun et al. 1998, and measured
    "qmnist": Handwriting(20 / 28, by_mass=True),  # Yadav and Bottou 2019: as MNIST
    "emnist": Handwriting(24 / 28, by_mass=False),  # Cohen et al. 2017
    "kmnist": Handwriting(1.0, by_mass=False),
    "usps": Handwriting(1.0, by_mass=False),
    "digits": Handwriting(1.0, by_mass=False),  # measured: all are 8 of 8 px high
}


def read_photo(source: Path | bytes, name: str) -> Image.Image:
    """Decode an image: upright, 8 bit, without transparency.

    Args:
        source: a file, or its content.
        name: what errors call it.

    Returns:
        An image of mode L or RGB; its `info` holds "name", where there are any "notes" (what a user should know), and
        nothing else.

    Raises:
        DataError: see `read_image`.
    """
    image = eight_bit(read_image(source, name))
    photo = _opaque(image)
    photo.info = {key: image.info[key] for key in ("name", "notes") if key in image.info}
    return photo


def prepare(photo: Image.Image, run: TrainedOn, settings: PhotoSettings) -> Tensor:
    """Bring a photo to the form of the run's data.

    Args:
        photo: from `read_photo`.
        run: the network that is to see it.
        settings: what is done, or left to the kind of data.

    Returns:
        uint8 (C, side, side); `run.logits(x[None])` takes it.

    Raises:
        DataError: there is nothing on the picture.
    """
    side, name = run.side, run.settings.data.name
    if name not in HANDWRITING and name != "fashion":
        return _as_it_is(photo, run, settings)
    grey = _levels(photo.convert("L"))
    if np.ptp(grey) < ink.FAINTEST:
        raise _blank(photo)
    inverted = ink.is_light_background(grey) if settings.invert == "auto" else settings.invert
    if photo.size == (side, side) and True not in (settings.clean, settings.centre):  # of their form already
        return _pixels(1 - grey if inverted else grey)
    grey = ink.shrink(grey, WORKING_SIDE)
    if name in HANDWRITING:
        placed = _handwriting(grey, inverted, side, HANDWRITING[name], settings)
    else:
        placed = _garment(grey, inverted, side, settings)
    if placed is None:
        raise _blank(photo)
    return _pixels(placed)


def _blank(photo: Image.Image) -> DataError:
    return DataError(f"{photo.info['name']}: nothing on it that stands out from the background")


def _handwriting(
    grey: ink.Grey, inverted: bool, side: int, form: Handwriting, settings: PhotoSettings
) -> ink.Grey | None:
    """Find the ink and place it as the data set does; None if there is none."""
    if settings.clean is False:
        found = 1 - grey if inverted else grey
        mask = ink.find_ink(found)
    else:
        found = ink.without_shadows(grey, inverted)
        mask = ink.mark_ink(found)
        if mask is not None:
            mask, lines, _ = without_frame(mask)
            mask = ink.without_specks(mask)
            found = ink.soft_ink(ink.without_lines(found, lines, mask), mask)
            mask = found > EDGE
    if mask is None:
        return None
    if settings.centre is False:
        return ink.fit_into(found, side, side, by_mass=False)
    found, box = found[ink.bounding_box(mask)], round(side * form.box)
    if settings.clean is not False:
        found = ink.shrink(found, 8 * box)
        found = ink.thicken(found, ink.STROKE * max(found.shape) / box)
        found = found[ink.bounding_box(found > EDGE)]
    return ink.fit_into(found, side, box, by_mass=form.by_mass)


def _garment(grey: ink.Grey, inverted: bool, side: int, settings: PhotoSettings) -> ink.Grey | None:
    """Let a garment fill the square, as Fashion-MNIST does; None if there is none."""
    levels = 1 - grey if inverted else grey
    found, mask = ink.on_black(levels)
    if not mask.any():
        return None
    found = levels if settings.clean is False else found
    found = found if settings.centre is False else found[ink.bounding_box(mask)]
    return ink.fit_into(found, side, side, by_mass=False)


def _as_it_is(photo: Image.Image, run: TrainedOn, settings: PhotoSettings) -> Tensor:
    """Colour photographs and the user's own kinds of images: to the size, as `folder` reads them."""
    data, side = run.settings.data, run.side
    if settings.centre is True:
        grey = _levels(photo.convert("L"))
        mask = np.abs(grey - ink.background_level(grey)) > ink.FAINTEST
        if not mask.any():
            raise _blank(photo)
        rows, columns = ink.bounding_box(mask)
        photo = photo.crop((columns.start, rows.start, columns.stop, rows.stop))
    photo = photo.convert("L" if run.channels == 1 else "RGB")
    if settings.invert is True:
        photo = ImageOps.invert(photo)
    wanted, how = (side, side), Image.Resampling.BICUBIC
    if not isinstance(data, FolderDataSettings):
        photo = ImageOps.fit(photo, wanted, how)  # the largest square in the middle
    elif data.fit == "pad":
        photo = ImageOps.pad(photo, wanted, how, color=(data.background,) * run.channels)
    else:
        photo = photo.resize(wanted, how)
    return torch.from_numpy(np.array(photo).reshape(side, side, run.channels)).permute(2, 0, 1).contiguous()


def _levels(image: Image.Image) -> ink.Grey:
    return np.asarray(image, np.float32) / np.float32(255)


def _pixels(grey: ink.Grey) -> Tensor:
    return torch.from_numpy((grey * 255).round().astype(np.uint8))[None]


def _opaque(image: Image.Image) -> Image.Image:
    """Put an image on a ground, if it lets one through; returns mode L or RGB.

    Where most of the outermost pixels are opaque, the image has a ground of its own, which goes on. Else the shape is
    in the transparency, and shows on white if it is dark, on black if it is light.
    """
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if not image.has_transparency_data:
        return image.convert(mode)
    layered = image.convert("RGBA")
    alpha = _levels(layered.getchannel("A"))
    grey = _levels(layered.convert("RGB").convert("L"))
    if ink.background_level(alpha) > 0.5:
        rim = np.ones(grey.shape, bool)
        rim[1:-1, 1:-1] = False
        level = float(np.median(grey[rim & (alpha > 0.5)]))
    else:
        level = float((grey * alpha).sum() <= 0.5 * alpha.sum())
    ground = Image.new("RGBA", image.size, (*[round(255 * level)] * 3, 255))
    return Image.alpha_composite(ground, layered).convert(mode)
