"""Figures of filters, feature maps, attribution maps and network architecture."""

import math
from collections.abc import Sequence

import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from torch import Tensor

from lenet_pl.display.figure import SMALL, Figure, styled
from lenet_pl.display.text import width as columns_of

TILES = 16  # feature maps per row
PLANES = 12  # largest number of squares that represent the maps of a layer
FOR_AGAINST = "RdBu_r"  # red supports the class, blue opposes it
TITLES = {"grad_cam": "Grad-CAM", "integrated_gradients": "integrated gradients", "occlusion": "occlusion"}


@styled
def draw_filters(weights: Tensor, heading: str) -> Figure:
    """Draw the filters of a convolution on one common scale, with a color bar for gray filters.

    Args:
        weights: Weights of the convolution, float (out_channels, C, k, k). Three channels are drawn as RGB.
        heading: The heading of the figure.
    """
    largest = float(weights.abs().max()) or 1.0
    columns = min(8, len(weights))
    rows = -(-len(weights) // columns)
    figure = Figure(figsize=(max(5.0, 0.8 * columns + 1.4), 0.8 * rows + 0.9), layout="constrained")
    figure.suptitle(heading)
    axis = figure.subplots()
    if weights.shape[1] == 3:
        _show(axis, (weights / largest + 1) / 2, columns, 0, 0, (0.0, 1.0), "gray")
    else:
        shown = _show(axis, weights.mean(1, keepdim=True), columns, 0, 0, (-largest, largest), FOR_AGAINST)
        figure.colorbar(shown, ax=axis, shrink=0.9, label="weight" if weights.shape[1] == 1 else "mean weight")
    axis.set(xlim=(-0.05, columns + 0.05), ylim=(rows + 0.05, -0.05), aspect="equal")
    axis.set_axis_off()
    return figure


@styled
def draw_feature_maps(pixels: Tensor, maps: dict[str, Tensor], heading: str) -> Figure:
    """Draw an image and, below it, the feature maps of each layer, with one scale per layer.

    Args:
        pixels: The image at the input size of the network, float (C, H, W) in [0, 1].
        maps: The feature maps of each layer, float (channels, h, w).
        heading: The heading of the figure.
    """
    columns = min(TILES, max(8, *(len(values) for values in maps.values())))
    height = 2 + sum(-(-len(values) // columns) + 0.45 for values in maps.values())
    figure = Figure(figsize=(0.72 * columns + 0.3, 0.72 * height + 0.5), layout="constrained")
    figure.suptitle(heading)
    axis = figure.subplots()
    _show(axis, pixels[None], 1, 0, 0, (0.0, 1.0), "gray", side=2)
    about = "network input and, below it,\nthe feature maps of each layer\n(bright: high, dark: low)"
    axis.text(2.3, 1, about, va="center", fontsize=SMALL)
    top = 2.0
    for name, values in maps.items():
        top += 0.45
        low, high = float(values.min()), float(values.max())
        many, tall, wide = values.shape
        label = f"{name}: {many} maps of {tall}×{wide}, from {low:.2g} to {high:.2g}"
        axis.text(0.04, top - 0.05, label, va="bottom", fontsize=SMALL)
        _show(axis, values[:, None], columns, 0, top, (low, high), "viridis")
        top += -(-many // columns)
    axis.set(xlim=(0, columns), ylim=(height, 0), aspect="equal")
    axis.set_axis_off()
    return figure


@styled
def draw_attributions(pixels: Tensor, captions: Sequence[str], maps: dict[str, Tensor], heading: str) -> Figure:
    """Draw images next to their attribution maps, in two halves if there are more than four.

    Grad-CAM is drawn over the image. The signed maps have one scale per image, with white for 0.

    Args:
        pixels: The images at the input size of the network, float (N, C, H, W) in [0, 1].
        captions: A caption of a few lines per image.
        maps: The maps of `grad_cam`, `integrated_gradients` and `occlusion`, or some of them, float (N, H, W).
        heading: The heading of the figure.
    """
    halves = 2 if len(pixels) > 4 else 1
    rows = -(-len(pixels) // halves)
    longest = max(columns_of(line) for caption in captions for line in caption.splitlines())
    text, gap = 0.2 + 0.073 * longest, 0.3  # widths, in images
    width = text + 1.06 * (1 + len(maps)) + gap
    figure = Figure(figsize=(1.25 * width * halves, 1.25 * (1.06 * rows + 0.5) + 0.7), layout="constrained")
    figure.suptitle(heading)
    axis = figure.subplots()
    for half in range(halves):
        for column, title in enumerate(["image", *(TITLES[name] for name in maps)]):
            x = half * width + text + 1.06 * column + 0.5
            axis.text(x, -0.08, title.replace(" ", "\n"), ha="center", va="bottom", fontsize=SMALL)
    for place, caption in enumerate(captions):
        half, row = divmod(place, rows)
        x, y = half * width + text, 1.06 * row
        axis.text(x - 0.1, y + 0.5, caption, ha="right", va="center", fontsize=SMALL)
        image = pixels[place : place + 1]
        _show(axis, image, 1, x, y, (0.0, 1.0), "gray")
        for name, values in maps.items():
            x += 1.06
            if name == "grad_cam":
                _show(axis, _overlay(image[0], values[place])[None], 1, x, y, (0.0, 1.0), "gray")
                if not values[place].any():  # the mean gradients can oppose the class everywhere
                    axis.text(x + 0.5, y + 0.93, "0 everywhere", ha="center", color="white", fontsize=SMALL)
            else:
                largest = float(values[place].abs().max()) or 1.0
                _show(axis, values[place][None, None], 1, x, y, (-largest, largest), FOR_AGAINST)
            axis.add_patch(Rectangle((x, y), 1, 1, fill=False, edgecolor="0.8", linewidth=0.8))
    axis.set(xlim=(0, halves * width - gap), ylim=(1.06 * rows, -0.5), aspect="equal")
    axis.set_axis_off()
    bright = ["Grad-CAM: bright pixels support the predicted class"] if "grad_cam" in maps else []
    signed = " and ".join(TITLES[name] for name in maps if name != "grad_cam")
    legend = bright + [f"{signed}: red supports the predicted class, blue opposes it"] * bool(signed)
    figure.supxlabel("\n".join(legend), fontsize=SMALL)
    return figure


@styled
def draw_network(rows: Sequence[tuple[str, str, str, int]], input_shape: list[int], heading: str) -> Figure:
    """Draw a network from left to right, with maps as stacked squares and vectors as bars.

    Args:
        rows: The layer table of `lenet_pl.artifacts.layer_table.summarize`: name, type, output shape and number of
            parameters of each layer.
        input_shape: C, H, W of the network's input.
        heading: The heading of the figure.
    """
    columns: list[tuple[str, list[int], list[str]]] = [("input", input_shape, [])]
    for name, kind, shape, parameters in rows:
        sides = [int(side) for side in shape.split("×")]
        opens = parameters and kind != "BatchNorm2d" and kind != "BatchNorm1d"
        if opens or (sides != columns[-1][1] and kind != "Flatten"):
            columns.append((name.rpartition(".")[2], sides, []))
        columns[-1][2].append(f"{kind}\n{parameters:,} parameters" if parameters else kind)
    bottom = -0.7 - 0.1 * max(note.count("\n") + 1 for *_, notes in columns for note in ["\n".join(notes)])
    figure = Figure(figsize=(1.7 * len(columns), 1.7 * (0.75 - bottom) + 0.4), layout="constrained")
    figure.suptitle(f"{heading}: {sum(row[3] for row in rows):,} parameters")
    axis = figure.subplots()
    for number, (name, sides, notes) in enumerate(columns):
        _draw_output(axis, number, sides, input_shape[1], f"C{number}")
        shape = "×".join(str(side) for side in sides)
        axis.text(number, 0.48, f"{name}\n{shape}", ha="center", va="bottom", fontsize=SMALL)
        axis.text(number, -0.66, "\n".join(notes), ha="center", va="top", fontsize=SMALL, linespacing=1.35)
        if number:
            arrow = {"arrowstyle": "->", "color": "0.4"}
            axis.annotate("", (number - 0.38, -0.56), (number - 0.62, -0.56), arrowprops=arrow)
    axis.set(xlim=(-0.5, len(columns) - 0.5), ylim=(bottom, 0.75), aspect="equal")
    axis.set_axis_off()
    return figure


def _draw_output(axis: Axes, center: float, sides: list[int], largest: int, color: str) -> None:
    """Draw the output of a layer: squares for maps, a bar for a vector, with sizes in proportion."""
    if len(sides) == 1:
        length = min(0.85, 0.85 * math.sqrt(sides[0] / 512))  # square root, to keep small vectors visible
        axis.add_patch(
            Rectangle((center - 0.05, -length / 2), 0.1, length, facecolor=color, edgecolor="black", alpha=0.7)
        )
        return
    side = 0.55 * max(0.12, sides[1] / largest)
    planes = min(PLANES, sides[0])
    step = (0.25 if planes > 4 else 0.1) / max(1, planes - 1)
    start = -(side + step * (planes - 1)) / 2
    for plane in range(planes):
        x, y = start + step * plane, -start - side - step * plane
        axis.add_patch(
            Rectangle((center + x, y), side, side, facecolor=color, edgecolor="white", linewidth=0.6, alpha=0.85)
        )


def _overlay(image: Tensor, heat: Tensor) -> Tensor:
    """Blend an image with the color map of its Grad-CAM map; return float (3, H, W)."""
    colors = torch.from_numpy(colormaps["inferno"](heat.numpy())).float()[..., :3].permute(2, 0, 1)
    return 0.35 * image.expand(3, -1, -1) + 0.65 * colors


def _show(
    axis: Axes,
    tiles: Tensor,
    columns: int,
    left: float,
    top: float,
    limits: tuple[float, float],
    colors: str,
    side: float = 1.0,
) -> AxesImage:
    """Draw tiles (N, C, h, w) as one mosaic, with gaps between them; much faster than one image per tile."""
    many, channels, height, width = tiles.shape
    rows = -(-many // columns)
    gap = max(1, round(0.06 * width)) if many > 1 else 0
    mosaic = torch.full((rows * (height + gap), columns * (width + gap), 4 if channels == 3 else 1), math.nan)
    if channels == 3:
        mosaic[:] = 0.0  # transparent
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        y, x = row * (height + gap), column * (width + gap)
        mosaic[y : y + height, x : x + width, :channels] = tile.permute(1, 2, 0)
        mosaic[y : y + height, x : x + width, 3:] = 1.0
    empty: Colormap = colormaps[colors].with_extremes(bad=(0, 0, 0, 0))
    return axis.imshow(
        mosaic.numpy() if channels == 3 else mosaic[..., 0].numpy(),
        cmap=empty,
        vmin=limits[0],
        vmax=limits[1],
        extent=(left, left + side * columns, top + side * rows, top),
        interpolation="nearest",
    )
