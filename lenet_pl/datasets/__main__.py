"""List, fetch and verify published datasets: `python -m lenet_pl.datasets fetch mnist`."""

import sys

from lenet_pl.cli.command import run_command
from lenet_pl.datasets import datasets, with_words
from lenet_pl.settings.datasets import DatasetsSettings

if __name__ == "__main__":
    sys.argv[1:] = with_words(sys.argv[1:])
    run_command("datasets", DatasetsSettings, datasets)
