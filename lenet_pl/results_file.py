"""What results.json says of the end of a training, and how it makes way for one that goes on.

Imports nothing heavy.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from lenet_pl.errors import DataError

RESULTS = "results.json"  # is there if and only if the run is finished
REPORT = "report.html"


@dataclass(frozen=True)
class End:
    """How a training ended.

    Attributes:
        epochs: that were done.
        stopped_early: whether early stopping ended it.
        test_uses: times that the run was scored on the test part.
    """

    epochs: int
    stopped_early: bool
    test_uses: int

    def reached(self, max_epochs: int) -> bool:
        """Whether a training of so many epochs would have ended here."""
        return self.stopped_early or self.epochs >= max_epochs


def read_end(folder: Path) -> End | None:
    """Read how the training in a run folder ended; None if it did not.

    Raises:
        DataError: results.json is damaged, or not a training's.
    """
    path = folder / RESULTS
    try:
        return _end(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a training's results ({type(error).__name__})") from None


def make_way(folder: Path) -> None:
    """Give results and report of an end that was not the last another name; what remains is that of a stopped run.

    The results go first, as the folder counts as finished for as long as they have their name.
    """
    number = 1 + len(_earlier(folder))
    for path, name in (
        (folder / RESULTS, f"earlier_results_{number}.json"),
        (folder / REPORT, f"earlier_{number}.html"),
    ):
        if path.exists():
            path.rename(folder / name)


def earlier_test_uses(folder: Path) -> int:
    """Count the times that earlier ends of a run were scored on the test part."""
    uses = 0
    for path in _earlier(folder):
        try:
            uses = max(uses, _end(path).test_uses)
        except (OSError, ValueError, KeyError, TypeError):  # what it says is lost, that it was there is not
            uses += 1
    return uses


def _earlier(folder: Path) -> list[Path]:
    return sorted(folder.glob("earlier_results_*.json"))


def _end(path: Path) -> End:
    content = json.loads(path.read_text(encoding="utf-8"))
    tested = int("test/accuracy" in content["metrics"])  # all that results of before `test_uses` say of it
    return End(int(content["epochs"]), bool(content["stopped_early"]), int(content.get("test_uses", tested)))
