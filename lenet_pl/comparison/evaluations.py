"""What `evaluate` found, as rows of a comparison: of one network or an ensemble, asked about one view or several."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lenet_pl.comparison.run_index import Evaluation, Finite, Number, Run, RunIndex, damage, read_finished
from lenet_pl.settings.evaluate import ViewSettings

KEYS = ("networks", "views")  # numbers that set an evaluation apart from the test that ends a training
# Where a training's results have the same metric: the validation part is scored by the checkpoint of the best epoch
METRICS = {"test": "test/", "validation": "best/val/"}


class Network(BaseModel):
    """One network of an evaluation."""

    model_config = ConfigDict(strict=True, extra="ignore")

    run: str


class EvaluationResults(BaseModel):
    """What a comparison needs of an evaluation's results.json."""

    model_config = ConfigDict(strict=True, extra="ignore")

    run: str | None = None  # of one network
    runs: list[Network] = Field(default_factory=list)  # of an ensemble
    views: ViewSettings
    data: str
    data_digest: str | None = None
    part: Literal["test", "validation"]
    images: Number
    metrics: dict[str, Finite]


def with_evaluations(index: RunIndex, metric: str) -> RunIndex:
    """Make rows of evaluations, beside the runs, all with the keys `networks` and `views`.

    Args:
        index: runs and evaluations that were found. The run of an evaluation need not be among them; it is looked for
            where it was, then above the evaluation.
        metric: that will be compared; evaluations of the other part of the data are passed over.

    Returns:
        An index in which evaluations count as runs. Parameters and training seconds of an ensemble are sums, epochs and
        images per second means, and its seed is that of its first network.
    """
    known = {run.folder.resolve(): run for run in index.runs}
    rows = [replace(run, results=run.results | dict.fromkeys(KEYS, 1)) if run.results else run for run in index.runs]
    others = [METRICS[part] for part in METRICS if not metric.startswith(METRICS[part])]
    asked = [one for one in index.evaluations if METRICS.get(str(one.content.get("part"))) not in others]
    rows += [_row(evaluation, known) for evaluation in asked]
    return RunIndex(rows, others=index.passed_over - len(asked))


def _row(evaluation: Evaluation, known: Mapping[Path, Run]) -> Run:
    folder = evaluation.folder
    try:
        found = EvaluationResults.model_validate(evaluation.content)
    except ValidationError as error:
        return Run(folder, problem=damage(error))
    places = [found.run] if found.run else [network.run for network in found.runs]
    networks = [_network(Path(place), folder, known) for place in places]
    if missing := next((run for run in networks if not run.results), None):
        return Run(folder, problem=f"its run {missing.place}: {missing.problem}")
    if not networks:
        return Run(folder, problem="results.json damaged: run is absent")
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
        "images": each[0]["images"] | ({"test": found.images} if found.part == "test" else {}),
        "metrics": {METRICS[found.part] + name: figure for name, figure in found.metrics.items()},
        "networks": len(networks),
        "views": (2 * found.views.shift + 1) ** 2 * (1 + found.views.mirror),
    }
    return Run(folder, results, origin=networks[0].folder)


def _network(place: Path, evaluation: Path, known: Mapping[Path, Run]) -> Run:
    """Find a run that was evaluated; it may have been moved since, with the evaluation inside."""
    above: Sequence[Path] = evaluation.resolve().parents
    for folder in (place.resolve(), *above):
        if folder in known:
            return known[folder]
    return read_finished(place) or Run(place, problem="holds no training's results")
