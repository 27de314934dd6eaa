"""The user's own image: read with care, and brought to the form of the images that a network was trained on."""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from scipy import ndimage
from torch import Tensor

from lenet_pl.errors import DataError, SettingError
from lenet_pl.image_file import eight_bit, read_image
from lenet_pl.photo import ink
from lenet_pl.photo.digits import is_crowded, is_wide, separate
from lenet_pl.photo.frame import without_frame
from lenet_pl.photo.panel import cut_out, find_panel
from lenet_pl.photo.transparency import opaque
from lenet_pl.settings import FolderDataSettings
from lenet_pl.settings.predict import PhotoSettings
from lenet_pl.settings.trained import RecordedSettings

EDGE = 0.15  # of full ink; what is fainter does not count for the bounding box
UNSURE = 0.6  # probability of the likeliest class; below it there is a note
FAINT = 0.12  # of the range from black to white: ink with less contrast is hardly seen
WORKING_SIDE = 1024  # px in which ink is looked for; more takes time and finds no more


class TrainedOn(Protocol):
    """What of a `TrainedRun` says how its images look."""

    @property
    def settings(self) -> RecordedSettings: ...
    @property
    def side(self) -> int: ...
    @property
    def channels(self) -> int: ...


class Sight(NamedTuple):
    """What the network is shown of a photo, or of one digit in it."""

    image: Tensor  # uint8 (C, side, side)
    notes: list[str]  # what makes its prediction doubtful
    box: tuple[int, int, int, int] | None  # left, top, right, bottom of a digit, px of the photo


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
    photo = opaque(image)
    photo.info = {key: image.info[key] for key in ("name", "notes") if key in image.info}
    return photo


def prepare(photo: Image.Image, run: TrainedOn, settings: PhotoSettings) -> Tensor:
    """Bring a photo to the form of the run's data: the image of `see`, uint8 (C, side, side)."""
    return see(photo, run, settings)[0].image


def see(photo: Image.Image, run: TrainedOn, settings: PhotoSettings, *, many: bool = False) -> list[Sight]:
    """Bring a photo, or each digit in it, to the form of the run's data.

    Args:
        photo: from `read_photo`.
        run: the network that is to see it; `run.logits(image[None])` takes an image.
        settings: what is done, or left to the kind of data.
        many: each digit for itself, lines from top to bottom, each from left to right.

    Returns:
        One sight; with `many` one for each digit.

    Raises:
        DataError: there is nothing on the picture.
        SettingError: many of what is no handwriting.
    """
    side, name = run.side, run.settings.data.name
    if many and name not in HANDWRITING:
        raise SettingError(f"photo.many: got true; must be false for a network trained on data={name}, no handwriting")
    notes = list(photo.info.get("notes", []))
    if name not in HANDWRITING and name != "fashion":
        return [Sight(_as_it_is(photo, run, settings), notes, None)]
    grey = ink.levels(photo.convert("L"))
    if np.ptp(grey) < ink.FAINTEST:
        raise _blank(photo)
    inverted = ink.is_light_background(grey) if settings.invert == "auto" else settings.invert
    if photo.size == (side, side) and True not in (settings.clean, settings.centre):  # of their form already
        return [Sight(_pixels(1 - grey if inverted else grey), notes, None)]
    scale = max(1.0, max(photo.size) / WORKING_SIDE)
    grey = ink.shrink(grey, WORKING_SIDE)
    if name not in HANDWRITING:
        placed = _garment(grey, inverted, side, settings)
        if placed is None:
            raise _blank(photo)
        return [Sight(_pixels(placed), notes, None)]
    left = top = 0
    if settings.clean is not False and (panel := find_panel(grey)) is not None:
        top, left = (s.start for s in ink.bounding_box(panel))
        grey = cut_out(grey, panel)
        inverted = ink.is_light_background(grey) if settings.invert == "auto" else inverted
    found, mask, doubts = _find(grey, inverted, settings)
    if mask is None:
        raise _blank(photo)
    digits = separate(mask)
    left_out = mask & ~np.logical_or.reduce(digits)
    if left_out.any():
        doubts.append("smaller writing was left out")
    if is_crowded(mask):
        doubts.append("too many pieces of ink to tell digits apart; they were taken for one")
    if not many and len(digits) > 1:
        doubts.append(f"{len(digits)} digits seen; photo.many=true predicts each")
        digits = [mask]
    return [
        Sight(
            _pixels(_place(found, digit, side, HANDWRITING[name], settings)),
            notes + doubts + _doubts(digit),
            _on_photo(ink.bounding_box(digit), left, top, scale),
        )
        for digit in digits
    ]


def unsure(probability: float) -> list[str]:
    """Note that a prediction is hardly likelier than others."""
    return [f"unsure, less than {UNSURE:.0%}"] if probability < UNSURE else []


def _blank(photo: Image.Image) -> DataError:
    return DataError(f"{photo.info['name']}: nothing on it that stands out from the background")


def _find(grey: ink.Grey, inverted: bool, settings: PhotoSettings) -> tuple[ink.Grey, ink.Mask | None, list[str]]:
    """Find the ink: its levels, light on black, where it is, and what is doubtful about it."""
    if settings.clean is False:
        found = 1 - grey if inverted else grey
        return found, ink.find_ink(found), []
    found = ink.without_shadows(grey, inverted)
    mask = ink.mark_ink(found)
    if mask is None:
        return found, None, []
    unframed = without_frame(mask)
    mask = ink.without_specks(unframed.ink)
    notes = ["lines beside the digit may be taken for its strokes"] if unframed.doubtful else []
    paper = ~ndimage.binary_dilation(mask, iterations=5)
    if paper.any() and abs(float(np.median(grey[mask])) - float(np.median(grey[paper]))) < FAINT:
        notes.append("hardly any contrast")
    return ink.without_lines(found, unframed.lines, mask), mask, notes


def _doubts(digit: ink.Mask) -> list[str]:
    rim = digit[0].any() or digit[-1].any() or digit[:, 0].any() or digit[:, -1].any()
    notes = ["reaches the edge of the photo, where it may be cut off"] if rim else []
    return [*notes, "wide enough for two digits that touch"] if is_wide(digit) else notes


def _place(found: ink.Grey, mask: ink.Mask, side: int, form: Handwriting, settings: PhotoSettings) -> ink.Grey:
    """Place ink as the data set does."""
    if settings.clean is not False:
        found = ink.soft_ink(found, mask)
        mask = found > EDGE
    if settings.centre is False:
        return ink.fit_into(found, side, side, by_mass=False)
    found, box = found[ink.bounding_box(mask)], round(side * form.box)
    if settings.clean is not False:
        found = ink.shrink(found, 8 * box)
        found = ink.thicken(found, ink.STROKE * max(found.shape) / box)
        found = found[ink.bounding_box(found > EDGE)]
    return ink.fit_into(found, side, box, by_mass=form.by_mass)


def _on_photo(box: ink.Box, left: int, top: int, scale: float) -> tuple[int, int, int, int]:
    rows, columns = box
    return (
        round((left + columns.start) * scale),
        round((top + rows.start) * scale),
        round((left + columns.stop) * scale),
        round((top + rows.stop) * scale),
    )


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
        grey = ink.levels(photo.convert("L"))
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


def _pixels(grey: ink.Grey) -> Tensor:
    return torch.from_numpy((grey * 255).round().astype(np.uint8))[None]
