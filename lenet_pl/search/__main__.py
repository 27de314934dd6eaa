"""Search settings on the validation split: `python -m lenet_pl.search search=learning data=fashion`."""

from lenet_pl.cli.command import run_command
from lenet_pl.search import search
from lenet_pl.settings.search import SearchSettings

if __name__ == "__main__":
    run_command("search", SearchSettings, search)
