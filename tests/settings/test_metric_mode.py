from pathlib import Path

import pytest
from conftest import Compose
from lightning.pytorch.callbacks import ModelCheckpoint

from lenet_pl.compare.groups import compare_runs
from lenet_pl.compare.run import Run
from lenet_pl.compare.run_index import RunIndex
from lenet_pl.engine.trainer import build_trainer, silence_lightning_logs
from lenet_pl.errors import SettingError
from lenet_pl.settings.metric_mode import metric_mode

SMALL_IS_GOOD = ("train/loss", "val/loss", "best/val/loss", "test/loss", "test/calibration_error")
LARGE_IS_GOOD = (
    "val/accuracy",
    "best/train/accuracy",
    "test/top3_accuracy",
    "test/macro_f1",
    "validation/macro_recall",
)


@pytest.mark.parametrize(("metrics", "mode"), [(SMALL_IS_GOOD, "min"), (LARGE_IS_GOOD, "max")])
def test_losses_and_errors_are_best_small_and_the_rest_large(metrics: tuple[str, ...], mode: str) -> None:
    assert {metric_mode(metric) for metric in metrics} == {mode}


@pytest.mark.parametrize("metric", ["loss_scale", "val/error", "accuracy/of_what", "val/my_loss"])
def test_what_is_not_known_is_refused(metric: str) -> None:
    with pytest.raises(SettingError, match=rf"^metric: got {metric}, .*; must be one of loss, "):
        metric_mode(metric)


def run(folder: str, model: str, **metrics: float) -> Run:
    results = {"model": model, "data": "d", "seed": 0, "parameters": 1, "epochs": 1, "images": {}, "metrics": metrics}
    return Run(Path(folder), results)


def test_the_best_calibrated_of_a_comparison_is_the_one_with_the_smallest_error() -> None:
    runs = [run("a", "one", calibration_error=0.2), run("b", "other", calibration_error=0.01)]
    found = compare_runs(RunIndex(runs), ["model"], "calibration_error", {})
    assert [(group.values[0], group.best) for group in found.groups] == [("other", True), ("one", False)]


@pytest.mark.parametrize("monitor", ["val/loss", "val/accuracy"])
def test_a_trainer_keeps_the_best_by_the_table(monitor: str, compose: Compose, tmp_path: Path) -> None:
    silence_lightning_logs()
    settings = compose(f"callbacks.checkpoint.monitor={monitor}", "logger=none", "trainer.accelerator=cpu")
    kept = build_trainer(settings, tmp_path).checkpoint_callback
    assert isinstance(kept, ModelCheckpoint)
    assert kept.mode == metric_mode(monitor)
