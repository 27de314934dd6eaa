"""A sheet of photos: each as it is, what the network saw of it, and what it took it for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

from lenet_pl.figure import Figure

THUMBNAIL = 320  # px, longer side of a photo on the sheet
COLUMNS = 4


@dataclass(frozen=True)
class Cell:
    """One photo on the sheet."""

    photo: Image.Image
    seen: Tensor  # uint8 (C, side, side)
    title: str


def thumbnail(photo: Image.Image) -> Image.Image:
    """Make a copy for the sheet, so that many large photos need not be kept."""
    small = photo.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return small


def draw_contact_sheet(cells: Sequence[Cell], heading: str) -> Figure:
    """Draw for each photo a pair of pictures under its title: on the left the photo, on the right what was seen."""
    columns = max(1, min(COLUMNS, len(cells)))
    rows = max(1, -(-len(cells) // columns))
    width, height = 2.2, 1.35  # of a cell, where a picture is 1×1
    figure = Figure(figsize=(1.5 * columns * width, 1.5 * rows * height + 0.5), layout="constrained")
    figure.suptitle(heading)
    axis = figure.subplots()  # one for all: a pair of axes for each picture would take seconds to lay out
    axis.set_axis_off()
    for place, cell in enumerate(cells):
        row, column = divmod(place, columns)
        left, bottom = column * width, (row + 1) * height
        photo = cell.photo.convert("RGB")
        wide, high = (length / max(photo.size) for length in photo.size)
        axis.imshow(
            np.asarray(photo),
            extent=(left + (1 - wide) / 2, left + (1 + wide) / 2, bottom - (1 - high) / 2, bottom - (1 + high) / 2),
        )
        seen = cell.seen.expand(3, -1, -1).permute(1, 2, 0).numpy()
        axis.imshow(seen, extent=(left + 1.05, left + 2.05, bottom, bottom - 1), interpolation="nearest")
        axis.text(left + 1, bottom - 1.04, cell.title, ha="center", va="bottom", fontsize=8)
    axis.set(xlim=(0, columns * width), ylim=(rows * height, 0), aspect="equal")
    return figure
