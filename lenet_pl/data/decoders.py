"""Decoders of published files into uint8 images of shape (N, C, H, W) and int64 labels of shape (N,)."""

import math
import struct
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lenet_pl.errors import DataError

_IDX_TYPES: dict[int, np.dtype[Any]] = {8: np.dtype(np.uint8), 12: np.dtype(">i4")}


def decode_idx(content: bytes, name: str) -> Tensor:
    """Decode the IDX format: two zero bytes, type, number of axes, sizes and values, all big-endian.

    Args:
        content: The decompressed content of the file.
        name: The name of the file, for messages.

    Returns:
        A uint8 tensor that shares memory with `content`, or an int32 tensor, of the shape given in the file.

    Raises:
        DataError: If the content is not IDX, or its size does not match its header.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES or not 1 <= content[3] <= 3:
        raise DataError(f"{name}: not an IDX file (starts with {content[:4].hex() or 'nothing'})")
    axes, kind = content[3], _IDX_TYPES[content[2]]
    if len(content) < 4 + 4 * axes:
        raise DataError(f"{name}: truncated inside its header")
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    wanted = 4 + 4 * axes + math.prod(shape) * kind.itemsize
    if len(content) != wanted:
        raise DataError(f"{name}: got {len(content):,} bytes; must be {wanted:,} for its shape {shape}")
    values = np.frombuffer(content, kind, offset=4 + 4 * axes).reshape(shape)
    if kind.itemsize > 1:
        return torch.from_numpy(values.astype(np.int32))
    with warnings.catch_warnings():  # the tensor shares memory with read-only bytes, and nothing writes to it
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(values)


def decode_libsvm(content: bytes) -> tuple[Tensor, Tensor]:
    """Decode USPS in LIBSVM format: lines of `label index:value ...`, both counted from 1, with values from -1 to 1.

    Args:
        content: The decompressed content of the file.

    Returns:
        Images, uint8 of shape (N, 1, 16, 16), and labels, int64 of shape (N,).
    """
    lines = content.decode("ascii").splitlines()
    pixels = np.full((len(lines), 256), -1.0)
    labels = np.empty(len(lines), np.int64)
    for row, line in enumerate(lines):
        label, *pairs = line.split()
        labels[row] = int(label) - 1
        for pair in pairs:
            index, _, value = pair.partition(":")
            pixels[row, int(index) - 1] = float(value)
    images = ((pixels + 1) / 2 * 255).round().clip(0, 255).astype(np.uint8)
    return torch.from_numpy(images).view(-1, 1, 16, 16), torch.from_numpy(labels)


def decode_cifar(contents: list[bytes]) -> tuple[Tensor, Tensor]:
    """Decode the binary version of CIFAR-10: records of one label byte and 32×32 red, green and blue bytes.

    Args:
        contents: The contents of the batch files.

    Returns:
        Images, uint8 of shape (N, 3, 32, 32), and labels, int64 of shape (N,).
    """
    records = np.concatenate([np.frombuffer(c, np.uint8).reshape(-1, 3073) for c in contents])
    images = np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32)
    return torch.from_numpy(images), torch.from_numpy(records[:, 0].astype(np.int64))
