import csv
import re
import shutil
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from checkpoint_diff import difference
from conftest import Compose
from promise import case
from torch import Tensor
from torch.nn import functional

from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.loader import BatchLoader
from lenet_pl.engine.build import build_datamodule, build_task
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.engine.trainer import build_trainer, silence_lightning_logs
from lenet_pl.errors import DivergenceError
from lenet_pl.settings import TrainSettings

QUIET = (
    "callbacks.progress_bar=false",
    "callbacks.model_summary=false",
    "trainer.accelerator=cpu",
    "trainer.num_threads=1",
)
FAKE = (*QUIET, "data=fake", "model=lenet_sigmoid", "logger=none")
FROZEN = ("optimizer.lr=1e-30",)  # every batch of the epoch meets the same weights


def fit(settings: TrainSettings, folder: Path) -> tuple[ImageClassifier, ImageDataModule, lightning.Trainer]:
    silence_lightning_logs()
    lightning.seed_everything(settings.seed, verbose=False)
    data = build_datamodule(settings)
    task = build_task(settings, data)
    trainer = build_trainer(settings, folder)
    trainer.fit(task, data)
    return task, data, trainer


def logits_of(task: ImageClassifier, data: ImageDataModule, part: str) -> tuple[Tensor, Tensor]:
    images = getattr(data, f"{part}_set")
    with torch.no_grad():
        return task.eval().model(data.preprocess(images.images)), images.labels


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open() as stream:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]


def test_scores_of_an_epoch_are_those_of_all_its_images(compose: Compose, tmp_path: Path) -> None:
    settings = compose(*FAKE, *FROZEN, "loader.batch_size=50", "loader.eval_batch_size=30", "trainer.max_epochs=1")
    task, data, _ = fit(settings, tmp_path)
    assert len(data.train_set) % 50 not in (0, 1)
    assert len(data.validation_set) % 30 not in (0, 1)
    row = rows(tmp_path)[0]
    for part, name in (("train", "train"), ("validation", "val")):
        logits, labels = logits_of(task, data, part)
        assert row[f"{name}/loss"] == pytest.approx(float(functional.cross_entropy(logits, labels)), rel=1e-4)
        right = sum(int(guess == label) for guess, label in zip(logits.argmax(1), labels, strict=True))
        assert row[f"{name}/accuracy"] == pytest.approx(right / len(labels), rel=1e-4)


def test_label_smoothing_and_class_weights_are_torchs_and_for_training_only(compose: Compose, tmp_path: Path) -> None:
    weights = [float(k + 1) for k in range(10)]
    settings = compose(
        *FAKE, *FROZEN, "loader.batch_size=50", "loader.shuffle=false", "trainer.max_epochs=1",
        "loss.label_smoothing=0.2", f"loss.class_weights={weights}",
    )  # fmt: skip
    task, data, _ = fit(settings, tmp_path)
    logits, labels = logits_of(task, data, "train")
    by_hand = sum(
        float(functional.cross_entropy(guess, label, torch.tensor(weights), label_smoothing=0.2)) * len(label)
        for guess, label in zip(logits.split(50), labels.split(50), strict=True)
    )
    row = rows(tmp_path)[0]
    assert row["train/loss"] == pytest.approx(by_hand / len(labels), rel=1e-4)
    logits, labels = logits_of(task, data, "validation")
    assert row["val/loss"] == pytest.approx(float(functional.cross_entropy(logits, labels)), rel=1e-4)


def test_balanced_weights_are_one_over_the_frequency(compose: Compose) -> None:
    settings = compose(
        *FAKE, "data.num_images=103", "data.classes=4", "loader.batch_size=8", "loss.class_weights=balanced"
    )
    data = build_datamodule(settings)
    counts = torch.bincount(data.train_set.labels)
    expected = counts.sum() / (4 * counts)
    assert len(set(counts.tolist())) > 1
    torch.testing.assert_close(build_task(settings, data).loss.class_weights, expected)


def test_plateau_lowers_the_lr_when_the_loss_does_not_improve(compose: Compose, tmp_path: Path) -> None:
    overrides = ("optimizer=sgd", "optimizer.lr=1e-6", "scheduler.patience=1", "callbacks=no_early_stopping")
    fit(compose(*FAKE, *overrides, "trainer.max_epochs=6"), tmp_path)
    # epoch 0 is the best; 1 is borne; 2 is one too many, and so is each second epoch from there
    assert [row["lr"] for row in rows(tmp_path)] == pytest.approx([1e-6] * 3 + [5e-7] * 2 + [2.5e-7])


def test_plateau_leaves_the_lr_while_the_loss_improves(compose: Compose, tmp_path: Path) -> None:
    fit(compose(*FAKE, "scheduler.patience=0", "trainer.max_epochs=4", "model=lenet_bn"), tmp_path)
    losses = [row["val/loss"] for row in rows(tmp_path)]
    assert losses == sorted(losses, reverse=True)
    assert [row["lr"] for row in rows(tmp_path)] == [1e-3] * 4


def test_early_stopping_stops(compose: Compose, tmp_path: Path) -> None:
    settings = compose(*FAKE, *FROZEN, "callbacks.early_stopping.patience=2", "trainer.max_epochs=20")
    _, _, trainer = fit(settings, tmp_path)
    assert len(rows(tmp_path)) == 3  # the first, and two without improvement
    assert trainer.should_stop


def test_without_early_stopping_all_epochs_run(compose: Compose, tmp_path: Path) -> None:
    fit(compose(*FAKE, *FROZEN, "callbacks=no_early_stopping", "trainer.max_epochs=8"), tmp_path)
    assert len(rows(tmp_path)) == 8


@pytest.mark.parametrize("metric", ["train/loss", "train/accuracy", "val/loss", "val/accuracy"])
def test_every_metric_can_be_watched_by_all_who_watch(metric: str, compose: Compose, tmp_path: Path) -> None:
    watched = [f"{who}.monitor={metric}" for who in ("scheduler", "callbacks.early_stopping", "callbacks.checkpoint")]
    fit(compose(*FAKE, *watched, "trainer.max_epochs=2"), tmp_path)
    assert len(rows(tmp_path)) == 2


def test_onecycle_rises_to_the_lr_and_falls_to_its_end(compose: Compose, tmp_path: Path) -> None:
    overrides = ("scheduler=onecycle", "loader.batch_size=48", "trainer.max_epochs=5", "trainer.log_every_n_steps=1")
    fit(compose(*FAKE, *overrides, "logger=csv", "callbacks=no_early_stopping"), tmp_path)
    with (tmp_path / "csv" / "metrics.csv").open() as stream:
        rates = [float(row["lr"]) for row in csv.DictReader(stream) if row["lr"]]
    assert len(rates) == 20  # 192 images, 4 steps per epoch
    assert rates[0] == pytest.approx(1e-3 * 0.04)
    assert rates[5] == max(rates) == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-3 * 1e-5)


def test_step_scheduler_counts_epochs(compose: Compose, tmp_path: Path) -> None:
    fit(compose(*FAKE, "scheduler=step", "scheduler.step_size=2", "trainer.max_epochs=5"), tmp_path)
    assert [row["lr"] for row in rows(tmp_path)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5])


def test_the_test_scores_each_image_once(compose: Compose, tmp_path: Path) -> None:
    settings = compose(*FAKE, "loader.eval_batch_size=30", "trainer.max_epochs=1")
    task, data, trainer = fit(settings, tmp_path)
    (scores,) = trainer.test(task, data, verbose=False)
    logits, labels = logits_of(task, data, "test")
    assert task.test_labels is not None
    assert task.test_logits is not None
    assert torch.equal(task.test_labels, labels)
    torch.testing.assert_close(task.test_logits, logits)
    assert scores["test/loss"] == pytest.approx(float(functional.cross_entropy(logits, labels)), rel=1e-5)
    assert scores["test/accuracy"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    trainer.test(task, data, verbose=False)
    assert len(task.test_labels) == len(labels)


@pytest.fixture(scope="module")
def weights(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Train with a seed, after other random numbers were drawn, and give the last weights."""

    def train(seed: int, disturbance: int, *overrides: str) -> dict[str, Tensor]:
        torch.manual_seed(disturbance)
        augmented = ("augment=cifar", "model.dropout=0.3", "trainer.max_epochs=2")
        task, _, _ = fit(compose(*FAKE, *augmented, f"seed={seed}", *overrides), tmp_path_factory.mktemp("seed"))
        return {key: value.clone() for key, value in task.state_dict().items()}

    return train


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(seed: int, weights: Any) -> None:
    one, other = weights(seed, 123), weights(seed, 456)
    assert len(one) == 10
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_another_seed_gives_other_weights(weights: Any) -> None:
    one, other = weights(0, 123), weights(1, 123)
    assert not [key for key in one if torch.equal(one[key], other[key])]


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
@pytest.mark.parametrize("clip", ["null", "1"])
def test_every_precision_of_the_cpu_trains(precision: str, clip: str, compose: Compose, tmp_path: Path) -> None:
    overrides = (f"trainer.precision={precision}", f"trainer.gradient_clip_val={clip}", "trainer.max_epochs=2")
    fit(compose(*FAKE, *overrides), tmp_path)
    assert all(0 < row["train/loss"] < 10 for row in rows(tmp_path))


def test_what_learned_in_mixed_precision_is_judged_in_full(compose: Compose, tmp_path: Path) -> None:
    task, data, trainer = fit(compose(*FAKE, "trainer.precision=bf16-mixed", "trainer.max_epochs=1"), tmp_path)
    trainer.test(task, data, verbose=False)
    full, _ = logits_of(task, data, "test")
    assert task.test_logits is not None
    torch.testing.assert_close(task.test_logits, full, rtol=0, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, _ = logits_of(task, data, "test")
    assert (mixed - full).abs().max() > 1e-4  # so that the comparison can fail


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs a C++ compiler")
def test_a_compiled_model_learns_the_same(compose: Compose, tmp_path: Path) -> None:
    losses = []
    for mode in ("null", "default"):
        (tmp_path / mode).mkdir()
        overrides = (f"trainer.compile={mode}", "trainer.max_epochs=2", "trainer.precision=32-true")
        task, _, _ = fit(compose(*FAKE, *overrides), tmp_path / mode)
        losses.append([row["val/loss"] for row in rows(tmp_path / mode)])
        assert not [name for name in task.state_dict() if "orig_mod" in name]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_gradients_are_clipped_to_the_norm(compose: Compose, tmp_path: Path) -> None:
    overrides = ("optimizer=sgd", "optimizer.lr=1", "optimizer.momentum=0", "optimizer.nesterov=false")
    settings = compose(*FAKE, *overrides, "trainer.gradient_clip_val=0.001", "debug=fast_dev_run")
    torch.manual_seed(0)
    lightning.seed_everything(settings.seed, verbose=False)
    before = build_task(settings, build_datamodule(settings)).model.state_dict()
    task, _, _ = fit(settings, tmp_path)
    moved = torch.cat([(value - before[key]).flatten() for key, value in task.model.state_dict().items()])
    assert float(moved.norm()) == pytest.approx(0.001, rel=1e-3)


def test_a_learning_rate_that_is_too_large_ends_the_training_and_keeps_the_epoch_before(
    compose: Compose, tmp_path: Path
) -> None:
    overrides = (
        "optimizer=sgd",
        "optimizer.lr=1000",
        "model=lenet5",
        "loader.batch_size=64",
        "callbacks=no_early_stopping",
    )
    message = r"^((train|val)/loss|gradient norm): (nan|inf) in .*epoch \d+, .* optimizer.lr"
    with pytest.raises(DivergenceError, match=message) as error:
        fit(compose(*FAKE, *overrides, "trainer.max_epochs=9"), tmp_path)
    assert error.value.exit_code == 1
    ended = int(re.findall(r"epoch (\d+)", str(error.value))[0])
    assert ended < 9
    last = tmp_path / "checkpoints" / "last.ckpt"
    if ended == 1:
        assert not last.exists()
    else:
        weights = torch.load(last, weights_only=True)["state_dict"].values()
        assert all(w.isfinite().all() for w in weights)


def stops(what: str) -> pytest.MarkDecorator:
    return case("settings", f"{what}: one error line, weights as before the step, the last checkpoint stays")


@pytest.mark.parametrize(
    ("poison", "what"),
    [
        pytest.param("loss", "train/loss: nan", marks=stops("a loss of NaN")),
        pytest.param("large loss", "train/loss: inf", marks=stops("a loss of inf with a finite gradient")),
        pytest.param("gradient", "gradient norm: (nan|inf)", marks=stops("a gradient of inf with a finite loss")),
    ],
)
@pytest.mark.parametrize("steps_per_hook", [1, 20])
@pytest.mark.parametrize("clip", ["null", "0.5"])
def test_what_is_no_number_stops_before_it_changes_a_weight(
    poison: str,
    what: str,
    steps_per_hook: int,
    clip: str,
    compose: Compose,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    overrides = (f"trainer.gradient_clip_val={clip}", f"trainer.steps_per_hook={steps_per_hook}")
    settings = compose(*FAKE, "loader.batch_size=8", "trainer.max_epochs=3", *overrides)
    before: dict[str, Tensor] = {}
    forward = ImageClassifier.forward

    def poisoned(task: ImageClassifier, images: Tensor) -> Tensor:
        logits = forward(task, images)
        if task.training and task.trainer.global_step == 24 + 9:  # 192 images are 24 steps
            before.update({name: value.clone() for name, value in task.model.state_dict().items()})
            if poison == "gradient":
                logits.register_hook(lambda gradient: gradient * torch.inf)
            elif poison == "loss":
                logits = logits * torch.nan
            else:
                logits = logits + 3e38 * torch.linspace(-1, 1, logits.shape[1])
        return logits

    monkeypatch.setattr(ImageClassifier, "forward", poisoned)
    silence_lightning_logs()
    data = build_datamodule(settings)
    task, trainer = build_task(settings, data), build_trainer(settings, tmp_path)
    with pytest.raises(DivergenceError, match=rf"^{what} in step 10 of epoch 2, the training diverged; .*optimizer.lr"):
        trainer.fit(task, data)
    assert trainer.global_step == 24 + 9
    assert all(torch.equal(value, before[name]) for name, value in task.model.state_dict().items())
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 24


LEARNING = ("scheduler=onecycle", "trainer.max_epochs=2", "loader.batch_size=8", "trainer.gradient_clip_val=0.5")


def test_training_is_bit_for_bit_the_loop_that_one_would_write_by_hand(compose: Compose, tmp_path: Path) -> None:
    overrides = ("callbacks=no_early_stopping", "trainer.log_every_n_steps=1", "callbacks.ema.decay=0.9", "logger=csv")
    overrides += ("trainer.precision=32-true",)
    settings = compose(*FAKE, *LEARNING, *overrides)
    task, data, trainer = fit(settings, tmp_path)
    lightning.seed_everything(settings.seed, verbose=False)
    model = build_task(settings, build_datamodule(settings)).model.train()
    optimizer = torch.optim.Adam(model.parameters(), settings.optimizer.lr, fused=True)
    steps = 2 * 24  # 192 images
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        settings.optimizer.lr,
        steps,
        pct_start=0.3,
        cycle_momentum=False,
        div_factor=25,
        final_div_factor=4e3,
    )
    losses: list[float] = []
    average: list[Tensor] = []
    for epoch in range(2):
        loader = BatchLoader(
            data.train_set, 8, data.preprocess, shuffle=True, seed=settings.seed, epoch=lambda epoch=epoch: epoch
        )
        for batch in loader:
            loss = functional.cross_entropy(model(batch.images), batch.labels)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            scheduler.step()
            losses.append(float(loss.detach()))
            now = [value.detach().clone() for value in model.parameters()]
            average = [0.9 * a + 0.1 * b for a, b in zip(average, now, strict=True)] if average else now
    assert trainer.global_step == steps == len(losses)
    assert all(torch.equal(a, b) for a, b in zip(task.model.parameters(), model.parameters(), strict=True))
    # The average is what was validated
    torch.testing.assert_close(list(task.average.module.parameters()), average, rtol=1e-5, atol=1e-6)
    model.load_state_dict(dict(zip(dict(model.named_parameters()), average, strict=True)))
    with torch.no_grad():
        images = data.preprocess(data.validation_set.images)
        scored = model.eval()(images)
        torch.testing.assert_close(task.eval()(images), scored, rtol=1e-4, atol=1e-5)
    loss = functional.cross_entropy(scored, data.validation_set.labels)
    assert float(trainer.callback_metrics["val/loss"]) == pytest.approx(float(loss), abs=1e-5)
    with (tmp_path / "csv" / "metrics.csv").open() as stream:
        found = {
            int(row["step"]): float(row["train/loss_step"]) for row in csv.DictReader(stream) if row["train/loss_step"]
        }
    assert [found[step] for step in range(steps)] == pytest.approx(losses, abs=1e-6)


@pytest.mark.parametrize(
    ("precision", "clip", "scheduler"),
    [
        ("32-true", "norm", "onecycle"),
        ("bf16-mixed", "value", "step"),
        ("bf16-mixed", "norm", "plateau"),
        ("32-true", "value", "plateau"),
    ],
)
def test_the_fast_path_has_the_bits_of_the_hooks(
    precision: str, clip: str, scheduler: str, compose: Compose, tmp_path: Path
) -> None:
    overrides = (f"trainer.precision={precision}", f"trainer.gradient_clip_algorithm={clip}", "model=lenet_bn")
    overrides += (f"scheduler={scheduler}", "callbacks.ema.decay=0.9", "augment=affine", "trainer.max_epochs=3")
    overrides += {"step": ("scheduler.step_size=1",), "plateau": ("scheduler.patience=0",)}.get(scheduler, ())
    found, history = [], []
    for steps in (1, 7, 20):
        folder = tmp_path / str(steps)
        folder.mkdir()
        task, _, trainer = fit(compose(*FAKE, *LEARNING, *overrides, f"trainer.steps_per_hook={steps}"), folder)
        assert task.automatic_optimization == (steps == 1)
        found.append((trainer.global_step, task.state_dict(), trainer.optimizers[0].state_dict()))
        history.append([{k: v for k, v in row.items() if k not in ("seconds", "images/s")} for row in rows(folder)])
    assert found[0][0] == 3 * 24
    assert len({row["lr"] for row in history[0]}) == 3 or scheduler == "plateau"
    for other, its_history in zip(found[1:], history[1:], strict=True):
        assert difference(found[0], other) == []
        assert its_history == history[0]
