"""Load a trained network from its run folder or checkpoint, without executing code from either."""

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lenet_pl.data.choose_data import SettingsSource
from lenet_pl.data.data_record import DataRecord, SplitName
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.loaded_data import LoadedData
from lenet_pl.data.run_images import RunImages, record_in_checkpoint
from lenet_pl.data.transform import Preprocess
from lenet_pl.errors import DataError, SettingError, display_path
from lenet_pl.inference.find_data import find_data
from lenet_pl.models.build import build_model
from lenet_pl.plugins.loading import how_to_load, missing_plugins
from lenet_pl.runtime.checkpoint_file import load_checkpoint
from lenet_pl.settings import DataSettings, FolderDataSettings, validate
from lenet_pl.settings.config_file import completed
from lenet_pl.settings.trained import RecordedSettings, TrainedSettings

BLOCK = 128  # images per forward pass; the activations of more would not fit into the CPU caches
AVERAGE = "average.module."  # prefix of the EMA weights, preferred to the weights after the last step


@dataclass(frozen=True)
class TrainedRun:
    """A trained network with everything needed to use it.

    Attributes:
        folder: The run folder, or the folder of the checkpoint.
        checkpoint: The checkpoint file.
        settings: The training settings.
        model: The network in evaluation mode, on the CPU. With EMA, the averaged weights.
        preprocess: Resizing and normalization of uint8 images to the network's input.
        classes: K class names, in the order of the labels.
        side: Height and width of the stored images of its dataset, px, before resizing.
        images: A record of the images of each split; None for published datasets, and if it was not recorded.
    """

    folder: Path
    checkpoint: Path
    settings: RecordedSettings
    model: nn.Module
    preprocess: Preprocess
    classes: tuple[str, ...]
    side: int
    images: DataRecord | None

    @property
    def channels(self) -> int:
        """1 for gray images, 3 for color images."""
        return len(self.preprocess.mean)

    @property
    def image_size(self) -> int:
        """Height and width of the network's input, px."""
        return self.preprocess.image_size

    @property
    def name(self) -> str:
        """A short name: model, data and seed."""
        return f"{self.settings.model.name} on {self.settings.data.name}, seed {self.settings.seed}"

    def describe(self) -> dict[str, Any]:
        """Identify the network for the result files of the commands, as plain JSON values.

        Returns:
            `run` (folder), `checkpoint` (file), `checkpoint_sha256`, `name`, `model` and `seed`.
        """
        return {
            "run": str(self.folder),
            "checkpoint": str(self.checkpoint),
            "checkpoint_sha256": hashlib.sha256(self.checkpoint.read_bytes()).hexdigest(),
            "name": self.name,
            "model": self.settings.model.name,
            "seed": self.settings.seed,
        }

    def predict_logits(self, images: Tensor) -> Tensor:
        """Compute the logits, float (N, K), of images as stored, uint8 (N, C, h, w), on the CPU.

        Raises:
            DataError: The images have another type, shape or number of channels.
        """
        shape = tuple(getattr(images, "shape", ()))
        if (
            not isinstance(images, Tensor)
            or images.dtype != torch.uint8
            or len(shape) != 4
            or shape[1] != self.channels
        ):
            kind = f"{images.dtype} of shape {shape}" if isinstance(images, Tensor) else type(images).__name__
            raise DataError(f"images: got {kind}; must be a uint8 tensor of shape (N, {self.channels}, h, w)")
        with torch.inference_mode():
            return torch.cat([self.model(self.preprocess(block)) for block in torch.split(images, BLOCK)])

    def trained_on(self, images: ImageDataset) -> Tensor | None:
        """Return which images the network was trained on, bool (N,); None if that was not recorded."""
        if self.images is None or images.contents is None:
            return None
        rows = RunImages(self.images, self.folder).recorded().parts["train"].rows()
        return None if rows is None else torch.isin(images.contents, rows[0])

    def load_data(
        self, settings: DataSettings | None = None, *, part: SplitName = "test", accept_changes: bool = False
    ) -> LoadedData:
        """Load the data of the run, or another dataset with the same classes.

        Missing files of a published dataset are downloaded, unless `data.download` is false.

        Args:
            settings: The settings of the other dataset; None for the data of the run. Relative paths of the run are
                looked for in the working directory, then in the folders that contain the run.
            part: The split of the run's data that will be used: "train", "validation" or "test".
            accept_changes: Whether data that changed since the training are accepted, as long as all images of `part`
                are still there. Only those are loaded.

        Returns:
            The dataset in its splits, as stored; folders are read at the size of the network's input.

        Raises:
            DataError: Files are missing, the data of the run have changed, or the other dataset has different classes
                or channels.
        """
        chosen = settings or find_data(self.settings.data, self.folder)
        if isinstance(chosen, FolderDataSettings) and chosen.color_mode == "auto" and self.channels == 3:
            chosen = chosen.model_copy(update={"color_mode": "rgb"})  # gray images are converted for a color network
        own = None if settings else RunImages(self.images, self.folder, (part,), accept_changes)
        source = SettingsSource(chosen, own)
        source.download()
        data = source.load(self.image_size)
        if len(data.classes) != len(self.classes) or data.channels != self.channels:
            raise DataError(
                f"data: {data.source.name} has {len(data.classes)} classes and {data.channels} channels; "
                f"must be {len(self.classes)} classes and {self.channels} channels for this network"
            )
        for theirs, ours in zip(data.classes, self.classes, strict=True):
            if theirs != ours:  # labels would be misread
                raise DataError(
                    f"data: {data.source.name} has the class {theirs!r} where this network has {ours!r}; must be "
                    f"a set with the classes of {self.settings.data.name} in the same order"
                )
        return data


def open_run(settings: TrainedSettings) -> TrainedRun:
    """Load the network of `settings.run` (its best epoch) or `settings.ckpt_path`.

    Raises:
        SettingError: Neither or both are given, or one is given instead of the other.
        DataError: The run or checkpoint does not exist, is corrupt, or was written by another program or version.
    """
    if (settings.run is None) == (settings.ckpt_path is None):
        came = "neither run nor ckpt_path" if settings.run is None else "both run and ckpt_path"
        raise SettingError(f"run: got {came}; must be run=<run folder> or ckpt_path=<checkpoint file>")
    if settings.ckpt_path is not None and Path(settings.ckpt_path).is_dir():
        raise SettingError(f"ckpt_path: got the folder {settings.ckpt_path}; use run={settings.ckpt_path}")
    if settings.ckpt_path is not None:
        return load_run(Path(settings.ckpt_path))
    folder = Path(str(settings.run))
    if folder.suffix == ".ckpt" and folder.is_file():
        raise SettingError(f"run: got the checkpoint {folder}; use ckpt_path={folder}")
    if not folder.is_dir():
        raise DataError(f"run: {folder} is not a folder; must be the run folder of a training")
    checkpoint = folder / "checkpoints" / "best.ckpt"
    last = folder / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file() and last.is_file():
        what = "has" if (folder / "results.json").is_file() else "is unfinished and has"
        raise DataError(f"run: {folder} {what} no checkpoints/best.ckpt; use ckpt_path={last} for its last epoch")
    if not checkpoint.is_file():
        why = "must be the run folder of a training"
        if inside := sorted(path.name for path in folder.glob("*_*") if re.fullmatch(r"(seed|fold)_\d+", path.name)):
            kind = inside[0].partition("_")[0]
            why = f"it contains the runs of several {kind}s; must be one of them, such as run={folder / inside[0]}"
        elif (folder / "results.json").is_file():
            why = "it was not trained; must be a run with training"
        raise DataError(f"run: {folder} has no checkpoints/best.ckpt; {why}")
    if not (folder / "results.json").is_file():
        print(f"note: {display_path(folder)} is not finished; using the best epoch so far", file=sys.stderr)
    return load_run(checkpoint)


def open_runs(settings: TrainedSettings) -> list[TrainedRun]:
    """Load the networks of a command that takes one run or several; errors as for `open_run`."""
    folders = settings.run if isinstance(settings.run, list) else [settings.run]
    given = settings.model_dump(include={"ckpt_path", "traceback", "plugins"}) | {"output_dir": None}
    return [open_run(TrainedSettings.model_validate({"run": folder, **given})) for folder in folders]


def load_run(checkpoint: Path | str) -> TrainedRun:
    """Load the network of a checkpoint file.

    Raises:
        DataError: The file is missing or corrupt, or was written by another program or version.
    """
    checkpoint = Path(checkpoint)
    content = load_checkpoint(checkpoint)
    given: Any = content.get("hyper_parameters")
    if not isinstance(given, dict) or not isinstance(given.get("settings"), dict):
        raise DataError(f"{checkpoint}: not written by this version of lenet_pl (it contains no settings)")
    try:
        settings = validate(RecordedSettings, completed(given["settings"]))
        classes = tuple(str(name) for name in given["classes"])
        model = build_model(settings.model, given["channels"], len(classes))
        preprocess = Preprocess(
            settings.model.image_size, settings.data.resize_mode, given["mean"], given["std"], given["background"]
        )
        side, images = int(given["side"]), record_in_checkpoint(content)
        weights = content["state_dict"]
        kept = AVERAGE if any(name.startswith(AVERAGE) for name in weights) else "model."
        model.load_state_dict({k.removeprefix(kept): v for k, v in weights.items() if k.startswith(kept)})
    except (SettingError, RuntimeError, TypeError, KeyError, ValueError, AttributeError) as error:
        if plugins := missing_plugins(given["settings"].get("plugins")):
            raise DataError(f"{checkpoint}: {how_to_load(plugins)}") from None
        missing = f"it has no {error}" if isinstance(error, KeyError) else ""
        why = missing or " ".join(str(error).split())[:200]
        raise DataError(f"{checkpoint}: not written by this version of lenet_pl ({why})") from None
    if odd := next((name for name, value in model.state_dict().items() if not value.isfinite().all()), None):
        raise DataError(f"{checkpoint}: {odd} contains NaN or infinite values; the checkpoint cannot be used")
    folder = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    model.eval().to(memory_format=torch.channels_last)  # as in training; halves the time
    return TrainedRun(folder, checkpoint, settings, model, preprocess, classes, side, images)
