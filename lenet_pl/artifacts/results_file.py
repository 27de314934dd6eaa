"""How a training ended, according to results.json, and renaming of the results of a run that is resumed.

Without heavy imports.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from lenet_pl.errors import DataError

RESULTS = "results.json"  # exists if and only if the run is finished
REPORT = "report.html"


@dataclass(frozen=True)
class End:
    """How a training ended.

    Attributes:
        epochs: The number of trained epochs.
        stopped_early: Whether early stopping ended the training.
        test_uses: The number of times that the run was evaluated on the test split.
    """

    epochs: int
    stopped_early: bool
    test_uses: int

    def reached(self, max_epochs: int) -> bool:
        """Whether a training with this number of epochs would have ended here."""
        return self.stopped_early or self.epochs >= max_epochs


def read_end(folder: Path) -> End | None:
    """Read how the training in a run folder ended; None if it is not finished.

    Raises:
        DataError: results.json is corrupt, or not from a training.
    """
    path = folder / RESULTS
    try:
        return _end(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a training's results ({type(error).__name__})") from None


def make_way(folder: Path) -> None:
    """Rename results and report of a run that is resumed to `earlier_...`, which leaves the folder unfinished.

    The results are renamed first, since the folder counts as finished while results.json exists.
    """
    number = 1 + len(_earlier(folder))
    for path, name in (
        (folder / RESULTS, f"earlier_results_{number}.json"),
        (folder / REPORT, f"earlier_{number}.html"),
    ):
        if path.exists():
            path.rename(folder / name)


def earlier_test_uses(folder: Path) -> int:
    """Count how often a run was evaluated on the test split before it was resumed."""
    uses = 0
    for path in _earlier(folder):
        try:
            uses = max(uses, _end(path).test_uses)
        except (OSError, ValueError, KeyError, TypeError):  # corrupt, but it counts as one evaluation
            uses += 1
    return uses


def _earlier(folder: Path) -> list[Path]:
    return sorted(folder.glob("earlier_results_*.json"))


def _end(path: Path) -> End:
    content = json.loads(path.read_text(encoding="utf-8"))
    tested = int("test/accuracy" in content["metrics"])  # results of earlier versions have no `test_uses`
    return End(int(content["epochs"]), bool(content["stopped_early"]), int(content.get("test_uses", tested)))
