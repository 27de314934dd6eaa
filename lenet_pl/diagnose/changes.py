"""Training settings with some values changed."""

from typing import Any

from lenet_pl.settings import TrainSettings, validate
from lenet_pl.settings.choices import read_choice
from lenet_pl.settings.validation import as_written

Change = dict[str, Any]  # dotted keys of settings, and their new values; of a group in GROUPS, the name of a choice
GROUPS = ("augment", "scheduler")
ON_CPU = ("auto", "32-true", "64-true", "bf16-mixed")  # precisions
# A repeated training runs on one CPU, and leaves no files
HERE: Change = {
    "run": "unused",
    "resume": False,
    "n_jobs": 1,
    "traceback": False,
    "plugins": [],
    "teacher": None,
    "teacher_sha256": None,
    "report": "none",
    "metrics": {},
    "extra_loggers": {},
    "extra_callbacks": {},  # many of them need a logger
    "trainer.accelerator": "cpu",
    "trainer.devices": 1,
    "trainer.strategy": "auto",
    "trainer.compile": False,
    "trainer.profiler": None,
    "trainer.detect_anomaly": False,
    "trainer.fast_dev_run": False,
    "trainer.steps_per_hook": 1,
    "trainer.cuda_graph": False,
    "callbacks.progress_bar": False,
    "callbacks.model_summary": False,
}


def with_change(settings: TrainSettings, change: Change) -> TrainSettings:
    """Return training settings with other values. Without `init_from`, what belongs to it is removed, too.

    Raises:
        SettingError: The changed settings are invalid.
    """
    values = settings.model_dump()
    if change.get("init_from", "") is None:
        change = change | {"init_from_sha256": None, "reset_head": None}
    for key, value in change.items():
        here = values
        *groups, last = key.split(".")
        for group in groups:
            here = here[group]
        here[last] = read_choice(key, value) if key in GROUPS else value
    return validate(TrainSettings, values)


def as_typed(change: Change) -> str:
    """Write changed settings as on the command line."""
    return " ".join(
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={as_written(value).strip(chr(39))}"
        for key, value in change.items()
    )
