"""Find out why a training does not learn, or overfits: `python -m lenet_pl.diagnose run=<folder>`."""

from lenet_pl.cli.command import run_command
from lenet_pl.diagnose import diagnose
from lenet_pl.settings.diagnose import DiagnoseSettings

if __name__ == "__main__":
    run_command("diagnose", DiagnoseSettings, diagnose)
