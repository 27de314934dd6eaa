"""Contact sheet: each photo with the network's input and the prediction."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from lenet_pl.display.figure import SMALL, Figure, styled

THUMBNAIL = 320  # px, longer side of a photo on the sheet
COLUMNS = 4
NOTE = 38  # text columns per line of a note


@dataclass(frozen=True)
class Cell:
    """One photo on the sheet.

    Attributes:
        photo: The thumbnail of the photo.
        seen: The image that was classified, uint8 (C, side, side).
        title: The file name and the prediction.
        note: Reasons to doubt the prediction; empty for none.
    """

    photo: Image.Image
    seen: Tensor
    title: str
    note: str = ""


Box = tuple[int, int, int, int]  # left, top, right, bottom, px


def thumbnail(photo: Image.Image, boxes: Sequence[Box | None] = (), number: int = 1) -> Image.Image:
    """Make a thumbnail for the sheet, so that large photos need not stay in memory.

    Args:
        photo: The photo.
        boxes: Boxes to draw around digits, in px of the photo; None entries are skipped.
        number: The number of the highlighted box, from 1.

    Returns:
        A copy of the photo, whose longer side is at most 320 px.
    """
    small = photo.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    if not boxes:
        return small
    small = small.convert("RGB")
    scale, pen = small.width / photo.width, ImageDraw.Draw(small)
    for place, box in enumerate(boxes, 1):
        if box:
            chosen = place == number
            color, width = ((220, 30, 30), 3) if chosen else ((60, 120, 220), 1)
            pen.rectangle([round(edge * scale) for edge in box], outline=color, width=width)
    return small


@styled
def draw_contact_sheet(cells: Sequence[Cell], heading: str) -> Figure:
    """Draw each photo (left) next to the network's input (right), with title and note below."""
    columns = max(1, min(COLUMNS, len(cells)))
    rows = max(1, -(-len(cells) // columns))
    noted = any(cell.note for cell in cells)
    width, height = 2.2, 1.85 if noted else 1.38  # of a cell, in units of an image
    figure = Figure(figsize=(1.5 * columns * width, 1.5 * rows * height + 0.5), layout="constrained")
    figure.suptitle(heading)
    axis = figure.subplots()  # one for all: the layout of separate axes would take seconds
    axis.set_axis_off()
    for place, cell in enumerate(cells):
        row, column = divmod(place, columns)
        left, bottom = column * width, (row + 1) * height - (0.45 if noted else 0)
        photo = cell.photo.convert("RGB")
        wide, high = (length / max(photo.size) for length in photo.size)
        axis.imshow(
            np.asarray(photo),
            extent=(left + (1 - wide) / 2, left + (1 + wide) / 2, bottom - (1 - high) / 2, bottom - (1 + high) / 2),
        )
        seen = cell.seen.expand(3, -1, -1).permute(1, 2, 0).numpy()
        axis.imshow(seen, extent=(left + 1.05, left + 2.05, bottom, bottom - 1), interpolation="nearest")
        axis.text(left + 1, bottom - 1.04, cell.title, ha="center", va="bottom", fontsize=SMALL)
        note = "\n".join(textwrap.wrap(cell.note, NOTE)[:3])
        axis.text(left + 1, bottom + 0.02, note, ha="center", va="top", fontsize=SMALL, color="firebrick")
    axis.set(xlim=(0, columns * width), ylim=(rows * height, 0), aspect="equal")
    return figure
