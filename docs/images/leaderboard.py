"""Make the tables of docs/leaderboard.md from docs/leaderboard.csv.

    python docs/images/leaderboard.py

Computed columns of the file are filled in first: the 95% interval of the mean, the parameters and the multiply-adds.
The tables stand between comments `<!-- table: name -->` and `<!-- end of table -->` of the page. The figure of accuracy
against parameters is drawn, too.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from lenet_pl.benchmark.leaderboard import Row, read_rows
from lenet_pl.display.text import as_csv

DOCS = Path(__file__).resolve().parents[1]
FILE, PAGE = DOCS / "leaderboard.csv", DOCS / "leaderboard.md"
DATA = {"mnist": "MNIST", "fashion": "Fashion-MNIST", "cifar10": "CIFAR-10", "digits": "digits"}
NUMBERS = {5: "five", 10: "ten"}
TABLE = re.compile(r"<!-- table: (\w+) -->\n.*?<!-- end of table -->", re.S)


@cache
def size(model: str) -> tuple[int, int]:
    """Count the parameters of a network, and its multiply-adds for an image, with torch's counter."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from lenet_pl.models.by_name import get_model
    from lenet_pl.settings.choices import read_choice

    network = get_model(model).to("meta").eval()
    side = int(read_choice("model", model, {})["image_size"])
    counter = FlopCounterMode(display=False)
    with counter:
        network(torch.zeros(1, 1, side, side, device="meta"))
    parameters = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    return parameters, counter.get_total_flops() // 2  # a multiply-add counts as two operations


def completed(row: Row) -> Row:
    """Fill in what is computed; parameters and multiply-adds only for networks on gray images."""
    low, high = (round(end, 5) for end in row.interval() or ()) if row.interval() else (None, None)
    found = row.model_copy(update={"low": low, "high": high})
    if not row.model or row.data not in ("mnist", "fashion", "digits"):
        return found
    parameters, multiply_adds = size(row.model)
    copies = row.networks * row.tta_copies
    return found.model_copy(update={"parameters": parameters * row.networks, "multiply_adds": multiply_adds * copies})


def main_table(rows: Sequence[Row]) -> list[Sequence[str]]:
    """The networks with a recipe of their own."""
    head = ("model", "parameters", "multiply-adds", "data", "TTA copies", "test accuracy", "95% interval", "n")
    lines: list[Sequence[str]] = [(*head, "training, s")]
    for row in rows:
        if row.table == "main":
            model, *rest = row.name.split(", ")
            name = ", ".join([f"`{model}`", *(f"`{word}`" for word in rest)])
            name += f", {row.epochs} epochs" if row.model == "cnn5_bn" else ""
            name = f"ensemble of {NUMBERS[row.networks]} {name}" if row.networks > 1 else name
            sizes = (_whole(row.parameters), _whole(row.multiply_adds), DATA[row.data], str(row.tta_copies))
            lines.append((name, *sizes, _accuracy(row), _interval(row), str(row.n or ""), _whole(row.seconds)))
    return lines


def models_table(rows: Sequence[Row]) -> list[Sequence[str]]:
    """All models with the same recipe, the best on Fashion-MNIST first."""
    lines: list[Sequence[str]] = [
        ("model", "parameters", "multiply-adds", "MNIST", "s", "Fashion-MNIST", "s"),
    ]
    found = {(row.model, row.data): row for row in rows if row.table == "models"}
    for row in sorted(found.values(), key=lambda row: -(row.mean or 0)):
        if row.data == "fashion":
            mnist, sizes = found[row.model, "mnist"], (_whole(row.parameters), _whole(row.multiply_adds))
            scores = (_accuracy(mnist), _whole(mnist.seconds), _accuracy(row), _whole(row.seconds))
            lines.append((f"`{row.model}`", *sizes, *scores))
    return lines


def tutorials_table(rows: Sequence[Row]) -> list[Sequence[str]]:
    """The recipes of tutorials next to ours. Ratios are for trainings in the same precision."""
    part = ("parameters", "test accuracy", "s")
    lines: list[Sequence[str]] = [("tutorial's recipe", *part, "ours", *part, "errors", "seconds")]
    by_id = {row.id: row for row in rows}
    for row in rows:
        if row.table == "tutorials":
            left = (_recipe(row), _whole(row.parameters), _accuracy(row), _whole(row.seconds))
            for place, other in enumerate(by_id[name] for name in row.versus):
                fair = row.precision == other.precision and row.mean is not None
                seconds = _whole(other.seconds) + (f", {other.precision}" if other.precision != row.precision else "")
                right = (_recipe(other), _whole(other.parameters), _accuracy(other), seconds)
                errors = _ratio(1 - (other.mean or 0), 1 - (row.mean or 0)) if fair else ""
                times = _ratio(other.seconds or 0, row.seconds or 0) if fair else ""
                lines.append((*(left if place == 0 else [""] * len(left)), *right, errors, times))
    return lines


def published_table(rows: Sequence[Row]) -> list[Sequence[str]]:
    """Figures of others, the smallest network first."""
    lines: list[Sequence[str]] = [("network", "parameters", "data", "test accuracy", "n", "source")]
    some = [row for row in rows if row.table == "published"]
    for row in sorted(some, key=lambda row: (list(DATA).index(row.data), row.parameters or 10**12)):
        source = re.sub(r"^https://github.com/(.*)$", r"[\1](\g<0>)", row.source)
        figures = (_whole(row.parameters), DATA[row.data], _accuracy(row, published=True), str(row.n or ""))
        lines.append((row.name, *figures, f"{source}; {row.note}" if row.note else source))
    return lines


TABLES: dict[str, Callable[[Sequence[Row]], list[Sequence[str]]]] = {
    "main": main_table,
    "models": models_table,
    "tutorials": tutorials_table,
    "published": published_table,
}


def _recipe(row: Row) -> str:
    words = row.recipe.removeprefix("experiment=").split()
    shown = [row.name] if row.table == "tutorials" else [*words[:1], *(w for w in words if w.startswith("model="))]
    more = [f"{row.epochs} epochs"] if row.epochs else []
    return ", ".join([f"`{' '.join(shown)}`", *([row.note] if row.note else []), *more])


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _accuracy(row: Row, *, published: bool = False) -> str:
    """Write mean ± standard deviation; a published mean with the digits of its source."""
    if row.mean is None:
        return ""
    mean = f"{row.mean:.5g}" if published else f"{row.mean:.4f}"
    single = ", n = 1" if row.n == 1 and row.table == "tutorials" else ""
    return f"{mean}{single}" if row.sd is None else f"{mean} ± {row.sd:.4f}"


def _interval(row: Row) -> str:
    return "" if row.low is None else f"[{row.low:.4f}, {row.high:.4f}]"


def _ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}" if ours < theirs else f"{ours / theirs:.1f}"


def figure_rows(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Select what is drawn for MNIST and Fashion-MNIST: our best row of each model without TTA, and published rows.

    Returns:
        Our rows, and those of others with a known number of parameters.
    """
    single = [row for row in rows if row.mean and row.parameters and row.networks == row.tta_copies == 1]
    best: dict[tuple[str, str], Row] = {}
    for row in single:
        if row.table in ("main", "models", "ours"):
            found = best.setdefault((row.model, row.data), row)
            best[row.model, row.data] = max(found, row, key=lambda one: one.mean or 0)
    return list(best.values()), [row for row in single if row.table == "published"]


def draw(rows: Sequence[Row]) -> None:
    """Draw mean ± standard deviation against the number of parameters, ours filled and published ones hollow."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    ours, others = figure_rows(rows)
    figure = Figure(figsize=(10, 9.5), layout="constrained")
    for axis, (data, title) in zip(figure.subplots(2, 1), list(DATA.items())[:2], strict=True):
        for some, style in ((ours, {"markersize": 6}), (others, {"markersize": 6, "markerfacecolor": "none"})):
            shown = sorted((row for row in some if row.data == data), key=lambda row: -(row.mean or 0))
            for place, row in enumerate(shown):
                name = f"{row.name}, {row.epochs} epochs" if row.model else f"published: {row.name}"
                marker = "os^Dv"[place // 5 % 5]
                color = f"C{place % 5}" if row.model else f"C{5 + place % 5}"
                spread = None if row.sd is None else [row.sd]
                axis.errorbar(
                    [row.parameters], [row.mean], spread, fmt=marker, color=color, capsize=3, label=name, **style
                )
        axis.set(xscale="log", xlabel="number of parameters", ylabel="test accuracy (fraction of images)", title=title)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8)
    figure.savefig(DOCS / "images" / "accuracy_parameters.png", dpi=110)


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Write lines as a table."""
    rows = [f"| {' | '.join(line)} |".replace("|  |", "| |").replace("|  |", "| |") for line in lines]
    return "\n".join([rows[0], "|" + "---|" * len(lines[0]), *rows[1:]])


def render(page: str, rows: Sequence[Row]) -> str:
    """Replace the tables of a page."""
    return TABLE.sub(
        lambda hit: f"<!-- table: {hit[1]} -->\n\n{markdown(TABLES[hit[1]](rows))}\n\n<!-- end of table -->", page
    )


def as_file(rows: Sequence[Row]) -> str:
    """Write rows as the file."""
    columns = list(Row.model_fields)
    return as_csv([columns, *([_cell(getattr(row, column)) for column in columns] for row in rows)]).replace(
        "\r\n", "\n"
    )


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 10 else f"{value:.4f}" if round(value, 4) == value else f"{value:.5f}"
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


if __name__ == "__main__":
    completed_rows = [completed(row) for row in read_rows(FILE)]
    FILE.write_text(as_file(completed_rows), encoding="utf-8")
    draw(completed_rows)
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), completed_rows), encoding="utf-8")
