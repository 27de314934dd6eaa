"""The teachers of a knowledge distillation: the runs or checkpoints of `teacher`."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.input_conversion import InputConversion
from lenet_pl.engine.distillation import Distillation
from lenet_pl.errors import SettingError, display_path
from lenet_pl.inference.trained_run import TrainedRun, load_run
from lenet_pl.runtime.seeding import keep_global
from lenet_pl.settings import TrainSettings
from lenet_pl.train.fine_tune import source_file
from lenet_pl.train.leaks import count_leaked

ACCEPTED = "must be a run folder or a checkpoint of lenet_pl.train"


@dataclass(frozen=True)
class Teachers:
    """The teachers of a training.

    Attributes:
        runs: The trained networks.
        sha256: The digest of each checkpoint.
    """

    runs: tuple[TrainedRun, ...]
    sha256: tuple[str, ...]

    def distillation(self, settings: TrainSettings, data: ImageDataModule) -> Distillation:
        """Build the loss of a student on its data.

        Raises:
            SettingError: A teacher has other classes or channels than the data.
        """
        for run in self.runs:
            check_outputs(run, data)
        leaks = [leak for run in self.runs if (leak := describe_leak(run, data))]
        return Distillation(
            [teacher_of(run, data) for run in self.runs],
            temperature=settings.distillation.temperature,
            weight=settings.distillation.weight,
            sources=[describe(run, sha256) for run, sha256 in zip(self.runs, self.sha256, strict=True)],
            notes=[*leaks, *(note for run in self.runs if (note := describe_detail(run, data)))],
        )

    def descriptions(self) -> list[str]:
        """Describe the teachers, one line each."""
        return [
            f"teacher: {display_path(run.checkpoint)} ({run.name}"
            + (f", test accuracy {accuracy:.4f})" if (accuracy := test_accuracy(run)) is not None else ")")
            for run in self.runs
        ]


def read_teachers(settings: TrainSettings, *folders: Path) -> Teachers | None:
    """Read the teachers of a training; None without.

    Args:
        settings: The settings of the training.
        folders: The run folder, or those of several trainings.

    Raises:
        SettingError: A teacher is the run itself, is given twice, or is not the one with which the run was started.
        DataError: A teacher is missing or corrupt, or was written by another program or version.
    """
    if settings.teacher is None or not settings.train:
        return None
    given = settings.teacher if isinstance(settings.teacher, list) else [settings.teacher]
    recorded = settings.teacher_sha256 or [""] * len(given)
    if len(recorded) != len(given):
        raise SettingError(
            f"teacher: got {len(given)} teachers for a run that was started with {len(recorded)}; must be the same ones"
        )
    needed = "the run cannot be resumed without it; use teacher=<its new place> if it was moved"
    accepted = needed if settings.resume and settings.teacher_sha256 else ACCEPTED
    runs: list[TrainedRun] = []
    digests: list[str] = []
    for place, expected in zip(given, recorded, strict=True):
        path = Path(place)
        if any(path.resolve().is_relative_to(folder.resolve()) for folder in folders):
            raise SettingError(f"teacher: got {place}, the run itself; must be another run")
        file = source_file(path, "teacher", accepted, (".ckpt",))
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        if expected not in ("", sha256):
            raise SettingError(
                f"teacher_sha256: got {expected}, but {file} has {sha256}; must be the checkpoint with which the run "
                "was started"
            )
        if sha256 in digests:
            raise SettingError(f"teacher: got {place}, the same checkpoint twice; must be a list of different runs")
        with keep_global(torch.device("cpu")):  # the initial weights of the student do not depend on its teachers
            runs.append(load_run(file))
        digests.append(sha256)
        if path.is_dir() and not (path / "results.json").is_file():
            print(f"note: the teacher {display_path(path)} is not finished; using the best epoch so far", flush=True)
    return Teachers(tuple(runs), tuple(digests))


def with_teacher_digests(settings: TrainSettings, teachers: Teachers | None) -> TrainSettings:
    """Add the digests of the teachers to the settings, which the run records."""
    return settings.model_copy(update={"teacher_sha256": list(teachers.sha256)}) if teachers else settings


def check_outputs(run: TrainedRun, data: ImageDataModule) -> None:
    """Raise SettingError if a teacher has other classes or channels than the data."""
    must = "must be a network with the classes and channels of the data"
    if run.channels != data.channels:
        raise SettingError(
            f"teacher: {display_path(run.folder)} takes images of {run.channels} channels, but those of the data have "
            f"{data.channels}; {must}"
        )
    if len(run.classes) != data.num_classes:
        raise SettingError(
            f"teacher: {display_path(run.folder)} has {len(run.classes)} classes, but the data have "
            f"{data.num_classes}; {must}"
        )
    for theirs, ours in zip(run.classes, data.classes, strict=True):
        if theirs != ours:
            raise SettingError(
                f"teacher: {display_path(run.folder)} has the class {theirs!r} where the data have {ours!r}; {must}, "
                "in the same order"
            )


def teacher_of(run: TrainedRun, data: ImageDataModule) -> nn.Module:
    """Build a network that maps the student's input to the logits of a teacher."""
    return nn.Sequential(conversion_of(run, data), run.model)


def conversion_of(run: TrainedRun, data: ImageDataModule) -> InputConversion:
    """Build the conversion of the student's input to that of a teacher."""
    return InputConversion(data.preprocess, data.source.train.array.shape[-1], run.preprocess, run.side)


def describe(run: TrainedRun, sha256: str) -> dict[str, Any]:
    """Describe a teacher for results.json."""
    return {
        "checkpoint": display_path(run.checkpoint),
        "sha256": sha256,
        "name": run.name,
        "model": run.settings.model.name,
        "test_accuracy": test_accuracy(run),
    }


def test_accuracy(run: TrainedRun) -> float | None:
    """Return the accuracy of a run's best epoch on its test split; None if it is unknown."""
    if run.checkpoint != run.folder / "checkpoints" / "best.ckpt":
        return None
    try:
        results = json.loads((run.folder / "results.json").read_text(encoding="utf-8"))
        accuracy = float(results["metrics"]["test/accuracy"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return accuracy if 0 <= accuracy <= 1 else None  # the file may be anybody's


def describe_leak(run: TrainedRun, data: ImageDataModule) -> str | None:
    """Say on which validation and test images of the data a teacher was trained; None if on none, or if unknown."""
    found = count_leaked(run, data.loaded, data.data.settings)
    sizes = {"validation": len(data.validation_set), "test": len(data.test_set)}
    parts = [f"{count:,} of the {sizes[name]:,} {name} images" for name, count in found.items() if count]
    if not parts:
        return None
    fold = data.loaded.fold
    must = f"train a teacher without fold {fold.number}" if fold else "use a teacher with the same split"
    return (
        f"the teacher {display_path(run.folder)} was trained on {' and '.join(parts)} of this run, so the metrics are "
        f"optimistic; {must}"
    )


def describe_detail(run: TrainedRun, data: ImageDataModule) -> str | None:
    """Say that a teacher gets enlarged images; None if it does not."""
    conversion = conversion_of(run, data)
    if not conversion.enlarges:
        return None
    return (
        f"the teacher {display_path(run.folder)} was trained with images of {conversion.wanted} px, but gets those of "
        f"the student, {conversion.given} px, enlarged"
    )
