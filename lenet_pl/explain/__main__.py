"""Explain predictions with attribution and feature maps: `python -m lenet_pl.explain run=<folder> [indices=[3,14]]`."""

from lenet_pl.cli.command import run_command
from lenet_pl.explain import explain
from lenet_pl.settings.explain import ExplainSettings

if __name__ == "__main__":
    run_command("explain", ExplainSettings, explain)
