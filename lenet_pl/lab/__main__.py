"""Train networks on a page and look inside while they learn: `python -m lenet_pl.lab`."""

from lenet_pl.cli.command import run_command
from lenet_pl.lab import lab
from lenet_pl.settings.lab import LabSettings

if __name__ == "__main__":
    run_command("lab", LabSettings, lab)
