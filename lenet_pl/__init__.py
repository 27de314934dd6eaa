"""lenet_pl: train, compare and understand LeNet variants and other small image classifiers."""

__version__ = "0.1.0"
