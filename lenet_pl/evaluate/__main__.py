"""Test a trained network: `python -m lenet_pl.evaluate run=<folder> [data=<another set>]`."""

from lenet_pl.cli.command import run_command
from lenet_pl.evaluate import evaluate
from lenet_pl.settings.evaluate import EvaluateSettings

if __name__ == "__main__":
    run_command("evaluate", EvaluateSettings, evaluate)
