"""k-fold cross-validation: a training for each fold, which is its test split, and a common table."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lenet_pl.artifacts.metrics import ClassificationMetrics
from lenet_pl.artifacts.plots import draw_confusion
from lenet_pl.artifacts.result_table import print_several
from lenet_pl.artifacts.results_file import RESULTS
from lenet_pl.data.run_images import images_of_run
from lenet_pl.display.figure import save_figures
from lenet_pl.display.text import as_csv, as_json, label
from lenet_pl.engine.build import build_datamodule
from lenet_pl.engine.callbacks import Callbacks
from lenet_pl.errors import display_path
from lenet_pl.inference.trained_run import load_run
from lenet_pl.runtime.atomic_files import write_text
from lenet_pl.runtime.optional_work import optional
from lenet_pl.runtime.signals import SignalHandler
from lenet_pl.settings import FoldSettings, TrainSettings
from lenet_pl.train.fine_tune import initial_weights, with_digest
from lenet_pl.train.member import Member
from lenet_pl.train.run_folders import run_folders
from lenet_pl.train.several_runs import SeveralRuns, Train, check_devices
from lenet_pl.train.teachers import read_teachers, with_teacher_digests

COLUMNS = ("fold", "image", "true", "predicted", "probability")  # of predictions.csv


def train_folds(
    settings: TrainSettings,
    folder: Path,
    signals: SignalHandler,
    train_one: Train,
    callbacks: Callbacks = (),
) -> dict[str, Any]:
    """Train once for each of `settings.folds`, except those whose runs are finished.

    Each fold is the test split of one training, used once, after it. The validation split, which selects the best
    epoch, comes from the other folds. The test images of a dataset with a test split of its own are left out.

    Args:
        settings: The common settings of all trainings.
        folder: The folder for config.yaml, the run folders `fold_<number>`, results.json, confusion_matrix.png,
            confusion_matrix.csv and predictions.csv.
        signals: The signal handler of the process.
        train_one: The function that trains once: `lenet_pl.train.train_one`.
        callbacks: Lightning callbacks, copied for each training, or a function of its settings that builds them.

    Returns:
        The content of results.json, as documented in `lenet_pl.train.train`.

    Raises:
        UserError: Settings, files or devices cannot be used; also all errors of `SeveralRuns.train`.
    """
    start = time.perf_counter()
    check_devices(settings, "folds", "train the folds one by one with data.split.fold")
    folders = run_folders(settings, folder)
    initial = initial_weights(settings, *folders)
    teachers = read_teachers(settings, *folders)
    settings = with_teacher_digests(with_digest(settings, initial), teachers)
    members = _members(settings, folders, initial)
    source = members[0].data.source
    images = sum(len(member.data.test_set) for member in members)
    print(f"each of {images:,} images is tested once, by the network that was trained without its fold", flush=True)
    name, left_out = label(source.name), 0 if source.whole else len(source.test)
    del source  # with it the images, once they are shared
    if left_out:
        print(f"the {left_out:,} test images of {name} are left out", flush=True)
    session = SeveralRuns("folds", settings, folder, members, signals, train_one, callbacks, initial, teachers)
    each = session.train()
    numbers = list(range(1, len(members) + 1))
    results = session.summarize(each, 0) | {
        "seed": settings.seed,
        "folds": len(members),
        "folds_group": settings.folds_group,
        "images": {"folds": images, "left_out": left_out},
        "each": [
            {"fold": number, **{key: one[key] for key in ("images", "metrics", "epochs", "best_epoch")}}
            for number, one in zip(numbers, each, strict=True)
        ],
        "at_chance": [number for number, one in zip(numbers, each, strict=True) if one["at_chance"]],
    }
    title = f"{settings.model.name} on {name}, {len(members)} folds"
    pooled = {}
    if settings.test and settings.train:
        scores = _pool(members, each, folder, title)
        pooled = {"test accuracy": scores.accuracy()}
        results |= {
            "pooled": {
                "accuracy": scores.accuracy(),
                "loss": scores.loss(),
                "per_class": scores.per_class(),
                "most_confused": scores.most_confused(),
            },
            "confusion_matrix": {"classes": scores.classes, "rows_are": "true", "counts": scores.confusion.tolist()},
        }
    results["total_seconds"] = round(time.perf_counter() - start, 2)
    write_text(folder / RESULTS, as_json(results, allow_nan=False))
    print_several(title, "fold", dict(zip(numbers, each, strict=True)), display_path(folder), pooled=pooled)
    return results


def _members(settings: TrainSettings, folders: Sequence[Path], initial: Any) -> list[Member]:
    """Split the data for each fold; the images are loaded once."""
    members: list[Member] = []
    for number, place in enumerate(folders, 1):
        fold = FoldSettings(number=number, of=len(folders), group=settings.folds_group)
        split = settings.data.split.model_copy(update={"fold": fold})
        own = settings.model_copy(
            update={
                "folds": None,
                "folds_group": None,
                "n_jobs": 1,
                "run": str(place),
                "data": settings.data.model_copy(update={"split": split}),
            }
        )
        recorded = images_of_run(own, place)
        data = members[0].data.with_split(split, recorded) if members else build_datamodule(own, recorded, initial)
        members.append(Member(f"fold {number}", place, own, data))
    return members


def _pool(members: Sequence[Member], each: Sequence[dict[str, Any]], folder: Path, title: str) -> ClassificationMetrics:
    """Predict each held-out image by the best epoch of its training; write predictions.csv and confusion matrices."""
    logits, labels, rows = [], [], [COLUMNS]
    for number, (member, one) in enumerate(zip(members, each, strict=True), 1):
        images = member.data.test_set.subset(torch.arange(one["images"]["test"]))  # fewer with limit_test_batches
        found = load_run(member.folder / "checkpoints" / "best.ckpt").predict_logits(images.images)
        logits.append(found)
        labels.append(images.labels)
        certain, predicted = found.softmax(1).max(1)
        names = member.data.classes
        rows += [
            (number, name, names[true], names[guess], round(probability, 6))  # type: ignore[misc]
            for name, true, guess, probability in zip(
                images.names, images.labels.tolist(), predicted.tolist(), certain.tolist(), strict=True
            )
        ]
    scores = ClassificationMetrics(torch.cat(logits), torch.cat(labels), members[0].data.classes)
    write_text(folder / "predictions.csv", as_csv(rows))
    matrix = [("true \\ predicted", *scores.classes)]
    matrix += [(name, *counts) for name, counts in zip(scores.classes, scores.confusion.tolist(), strict=True)]
    write_text(folder / "confusion_matrix.csv", as_csv(matrix))
    with optional("confusion_matrix.png", []):
        figure = draw_confusion(scores.confusion, scores.classes, f"confusion matrix, {title}")
        save_figures(folder, {"confusion_matrix": figure})
    return scores
