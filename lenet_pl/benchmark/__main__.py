"""Time lenet_pl next to hand-written training loops: `python -m lenet_pl.benchmark`."""

from lenet_pl.benchmark import benchmark
from lenet_pl.cli.command import run_command
from lenet_pl.settings.benchmark import BenchmarkSettings

if __name__ == "__main__":
    run_command("benchmark", BenchmarkSettings, benchmark)
