"""Write checkpoints whole or not at all, and read them without running anything that they contain."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lenet_pl.atomic import atomic_file
from lenet_pl.errors import DataError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's way to files, by the two rules of this module."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(exist_ok=True)  # not those above it: a run folder that is gone is an error
        with atomic_file(path) as stream:
            try:
                torch.save(checkpoint, stream)
            except RuntimeError as error:  # torch tells of a disk that is full at the wrong place in its file
                if "inline_container" not in str(error):
                    raise
                stream.write(bytes(1 << 20))  # the system says what is wrong, if it is the disk
                stream.flush()
                raise

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return load_checkpoint(Path(path))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this project as plain data.

    Raises:
        DataError: the file is absent, damaged, or holds anything but tensors and plain values.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums that it writes
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("it is compressed, and could unfold to any size")
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} inside it is damaged")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{path}: no such checkpoint") from None
    except Exception as error:  # a damaged pickle can fail in any way
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's own words lead to switching the check off
            strange = "nsupported" in str(error)
            why = "it holds more than tensors and plain values" if strange else "its content cannot be read"
        raise DataError(f"{path}: not a checkpoint that can be trusted ({why})") from None
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise DataError(f"{path}: not a checkpoint of lenet_pl, it has no state_dict")
    return checkpoint
