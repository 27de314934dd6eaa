"""Schedule-free optimizers beside a plain loop with the package."""

import copy
from pathlib import Path
from typing import Any

import lightning
import pytest
import schedulefree
import torch
from checkpoint_diff import checkpoint, difference
from conftest import Compose
from stopping import SignalAfter
from torch.nn import functional

from lenet_pl.engine.build import build_data_and_task
from lenet_pl.engine.trainer import build_trainer
from lenet_pl.errors import SettingError
from lenet_pl.runtime.signals import Interruption
from lenet_pl.train import train

TINY = (
    "model.channels=[[4],[8]]", "model.hidden_sizes=[16]", "loader.batch_size=50", "trainer.limit_train_batches=4",
    "trainer.max_epochs=2", "trainer.accelerator=cpu", "trainer.num_threads=1", "trainer.precision=32-true",
    "callbacks.progress_bar=false", "callbacks.model_summary=false", "logger=none", "scheduler=none", "test=false",
    "report=none",
)  # fmt: skip
PACKAGE: dict[str, Any] = {
    "schedule_free_adamw": lambda p: schedulefree.AdamWScheduleFree(p, lr=0.0025),
    "schedule_free_sgd": lambda p: schedulefree.SGDScheduleFree(p, lr=1.0, momentum=0.9),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("steps_per_hook", ["auto", "1"])
@pytest.mark.parametrize("name", PACKAGE)
def test_the_weights_have_the_bits_of_a_plain_loop(
    name: str, steps_per_hook: str, compose: Compose, tmp_path: Path
) -> None:
    settings = compose(*TINY, f"optimizer={name}", f"trainer.steps_per_hook={steps_per_hook}")
    lightning.seed_everything(0, verbose=False)
    data, task = build_data_and_task(settings)
    model = copy.deepcopy(task.model)
    optimizer, losses = PACKAGE[name](model.parameters()), []
    for epoch in range(2):
        loader = data.train_dataloader()
        loader.epoch = lambda epoch=epoch: epoch
        optimizer.train()
        for batch, _ in zip(loader.batches(), range(4), strict=False):
            optimizer.zero_grad()
            functional.cross_entropy(model(batch.images), batch.labels).backward()
            optimizer.step()
        optimizer.eval()
        logits = [(model(batch.images), batch.labels) for batch in data.val_dataloader()]
        losses.append(float(functional.cross_entropy(*map(torch.cat, zip(*logits, strict=True)))))
    trainer = build_trainer(settings, tmp_path)
    trainer.fit(task, data)
    saved = checkpoint(tmp_path)
    for key, value in model.state_dict().items():
        assert torch.equal(saved["state_dict"][f"model.{key}"], value)
    rows = saved["callbacks"]["EpochRecorder"]["epochs"]
    assert [row["val/loss"] for row in rows] == pytest.approx(losses, abs=1e-5)


@pytest.mark.parametrize("stop", [4, 6])
def test_resume_is_exact(stop: int, compose: Compose, tmp_path: Path) -> None:
    settings = compose(*TINY, "optimizer=schedule_free_adamw", "scheduler.warmup_epochs=0.5")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    train(settings, whole)
    with pytest.raises(Interruption):
        train(settings.model_copy(update={"resume": "auto"}), stopped, [SignalAfter(stop)])
    train(settings.model_copy(update={"resume": True}), stopped)
    for name in ("last", "best"):
        assert difference(checkpoint(whole, name), checkpoint(stopped, name)) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model=lenet_bn",), r"^optimizer: got schedule_free_adamw, which does not support batch normalization"),
        (("callbacks.ema.decay=0.9",), r"^callbacks\.ema\.decay: got 0\.9 with optimizer=schedule_free_adamw"),
    ],
)
def test_what_it_cannot_be_combined_with(words: tuple[str, ...], message: str, compose: Compose) -> None:
    with pytest.raises(SettingError, match=message):
        compose("optimizer=schedule_free_adamw", *words)
