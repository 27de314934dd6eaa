"""Validation of the labels and class names of NumPy datasets."""

import re
from pathlib import Path

from torch import Tensor

from lenet_pl.errors import DataError, printable

_MAX_SHOWN = 5  # labels or names listed in a message


def read_class_names(file: Path) -> list[str]:
    """Read one stripped name per line and skip empty lines.

    Raises:
        DataError: If the file is unreadable, not UTF-8, or contains a name twice.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}; must be a readable file with one name per line") from None
    wide = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
    encoding = next((name for mark, name in wide.items() if content.startswith(mark)), "")
    if encoding or b"\0" in content:
        what = f"{encoding} text" if encoding else "null bytes, as in UTF-16 text"
        raise DataError(f"{file}: got {what}; must be UTF-8: save it again with this encoding")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: not UTF-8 text ({error.reason} at byte {error.start}); must be one name per line: save it again "
            "as UTF-8"
        ) from None
    lines: dict[str, int] = {}
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        name = line.strip()
        if name in lines:
            raise DataError(
                f"{file}: got {printable(name)} on lines {lines[name]} and {number}; must be a different name for each "
                "class"
            )
        if name:
            lines[name] = number
    return list(lines)


def require_labels(folder: Path, train: Tensor, test: Tensor, names: list[str] | None) -> None:
    """Check that labels count from 0 without gaps, and that every label has a name if names are given.

    Args:
        folder: The folder of the files, for messages.
        train: The training labels, non-negative int64 of shape (N,).
        test: The test labels, non-negative int64 of shape (N,).
        names: The class names from `classes.txt`, or None if that file does not exist.

    Raises:
        DataError: If a check fails. The message names the file, its labels and the fix.
    """
    file, listed = folder / "train_labels.npy", folder / "classes.txt"
    there = sorted(set(train.tolist()))
    largest = int(max(train.max(), test.max()))
    got = f"labels {_listed(there)}"
    if len(there) == 1:
        raise DataError(f"{file}: every label is {there[0]}; must be two or more classes")
    if there == list(range(1, len(there) + 1)) and (names is None or len(names) == len(there)):
        both = "train_labels.npy and test_labels.npy" if test.min() > 0 else "train_labels.npy"
        raise DataError(f"{file}: got {got}; must be 0 to {len(there) - 1}: subtract 1 in {both}")
    if strange := sorted(set(test.tolist()) - set(there)):
        raise DataError(
            f"{folder / 'test_labels.npy'}: got {_listed(strange)}, missing in train_labels.npy "
            f"({_listed(there)}); must be classes with at least one training image"
        )
    if names is not None and largest >= len(names):
        raise DataError(
            f"{listed}: got {len(names)} names for labels up to {largest}; must be one name per class, label 0 on the "
            "first line"
        )
    missing = sorted(set(range(len(names) if names is not None else largest + 1)) - set(there))
    if missing:
        which = _listed(missing) if names is None else ", ".join(printable(names[k]) for k in missing[:_MAX_SHOWN])
        more = ", …" * (names is not None and len(missing) > _MAX_SHOWN)
        raise DataError(
            f"{file}: got {got}, no image of class{'es' * (len(missing) > 1)} {which}{more}; must be 0 to "
            f"{len(there) - 1} for {len(there)} classes: renumber both files with numpy.searchsorted("
            f"numpy.unique(train_labels), labels){' and delete the other names from classes.txt' if names else ''}"
        )


def _listed(labels: list[int]) -> str:
    """Format labels as "3, 7" or, for a range without gaps, "1 to 10"."""
    if len(labels) > 2 and labels[-1] - labels[0] == len(labels) - 1:
        return f"{labels[0]} to {labels[-1]}"
    return ", ".join(map(str, labels[:_MAX_SHOWN])) + ", …" * (len(labels) > _MAX_SHOWN)
