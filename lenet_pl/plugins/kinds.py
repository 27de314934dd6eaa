"""Kinds of parts: the config group of each, and what a part is called with besides its settings."""

from dataclasses import dataclass

from lenet_pl.errors import SettingError, did_you_mean


@dataclass(frozen=True)
class Kind:
    """A kind of parts.

    Attributes:
        name: Name in `register`.
        group: Config group in which the parts are chosen.
        tag: Setting that holds the name of the part.
        listed: Whether a run has any number of such parts, each under its own name in the group.
        positional: Number of leading parameters of the registered object that are no settings.
        direct: Number of leading parameters of a function that is itself the part, such as logits and labels of a loss;
            0: functions build and return the part.
        context: Names of further parameters that are no settings. The object gets those that it takes.
    """

    name: str
    group: str
    tag: str = "name"
    listed: bool = False
    positional: int = 0
    direct: int = 0
    context: tuple[str, ...] = ()


KINDS = {
    kind.name: kind
    for kind in (
        Kind("model", "model", tag="architecture", context=("channels", "in_channels", "num_classes", "classes")),
        Kind("data", "data", context=("train", "split")),
        Kind("transform", "transforms", listed=True, direct=1),
        Kind("loss", "loss", direct=2, context=("num_classes", "class_weights")),
        Kind("metric", "metrics", listed=True, context=("num_classes",)),
        Kind("optimizer", "optimizer", positional=1),
        Kind("scheduler", "scheduler", positional=1, context=("steps", "steps_per_epoch")),
        Kind("callback", "extra_callbacks", listed=True, context=("folder",)),
        Kind("logger", "extra_loggers", listed=True, context=("folder", "save_dir")),
    )
}


def kind_named(name: str) -> Kind:
    """Look up a kind.

    Raises:
        SettingError: There is no such kind.
    """
    if name not in KINDS:
        near = did_you_mean(name, list(KINDS))
        raise SettingError(f"register: got the kind {name!r}; must be one of {', '.join(KINDS)}; {near}".rstrip("; "))
    return KINDS[name]
