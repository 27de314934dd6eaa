"""Distinguish datasets that share a name but not their images, so that no mean is taken over both."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from lenet_pl.compare.run import Run

OWN = ("folder", "arrays")  # kinds of data for the user's own images
SHOWN = 8  # number of digest characters in a name


def tell_apart(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Give different datasets different names.

    Args:
        runs: The finished runs.

    Returns:
        The runs, and notes on the datasets that were renamed or cannot be compared. If datasets share a name, the first
        characters of their digests are appended to it.
    """
    digests: dict[str, Counter[str]] = defaultdict(Counter)
    unrecorded: Counter[str] = Counter()
    for run in runs:
        if digest := run.results.get("data_digest"):
            digests[run.results["data"]][digest] += 1
        else:
            unrecorded[run.results["data"]] += run.value("data.name") in OWN
    several = {name for name, some in digests.items() if len(some) > 1}
    notes = [
        f"{name}: {len(digests[name])} different datasets have this name and are listed separately: "
        + ", ".join(f"{_name(name, digest)} ({_runs(count)})" for digest, count in sorted(digests[name].items()))
        for name in sorted(several)
    ]
    notes += [
        f"{name}: {_runs(count)} of an earlier version did not record the images; whether they are the same is unknown"
        for name, count in sorted((+unrecorded).items())
        if sum(run.results["data"] == name for run in runs) > 1
    ]
    return [_renamed(run) if run.results["data"] in several else run for run in runs], notes


def _renamed(run: Run) -> Run:
    name, digest = run.results["data"], run.results.get("data_digest")
    return replace(run, results=run.results | {"data": _name(name, digest) if digest else f"{name}, not recorded"})


def _name(name: str, digest: str) -> str:
    return f"{name} {digest[:SHOWN]}"


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"
