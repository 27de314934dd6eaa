"""Values given to a whole config group, as in `loss={label_smoothing:0.1}`, which Hydra takes for a choice."""

import sys

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from lenet_pl.cli.resume_overrides import leaves, quoted
from lenet_pl.config_files.groups import groups_of


def expand_group(command: str, override: str) -> list[str]:
    """Replace a dictionary that is given to a config group by an override for each value, also in sys.argv.

    Args:
        command: Name of the command.
        override: An override of the command line.

    Returns:
        The overrides that stand for it: itself alone if it gives no dictionary to a group.
    """
    key, _, value = override.partition("=")
    if not value.startswith("{") or key not in groups_of(command):
        return [override]
    try:
        values = OverridesParser.create().parse_override(override).value()
    except HydraException:
        return [override]  # reported later
    assert isinstance(values, dict)
    words = [f"{name}={quoted(inner)}" for name, inner in leaves(values, f"{key}.")]
    place = sys.argv.index(override)
    sys.argv[place : place + 1] = words
    return words
