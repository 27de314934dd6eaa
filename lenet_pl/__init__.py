"""lenet_pl: train, compare and understand LeNet variants and other small image classifiers."""

import sys

from lenet_pl import startup

__version__ = "0.1.0"

if name := startup.command_of(sys.argv, sys.orig_argv):  # elsewhere the importing program keeps its signal handlers
    startup.listen(name)
    if "-m" in sys.argv[:1] and not startup.is_command(name):
        startup.refuse(name)
