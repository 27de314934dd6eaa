"""The comparison of the tutorials' loops with lenet_pl: JSON, table and plot."""

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from lenet_pl.benchmark.tutorials.recipes import RECIPES
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
        `high` of the 95% interval, Welch's), and for each source `accuracies` by seed, `mean`, `sd`, `seconds` (mean
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
            difference = welch(*(list(summaries.get(s, {}).get("accuracies", {}).values()) for s in list(SOURCES)[:2]))
            rows[name] = {"data": data, "published": recipe.published, "difference": difference, **summaries}
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


def welch(tutorial: list[float], own: list[float]) -> dict[str, float] | None:
    """Compute the difference of the means, own minus tutorial, with Welch's 95% interval.

    It is not paired over seeds: the two draw different random numbers, so that a common seed has no common effect.

    Returns:
        `mean`, and `low` and `high` if both have at least two values that differ; None if one of them is empty.
    """
    from scipy.stats import ttest_ind  # takes a second to import

    if not tutorial or not own:
        return None
    found = {"mean": mean(own) - mean(tutorial)}
    if min(len(tutorial), len(own)) > 1 and len({*tutorial}) + len({*own}) > 2:
        interval = ttest_ind(own, tutorial, equal_var=False).confidence_interval(0.95)
        found |= {"low": float(interval.low), "high": float(interval.high)}
    return {key: round(value, 5) for key, value in found.items()}


def comparison_table(found: dict[str, Any]) -> str:
    """Write one row per recipe, in Markdown."""
    lines = [
        "| experiment | data | tutorial's loop | s | lenet_pl | s | difference, 95% interval | `_fixed` |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, recipe in RECIPES.items():
        row = found["rows"].get(name)
        if row is None:
            reason = found["missing"].get(name)
            why = f"left out: {reason}" if reason else f"not measured: `parts=[tutorials] tutorial_recipes=[{name}]`"
            lines.append(f"| `{name}` | {DATA[recipe.data]} | {why} | | | | | |")
            continue
        cells = [f"`{name}`", row["data"]]
        for source in ("tutorial", "lenet_pl"):
            cells += [_accuracy(row.get(source)), f"{row[source]['seconds']:,.0f}" if source in row else ""]
        cells += [_difference(row["difference"]), _accuracy(row.get("fixed")) if recipe.fixed else ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _accuracy(summary: dict[str, Any] | None) -> str:
    if summary is None:
        return "not measured"
    count = len(summary["accuracies"])
    sd = "" if summary["sd"] is None else f" ± {summary['sd']:.4f}"
    return f"{summary['mean']:.4f}{sd} ({count})"


def _difference(found: dict[str, float] | None) -> str:
    if found is None:
        return ""
    interval = f" [{found['low']:+.4f}, {found['high']:+.4f}]" if "low" in found else ""
    return f"{found['mean']:+.4f}{interval}"


def difference_list() -> str:
    """List what each experiment does not do as its tutorial does, in Markdown."""
    return "\n".join(f"- `{name}`: {' '.join(recipe.differences)}" for name, recipe in RECIPES.items())


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
