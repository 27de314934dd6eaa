"""Checkpoints read as plain data, without running anything that they contain."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from lenet_pl.errors import DataError


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint of this project as plain data.

    Args:
        path: The checkpoint file.

    Returns:
        Lightning's checkpoint dictionary, with all tensors on the CPU.

    Raises:
        DataError: If the file is missing or corrupt, or contains anything but tensors and plain values.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes checksums and does not verify them
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("it is compressed and could expand to any size")
            if corrupt := archive.testzip():
                raise ValueError(f"its entry {corrupt} is corrupt")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{path}: no such checkpoint") from None
    except Exception as error:  # a corrupt pickle can fail in any way
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's message recommends disabling the check
            unsupported = "nsupported" in str(error)
            why = "it contains more than tensors and plain values" if unsupported else "its content cannot be read"
        raise DataError(f"{path}: not a valid checkpoint ({why})") from None
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise DataError(f"{path}: not a checkpoint of lenet_pl (state_dict is missing)")
    return checkpoint
