"""Conversion of user photos to the form of the images that a network was trained on."""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lenet_pl.errors import DataError, SettingError
from lenet_pl.photo import segmentation
from lenet_pl.photo.digits import is_crowded, separate
from lenet_pl.photo.handwriting import HANDWRITING, digit_doubts, find_handwriting, place_digit
from lenet_pl.photo.inversion import should_invert
from lenet_pl.photo.paper import crop_to_paper, find_paper
from lenet_pl.settings import FolderDataSettings
from lenet_pl.settings.predict import PhotoSettings
from lenet_pl.settings.trained import RecordedSettings

UNSURE = 0.6  # probability of the predicted class below which a note is added

WORKING_SIDE = 1024  # longer side of the image in px for the search; a larger one only takes more time


class InputSpec(Protocol):
    """The attributes of a `TrainedRun` that describe its input."""

    @property
    def settings(self) -> RecordedSettings: ...
    @property
    def side(self) -> int: ...
    @property
    def channels(self) -> int: ...


class PreparedImage(NamedTuple):
    """A photo, or one digit of it, in the form of the network's input."""

    image: Tensor  # uint8 (C, side, side)
    notes: list[str]  # reasons why the prediction may be wrong
    box: tuple[int, int, int, int] | None  # left, top, right, bottom of a digit, in px of the photo


def prepare(photo: Image.Image, run: InputSpec, settings: PhotoSettings) -> Tensor:
    """Convert a photo to the form of the run's data, uint8 of shape (C, side, side), as `see` does."""
    return see(photo, run, settings)[0].image


def see(photo: Image.Image, run: InputSpec, settings: PhotoSettings, *, many: bool = False) -> list[PreparedImage]:
    """Convert a photo, or each digit in it, to the form of the run's data.

    Args:
        photo: The photo, from `read_photo`.
        run: The trained network. `run.predict_logits(image[None])` accepts the resulting image.
        settings: The processing steps, which may depend on the dataset.
        many: Whether to return each digit separately.

    Returns:
        One image or, with `many`, one per digit, in lines from top to bottom and from left to right within a line.

    Raises:
        DataError: If nothing stands out from the background.
        SettingError: If `many` is true and the network was not trained on handwriting.
    """
    side, name = run.side, run.settings.data.name
    if many and name not in HANDWRITING:
        raise SettingError(
            f"photo.many: got true; must be false for a network trained on data={name}, which is not handwriting"
        )
    notes = list(photo.info.get("notes", []))
    if name not in HANDWRITING and name != "fashion":
        return [PreparedImage(_whole_photo(photo, run, settings), notes, None)]
    gray = segmentation.levels(photo.convert("L"))
    if np.ptp(gray) < segmentation.MIN_CONTRAST:
        raise _blank(photo)
    inverted = should_invert(gray, settings.invert)
    if photo.size == (side, side) and True not in (settings.remove_background, settings.center):  # already in that form
        return [PreparedImage(_pixels(1 - gray if inverted else gray), notes, None)]
    scale = max(1.0, max(photo.size) / WORKING_SIDE)
    gray = segmentation.shrink(gray, WORKING_SIDE)
    if name not in HANDWRITING:
        placed = _garment(gray, inverted, side, settings)
        if placed is None:
            raise _blank(photo)
        return [PreparedImage(_pixels(placed), notes, None)]
    left = top = 0
    if settings.remove_background is not False and (paper := find_paper(gray)) is not None:
        top, left = (s.start for s in segmentation.bounding_box(paper))
        gray = crop_to_paper(gray, paper)
        inverted = should_invert(gray, settings.invert)
    found, mask, doubts = find_handwriting(gray, inverted, settings)
    if mask is None:
        raise _blank(photo)
    digits = separate(mask)
    left_out = mask & ~np.logical_or.reduce(digits)
    if left_out.any():
        doubts.append("smaller writing was left out")
    if is_crowded(mask):
        doubts.append("too many pieces of ink to separate digits; treated as one digit")
    if not many and len(digits) > 1:
        doubts.append(f"{len(digits)} digits seen; photo.many=true predicts each")
        digits = [mask]
    return [
        PreparedImage(
            _pixels(place_digit(found, digit, side, HANDWRITING[name], settings)),
            notes + doubts + digit_doubts(digit),
            _on_photo(segmentation.bounding_box(digit), left, top, scale),
        )
        for digit in digits
    ]


def unsure(probability: float) -> list[str]:
    """Return a note if the probability of the predicted class is low."""
    return [f"unsure, less than {UNSURE:.0%}"] if probability < UNSURE else []


def _blank(photo: Image.Image) -> DataError:
    return DataError(f"{photo.info['name']}: nothing on it that stands out from the background")


def _on_photo(box: segmentation.Box, left: int, top: int, scale: float) -> tuple[int, int, int, int]:
    rows, columns = box
    return (
        round((left + columns.start) * scale),
        round((top + rows.start) * scale),
        round((left + columns.stop) * scale),
        round((top + rows.stop) * scale),
    )


def _garment(gray: segmentation.Gray, inverted: bool, side: int, settings: PhotoSettings) -> segmentation.Gray | None:
    """Scale a garment to fill the square, as in Fashion-MNIST; None if there is none."""
    levels = 1 - gray if inverted else gray
    found, mask = segmentation.normalize_contrast(levels)
    if not mask.any():
        return None
    found = levels if settings.remove_background is False else found
    found = found if settings.center is False else found[segmentation.bounding_box(mask)]
    return segmentation.fit_into(found, side, side, by_mass=False)


def _whole_photo(photo: Image.Image, run: InputSpec, settings: PhotoSettings) -> Tensor:
    """Resize a photo for a network trained on color photographs or user data, without looking for ink."""
    data, side = run.settings.data, run.side
    if settings.center is True:
        gray = segmentation.levels(photo.convert("L"))
        mask = np.abs(gray - segmentation.background_level(gray)) > segmentation.MIN_CONTRAST
        if not mask.any():
            raise _blank(photo)
        rows, columns = segmentation.bounding_box(mask)
        photo = photo.crop((columns.start, rows.start, columns.stop, rows.stop))
    photo = photo.convert("L" if run.channels == 1 else "RGB")
    if settings.invert is True:
        photo = ImageOps.invert(photo)
    wanted, how = (side, side), Image.Resampling.BICUBIC
    if not isinstance(data, FolderDataSettings):
        photo = ImageOps.fit(photo, wanted, how)  # the largest square in the middle
    elif data.resize_mode == "pad":
        photo = ImageOps.pad(photo, wanted, how, color=(data.background,) * run.channels)
    else:
        photo = photo.resize(wanted, how)
    return torch.from_numpy(np.array(photo).reshape(side, side, run.channels)).permute(2, 0, 1).contiguous()


def _pixels(gray: segmentation.Gray) -> Tensor:
    return torch.from_numpy((gray * 255).round().astype(np.uint8))[None]
