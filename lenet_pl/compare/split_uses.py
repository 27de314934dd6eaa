"""How often the test split of each compared dataset was used."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lenet_pl.artifacts.ledger import read_uses
from lenet_pl.compare.datasets import SHOWN
from lenet_pl.compare.evaluations import EvaluationResults
from lenet_pl.compare.run_index import RunIndex
from lenet_pl.errors import printable

Dataset = tuple[str, str]  # name, and digest or ""


@dataclass
class SplitUses:
    """Uses of the test split of a dataset.

    Attributes:
        data: The name of the dataset.
        digest: The digest of its images; empty for a published dataset, whose files are verified.
        runs: The number of compared runs that scored the split.
        by_training: How often they did so at the end of a training.
        by_evaluate: The number of evaluations among the compared folders.
        in_ledger: The number of uses in the ledger of the account, those of deleted runs included.
        since: The day of the first of them, as in 2026-11-28; empty without.
    """

    data: str
    digest: str
    runs: int = 0
    by_training: int = 0
    by_evaluate: int = 0
    in_ledger: int = 0
    since: str = ""

    @property
    def uses(self) -> int:
        """The number of uses by the compared folders."""
        return self.by_training + self.by_evaluate

    def describe(self) -> str:
        """Describe the uses in one line. The ledger is mentioned if it has more of them."""
        text = f"test split of {printable(self.data)}: used {_times(self.uses)} by {_runs(self.runs)}"
        text += f", {self.by_evaluate:,} of them by evaluate" if self.by_evaluate else ""
        if self.in_ledger > self.uses:
            text += f"; {_times(self.in_ledger)} since {printable(self.since)} by all runs of this account"
        return text

    def record(self) -> dict[str, Any]:
        """Return the figures for compare.json."""
        names = ("data", "runs", "uses", "by_evaluate", "in_ledger")
        return {name: getattr(self, name) for name in names} | {"data_digest": self.digest or None}


def count_uses(index: RunIndex) -> list[SplitUses]:
    """Count the uses of test splits by the runs and evaluations of an index, and in the ledger.

    Folds of a cross-validation do not count: they leave the test split alone.
    """
    found: dict[Dataset, SplitUses] = {}
    tested: dict[Dataset, set[Path]] = defaultdict(set)
    known = {run.folder.resolve(): run.folder for run in index.runs} if index.evaluations else {}
    for run in index.runs:
        if run.results and run.results.get("fold") is None:
            uses = found.setdefault(_dataset(run.results), SplitUses(*_dataset(run.results)))
            times = run.results.get("test_uses", int("test/accuracy" in run.results["metrics"]))
            uses.by_training += times
            tested[_dataset(run.results)] |= {run.folder} if times else set()
    for evaluation in index.evaluations:
        try:
            content = EvaluationResults.model_validate(evaluation.content)
        except ValidationError:
            continue
        dataset = (content.data, content.data_digest or "")
        if content.split == "test" and dataset in found:
            found[dataset].by_evaluate += 1
            paths = [content.run] if content.run else [network.run for network in content.runs]
            moved = evaluation.folder.resolve().parents  # inside the folder of its run
            places = [*(Path(path).resolve() for path in paths), *moved]
            tested[dataset] |= {known[place] for place in places if place in known}
    written = {(printable(name), digest): uses for (name, digest), uses in found.items()}
    for line in read_uses():
        recorded = written.get((line["data"].removeprefix("'"), line["data_digest"]))
        if recorded and line["split"] == "test":
            recorded.in_ledger += 1
            recorded.since = min(recorded.since or line["time"][:10], line["time"][:10])
    for dataset, folders in tested.items():
        found[dataset].runs = len(folders)
    names = Counter(name for name, _ in found)
    for uses in found.values():
        uses.data += f" {uses.digest[:SHOWN]}" if names[uses.data] > 1 else ""
    return [uses for _, uses in sorted(found.items()) if uses.uses]


def _dataset(results: dict[str, Any]) -> Dataset:
    return results["data"], results.get("data_digest") or ""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _runs(count: int) -> str:
    return f"{count:,} run{'s' * (count != 1)}"
