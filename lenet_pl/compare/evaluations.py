"""Results of `evaluate` as rows of a comparison: one network or an ensemble, with or without test-time augmentation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lenet_pl.compare.read_results import Finite, Number, describe_validation_error, read_finished
from lenet_pl.compare.run import Evaluation, Run
from lenet_pl.compare.run_index import RunIndex
from lenet_pl.settings.evaluate import TtaSettings

KEYS = ("networks", "views")  # keys that distinguish an evaluation from the test at the end of a training
# Prefix of the same metric in the results of a training, whose best checkpoint is scored on the validation split
METRICS = {"test": "test/", "val": "best/val/"}


class Network(BaseModel):
    """A network of an evaluation."""

    model_config = ConfigDict(strict=True, extra="ignore")

    run: str


class EvaluationResults(BaseModel):
    """The entries of an evaluation's results.json that a comparison needs."""

    model_config = ConfigDict(strict=True, extra="ignore")

    run: str | None = None  # run folder of a single network
    runs: list[Network] = Field(default_factory=list)  # networks of an ensemble
    tta: TtaSettings
    data: str
    data_digest: str | None = None
    split: Literal["test", "val"]
    images: Number
    metrics: dict[str, Finite]


def with_evaluations(index: RunIndex, metric: str) -> RunIndex:
    """Add evaluations to the runs of an index, and the keys `networks` and `views` to all of them.

    Args:
        index: The runs and evaluations. The run of an evaluation need not be among them: it is searched at its recorded
            path, then in the parent folders of the evaluation.
        metric: The metric to compare. Evaluations of the other split are skipped.

    Returns:
        An index in which evaluations are runs. For an ensemble, parameters and training seconds are sums, epochs and
        images per second are means, and the seed is that of the first network.
    """
    known = {run.folder.resolve(): run for run in index.runs}
    rows = [replace(run, results=run.results | dict.fromkeys(KEYS, 1)) if run.results else run for run in index.runs]
    others = [METRICS[split] for split in METRICS if not metric.startswith(METRICS[split])]
    wanted = [one for one in index.evaluations if METRICS.get(str(one.content.get("split"))) not in others]
    rows += [_row(evaluation, known) for evaluation in wanted]
    return RunIndex(rows, others=index.skipped - len(wanted))


def _row(evaluation: Evaluation, known: Mapping[Path, Run]) -> Run:
    folder = evaluation.folder
    try:
        found = EvaluationResults.model_validate(evaluation.content)
    except ValidationError as error:
        return Run(folder, problem=describe_validation_error(error))
    paths = [found.run] if found.run else [network.run for network in found.runs]
    networks = [_network(Path(path), folder, known) for path in paths]
    if missing := next((run for run in networks if not run.results), None):
        return Run(folder, problem=f"its run {missing.place}: {missing.problem}")
    if not networks:
        return Run(folder, problem="results.json is corrupt: run is missing")
    each = [run.results for run in networks]
    rates = [one["images_per_second"] for one in each]
    results: dict[str, Any] = {
        **evaluation.content,
        "model": " + ".join(sorted({one["model"] for one in each})),
        "seed": each[0]["seed"],
        "parameters": sum(one["parameters"] for one in each),
        "training_seconds": sum(one["training_seconds"] for one in each),
        "epochs": fmean(one["epochs"] for one in each),
        "images_per_second": None if None in rates else fmean(rates),
        "images": each[0]["images"] | ({"test": found.images} if found.split == "test" else {}),
        "metrics": {METRICS[found.split] + name: figure for name, figure in found.metrics.items()},
        "networks": len(networks),
        "views": (2 * found.tta.shift + 1) ** 2 * (1 + found.tta.hflip),
    }
    return Run(folder, results, origin=networks[0].folder)


def _network(place: Path, evaluation: Path, known: Mapping[Path, Run]) -> Run:
    """Find the run that was evaluated; both may have been moved, if the evaluation is inside the run."""
    above: Sequence[Path] = evaluation.resolve().parents
    for folder in (place.resolve(), *above):
        if folder in known:
            return known[folder]
    return read_finished(place) or Run(place, problem="does not contain the results of a training")
