"""Test a trained network: `python -m lenet_pl.evaluate run=<folder> [data=<another set>]`."""

from __future__ import annotations

from typing import Any

from lenet_pl.settings.evaluate import EvaluateSettings


def evaluate(settings: EvaluateSettings) -> dict[str, Any]:
    """Evaluate one or several trained networks on a split, print the tables, and write a new folder.

    Args:
        settings: The settings of the command. Several runs form an ensemble.

    Returns:
        The content of results.json:

        - `task` ("evaluate"), and the keys of `TrainedRun.describe`, or of `describe_runs` for an ensemble
        - `tta` (settings of test-time augmentation), `data`, `data_digest` (of the user's own images, else None)
        - `split`, `images` (their number), `images_trained_on` (see `count_trained_on`)
        - `metrics`: `accuracy`, `loss` (cross entropy, nats), `top3_accuracy`, `macro_precision`, `macro_recall`,
          `macro_f1`, `calibration_error`
        - `per_class` (`precision`, `recall`, `f1` and `support` by class name), `most_confused`, `confusion_matrix`
          (`classes`, `rows_are`, `counts`), `calibration` (one `CalibrationBin` per bin)
        - `corruptions`, with that setting: see `lenet_pl.evaluate.robustness.measure_robustness`
        - `shifts`, with that setting: see `lenet_pl.evaluate.shift_curves.measure_shifts`
        - `device`, `threads`, `cores`, `versions`, `git_commit`, `command`

    Raises:
        UserError: The run, its checkpoint, the data or the output folder cannot be used.
    """
    # torch and Lightning take seconds to import; errors in the settings are reported earlier
    import torch

    from lenet_pl.artifacts.ledger import record_evaluation
    from lenet_pl.artifacts.metrics import ClassificationMetrics
    from lenet_pl.data.data_record import SplitName
    from lenet_pl.display.text import as_json
    from lenet_pl.errors import DataError
    from lenet_pl.evaluate.report import describe_images, print_evaluation, summarize_metrics
    from lenet_pl.inference.ensemble import check_runs_compatible, count_trained_on, describe_runs, ensemble_logits
    from lenet_pl.inference.output_folder import output_folder
    from lenet_pl.inference.trained_run import open_runs
    from lenet_pl.runtime.atomic_files import write_text
    from lenet_pl.runtime.environment import describe_environment
    from lenet_pl.runtime.optional_work import optional

    runs = open_runs(settings)
    part: SplitName = "test" if settings.split == "test" else "validation"
    check_runs_compatible(runs, part, own_data=settings.other_data is None)
    run = runs[0]
    data = run.load_data(settings.other_data, part=part, accept_changes=settings.accept_changes)
    images = data.test_set if part == "test" else data.validation_set
    logits = ensemble_logits(runs, images.images, settings.tta)
    if wrong := int((~logits.isfinite()).any(1).sum()):
        which = " or ".join(str(run.checkpoint) for run in runs)
        raise DataError(f"{which}: produces NaN or infinite logits for {wrong:,} images; the checkpoint cannot be used")
    folder = output_folder(settings, run, "evaluate")  # for an ensemble, in the folder of the first run
    scores = ClassificationMetrics(logits, images.labels, run.classes)
    results = {
        "task": "evaluate",
        **(run.describe() if len(runs) == 1 else describe_runs(runs)),
        "tta": settings.tta.model_dump(),
        "data": data.source.name,
        "data_digest": data.record.digest if data.record else None,
        "split": settings.split,
        "images": len(images),
        "images_trained_on": count_trained_on(runs, images),
        **summarize_metrics(scores),
        **describe_environment(torch.device("cpu")),
    }
    if settings.chosen_corruptions:
        from lenet_pl.evaluate.robustness import measure_robustness

        results["corruptions"] = measure_robustness(runs, images, settings)
    if settings.chosen_shifts:
        from lenet_pl.evaluate.shift_curves import measure_shifts

        results["shifts"] = measure_shifts(runs, images, settings)
    with optional("this evaluation in the ledger of test splits", []):
        fold = run.settings.data.split.fold if settings.other_data is None else None
        record_evaluation(results, fold.of if fold else None)
    write_text(folder / "results.json", as_json(results, allow_nan=False))
    if settings.report != "none":
        from lenet_pl.evaluate.figures import write_figures  # matplotlib takes a fifth of the time of the command

        write_figures(folder, scores, images.images, describe_images(results), settings.report)
    print_evaluation(folder, results)
    if settings.chosen_corruptions:
        from lenet_pl.evaluate.robustness import write_robustness

        write_robustness(folder, results, images.images, settings.report)
    if settings.chosen_shifts:
        from lenet_pl.evaluate.shift_curves import write_shifts

        write_shifts(folder, results, settings.report)
    return results
