"""Sets of images that have one name and are not the same, told apart, so that no mean is taken over both."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from lenet_pl.comparison.run_index import Run

OWN = ("folder", "arrays")  # kinds of data that runs of earlier versions, too, had of the user's own
SHOWN = 8  # characters of a digest


def tell_apart(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Give different sets of images different names.

    Args:
        runs: finished ones.

    Returns:
        The runs, those whose set shares its name with another with the beginning of its digest behind the name, and
        notes on what was renamed and what could not be compared.
    """
    digests: dict[str, Counter[str]] = defaultdict(Counter)
    silent: Counter[str] = Counter()
    for run in runs:
        if digest := run.results.get("data_digest"):
            digests[run.results["data"]][digest] += 1
        else:
            silent[run.results["data"]] += run.value("data.name") in OWN
    several = {name for name, some in digests.items() if len(some) > 1}
    notes = [
        f"{name}: {len(digests[name])} different sets of images have this name and are told apart: "
        + ", ".join(f"{_name(name, digest)} ({_runs(count)})" for digest, count in sorted(digests[name].items()))
        for name in sorted(several)
    ]
    notes += [
        f"{name}: {_runs(count)} of an earlier version did not record the images, which cannot be compared"
        for name, count in sorted((+silent).items())
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
