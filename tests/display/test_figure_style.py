import ast
from pathlib import Path

import matplotlib as mpl
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.text import Text

import lenet_pl
from lenet_pl.artifacts.plots import draw_confusion, draw_curves, draw_samples
from lenet_pl.display.figure import SMALL, STYLE, Figure

ROOT = Path(lenet_pl.__file__).parent
EPOCHS = [{"epoch": k, "train/loss": 1.0, "val/loss": 1.0, "train/accuracy": 0.5, "val/accuracy": 0.5} for k in (0, 1)]
FIGURES = {
    "curves": lambda: draw_curves(EPOCHS, [1.0] * 300),
    "samples": lambda: draw_samples(
        torch.zeros(9, 1, 8, 8, dtype=torch.uint8), ["T-shirt/top 100%\nis Dress"] * 9, "x"
    ),
    "confusion": lambda: draw_confusion(torch.eye(10, dtype=torch.int64), "abcdefghij"),
}


def functions() -> list[tuple[str, ast.FunctionDef]]:
    return [
        (str(path.relative_to(ROOT)), node)
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]


def test_every_figure_is_drawn_in_the_style() -> None:
    known = {f"@{ast.unparse(one)} {node.name}" for _, node in functions() for one in node.decorator_list}
    made = {
        node.name
        for _, node in functions()
        if any(isinstance(n, ast.Call) and ast.unparse(n.func) == "Figure" for n in ast.walk(node))
    }
    made -= {"_panels"}  # of `draw_comparison`
    assert len(made) >= 10
    assert {name for name in made if f"@styled {name}" not in known} == set()


def test_no_other_sizes_and_colors() -> None:
    text = {path: path.read_text() for path in ROOT.rglob("*.py")}
    assert [str(path) for path, code in text.items() if "tab:" in code or "fontsize=8" in code] == []


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_large_enough_at_half_the_size(name: str) -> None:
    before = dict(mpl.rcParams)
    figure = FIGURES[name]()
    FigureCanvasAgg(figure).draw()
    assert dict(mpl.rcParams) == before
    sizes = {text.get_fontsize() for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()}
    assert min(sizes) >= SMALL


@pytest.mark.parametrize("name", FIGURES)
def test_text_stays_inside_the_figure(name: str) -> None:
    figure = FIGURES[name]()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    whole, renderer = figure.bbox.padded(1), canvas.get_renderer()
    tight = figure.get_tightbbox(renderer)  # in inches
    assert tight.x0 * figure.dpi >= whole.x0
    assert tight.x1 * figure.dpi <= whole.x1


def test_the_first_color_is_that_of_the_training() -> None:
    figure = draw_curves(EPOCHS, [1.0] * 300)
    FigureCanvasAgg(figure).draw()
    with mpl.rc_context(STYLE):
        assert to_rgb(figure.axes[0].lines[0].get_color()) == to_rgb("#0072B2")


def simulate(color: str, matrix: list[list[float]]) -> torch.Tensor:
    """Simulate color-blind vision in linear RGB, and return CIE lightness and chroma as Lab."""
    encoded = torch.tensor(to_rgb(color), dtype=torch.float64)
    linear = torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    seen = (torch.tensor(matrix, dtype=torch.float64) @ linear).clamp(0, 1)
    rgb_to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = torch.tensor(rgb_to_xyz, dtype=torch.float64) @ seen / torch.tensor([0.9505, 1.0, 1.089])
    f = torch.where(xyz > (6 / 29) ** 3, xyz ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return torch.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize(
    "matrix",  # Machado, Oliveira, Fernandes 2009, severity 1: protanopia, deuteranopia, tritanopia
    [
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ],
)
def test_color_blind_readers_tell_the_colors_apart(matrix: list[list[float]]) -> None:
    colors = [simulate(color, matrix) for color in STYLE["axes.prop_cycle"].by_key()["color"]]
    distances = [float((a - b).norm()) for k, a in enumerate(colors) for b in colors[:k]]
    assert min(distances) > 10  # 2.3 is just noticeable


def test_the_style_can_be_used_by_name() -> None:
    with plt.style.context("lenet_pl.display.figures"):
        assert mpl.rcParams["axes.prop_cycle"] == STYLE["axes.prop_cycle"]


def test_figures_follow_the_style_when_they_are_drawn() -> None:
    figure = Figure()
    figure.subplots().plot([1, 2])
    FigureCanvasAgg(figure).draw()
    assert {t.label1.get_fontsize() for t in figure.axes[0].xaxis.get_major_ticks()} == {STYLE["xtick.labelsize"]}
