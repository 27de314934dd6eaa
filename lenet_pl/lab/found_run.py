"""Runs that an earlier lab, or a command, has left in the folder of the lab."""

import csv
from pathlib import Path
from typing import Any

from lenet_pl.artifacts.results_file import RESULTS
from lenet_pl.engine.lr_changes import read_lr_changes
from lenet_pl.errors import UserError
from lenet_pl.lab.training import Training
from lenet_pl.settings.config_file import read_settings

SNAPSHOTS = ".snapshots"  # in the folder of the lab


def find_run(folder: Path) -> Training:
    """Describe a run from its folder."""
    status = "finished" if (folder / RESULTS).exists() else "stopped"
    state: dict[str, Any] = {"label": folder.name, "command": "", "status": status}
    rows: list[dict[str, Any]] = []
    try:
        values = read_settings(folder)
        state["label"] = f"{values['model']['name']} on {values['data']['name']}"
        state["lr_changes"] = [{"lr": change.lr, "step": change.step} for change in read_lr_changes(folder)]
        kept = folder.parent / SNAPSHOTS / folder.name
        state["snapshots"] = sorted(int(path.name) for path in kept.glob("[0-9]*")) if kept.is_dir() else []
        with (folder / "metrics.csv").open(newline="", encoding="utf-8") as stream:
            rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(stream)]
    except (UserError, KeyError, TypeError, ValueError) as error:
        state |= {"error": str(error), "status": "failed"}
    except OSError:  # no epoch has ended
        rows = []
    training = Training(folder.name, **state)
    training.history.rows = rows
    return training


def resumable(folder: Path) -> bool:
    """Whether a run is unfinished and has a checkpoint."""
    return not (folder / RESULTS).exists() and (folder / "checkpoints" / "last.ckpt").exists()
