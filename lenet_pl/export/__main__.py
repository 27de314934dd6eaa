"""Export a trained network for use without lenet_pl: `python -m lenet_pl.export run=<folder> formats=[onnx]`."""

from lenet_pl.cli.command import run_command
from lenet_pl.export import export
from lenet_pl.settings.export import ExportSettings

if __name__ == "__main__":
    run_command("export", ExportSettings, export)
