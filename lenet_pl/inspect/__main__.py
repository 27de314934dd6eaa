"""Find duplicates and label errors in a dataset: `python -m lenet_pl.inspect data=fashion`."""

from lenet_pl.cli.command import run_command
from lenet_pl.inspect import inspect
from lenet_pl.settings.inspect import InspectSettings

if __name__ == "__main__":
    run_command("inspect", InspectSettings, inspect)
