"""A trained network, back from its run folder or checkpoint. Nothing in either can name code to be run."""

import hashlib
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lenet_pl.build import Network, build_model
from lenet_pl.checkpoint import load_checkpoint
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.identity import Identity, PartName
from lenet_pl.data.image_set import ImageSet
from lenet_pl.data.own_images import OwnImages, recorded_identity
from lenet_pl.data.transform import ModelInput
from lenet_pl.errors import DataError, SettingError, from_here
from lenet_pl.settings import AugmentSettings, DataSettings, FolderDataSettings, validate
from lenet_pl.settings.recorded import completed
from lenet_pl.settings.trained import RecordedSettings, TrainedSettings

BLOCK = 128  # images that pass through the network at once; what the layers make of more leaves the cache
AVERAGE = "average.module."  # begins the names of averaged weights, which come before those of the last step
NO_AUGMENT = {name: 0 if name == "crop_padding" else 0.0 for name in AugmentSettings.model_fields}


@dataclass(frozen=True)
class TrainedRun:
    """A network with all that its use needs."""

    folder: Path  # of the run, or the one that the checkpoint lies in
    checkpoint: Path
    settings: RecordedSettings
    model: Network  # in evaluation mode, on the CPU
    to_input: ModelInput
    classes: tuple[str, ...]
    side: int  # px, height and width of the images of its data, before they reach the model's size
    images: Identity | None  # which it was trained, validated and tested on; None: published ones, or not recorded

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return self.model.channels

    @property
    def name(self) -> str:
        """Model, data and seed in a few words."""
        return f"{self.settings.model.name} on {self.settings.data.name}, seed {self.settings.seed}"

    def identity(self) -> dict[str, Any]:
        """Say which network it is, as plain JSON values for the files of a verb."""
        return {
            "run": str(self.folder),
            "checkpoint": str(self.checkpoint),
            "checkpoint_sha256": hashlib.sha256(self.checkpoint.read_bytes()).hexdigest(),
            "name": self.name,
            "model": self.settings.model.name,
            "seed": self.settings.seed,
        }

    def logits(self, images: Tensor) -> Tensor:
        """Classify uint8 (N, C, h, w); returns float (N, K) on the CPU."""
        with torch.inference_mode():
            return torch.cat([self.model(self.to_input(block)) for block in torch.split(images, BLOCK)])

    def trained_on(self, images: ImageSet) -> Tensor | None:
        """Say of each image whether the network was trained on it, bool (N,); None where that was not recorded."""
        if self.images is None or images.contents is None:
            return None
        rows = OwnImages(self.images, self.folder).recorded().parts["train"].rows()
        return None if rows is None else torch.isin(images.contents, rows[0])

    def data(
        self, settings: DataSettings | None = None, *, part: PartName = "test", accept_changes: bool = False
    ) -> ImageDataModule:
        """Load the run's own data, or another set of the same classes.

        Args:
            settings: of another set; None: the run's own.
            part: that will be used of the run's own.
            accept_changes: take the run's own images of that part out of changed data, where they are all there.

        Raises:
            DataError: files are absent, the run's own data have changed, or the set has other classes or channels than
                the network.
        """
        chosen = settings or self.settings.data
        if isinstance(chosen, FolderDataSettings) and chosen.colour == "auto" and self.channels == 3:
            chosen = chosen.model_copy(update={"colour": "rgb"})  # a grey set is no other for a network of color
        module = ImageDataModule(
            chosen,
            self.settings.loader.model_copy(update={"batch_size": 1}),  # nothing is trained; any size of set will do
            validate(AugmentSettings, NO_AUGMENT),
            image_size=self.model.image_size,
            seed=self.settings.seed,
            statistics=(self.to_input.mean, self.to_input.std),
            own=None if settings else OwnImages(self.images, self.folder, (part,), accept_changes),
        )
        if len(module.classes) != len(self.classes) or module.channels != self.channels:
            raise DataError(
                f"data: {module.source.name} has {len(module.classes)} classes and {module.channels} channels; "
                f"accepted by this network are {len(self.classes)} classes and {self.channels} channels"
            )
        for theirs, own in zip(module.classes, self.classes, strict=True):
            if theirs != own:  # the same numbers would mean other things
                raise DataError(
                    f"data: {module.source.name} has the class {theirs!r} where this network has {own!r}; accepted is "
                    f"a set of the same classes in the same order, as {self.settings.data.name} has them"
                )
        return module


def open_run(settings: TrainedSettings) -> TrainedRun:
    """Rebuild the network that `run` or `ckpt` names.

    Raises:
        SettingError: neither or both are given.
        DataError: there is no such run, or its checkpoint is damaged, a stranger's or of another version.
    """
    if (settings.run is None) == (settings.ckpt is None):
        came = "neither run nor ckpt" if settings.run is None else "both run and ckpt"
        raise SettingError(f"run: got {came}; accepted is run=<folder of a run> or ckpt=<file>")
    if settings.ckpt is not None and Path(settings.ckpt).is_dir():
        raise SettingError(f"ckpt: {settings.ckpt} is a folder; write run={settings.ckpt}")
    if settings.ckpt is not None:
        return load_run(Path(settings.ckpt))
    folder = Path(str(settings.run))
    if folder.suffix == ".ckpt" and folder.is_file():
        raise SettingError(f"run: {folder} is a checkpoint; write ckpt={folder}")
    if not folder.is_dir():
        raise DataError(f"run: {folder} is not a folder; accepted is one that lenet_pl.train has filled")
    checkpoint = folder / "checkpoints" / "best.ckpt"
    last = folder / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file() and last.is_file():
        what = "has" if (folder / "results.json").is_file() else "is unfinished and has"
        raise DataError(f"run: {folder} {what} no checkpoints/best.ckpt; its last epoch can be tried with ckpt={last}")
    if not checkpoint.is_file():
        why = "accepted is a folder that lenet_pl.train has filled"
        if seeds := sorted(path.name for path in folder.glob("seed_*")):
            why = f"it holds runs of several seeds; must be one of them, as in run={folder / seeds[0]}"
        elif (folder / "results.json").is_file():
            why = "it was not trained; must be a run that was"
        raise DataError(f"run: {folder} has no checkpoints/best.ckpt; {why}")
    if not (folder / "results.json").is_file():
        print(f"note: {from_here(folder)} is not finished; this is the best epoch so far", file=sys.stderr)
    return load_run(checkpoint)


def open_runs(settings: TrainedSettings) -> list[TrainedRun]:
    """Rebuild the networks of a verb that takes one run or several; errors are those of `open_run`."""
    folders = settings.run if isinstance(settings.run, list) else [settings.run]
    given = {"ckpt": settings.ckpt, "out": None, "traceback": settings.traceback}
    return [open_run(TrainedSettings.model_validate({"run": folder, **given})) for folder in folders]


def load_run(checkpoint: Path) -> TrainedRun:
    """Rebuild the network of one checkpoint file.

    Raises:
        DataError: the file is absent, damaged, a stranger's or of another version.
    """
    content = load_checkpoint(checkpoint)
    given: Any = content.get("hyper_parameters")
    if not isinstance(given, dict) or not isinstance(given.get("settings"), dict):
        raise DataError(f"{checkpoint}: not written by this version of lenet_pl (it says nothing of its settings)")
    try:
        settings = validate(RecordedSettings, completed(given["settings"]))
        classes = tuple(str(name) for name in given["classes"])
        model = build_model(settings.model, given["channels"], len(classes))
        to_input = ModelInput(
            settings.model.image_size, settings.data.fit, given["mean"], given["std"], given["background"]
        )
        side, images = int(given["side"]), recorded_identity(content)
        weights = content["state_dict"]
        kept = AVERAGE if any(name.startswith(AVERAGE) for name in weights) else "model."
        model.load_state_dict({k.removeprefix(kept): v for k, v in weights.items() if k.startswith(kept)})
    except (SettingError, RuntimeError, TypeError, KeyError, ValueError, AttributeError) as error:
        missing = f"it has no {error}" if isinstance(error, KeyError) else ""
        why = missing or " ".join(str(error).split())[:200]
        raise DataError(f"{checkpoint}: not written by this version of lenet_pl ({why})") from None
    if odd := next((name for name, value in model.state_dict().items() if not value.isfinite().all()), None):
        raise DataError(f"{checkpoint}: {odd} holds numbers that are not finite; accepted is a sound network")
    folder = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    model.eval().to(memory_format=torch.channels_last)  # as it was trained, and in half the time
    return TrainedRun(folder, checkpoint, settings, model, to_input, classes, side, images)


def output_folder(settings: TrainedSettings, run: TrainedRun, verb: str) -> Path:
    """Make the folder for the verb's files; never one that holds something already."""
    folder = Path(settings.out) if settings.out else run.folder / verb / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingError(f"out: {folder} is not an empty folder; accepted is a new or an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
