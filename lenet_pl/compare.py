"""Compare finished runs: `python -m lenet_pl.compare runs=runs by=[model,optimizer.lr]`."""

from pathlib import Path

from lenet_pl.command import run_command
from lenet_pl.settings.compare import CompareSettings


def compare(settings: CompareSettings, folder: Path) -> None:
    """Find the runs, print the table, and fill the folder.

    Args:
        settings: checked settings.
        folder: receives compare.md, compare.csv, runs.csv, compare.json and pictures.

    Raises:
        UserError: there are no finished runs, or a key, metric or value that none of them has.
    """
    from lenet_pl.comparison.evaluations import KEYS, with_evaluations
    from lenet_pl.comparison.groups import compare_runs, parse_where
    from lenet_pl.comparison.report import print_comparison, write_comparison
    from lenet_pl.comparison.run_index import find_runs
    from lenet_pl.console import Console
    from lenet_pl.errors import DataError, from_here
    from lenet_pl.optional_work import optional

    where = parse_where(settings.where)
    places = [settings.runs] if isinstance(settings.runs, str) else settings.runs
    index = find_runs(places)
    by = [settings.by] if isinstance(settings.by, str) else settings.by
    if settings.evaluations:
        index, by = with_evaluations(index, settings.metric), [*by, *KEYS]
    if not index.runs:
        others = f" ({index.passed_over} results.json are of other tasks or programs)" if index.passed_over else ""
        raise DataError(
            f"runs: no runs in {', '.join(places)}{others}; "
            f"looked at any depth for results.json or config.yaml that lenet_pl.train writes"
        )
    comparison = compare_runs(index, by, settings.metric, where)

    write_comparison(folder, comparison)
    print_comparison(comparison, settings.rows)

    # matplotlib takes a second, which the table need not wait for
    from lenet_pl.comparison.pictures import draw_comparison
    from lenet_pl.figure import save_figures

    with optional("a picture", []):
        save_figures(folder, draw_comparison(comparison, settings.curves))
    Console().print(f"everything is in {from_here(folder)}")


if __name__ == "__main__":
    run_command("compare", CompareSettings, compare)
