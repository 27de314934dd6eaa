"""The comparison of the tutorials' loops with lenet_pl: JSON, table and plot."""

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from lenet_pl.benchmark.tutorials.recipes import OF_ALL, RECIPES
from lenet_pl.display.figure import Figure, save_figures, styled
from lenet_pl.display.text import as_json
from lenet_pl.runtime.atomic_files import write_text

SOURCES = {"tutorial": "tutorial's loop", "lenet_pl": "lenet_pl", "fixed": "lenet_pl, fixed"}
DATA = {"mnist": "MNIST", "fashion": "Fashion-MNIST", "cifar10": "CIFAR-10"}
Rows = dict[str, dict[str, Any]]


def write_comparison(folder: Path, missing: dict[str, str], cifar10_folder: str | None) -> dict[str, Any]:
    """Summarize the finished trainings in a folder, and write tutorials.json, tutorials.md and tutorials.png.

    Args:
        folder: The folder with the subfolder `results`.
        missing: Recipes whose dataset is not on this machine, and the reason.
        cifar10_folder: The folder with the images of CIFAR-10; None for the published files.

    Returns:
        `rows`, by recipe: `data`, `published` accuracy, `difference` (ours minus the tutorial's: `mean`, `low` and
        `high` of the 95% interval, `method`), and for each source `accuracies` by seed, `mean`, `sd`, `seconds` (mean
        time of a training), `epochs`; and `missing`.
    """
    results = [json.loads(file.read_text(encoding="utf-8")) for file in sorted((folder / "results").glob("*.json"))]
    rows: Rows = {}
    for name, recipe in RECIPES.items():
        of_recipe = [result for result in results if result["recipe"] == name]
        summaries = {
            source: _summarize(some)
            for source in SOURCES
            if (some := [result for result in of_recipe if result["source"] == source])
        }
        if summaries:
            files = "re-encoded JPEG" if recipe.data == "cifar10" and cifar10_folder else ""
            data = ", ".join(filter(None, [DATA[recipe.data], files]))
            both = (summaries.get(source, {}).get("accuracies", {}) for source in ("tutorial", "lenet_pl"))
            step = difference(*both, pair=not recipe.shuffle)
            rows[name] = {"data": data, "published": recipe.published, "difference": step, **summaries}
    found = {"rows": rows, "missing": missing}
    write_text(folder / "tutorials.json", as_json(found))
    write_text(folder / "tutorials.md", f"{comparison_table(found)}\n\n{difference_list()}\n")
    if rows:
        save_figures(folder, {"tutorials": draw_accuracies(rows)})
    return found


def _summarize(results: list[dict[str, Any]]) -> dict[str, Any]:
    accuracies = {str(result["seed"]): result["test_accuracy"] for result in results}
    return {
        "accuracies": accuracies,
        "mean": round(mean(accuracies.values()), 5),
        "sd": round(stdev(accuracies.values()), 5) if len(accuracies) > 1 else None,
        "seconds": round(mean(result["seconds"] for result in results), 1),
        "epochs": round(mean(result["epochs"] for result in results), 1),
        "precision": results[0].get("precision", "32-true"),
    }


def difference(tutorial: dict[str, float], own: dict[str, float], *, pair: bool) -> dict[str, Any] | None:
    """Compute the difference of the mean accuracies, own minus tutorial, with its 95% interval.

    Args:
        tutorial: The accuracies of the tutorial's loop by seed.
        own: Those of lenet_pl.
        pair: Whether the runs of a seed belong together, and only the seeds of both count: they do where the order is
            that of the file, since they have the same initial weights, too. Otherwise the interval is Welch's.

    Returns:
        `mean`, `method`, and `low` and `high` if the values suffice for an interval; None if there is no difference.
    """
    from scipy.stats import ttest_ind, ttest_rel  # takes a second to import

    if pair:
        tutorial, own = ({seed: one[seed] for seed in tutorial.keys() & own.keys()} for one in (tutorial, own))
    if not tutorial or not own:
        return None
    first, second = list(own.values()), list(tutorial.values())
    found: dict[str, Any] = {"mean": round(mean(first) - mean(second), 5), "method": "paired" if pair else "Welch"}
    steps = {round(a - b, 6) for a, b in zip(first, second, strict=True)} if pair else {*first, *second}
    if min(len(first), len(second)) > 1 and len(steps) > 1:
        test = ttest_rel(first, second) if pair else ttest_ind(first, second, equal_var=False)
        interval = test.confidence_interval(0.95)
        found |= {"low": round(float(interval.low), 5), "high": round(float(interval.high), 5)}
    return found


def comparison_table(found: dict[str, Any]) -> str:
    """Write one row per recipe, in Markdown."""
    lines = [
        "| experiment | data | tutorial's loop | lenet_pl | difference, 95% interval | lenet_pl, `_fixed` |",
        "|---|---|---|---|---|---|",
    ]
    for name, recipe in RECIPES.items():
        row = found["rows"].get(name)
        if row is None:
            reason = found["missing"].get(name)
            why = f"left out: {reason}" if reason else f"not measured: `parts=[tutorials] tutorial_recipes=[{name}]`"
            lines.append(f"| `{name}` | {DATA[recipe.data]} | {why} | | | |")
            continue
        cells = [f"`{name}`", row["data"], _accuracy(row.get("tutorial")), _accuracy(row.get("lenet_pl"))]
        cells += [_difference(row["difference"]), _accuracy(row.get("fixed")) if recipe.fixed else ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _accuracy(summary: dict[str, Any] | None) -> str:
    if summary is None:
        return "not measured"
    count = len(summary["accuracies"])
    sd = "" if summary["sd"] is None else f" ± {summary['sd']:.4f}"
    return f"{summary['mean']:.4f}{sd} ({count})"


def _difference(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    interval = f" [{found['low']:+.4f}, {found['high']:+.4f}]" if "low" in found else ""
    return f"{found['mean']:+.4f}{interval}{', paired' * (found['method'] == 'paired')}"


def difference_list() -> str:
    """List what each experiment does not do as its tutorial does, in Markdown."""
    lines = [
        f"- `{name}`: {' '.join(recipe.differences) or 'Nothing else differs.'}" for name, recipe in RECIPES.items()
    ]
    return "\n".join([f"- All: {' '.join(OF_ALL)}", *lines])


@styled
def draw_accuracies(rows: Rows) -> Figure:
    """Draw one panel per recipe with a dot for each seed: one row of dots and one color for each source."""
    figure = Figure(figsize=(9, 0.6 + 1.15 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), squeeze=False)[:, 0]
    for axis, (name, row) in zip(panels, rows.items(), strict=True):
        present = [source for source in SOURCES if source in row]
        for place, source in enumerate(present):
            values = list(row[source]["accuracies"].values())
            axis.plot(values, [place] * len(values), "o", color=f"C{list(SOURCES).index(source)}", alpha=0.7)
            axis.plot(row[source]["mean"], place, "|", color="black", markersize=14)
        axis.set_yticks(range(len(present)), [SOURCES[source] for source in present])
        axis.set_ylim(len(present) - 0.4, -0.6)
        axis.set_title(f"{name} ({row['data']})", loc="left")
        axis.xaxis.set_major_formatter("{x:.4f}")
    panels[-1].set_xlabel("test accuracy (one dot per seed; line: mean)")
    return figure
