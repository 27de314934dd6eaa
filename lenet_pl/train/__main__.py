"""Train a classifier and test it once: `python -m lenet_pl.train model=lenet_bn data=fashion`."""

from lenet_pl.cli.command import run_command
from lenet_pl.settings import TrainSettings
from lenet_pl.train import train
from lenet_pl.train.resume import begin_or_resume

if __name__ == "__main__":
    run_command("train", TrainSettings, train, prepare=begin_or_resume)
