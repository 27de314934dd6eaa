"""Stochastic weight averaging beside a plain torch loop, its learning rate beside torch's SWALR."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from checkpoint_diff import checkpoint, difference
from conftest import Compose
from stopping import SignalAfter
from torch import nn, optim
from torch.nn import functional
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn

from lenet_pl.engine.build import build_datamodule, build_task
from lenet_pl.engine.trainer import build_trainer, silence_lightning_logs
from lenet_pl.errors import SettingError
from lenet_pl.inference.trained_run import load_run
from lenet_pl.optim.swa import SWAModel, SWASchedule
from lenet_pl.optim.warm_up import WarmUp
from lenet_pl.runtime.signals import Interruption
from lenet_pl.train import train

STEPS, EPOCHS, START = 6, 5, 2
SMALL = (
    "model=lenet_bn",
    "model.channels=[[4],[8]]",
    "model.hidden_sizes=[16]",
    "optimizer=sgd",
    "optimizer.lr=0.1",
    "scheduler=none",
    f"callbacks.swa.start={START}",
    "callbacks.swa.lr=0.03",
    "callbacks.swa.annealing_epochs=2",
    "callbacks.early_stopping.patience=1",
    "callbacks.early_stopping.min_delta=10",  # no epoch is an improvement
    f"trainer.max_epochs={EPOCHS}",
    f"trainer.limit_train_batches={STEPS}",
    "loader.batch_size=100",
    "trainer.accelerator=cpu",
    "trainer.num_threads=1",
    "trainer.precision=32-true",
    "callbacks.progress_bar=false",
    "callbacks.model_summary=false",
    "logger=none",
    "report=none",
)
PATIENT = "callbacks.early_stopping=null"


@pytest.fixture(scope="module")
def trained(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("swa")
    train(compose(*SMALL, PATIENT, "augment=affine"), folder)
    return folder


def test_average_and_weights_are_those_of_a_plain_loop(compose: Compose, tmp_path: Path) -> None:
    settings = compose(*SMALL, PATIENT, "model.dropout=0")
    data = build_datamodule(settings)
    lightning.seed_everything(settings.seed, verbose=False)
    task = build_task(settings, data)
    silence_lightning_logs()
    build_trainer(settings, tmp_path).fit(task, data)
    lightning.seed_everything(settings.seed, verbose=False)
    model = build_task(settings, data).model.train()
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, fused=True)
    average, loader = AveragedModel(model), task.trainer.train_dataloader
    schedule: SWALR | None = None
    for epoch in range(EPOCHS):
        if epoch == START:
            schedule = SWALR(optimizer, 0.03, anneal_epochs=2)
        loader.epoch = lambda epoch=epoch: epoch
        for batch in list(loader.batches())[:STEPS]:
            optimizer.zero_grad()
            functional.cross_entropy(model(batch.images), batch.labels).backward()
            optimizer.step()
        if schedule:
            average.update_parameters(model)
            schedule.step()
    update_bn((batch.images for batch in loader.plain_batches(loader.batch_size)), average)
    assert isinstance(task.average, SWAModel)
    assert int(task.average.n_averaged) == EPOCHS - START
    for found, wanted in ((task.model, model), (task.average.module, average.module)):
        torch.testing.assert_close(found.state_dict(), wanted.state_dict(), rtol=1e-6, atol=1e-6)


def test_statistics_are_of_all_training_images_in_mixed_order(compose: Compose, tmp_path: Path) -> None:
    settings = compose(*SMALL, "augment=affine", "loader.batch_size=40")
    loader = build_datamodule(settings).train_dataloader()
    batches = [batch.images for batch in loader.plain_batches(40)]
    everything = loader.preprocess(loader.images.images)
    assert [len(batch) for batch in batches[:-1]] == [40] * (len(everything) // 40)
    shuffled = torch.cat(batches)
    assert not torch.equal(shuffled, everything)
    torch.testing.assert_close(shuffled.flatten(1).sum(1).sort()[0], everything.flatten(1).sum(1).sort()[0])


def exponential(optimizer: optim.Optimizer) -> Any:
    return ExponentialLR(optimizer, 0.8)


def warmed(optimizer: optim.Optimizer) -> Any:
    return WarmUp(optimizer, ExponentialLR(optimizer, 0.8), steps=STEPS, factor=0.1, every=STEPS)


@pytest.mark.parametrize("cosine", [True, False])
@pytest.mark.parametrize("annealing", [0, 1, 3])
@pytest.mark.parametrize(("before", "every"), [(None, 1), (exponential, STEPS), (exponential, 1), (warmed, 1)])
def test_learning_rates_are_those_of_swalr(
    before: Callable[[optim.Optimizer], Any] | None, every: int, annealing: int, cosine: bool
) -> None:
    one, other = (optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": lr}], lr) for lr in (0.5, 0.5))
    own = SWASchedule(
        one, before(one) if before else None, start=START * STEPS, every=every, steps_per_epoch=STEPS,
        lr=0.2, annealing_epochs=annealing, cosine=cosine,
    )  # fmt: skip
    schedule, swalr = before(other) if before else None, None
    for epoch in range(6):
        if epoch == START:
            swalr = SWALR(other, 0.2, annealing, "cos" if cosine else "linear")
        for step in range(STEPS):
            assert one.param_groups[0]["lr"] == pytest.approx(other.param_groups[0]["lr"], rel=1e-12)
            one.step()
            other.step()
            own.step()
            if schedule and not swalr and (epoch * STEPS + step + 1) % every == 0:
                schedule.step()
        if swalr:
            swalr.step()


def test_a_plateau_is_due_until_the_start(compose: Compose) -> None:
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], 0.5)
    plateau = ReduceLROnPlateau(optimizer)
    own = SWASchedule(optimizer, plateau, start=2, every=2, steps_per_epoch=2, lr=0.2, annealing_epochs=0, cosine=True)
    assert own.plateau is plateau
    optimizer.step()
    own.step()
    assert own.plateau is plateau
    own.step()
    assert own.plateau is None
    assert optimizer.param_groups[0]["lr"] == 0.2


def test_resume_is_exact(trained: Path, compose: Compose, tmp_path: Path) -> None:
    settings = compose(*SMALL, PATIENT, "augment=affine")
    for step in (START * STEPS - 1, (START + 1) * STEPS, (START + 1) * STEPS + 2):
        with pytest.raises(Interruption):
            train(settings.model_copy(update={"resume": "auto"}), tmp_path, [SignalAfter(step)])
        stopped = checkpoint(tmp_path)
        assert stopped["global_step"] == step
        assert int(stopped["state_dict"]["average.n_averaged"]) == max(0, step // STEPS - START)
    train(settings.model_copy(update={"resume": True}), tmp_path)
    for name in ("last", "best"):
        assert difference(checkpoint(trained, name), checkpoint(tmp_path, name)) == []


@pytest.mark.long
def test_step_hooks_give_the_same_average(trained: Path, compose: Compose, tmp_path: Path) -> None:
    train(compose(*SMALL, PATIENT, "augment=affine", "trainer.steps_per_hook=1"), tmp_path)
    assert difference(checkpoint(trained)["state_dict"], checkpoint(tmp_path)["state_dict"]) == []


def test_the_average_is_validated_kept_and_used(trained: Path) -> None:
    best = checkpoint(trained, "best")
    assert best["epoch"] >= START
    run = load_run(trained / "checkpoints" / "best.ckpt")
    state = run.model.state_dict()
    assert all(torch.equal(state[key], best["state_dict"][f"average.module.{key}"]) for key in state)
    assert any(not torch.equal(value, best["state_dict"][f"model.{key}"]) for key, value in state.items())
    images = run.load_data(part="validation").validation_set
    accuracy = (run.predict_logits(images.images).argmax(1) == images.labels).double().mean().item()
    row = next(row for row in best["callbacks"]["EpochRecorder"]["epochs"] if row["epoch"] == best["epoch"])
    assert accuracy == pytest.approx(row["val/accuracy"], abs=1e-6)


def test_early_stopping_waits_for_the_first_average(compose: Compose, tmp_path: Path) -> None:
    results = train(compose(*SMALL), tmp_path)
    assert results["stopped_early"]
    assert results["epochs"] == START + 2  # the first average, and an epoch that is no improvement


def test_nothing_is_added_without_it(compose: Compose, tmp_path: Path) -> None:
    settings = compose(*(word for word in SMALL if "swa" not in word))
    names = {type(callback).__name__ for callback in build_trainer(settings, tmp_path).callbacks}
    assert "AverageEpochs" not in names
    assert build_task(settings, build_datamodule(settings)).average is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("callbacks.ema.decay=0.9",), r"callbacks\.swa\.start: got 2 with callbacks\.ema\.decay=0\.9"),
        (("callbacks.swa.start=5",), r"callbacks\.swa\.start: got 5 with trainer\.max_epochs=5; must be less"),
        (("callbacks.swa.start=1.5",), r"callbacks\.swa\.start"),
        (("callbacks.swa.start=null",), r"callbacks\.swa\.lr: got 0\.03 without an average"),
        (("optimizer=schedule_free_sgd", "model=lenet5"), r"callbacks\.swa\.start: got 2 with optimizer="),
    ],
)
def test_impossible_averages_are_refused(wrong: tuple[str, ...], message: str, compose: Compose) -> None:
    pytest.importorskip("schedulefree")
    with pytest.raises(SettingError, match=message):
        compose(*(word for word in SMALL if not word.startswith("model.")), *wrong)


def test_a_fraction_is_of_all_epochs(compose: Compose) -> None:
    swa = compose(*SMALL, "callbacks.swa.start=0.75").callbacks.swa
    assert [swa.first_epoch(epochs) for epochs in (1, 4, 10, 20)] == [0, 3, 7, 15]
