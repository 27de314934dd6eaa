"""The format of checkpoints, and writing them atomically."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lenet_pl.runtime.atomic_files import atomic_file
from lenet_pl.runtime.checkpoint_file import load_checkpoint


@dataclass(frozen=True)
class CheckpointMetadata:
    """The `hyper_parameters` of a checkpoint, which rebuild the network and identify its training data.

    A checkpoint is Lightning's dictionary, restricted to tensors and plain JSON values. In addition to Lightning's own
    keys it has `hyper_parameters` (this class) and `callbacks` (states under the class names of an early version, see
    `state_key`). A checkpoint written within an epoch also has `epoch_so_far`, the losses, predictions and labels of
    the steps of that epoch.

    Attributes:
        settings: All training settings, in the structure of config.yaml.
        classes: The K class names, in the order of the labels.
        channels: Number of image channels, 1 or 3.
        mean: Mean of the training pixels, scaled to [0, 1], per channel.
        std: Standard deviation of the same pixels, per channel.
        background: Gray level of the padding, 0 to 255.
        side: Height and width of the stored images, in px.
        data: Record of the training images if they are the user's own, see `data.data_record`. None for published
            datasets.
    """

    settings: dict[str, Any]
    classes: list[str]
    channels: int
    mean: list[float]
    std: list[float]
    background: int
    side: int
    data: dict[str, Any] | None = None

    def to_plain(self) -> dict[str, Any]:
        """Convert to plain JSON values, without `data` if it is None."""
        return {name: value for name, value in asdict(self).items() if name != "data" or value is not None}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning plugin that writes checkpoints atomically and loads them as plain data."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(exist_ok=True)  # without parents: a deleted run folder is an error
        with atomic_file(path) as stream:
            try:
                torch.save(checkpoint, stream)
            except RuntimeError as error:  # torch reports a full disk as a format error
                if "inline_container" not in str(error):
                    raise
                stream.write(bytes(1 << 20))  # raises the OSError, if the disk is the cause
                stream.flush()
                raise

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return load_checkpoint(Path(path))
