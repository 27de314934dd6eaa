"""Compare finished runs: `python -m lenet_pl.compare runs=runs group_by=[model,optimizer.lr]`."""

from dataclasses import replace
from pathlib import Path

from lenet_pl.settings.compare import CompareSettings


def compare(settings: CompareSettings, folder: Path) -> None:
    """Find runs, print a table of their groups, and write the comparison to a folder.

    Args:
        settings: The validated settings.
        folder: The output folder, which receives compare.md, compare.csv, runs.csv, compare.json and plots.

    Raises:
        UserError: There are no finished runs, or none of them has the requested key, metric or value.
    """
    from lenet_pl.compare.evaluations import KEYS, with_evaluations
    from lenet_pl.compare.filter import parse_where
    from lenet_pl.compare.groups import compare_runs
    from lenet_pl.compare.report import print_comparison, write_comparison
    from lenet_pl.compare.run_index import find_runs
    from lenet_pl.compare.split_uses import count_uses
    from lenet_pl.display.console import Console
    from lenet_pl.errors import DataError, display_path
    from lenet_pl.runtime.optional_work import optional

    where = parse_where(settings.filter)
    places = [settings.runs] if isinstance(settings.runs, str) else settings.runs
    index = find_runs(places)
    uses = count_uses(index)
    by = [settings.group_by] if isinstance(settings.group_by, str) else settings.group_by
    if settings.include_evaluations:
        index, by = with_evaluations(index, settings.metric), [*by, *KEYS]
    if not index.runs:
        others = f" ({index.skipped} results.json belong to other tasks or programs)" if index.skipped else ""
        raise DataError(
            f"runs: no runs in {', '.join(places)}{others}; "
            f"searched at any depth for results.json or config.yaml of lenet_pl.train"
        )
    comparison = replace(compare_runs(index, by, settings.metric, where), uses=uses)

    write_comparison(folder, comparison)
    print_comparison(comparison, settings.max_rows)

    # After the table, since importing matplotlib takes a second
    from lenet_pl.compare.plots import draw_comparison
    from lenet_pl.display.figure import save_figures

    with optional("a plot", []):
        save_figures(folder, draw_comparison(comparison, settings.max_curves))
    Console().print(f"everything is in {display_path(folder)}")
