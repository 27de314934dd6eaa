"""Classify your own images with a trained network: `python -m lenet_pl.predict run=<folder> images=<...>`."""

from lenet_pl.cli.command import run_command
from lenet_pl.predict import predict
from lenet_pl.settings.predict import PredictSettings

if __name__ == "__main__":
    run_command("predict", PredictSettings, predict)
