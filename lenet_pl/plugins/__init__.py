"""Registry of the parts that a training is made of, and plug-ins that add parts of their own.

A part is registered under a kind and a name, and chosen like any other: `@register("model", "resnet8")` makes
`model=resnet8`. Importing this is fast: the project's own parts are imported when they are built.
"""

from lenet_pl.plugins.loading import load_plugins
from lenet_pl.plugins.registry import register

__all__ = ["load_plugins", "register"]
