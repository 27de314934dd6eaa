"""Compilation of an exported C file, to check it and to measure its size."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lenet_pl.errors import DataError
from lenet_pl.export.formats import Predict

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")


def find_compiler() -> str | None:
    """Return the path of a C compiler: that of the environment variable CC, or of the system; None without one."""
    return next((path for name in (os.environ.get("CC"), *COMPILERS) if name and (path := shutil.which(name))), None)


def describe_compiler(compiler: str) -> str:
    """Return name, version and target of a compiler, such as `gcc 12 for x86_64-linux-gnu`."""
    words = [_print(compiler, option) for option in ("-dumpversion", "-dumpmachine")]
    return f"{Path(compiler).name} {words[0]} for {words[1]}"


def _print(compiler: str, option: str) -> str:
    return subprocess.run([compiler, option], capture_output=True, text=True, check=False).stdout.strip()


def load_c(source: Path, name: str, num_classes: int, folder: Path, compiler: str) -> Predict:
    """Compile a C file as a shared library, and load it.

    Args:
        source: The file.
        name: The prefix of its names.
        num_classes: The number of classes, K.
        folder: A folder for the library.
        compiler: The path of the compiler.

    Returns:
        uint8 (N, C, side, side) → logits, float (N, K), one image after the other.

    Raises:
        DataError: The compiler fails or warns.
    """
    library = folder / f"{name}.so"
    _compile(compiler, [*FLAGS, "-O3", "-fPIC", "-shared", str(source), "-o", str(library)], source)
    function = getattr(ctypes.CDLL(str(library)), f"{name}_logits")
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p], None

    def predict(images: Tensor) -> Tensor:
        pixels = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
        logits = np.empty((len(pixels), num_classes), np.float32)
        for image, row in zip(pixels, logits, strict=True):
            function(image.ctypes.data, row.ctypes.data)
        return torch.from_numpy(logits)

    return predict


def measure_object(source: Path, folder: Path, compiler: str) -> str | None:
    """Return the sections of the object file, as `size` prints them, in one line; None without that program."""
    if not (program := shutil.which("size")):
        return None
    compiled = folder / "model.o"
    _compile(compiler, [*FLAGS, "-Os", "-fno-pie", "-c", str(source), "-o", str(compiled)], source)
    printed = subprocess.run([program, str(compiled)], capture_output=True, text=True, check=False).stdout.splitlines()
    if len(printed) < 2 or printed[0].split()[:3] != ["text", "data", "bss"]:
        return None
    text, data, bss = printed[1].split()[:3]
    return f"text {text}, data {data}, bss {bss} bytes"


def _compile(compiler: str, arguments: list[str], source: Path) -> None:
    ended = subprocess.run([compiler, *arguments], capture_output=True, text=True, check=False)
    if ended.returncode:
        first = next((line for line in ended.stderr.splitlines() if "error" in line), ended.stderr[:200])
        raise DataError(f"{source}: {Path(compiler).name} cannot compile it ({' '.join(first.split())})")
