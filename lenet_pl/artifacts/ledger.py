"""The ledger of the account: one line for each time that a test split was scored.

A run folder counts its own uses of the test split, but a deleted one counts nothing any more. Therefore `train` and
`evaluate` also append to a file outside of all run folders, and `compare` reads it. Its path is `LENET_PL_TEST_USES`
(empty: no ledger), or `$XDG_STATE_HOME/lenet_pl/test_uses.csv`, where a program keeps what should survive its restarts
(XDG Base Directory Specification). Without heavy imports.
"""

import csv
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lenet_pl.display.text import as_csv
from lenet_pl.errors import printable

ENVIRONMENT = "LENET_PL_TEST_USES"
COLUMNS = ("time", "data", "data_digest", "split", "images", "purpose", "accuracy", "run", "command")
WAIT = 20  # s for another process that writes; each writes one line


def ledger_path() -> Path | None:
    """Return the path of the ledger; None if there should be none."""
    chosen = os.environ.get(ENVIRONMENT)
    if chosen is not None:
        return Path(chosen).expanduser() if chosen else None
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "lenet_pl" / "test_uses.csv"


def record_training(results: dict[str, Any], folder: Path, folds: int | None) -> None:
    """Append the test at the end of a training.

    Args:
        results: The content of results.json. Nothing is appended if no test image was scored.
        folder: The run folder.
        folds: The number of folds of a cross-validation, of which one was the test split; None without.

    Raises:
        OSError: The ledger cannot be written, or another process has locked it for too long.
        RuntimeError: The account has no home.
    """
    if not results["images"]["test"]:
        return
    split = f"fold {results['fold']} of {folds}" if folds else "test"
    purpose = "after training" if results["test_uses"] == 1 else "after further training"
    _append(results, split, results["images"]["test"], purpose, results["metrics"]["test/accuracy"], [str(folder)])


def record_evaluation(results: dict[str, Any], folds: int | None) -> None:
    """Append an evaluation on the test split; the arguments and errors are those of `record_training`."""
    if results["split"] != "test":
        return
    tta = results["tta"]
    runs = [one["run"] for one in results.get("runs", [results])]
    purpose = "evaluation" + f" of {len(runs)} networks" * (len(runs) > 1)
    purpose += " with TTA" * bool(tta["shift"] or tta["hflip"]) + " and corruptions" * ("corruptions" in results)
    split = f"a fold of {folds}" if folds else "test"
    _append(results, split, results["images"], purpose, results["metrics"]["accuracy"], runs)


def read_uses() -> Iterator[dict[str, str]]:
    """Read the lines of the ledger that are complete; none if it is missing or cannot be read."""
    try:
        if (path := ledger_path()) is not None:
            with path.open(encoding="utf-8", errors="replace", newline="") as stream:
                for text in stream:  # line by line, so that one that was cut off spoils no other
                    cells = next(csv.reader([text.replace("\0", "")]), [])
                    if len(cells) == len(COLUMNS) and cells != list(COLUMNS):
                        yield dict(zip(COLUMNS, cells, strict=True))
    except (OSError, RuntimeError, csv.Error):  # RuntimeError: there is no home
        return


def _append(results: dict[str, Any], split: str, images: int, purpose: str, accuracy: float, runs: list[str]) -> None:
    """Append a line. The lock is for NFS, where lines of two machines may overwrite each other."""
    from filelock import FileLock, Timeout

    path = ledger_path()
    if path is None:
        return
    place = " ".join(str(Path(run).resolve()) for run in runs)
    line = (
        *(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", results["data"], results["data_digest"]),
        *(split, images, purpose, accuracy, place, results["command"]),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{path}.lock", timeout=WAIT), path.open("a+b") as stream:
            cells = [printable(cell) if isinstance(cell, str) else cell for cell in line]  # a line break is escaped
            text = as_csv([cells] if stream.tell() else [COLUMNS, cells])
            if stream.tell():
                stream.seek(-1, os.SEEK_END)
                text = text if stream.read() == b"\n" else f"\n{text}"  # after a line that a full disk cut off
            stream.write(text.encode())
    except Timeout:
        raise TimeoutError(None, f"locked by another process for {WAIT} s", str(path)) from None
