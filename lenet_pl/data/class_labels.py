"""Labels and class names as users save them: numbered from 0, an image of each class, a name for each."""

import re
from pathlib import Path

from torch import Tensor

from lenet_pl.errors import DataError, printable

_SHOWN = 5  # labels or names that a line tells of


def read_class_names(file: Path) -> list[str]:
    """Read a name from each line, without white space around it; empty lines are passed over.

    Raises:
        DataError: the file is unreadable, not UTF-8, or has a name twice.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}; must be a file with a name on each line") from None
    wide = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
    encoding = next((name for mark, name in wide.items() if content.startswith(mark)), "")
    if encoding or b"\0" in content:
        what = f"{encoding} text" if encoding else "zero bytes, as UTF-16 text has them"
        raise DataError(f"{file}: got {what}; must be UTF-8: save it again with this encoding")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: not UTF-8 text ({error.reason} at byte {error.start}); accepted is a name on each line: save it "
            "again as UTF-8"
        ) from None
    lines: dict[str, int] = {}
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        name = line.strip()
        if name in lines:
            raise DataError(
                f"{file}: got {printable(name)} on line {lines[name]} and on line {number}; must be another name for "
                "each class"
            )
        if name:
            lines[name] = number
    return list(lines)


def require_labels(folder: Path, train: Tensor, test: Tensor, names: list[str] | None) -> None:
    """Require labels from 0 without a gap, and a name for each where there are names.

    Args:
        folder: holds the files.
        train: labels of the training part, int64 (N,), none below 0.
        test: labels of the test part.
        names: from classes.txt; None: there is no such file.

    Raises:
        DataError: names the file, its labels, and what to do.
    """
    file, listed = folder / "train_labels.npy", folder / "classes.txt"
    there = sorted(set(train.tolist()))
    largest = int(max(train.max(), test.max()))
    got = f"labels {_listed(there)}"
    if len(there) == 1:
        raise DataError(f"{file}: every label is {there[0]}; accepted are two classes or more")
    if there == list(range(1, len(there) + 1)) and (names is None or len(names) == len(there)):
        both = "train_labels.npy and test_labels.npy" if test.min() > 0 else "train_labels.npy"
        raise DataError(f"{file}: got {got}; must be 0 to {len(there) - 1}: subtract 1 in {both}")
    if strange := sorted(set(test.tolist()) - set(there)):
        raise DataError(
            f"{folder / 'test_labels.npy'}: got {_listed(strange)}, of which train_labels.npy has none "
            f"({_listed(there)}); must be classes with at least one training image"
        )
    if names is not None and largest >= len(names):
        raise DataError(
            f"{listed}: {len(names)} names for labels up to {largest}; accepted is one each, for label 0 on the first "
            "line"
        )
    missing = sorted(set(range(len(names) if names is not None else largest + 1)) - set(there))
    if missing:
        which = _listed(missing) if names is None else ", ".join(printable(names[k]) for k in missing[:_SHOWN])
        more = ", …" * (names is not None and len(missing) > _SHOWN)
        raise DataError(
            f"{file}: got {got}, no image of the class{'es' * (len(missing) > 1)} {which}{more}; must be 0 to "
            f"{len(there) - 1} for {len(there)} classes: number both files anew by numpy.searchsorted("
            f"numpy.unique(train_labels), labels){' and leave the other names out of classes.txt' if names else ''}"
        )


def _listed(labels: list[int]) -> str:
    """Write "3, 7" or, for a row without a gap, "1 to 10"."""
    if len(labels) > 2 and labels[-1] - labels[0] == len(labels) - 1:
        return f"{labels[0]} to {labels[-1]}"
    return ", ".join(map(str, labels[:_SHOWN])) + ", …" * (len(labels) > _SHOWN)
