"""The recipes of seven tutorials, trained with the tutorial's own loop and with lenet_pl."""
