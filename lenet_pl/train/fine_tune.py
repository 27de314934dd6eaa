"""The source of the initial weights: the run, checkpoint or safetensors file of `init_from`."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lenet_pl.engine.initial_weights import InitialWeights
from lenet_pl.errors import DataError, SettingError, display_path
from lenet_pl.inference.safetensors_file import read_safetensors
from lenet_pl.inference.trained_run import load_run
from lenet_pl.runtime.checkpoint_file import load_checkpoint
from lenet_pl.runtime.seeding import keep_global
from lenet_pl.settings import TrainSettings, validate
from lenet_pl.settings.renamed import upgraded_metadata
from lenet_pl.settings.trained import RecordedModel

ACCEPTED = "must be a run folder, a checkpoint, or the safetensors file of an export"


def initial_weights(settings: TrainSettings, *folders: Path) -> InitialWeights | None:
    """Read the initial weights of a training; None without `init_from`.

    The source is not needed, and not read, if every training is resumed from a checkpoint.

    Args:
        settings: The settings of the training.
        folders: The run folder, or those of several trainings.

    Raises:
        SettingError: The source is not the file with which the run was started.
        DataError: The source or a checkpoint is missing or corrupt, or was written by another program or version.
    """
    if settings.init_from is None:
        return None
    checkpoints = [folder / "checkpoints" / "last.ckpt" for folder in folders]
    if settings.resume and settings.init_from_sha256 and all(path.exists() for path in checkpoints):
        return _of_resumed(settings.init_from, settings.init_from_sha256, checkpoints[0])
    path = source_file(Path(settings.init_from))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if settings.init_from_sha256 not in (None, sha256):
        raise SettingError(
            f"init_from_sha256: got {settings.init_from_sha256}, but {path} has {sha256}; must be the file with which "
            "the run was started"
        )
    return _read_safetensors(path, sha256) if path.suffix == ".safetensors" else _read_checkpoint(path, sha256)


def with_digest(settings: TrainSettings, source: InitialWeights | None) -> TrainSettings:
    """Add the digest of the source to the settings, which the run records."""
    return settings.model_copy(update={"init_from_sha256": source.sha256}) if source else settings


def source_file(
    path: Path, key: str = "init_from", accepted: str = ACCEPTED, suffixes: Sequence[str] = (".ckpt", ".safetensors")
) -> Path:
    """Return the file with the weights: that of the best epoch of a run folder, or the file itself.

    Args:
        path: The run folder or file.
        key: The setting that names it, for errors.
        accepted: What the setting must be, for errors.
        suffixes: The suffixes of files that are accepted.

    Raises:
        DataError: There is none.
    """
    best = path / "checkpoints" / "best.ckpt"
    if best.is_file():
        return best
    if path.is_dir():
        inside = sorted(folder.parent.parent for folder in path.glob("*/checkpoints/best.ckpt"))
        why = f"use one of its runs, such as {key}={inside[0]}" if inside else accepted
        raise DataError(f"{key}: {path} has no checkpoints/best.ckpt; {why}")
    if not path.is_file():
        raise DataError(f"{key}: {path} does not exist; {accepted}")
    if path.suffix not in suffixes:
        kinds = "neither a " + " nor a ".join(suffixes) if len(suffixes) > 1 else f"not a {suffixes[0]}"
        raise DataError(f"{key}: {path} is {kinds} file; {accepted}")
    return path


def _read_checkpoint(path: Path, sha256: str) -> InitialWeights:
    with keep_global(torch.device("cpu")):  # the random weights of a head do not depend on the kind of source
        run = load_run(path)
    return InitialWeights(
        display_path(path),
        sha256,
        (run.preprocess.mean, run.preprocess.std),
        run.classes,
        run.settings.model.model_dump(),
        run.model.state_dict(),
    )


def _read_safetensors(path: Path, sha256: str) -> InitialWeights:
    weights, content = read_safetensors(path)
    description: dict[str, Any] = upgraded_metadata(content)
    try:
        model = validate(RecordedModel, {"model": description["model"]}).model
        statistics = ([float(value) for value in description[key]] for key in ("mean", "std"))
        classes = tuple(str(name) for name in description["classes"])
        mean, std = statistics
    except (SettingError, TypeError, KeyError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not written by this version of lenet_pl ({why})") from None
    if odd := next((name for name, value in weights.items() if not value.isfinite().all()), None):
        raise DataError(f"{path}: {odd} contains NaN or infinite values; the file cannot be used")
    return InitialWeights(display_path(path), sha256, (mean, std), classes, model.model_dump(), weights)


def _of_resumed(place: str, sha256: str, checkpoint: Path) -> InitialWeights:
    """Take the normalization from the checkpoint of a run, which has the weights, too."""
    given = load_checkpoint(checkpoint).get("hyper_parameters", {})
    try:
        mean, std = ([float(value) for value in given[key]] for key in ("mean", "std"))
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{checkpoint}: not written by this version of lenet_pl (it has no mean and std)") from None
    return InitialWeights(place, sha256, (mean, std))
