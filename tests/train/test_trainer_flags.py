"""Flags of the Trainer have the meaning that Lightning gives them, through the whole training with its run folder."""

import csv
import json
import time
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from checkpoint_diff import checkpoint
from conftest import Compose
from quiet import QUIET

from lenet_pl.errors import SettingError
from lenet_pl.train import train

SMALL = (*QUIET, "model.channels=[[4],[8]]", "model.hidden_sizes=[16]", "loader.batch_size=64", "test=false")
STEPS = 20  # of an epoch
SMALL += (f"trainer.limit_train_batches={STEPS}", "callbacks=no_early_stopping")
NEVER_BETTER = ("callbacks.early_stopping.min_delta=9", "callbacks=default")  # early stopping as soon as it may


class Batches(lightning.Callback):
    """Labels of each training batch by epoch, and the steps at which a validation began."""

    def __init__(self) -> None:
        self.labels: dict[int, list[torch.Tensor]] = {}
        self.validations: list[int] = []

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.labels.setdefault(trainer.current_epoch, []).append(batch[1])

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.validations.append(trainer.global_step)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


def check_complete(folder: Path, results: dict[str, Any]) -> None:
    assert json.loads((folder / "results.json").read_text())["metrics"] == results["metrics"]
    assert [note for note in results["notes"] if ".png" in note or ".html" in note] == []
    for name in ("curves.png", "report.html", "checkpoints/last.ckpt"):
        assert (folder / name).exists(), name


def test_accumulated_batches_are_the_large_batch(compose: Compose, tmp_path: Path) -> None:
    sgd = ("optimizer=sgd", "optimizer.lr=0.05", "trainer.max_epochs=1", "trainer.limit_train_batches=null")
    sgd += ("loader.drop_last=true", "loader.shuffle=false")
    ways = {"large": ("loader.batch_size=128",), "small": ("loader.batch_size=32",)}
    ways["small"] += ("trainer.accumulate_grad_batches=4", "trainer.limit_train_batches=36")  # 9 × 4
    weights = {}
    for name, overrides in ways.items():
        (tmp_path / name).mkdir()
        train(compose(*SMALL, *sgd, *overrides), tmp_path / name)
        weights[name] = checkpoint(tmp_path / name)
        assert weights[name]["global_step"] == 9
    for key, large in weights["large"]["state_dict"].items():
        torch.testing.assert_close(weights["small"]["state_dict"][key], large, rtol=0, atol=1e-6)
    losses = [float(rows(tmp_path / name)[0]["val/loss"]) for name in ways]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.parametrize("most", [STEPS // 2, STEPS, STEPS + 3])
@pytest.mark.parametrize("accumulated", [1, 3])
def test_max_steps_ends_with_a_validation(most: int, accumulated: int, compose: Compose, tmp_path: Path) -> None:
    settings = compose(*SMALL, f"trainer.max_steps={most}", f"trainer.accumulate_grad_batches={accumulated}")
    results = train(settings, tmp_path)
    check_complete(tmp_path, results)
    assert checkpoint(tmp_path)["global_step"] == most
    last = rows(tmp_path)[-1]
    assert int(last["step"]) == most
    assert float(last["val/accuracy"]) > 0
    assert checkpoint(tmp_path, "best")["global_step"] <= most
    assert results["metrics"]["best/val/accuracy"] > 0


@pytest.mark.parametrize(
    ("overrides", "epochs"),
    [
        (("callbacks.early_stopping.patience=1",), 2),
        (("callbacks.early_stopping.patience=1", "trainer.min_epochs=4"), 4),
        (("callbacks.early_stopping.patience=1", f"trainer.min_steps={4 * STEPS}"), 4),
        (("callbacks.early_stopping.patience=2", "trainer.check_val_every_n_epoch=2"), 6),
        (("callbacks.early_stopping.patience=3", "trainer.val_check_interval=0.5"), 2),
    ],
)
def test_early_stopping_counts_validations_and_waits_for_the_minimum(
    overrides: tuple[str, ...], epochs: int, compose: Compose, tmp_path: Path
) -> None:
    results = train(compose(*SMALL, "trainer.max_epochs=9", *NEVER_BETTER, *overrides), tmp_path)
    assert (results["epochs"], results["stopped_early"]) == (epochs, True)
    check_complete(tmp_path, results)


def test_max_time_ends_the_training(compose: Compose, tmp_path: Path) -> None:
    class Slow(lightning.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            time.sleep(0.1)

    results = train(compose(*SMALL, "trainer.max_epochs=1000", "trainer.max_time=00:00:00:01"), tmp_path, [Slow()])
    check_complete(tmp_path, results)
    assert 1 <= checkpoint(tmp_path)["global_step"] <= 11
    assert results["metrics"]["best/val/accuracy"] > 0


def test_a_validation_every_other_epoch(compose: Compose, tmp_path: Path) -> None:
    watch = Batches()
    overrides = ("trainer.check_val_every_n_epoch=2", "trainer.max_epochs=5", "scheduler.patience=0")
    results = train(compose(*SMALL, *overrides, "optimizer.lr=1e-30"), tmp_path, [watch])
    check_complete(tmp_path, results)
    assert watch.validations == [2 * STEPS, 4 * STEPS]
    table = rows(tmp_path)
    assert [bool(row["val/loss"]) for row in table] == [False, True, False, True, False]
    assert [bool(row["train/loss"]) for row in table] == [True] * 5
    # The second validation is not better than the first, the epochs without one do not count
    assert [float(row["lr"]) for row in table] == pytest.approx([1e-30] * 4 + [5e-31])
    assert results["best_epoch"] == 2
    assert {"best/val/loss", "best/val/accuracy", "best/train/loss"} <= set(results["metrics"])


def test_a_best_epoch_without_validation_has_no_validation_metrics(compose: Compose, tmp_path: Path) -> None:
    overrides = ("trainer.check_val_every_n_epoch=2", "trainer.max_epochs=3", "callbacks.checkpoint.monitor=train/loss")
    results = train(compose(*SMALL, *overrides, "scheduler=none", "test=true"), tmp_path)
    check_complete(tmp_path, results)
    assert results["best_epoch"] == 3
    assert "best/train/loss" in results["metrics"]
    assert "best/val/loss" not in results["metrics"]


def test_more_epochs_between_validations_than_epochs_is_an_error(compose: Compose) -> None:
    message = r"^trainer\.check_val_every_n_epoch: got 2 with max_epochs=1; must be at most max_epochs$"
    with pytest.raises(SettingError, match=message):
        compose(*SMALL, "trainer.check_val_every_n_epoch=2", "trainer.max_epochs=1")


def test_a_training_that_ends_before_its_first_validation_keeps_its_last_weights(
    compose: Compose, tmp_path: Path
) -> None:
    overrides = ("trainer.check_val_every_n_epoch=2", "trainer.max_epochs=4", f"trainer.max_steps={STEPS - 5}")
    results = train(compose(*SMALL, *overrides, "test=true"), tmp_path)
    check_complete(tmp_path, results)
    assert "test/accuracy" in results["metrics"]
    assert "best/val/accuracy" not in results["metrics"]
    assert any("no validation" in note for note in results["notes"])


def test_two_validations_in_an_epoch(compose: Compose, tmp_path: Path) -> None:
    watch = Batches()
    results = train(compose(*SMALL, "trainer.val_check_interval=0.5", "trainer.max_epochs=2"), tmp_path, [watch])
    check_complete(tmp_path, results)
    assert watch.validations == [STEPS // 2, STEPS, 3 * STEPS // 2, 2 * STEPS]


def test_the_metrics_of_a_best_validation_within_an_epoch_are_its_own(compose: Compose, tmp_path: Path) -> None:
    # The first half epoch is the best, since the network then unlearns
    class Unlearn(lightning.Callback):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            with torch.no_grad():
                for parameter in pl_module.model.parameters():
                    parameter.zero_()

    settings = compose(*SMALL, "trainer.val_check_interval=0.5", "trainer.max_epochs=1", "optimizer.lr=0.01")
    results = train(settings, tmp_path, [Unlearn()])
    best = checkpoint(tmp_path, "best")
    assert best["global_step"] == STEPS // 2
    score = next(v for k, v in best["callbacks"].items() if "Checkpoint" in k)["best_model_score"]
    assert results["metrics"]["best/val/accuracy"] == pytest.approx(float(score), abs=1e-5)
    assert results["metrics"]["best/val/loss"] != float(rows(tmp_path)[0]["val/loss"])


def test_overfit_batches_are_the_same_in_every_epoch(compose: Compose, tmp_path: Path) -> None:
    watch = Batches()
    overrides = ("trainer.limit_train_batches=null", "trainer.overfit_batches=3", "trainer.max_epochs=3")
    results = train(compose(*SMALL, *overrides), tmp_path, [watch])
    check_complete(tmp_path, results)
    assert [len(some) for some in watch.labels.values()] == [3, 3, 3]
    assert all(torch.equal(torch.cat(watch.labels[0]), torch.cat(some)) for some in watch.labels.values())


def test_a_fraction_of_less_than_one_batch_cannot_be_overfitted(compose: Compose, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"^trainer\.overfit_batches: got 0\.01 of \d+ batches, less than one"):
        train(compose(*SMALL, "trainer.overfit_batches=0.01"), tmp_path)


def test_anomalies_are_detected_and_cudnn_is_timed(compose: Compose, tmp_path: Path) -> None:
    seen = []

    class Modes(lightning.Callback):
        def on_before_backward(self, trainer: Any, pl_module: Any, loss: torch.Tensor) -> None:
            seen.append((torch.is_anomaly_enabled(), torch.backends.cudnn.benchmark))

    before = torch.backends.cudnn.benchmark
    overrides = ("trainer.detect_anomaly=true", "trainer.benchmark=true", "trainer.deterministic=false")
    try:
        train(compose(*SMALL, *overrides, "trainer.max_epochs=1"), tmp_path, [Modes()])
    finally:
        torch.backends.cudnn.benchmark = before
    assert set(seen) == {(True, True)}


@pytest.mark.parametrize("accumulated", [1, 2])
def test_values_of_the_gradient_are_clipped(accumulated: int, compose: Compose, tmp_path: Path) -> None:
    largest = []

    class Gradient(lightning.Callback):
        def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            found = [float(p.grad.abs().max()) for p in pl_module.parameters() if p.grad is not None]
            largest.append(max(found, default=0.0))

    clip = ("trainer.gradient_clip_val=0.001", "trainer.gradient_clip_algorithm=value", "trainer.max_epochs=1")
    train(compose(*SMALL, *clip, f"trainer.accumulate_grad_batches={accumulated}"), tmp_path, [Gradient()])
    assert max(largest) == pytest.approx(0.001)
