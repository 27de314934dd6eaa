"""Figures of matplotlib whose text is drawn as it is: never as mathematics, and in fonts that have its characters."""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib.figure
from matplotlib.artist import Artist
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter

from lenet_pl.atomic import atomic_file
from lenet_pl.fonts import FONTS
from lenet_pl.text import lines

DPI = 110
NAMED = 20  # characters that a note lists


class Figure(matplotlib.figure.Figure):
    """Figure that prepares all its text before it is drawn, to a file, to TensorBoard or in a notebook."""

    def draw(self, renderer: Any) -> None:
        """Draw, without a warning for each character that no font has."""
        prepare(self)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
            super().draw(renderer)


def prepare(figure: matplotlib.figure.Figure) -> None:
    """Let a figure show its text as it is: dollars are no mathematics, and other fonts help out where one lacks glyphs.

    The numbers of logarithmic axes stay what matplotlib writes there, which are powers of ten.
    """
    powers = _powers(figure)
    for artist in figure.findobj(Text):
        assert isinstance(artist, Text)
        artist.set_parse_math(artist in powers)
        if artist in powers:
            continue
        artist.set_text(lines(artist.get_text()))
        families = artist.get_fontfamily()
        more = FONTS.families(artist.get_text(), artist.get_fontproperties())
        if missing := [name for name in more if name not in families]:
            artist.set_fontfamily([*families, *missing])


def save_figures(folder: Path, figures: Mapping[str, matplotlib.figure.Figure]) -> None:
    """Write each figure as a PNG file, and say once which characters no font has.

    Args:
        folder: exists.
        figures: by the names of their files.
    """
    for name, figure in figures.items():
        with atomic_file(folder / f"{name}.png") as stream:
            figure.savefig(stream, format="png", dpi=DPI)
    tell_lacking(figures.values())


def _powers(figure: matplotlib.figure.Figure) -> set[Artist]:
    """Labels of logarithmic axes."""
    axes = [axis for pair in figure.axes for axis in (pair.xaxis, pair.yaxis)]
    logarithmic = [axis for axis in axes if isinstance(axis.get_major_formatter(), LogFormatter)]
    ticks = [tick for axis in logarithmic for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())]
    return {label for tick in ticks for label in (tick.label1, tick.label2)}


def tell_lacking(figures: Iterable[matplotlib.figure.Figure]) -> None:
    """Print one line about the characters that no font has, each once in a process."""
    texts = [text.get_text() for figure in figures for text in figure.findobj(Text) if isinstance(text, Text)]
    lacking = set().union(*map(FONTS.lacking, texts)) - FONTS.told
    if not lacking:
        return
    FONTS.told |= lacking
    some = " ".join(sorted(lacking)[:NAMED]) + (f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else "")
    print(
        f"note: no font of this machine has {some}; the pictures show boxes there, all other files have them; a font "
        "that has them is used once it is installed, as Debian's fonts-noto-core, or fonts-noto-cjk for Chinese, "
        "Japanese and Korean",
        flush=True,
    )
