"""Test a trained network: `python -m lenet_pl.evaluate run=<folder> [data=<another set>]`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lenet_pl.command import run_command
from lenet_pl.settings.evaluate import EvaluateSettings


def evaluate(settings: EvaluateSettings, _: Path | None = None) -> dict[str, Any]:
    """Score every image of one part of a data set, print the tables, and fill a new folder.

    Args:
        settings: checked settings.

    Returns:
        What results.json holds.

    Raises:
        UserError: the run, its checkpoint, the data or the folder cannot be used.
    """
    # torch and Lightning take seconds to import; mistakes in the settings are answered before
    import torch

    from lenet_pl.ensemble import ask, count_trained_on, identity_of_all, refuse_strangers
    from lenet_pl.environment import describe_environment
    from lenet_pl.errors import DataError
    from lenet_pl.evaluation import score, write_evaluation
    from lenet_pl.scores import Scores
    from lenet_pl.trained import open_runs, output_folder

    runs = open_runs(settings)
    refuse_strangers(runs, settings.part)
    run = runs[0]
    data = run.data(settings.other_data, part=settings.part, accept_changes=settings.accept_changes)
    images = data.test_set if settings.part == "test" else data.validation_set
    logits = ask(runs, images.images, settings.views)
    if wrong := int((~logits.isfinite()).any(1).sum()):
        which = " or ".join(str(run.checkpoint) for run in runs)
        raise DataError(f"{which}: gives no finite numbers for {wrong:,} images; accepted is a sound network")
    folder = output_folder(settings, run, "evaluate")  # of several runs in the folder of the first
    scores = Scores(logits, images.labels, run.classes)
    results = {
        "task": "evaluate",
        **(run.identity() if len(runs) == 1 else identity_of_all(runs)),
        "views": settings.views.model_dump(),
        "data": data.source.name,
        "data_digest": data.identity.digest if data.identity else None,
        "part": settings.part,
        "images": len(images),
        "images_trained_on": count_trained_on(runs, images),
        **score(scores),
        **describe_environment(torch.device("cpu")),
    }
    write_evaluation(folder, results, scores, images.images)
    return results


if __name__ == "__main__":
    run_command("evaluate", EvaluateSettings, evaluate)
