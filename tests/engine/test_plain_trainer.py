"""`ImageClassifier` and `ImageDataModule` in a plain `lightning.Trainer`, as code from outside uses them."""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch import callbacks as own
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.nn import functional

from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.engine.trainer import silence_lightning_logs
from lenet_pl.models import ConvNet

BATCHES = 5  # of an epoch
EPOCHS = 2


def build_network(dropout: float = 0) -> nn.Module:
    torch.manual_seed(0)
    return ConvNet(channels=[[4], [8]], hidden_sizes=[16], dropout=dropout)


def digits() -> ImageDataModule:
    return ImageDataModule("digits", batch_size=64)


def plain_trainer(folder: Path, *callbacks: own.Callback, **options: Any) -> lightning.Trainer:
    silence_lightning_logs()
    given: dict[str, Any] = {
        "accelerator": "cpu",
        "max_epochs": EPOCHS,
        "limit_train_batches": BATCHES,
        "limit_val_batches": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "logger": False,
        "log_every_n_steps": 1,
        "default_root_dir": folder,
    }
    if any(isinstance(callback, own.Checkpoint) for callback in callbacks):
        given["enable_checkpointing"] = True
    return lightning.Trainer(callbacks=list(callbacks), **given | options)


class StepLosses(own.Callback):
    """The training loss of each step."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.values.append(outputs["loss"].clone())


def test_losses_and_weights_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    task, losses = ImageClassifier(build_network(), num_classes=10), StepLosses()
    plain_trainer(tmp_path, losses).fit(task, digits())

    network = build_network().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    data = digits()
    data.prepare_data()
    data.setup()
    loader, by_hand = data.train_dataloader(), []
    for _ in range(EPOCHS):
        for (images, labels), _ in zip(loader, range(BATCHES), strict=False):
            loss = functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            by_hand.append(loss.detach())
    assert len(losses.values) == EPOCHS * BATCHES
    assert torch.equal(torch.stack(losses.values), torch.stack(by_hand))
    for name, weight in network.state_dict().items():
        assert torch.equal(task.model.state_dict()[name], weight), name


class HandWritten(lightning.LightningModule):
    """The LightningModule that one would write without lenet_pl."""

    def __init__(self) -> None:
        super().__init__()
        self.network = build_network()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = batch
        loss = functional.cross_entropy(self.network(images), labels)
        self.log("train/loss_step", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        images, labels = batch
        self.log("val/loss", functional.cross_entropy(self.network(images), labels))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        images, labels = batch
        self.log("test/loss", functional.cross_entropy(self.network(images), labels))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


HOOKS = [*sorted(name for name in vars(own.Callback) if name.startswith("on_")), "setup", "teardown"]


class Hooks(own.Callback):
    """The names of the hooks in the order in which they ran."""

    def __init__(self) -> None:
        self.names: list[str] = []
        for name in HOOKS:
            setattr(self, name, self._recorder(name))

    def _recorder(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: self.names.append(name)


def hooks_of(task: lightning.LightningModule, folder: Path, **options: Any) -> list[str]:
    hooks = Hooks()
    saved = own.ModelCheckpoint(folder, filename="{step}", save_top_k=-1, every_n_train_steps=2)
    trainer = plain_trainer(folder, hooks, saved, **options)
    data = digits()
    trainer.fit(task, data)
    trainer.validate(task, data, verbose=False)
    trainer.test(task, data, verbose=False)
    trainer.fit_loop.max_epochs = EPOCHS + 1
    trainer.fit(task, data, ckpt_path=folder / "step=2.ckpt")  # hooks of a resumed run
    return hooks.names


@pytest.mark.parametrize(
    "options",
    [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.5, "val_check_interval": 2}, {"max_steps": 7}],
    ids=["plain", "accumulated", "clipped", "max_steps"],
)
def test_each_hook_runs_as_with_a_hand_written_module(options: dict[str, Any], tmp_path: Path) -> None:
    expected = hooks_of(HandWritten(), tmp_path / "hand", **options)
    found = hooks_of(ImageClassifier(build_network(), num_classes=10), tmp_path / "lenet_pl", **options)
    table = {name: (Counter(expected)[name], Counter(found)[name]) for name in HOOKS}
    print("\n".join(f"{name:32} {ours:4} {theirs:4}" for name, (theirs, ours) in table.items()))
    assert [name for name, (theirs, ours) in table.items() if theirs != ours] == []
    assert found == expected
    never = {name for name, (count, _) in table.items() if not count}
    assert {name.replace("_start", "").replace("_end", "") for name in never} <= {
        "on_exception",
        "on_predict",
        "on_predict_epoch",
        "on_predict_batch",
    }


def network_of(module: lightning.LightningModule) -> nn.Module:
    assert isinstance(module, ImageClassifier)
    return module.model


class FinetuneClassifier(own.BackboneFinetuning):
    """BackboneFinetuning of the convolutions, as its documentation asks for a `backbone`."""

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        pl_module.backbone = network_of(pl_module).features
        super().on_fit_start(trainer, pl_module)

    def freeze_before_training(self, pl_module: lightning.LightningModule) -> None:
        self.freeze(network_of(pl_module).features)


def build_adam(parameters: Iterable[nn.Parameter], only_trained: bool) -> torch.optim.Optimizer:
    return torch.optim.Adam([p for p in parameters if p.requires_grad or not only_trained], lr=1e-3)


GROUPS: dict[str, Callable[[Path], list[own.Callback]]] = {
    "watching": lambda folder: [
        own.EarlyStopping("val/loss", patience=1),
        own.ModelCheckpoint(folder, filename="{step}", every_n_train_steps=2, save_top_k=-1),
        own.LearningRateMonitor("step"),
        own.DeviceStatsMonitor(cpu_stats=True),
        own.Timer("00:01:00:00", interval="step"),
        own.ThroughputMonitor(lambda batch: len(batch[0]), window_size=2),
        own.ModelSummary(max_depth=2),
        own.LambdaCallback(on_train_start=lambda *_: (folder / "started").touch()),
    ],
    "OnExceptionCheckpoint": lambda folder: [own.OnExceptionCheckpoint(folder)],
    "StochasticWeightAveraging": lambda folder: [own.StochasticWeightAveraging(1e-2, swa_epoch_start=1)],
    "EMAWeightAveraging": lambda folder: [own.EMAWeightAveraging(decay=0.9)],
    "GradientAccumulationScheduler": lambda folder: [own.GradientAccumulationScheduler({0: 2, 1: 1})],
    "ModelPruning": lambda folder: [own.ModelPruning("l1_unstructured", amount=0.3)],
    "BackboneFinetuning": lambda folder: [FinetuneClassifier(unfreeze_backbone_at_epoch=1, verbose=False)],
    "LearningRateFinder": lambda folder: [own.LearningRateFinder(num_training_steps=40)],
    "BatchSizeFinder": lambda folder: [own.BatchSizeFinder(steps_per_trial=1, init_val=64, max_trials=2)],
    "RichProgressBar": lambda folder: [own.RichProgressBar(), own.RichModelSummary()],
    "TQDMProgressBar": lambda folder: [own.TQDMProgressBar()],
}


@pytest.mark.filterwarnings(r"ignore:.*fit\(ckpt_path=")  # by OnExceptionCheckpoint in every first training
@pytest.mark.filterwarnings(r"ignore:When using the `ThroughputMonitor`, you need to define a `flops_per_batch`")
@pytest.mark.parametrize("group", GROUPS)
def test_callbacks_of_lightning_work(group: str, tmp_path: Path) -> None:
    callbacks = GROUPS[group](tmp_path)
    bar = any(isinstance(callback, own.ProgressBar) for callback in callbacks)
    summary = any(isinstance(callback, own.ModelSummary) for callback in callbacks)
    options = {"enable_progress_bar": bar, "enable_model_summary": summary, "logger": CSVLogger(tmp_path)}
    if group == "LearningRateFinder":
        options["limit_train_batches"] = 1.0  # its search ends with the epochs of the training
    trainer = plain_trainer(tmp_path, *callbacks, **options)
    # BackboneFinetuning adds the frozen parameters to the optimizer when it unfreezes them
    adam = partial(build_adam, only_trained=group == "BackboneFinetuning")
    task, data = ImageClassifier(build_network(), num_classes=10, optimizer=adam), digits()
    if group == "ModelPruning":  # torch.nn.utils.prune flattens the weights with `view`, which channels_last forbids
        task.to(memory_format=torch.contiguous_format)
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    trainer.fit(task, data)
    assert trainer.current_epoch == EPOCHS
    assert not all(torch.equal(value, before.get(name, value)) for name, value in task.model.state_dict().items())
    check = CHECKS.get(group)
    if check:
        check(trainer, task, data, tmp_path)


def check_watching(trainer: Any, task: Any, data: Any, folder: Path) -> None:
    assert (folder / "started").exists()
    assert len(list(folder.glob("step=*.ckpt"))) == EPOCHS * BATCHES // 2
    trainer.logger.save()
    header = next(folder.rglob("metrics.csv")).read_text().splitlines()[0]
    for part in ("lr-", "DeviceStatsMonitor", "train/loss_step", "val/accuracy", "samples_per_sec"):
        assert part in header


def check_steps(trainer: Any, task: Any, data: Any, folder: Path) -> None:
    assert trainer.global_step == 3 + 5  # 5 batches by two, then 5 one by one


def check_pruning(trainer: Any, task: Any, data: Any, folder: Path) -> None:
    weights = [value for name, value in task.model.state_dict().items() if name.endswith("mask")]
    weights = weights or [value for name, value in task.model.state_dict().items() if name.endswith("weight")]
    zeros = sum(float((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)
    assert zeros > 0.25


def check_finetuning(trainer: Any, task: Any, data: Any, folder: Path) -> None:
    groups = trainer.optimizers[0].param_groups
    assert len(groups) == 2
    assert all(parameter.requires_grad for parameter in task.parameters())


def check_lr(trainer: Any, task: Any, data: Any, folder: Path) -> None:
    assert trainer.optimizers[0].param_groups[0]["lr"] == task.lr != 1e-3


def check_batch_size(trainer: Any, task: Any, data: Any, folder: Path) -> None:
    assert data.batch_size == 128


CHECKS: dict[str, Callable[[Any, Any, Any, Path], None]] = {
    "watching": check_watching,
    "GradientAccumulationScheduler": check_steps,
    "ModelPruning": check_pruning,
    "BackboneFinetuning": check_finetuning,
    "LearningRateFinder": check_lr,
    "BatchSizeFinder": check_batch_size,
}


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_checkpoint_within_an_epoch_is_resumed_exactly(accumulated: int, tmp_path: Path) -> None:
    options = {"accumulate_grad_batches": accumulated, "limit_train_batches": 2 * BATCHES}
    whole = ImageClassifier(build_network(dropout=0.3), num_classes=10)
    saved = own.ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=3, save_top_k=-1)
    trainer = plain_trainer(tmp_path, saved, **options)
    trainer.fit(whole, digits())
    assert trainer.global_step == 2 * EPOCHS * BATCHES // accumulated
    for step in (3, 6):
        resumed = ImageClassifier(build_network(dropout=0.3), num_classes=10)
        kept = own.ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=3, save_top_k=-1)
        again = plain_trainer(tmp_path, kept, **options)
        again.fit(resumed, digits(), ckpt_path=tmp_path / f"step={step}.ckpt")
        assert again.global_step == trainer.global_step
        for name, weight in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], weight), name
        for name in ("train/loss", "val/loss"):
            assert torch.equal(again.callback_metrics[name], trainer.callback_metrics[name])


def test_predict_gives_the_logits_of_the_test_images(tmp_path: Path) -> None:
    task, data = ImageClassifier(build_network(), num_classes=10), digits()
    found = torch.cat(plain_trainer(tmp_path).predict(task, data))
    images = data.preprocess(data.test_set.images)
    with torch.no_grad():
        assert torch.equal(found, task.eval()(images))
