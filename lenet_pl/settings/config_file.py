"""The config.yaml of a run folder, read as plain values."""

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from lenet_pl.errors import DataError
from lenet_pl.settings.renamed import upgraded

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # C is ten times as fast, where it was built
OWN_SETTINGS = {"seed", "data", "model", "trainer"}  # a config.yaml without these is another program's
NOT_OWN = "config.yaml is not a training's settings"


# Settings that trainings have got since runs were recorded without them, and what these runs did
ADDED: dict[str, Any] = {
    "seeds": None,
    "folds": None,
    "folds_group": None,
    "n_jobs": 1,
    "init_from": None,
    "init_from_sha256": None,
    "reset_head": None,
    "freeze": [],
    "unfreeze_after": None,
    "layer_decay": None,
    "teacher": None,
    "teacher_sha256": None,
    "distillation": {"temperature": 4.0, "weight": 0.9},
    "tags": [],
    "notes": None,
    "report": "full",
    "plugins": [],
    "transforms": {},
    "metrics": {},
    "extra_callbacks": {},
    "extra_loggers": {},
}
TRAINER_ADDED: dict[str, Any] = {
    "benchmark": None,
    "detect_anomaly": False,
    "min_epochs": None,
    "max_steps": -1,
    "min_steps": None,
    "max_time": None,
    "accumulate_grad_batches": 1,
    "gradient_clip_algorithm": "norm",
    "steps_per_hook": "auto",
    "cuda_graph": "auto",
    "overfit_batches": 0,
    "check_val_every_n_epoch": 1,
    "val_check_interval": 1.0,
    "fast_dev_run": False,
}
AUGMENT_ADDED: dict[str, Any] = {
    "elastic_sigma": 4.0,
    "elastic_alpha": 0.0,
    "hue": 0.0,
    "rand_augment_magnitude": 9,
    "rand_augment": 0,
    "trivial_augment": False,
    "gaussian_blur": 0.0,
    "noise": 0.0,
    "cutout": 0,
    "mixup": 0.0,
    "cutmix": 0.0,
}
CALLBACKS_ADDED: dict[str, Any] = {
    "swa": {"start": None, "lr": None, "annealing_epochs": 5, "annealing_strategy": "cos"},
}
WARM_UP_ADDED: dict[str, Any] = {"warmup_epochs": 0.0, "warmup_factor": 0.01}  # of all schedules but one-cycle
# The same for each kind of data
SINCE: dict[str, dict[str, Any]] = {
    "folder": {"accept_changes": False, "layout": "auto"},
    "arrays": {"accept_changes": False},
}
NO_LOGGERS = {"mlflow": None, "wandb": None}


def completed(settings: dict[str, Any]) -> dict[str, Any]:
    """Translate recorded settings to the present names, and add the settings that an earlier version lacked."""
    settings = upgraded(settings)
    data = settings.get("data")
    since = SINCE.get(str(data.get("name")), {}) if isinstance(data, dict) else {}
    settings = ADDED | settings | ({"data": since | settings["data"]} if since else {})
    settings |= {"logger": NO_LOGGERS | loggers} if isinstance(loggers := settings.get("logger"), dict) else {}
    if isinstance(trainer := settings.get("trainer"), dict):
        settings["trainer"] = TRAINER_ADDED | trainer
    if isinstance(augment := settings.get("augment"), dict):
        settings["augment"] = AUGMENT_ADDED | augment
    if isinstance(callbacks := settings.get("callbacks"), dict):
        settings["callbacks"] = CALLBACKS_ADDED | callbacks
    if isinstance(scheduler := settings.get("scheduler"), dict) and scheduler.get("name") != "onecycle":
        settings["scheduler"] = WARM_UP_ADDED | scheduler
    if isinstance(settings.get("data"), dict) and isinstance(split := settings["data"].get("split"), dict):
        settings["data"] = settings["data"] | {"split": {"fold": None} | split}
    return settings


def read_settings(folder: Path) -> dict[str, Any]:
    """Read the config.yaml of a run folder, without `run`, as the folder may have been moved.

    Each top-level key is parsed separately and cached, because the runs of a sweep share most of them.

    Raises:
        DataError: The file is missing, corrupt or written by another program.
    """
    try:
        with open(f"{folder}/config.yaml", encoding="utf-8") as stream:  # noqa: PTH123 - fast for thousands
            text = stream.read()
        settings: dict[str, Any] = {}
        for block in re.split(r"(?m)^(?=\w)", text):
            if block.strip() and not block.startswith("run:"):
                settings |= _parse(block)
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"config.yaml unreadable: {reason(error)}") from None
    if not settings.keys() >= OWN_SETTINGS:
        raise DataError(NOT_OWN)
    return upgraded(settings)


def reason(error: BaseException) -> str:
    """Describe briefly what is wrong with a file."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, KeyError):
        return f"no column {error}"
    return " ".join(str(error).split())[:120]


@lru_cache(maxsize=10_000)
def _parse(block: str) -> dict[str, Any]:
    """Parse YAML without aliases, with which a small file can expand beyond the memory."""
    if re.search(r"(^|\s)\*\S", block) and any(isinstance(t, yaml.AliasToken) for t in yaml.scan(block, Loader)):
        raise ValueError("aliases are not accepted")
    content = yaml.load(block, Loader)
    if not isinstance(content, dict):
        raise ValueError(f"got {block[:40].strip()!r} where a setting is expected")
    plain: dict[str, Any] = json.loads(json.dumps(content))  # a date, say, is a TypeError; transforms have an order
    return plain
