"""Draw a digit and see how a network classifies it: `python -m lenet_pl.demo run=<folder>`."""

from lenet_pl.cli.command import run_command
from lenet_pl.demo import demo
from lenet_pl.settings.demo import DemoSettings

if __name__ == "__main__":
    run_command("demo", DemoSettings, demo)
