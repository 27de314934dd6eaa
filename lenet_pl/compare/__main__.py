"""Compare finished runs: `python -m lenet_pl.compare runs=runs group_by=[model,optimizer.lr]`."""

from lenet_pl.cli.command import run_command
from lenet_pl.compare import compare
from lenet_pl.settings.compare import CompareSettings

if __name__ == "__main__":
    run_command("compare", CompareSettings, compare)
