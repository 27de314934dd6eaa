"""Matplotlib figures whose text is drawn literally: never as math, and in fonts that contain its characters."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import matplotlib.figure
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter

from lenet_pl.display.fonts import FONTS
from lenet_pl.display.text import lines
from lenet_pl.runtime.atomic_files import atomic_file

STYLE = mpl.rc_params_from_file(Path(__file__).with_name("figures.mplstyle"), use_default_template=False)
SMALL = 10  # points, smallest text in a figure
DPI = 110
NAMED = 20  # maximum number of characters listed in a note
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def styled(draw: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Run a function that draws a figure in the style of `figures.mplstyle`; matplotlib's own settings are kept."""

    @wraps(draw)
    def draw_styled(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return draw_styled


class Figure(matplotlib.figure.Figure):
    """A figure that prepares all its text before it is drawn to a file, to TensorBoard or in a notebook."""

    @styled  # ticks are made, and the names of colors read, when a figure is drawn
    def draw(self, renderer: Any) -> None:
        """Draw without a warning for each character that no font contains."""
        prepare(self)
        with _without_glyph_warnings():
            super().draw(renderer)


@contextmanager
def _without_glyph_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
        yield


def prepare(figure: matplotlib.figure.Figure) -> None:
    """Make a figure draw its text literally, without math mode and with fallback fonts for missing glyphs.

    The tick labels of logarithmic axes stay in math mode, since matplotlib writes them as powers of ten.
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
    """Write each figure as a PNG file, and report once which characters no font contains.

    Args:
        folder: An existing folder.
        figures: Figures by file name without suffix.
    """
    for name, figure in figures.items():
        _lay_out(figure)
        figure.set_dpi(DPI)
        with atomic_file(folder / f"{name}.png") as stream:
            # `savefig` would draw everything twice, the first time for the layout
            FigureCanvasAgg(figure).print_png(stream)  # type: ignore[no-untyped-call]
    tell_lacking(figures.values())


@styled
def _lay_out(figure: matplotlib.figure.Figure) -> None:
    """Place the axes for good."""
    if engine := figure.get_layout_engine():
        prepare(figure)
        figure.set_dpi(DPI)
        with _without_glyph_warnings():
            engine.execute(figure)
        figure.set_layout_engine("none")


def _powers(figure: matplotlib.figure.Figure) -> set[Artist]:
    """Return the tick labels of logarithmic axes."""
    axes = [axis for pair in figure.axes for axis in (pair.xaxis, pair.yaxis)]
    logarithmic = [axis for axis in axes if isinstance(axis.get_major_formatter(), LogFormatter)]
    ticks = [tick for axis in logarithmic for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())]
    return {label for tick in ticks for label in (tick.label1, tick.label2)}


def tell_lacking(figures: Iterable[matplotlib.figure.Figure]) -> None:
    """Print one line about the characters that no font contains. Each is reported once per process."""
    texts = [text.get_text() for figure in figures for text in figure.findobj(Text) if isinstance(text, Text)]
    lacking = set().union(*map(FONTS.lacking, texts)) - FONTS.reported
    if not lacking:
        return
    FONTS.reported |= lacking
    some = " ".join(sorted(lacking)[:NAMED]) + (f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else "")
    print(
        f"note: no font on this machine contains {some}; plots show boxes instead, all other files are complete; "
        "install a font that contains them, such as Debian's fonts-noto-core, or fonts-noto-cjk for Chinese, Japanese "
        "and Korean",
        flush=True,
    )
