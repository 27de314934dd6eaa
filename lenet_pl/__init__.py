"""A laboratory for LeNet variants and other small image classifiers, on PyTorch Lightning and Hydra."""

import sys

from lenet_pl.runtime import startup

__version__ = "0.1.0"

if name := startup.command_of(sys.argv, sys.orig_argv):  # a program that imports this keeps its handlers
    startup.listen(name)
    if "-m" in sys.argv[:1] and not startup.is_command(name):
        startup.refuse(name)
