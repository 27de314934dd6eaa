"""How fast is lenet_pl here, and how fast could it be? `python -m lenet_pl.benchmark`."""

from pathlib import Path

from lenet_pl.command import run_command
from lenet_pl.settings.benchmark import BenchmarkSettings


def benchmark(settings: BenchmarkSettings, folder: Path) -> None:
    """Measure, print the tables, and write them into the folder.

    Args:
        settings: checked settings.
        folder: receives benchmark.json, benchmark.md and benchmark.png.
    """
    from lenet_pl.benchmark.compare_loops import compare_loops
    from lenet_pl.benchmark.results import write_results

    write_results(folder, compare_loops(settings))


if __name__ == "__main__":
    run_command("benchmark", BenchmarkSettings, benchmark)
