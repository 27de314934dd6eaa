"""Safetensors files of exported networks, read without executing code."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from lenet_pl.errors import DataError


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and description, without executing code from the file.

    Raises:
        DataError: The file is missing or corrupt, was written by another program, or the package is not installed.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise DataError(f"{path}: reading it needs the package safetensors; pip install 'lenet_pl[export]'") from None
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dictionary
            return weights, {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
    except (OSError, SafetensorError, ValueError) as error:
        raise DataError(f"{path}: not a safetensors file of lenet_pl ({error})") from None
