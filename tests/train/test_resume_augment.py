"""An interrupted training with mixed images and a warm-up is, after a resume, the one that was not interrupted."""

from pathlib import Path

import lightning
import pytest
import torch
from checkpoint_diff import checkpoint, difference
from conftest import Compose
from stopping import SignalAfter
from torch import Tensor, nn
from torch.nn import functional

from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.runtime.signals import Interruption
from lenet_pl.train import train

TINY = (
    "model.channels=[[4],[8]]", "model.hidden_sizes=[16]", "loader.batch_size=50", "trainer.limit_train_batches=4",
    "trainer.limit_val_batches=1", "trainer.max_epochs=3", "trainer.accelerator=cpu", "trainer.num_threads=1",
    "trainer.precision=32-true", "callbacks.progress_bar=false", "callbacks.model_summary=false", "logger=none",
    "test=false", "loss.label_smoothing=0.1", "loss.class_weights=balanced",
)  # fmt: skip
EVERYTHING = (
    "augment=cutmix",
    "augment.mixup=1",
    "augment.elastic_alpha=20",
    "augment.rand_augment=1",
    "augment.noise=0.1",
    "augment.cutout=4",
)


PLATEAU = ("scheduler=plateau", "scheduler.patience=0", "scheduler.monitor=train/accuracy", "optimizer.lr=0.5")


@pytest.mark.parametrize(
    ("steps_per_hook", "schedule"),
    [
        ("auto", ("scheduler=cosine_restarts", "scheduler.period=1", "optimizer=muon")),
        ("auto", PLATEAU),
        ("1", PLATEAU),
    ],
    ids=["restarts", "plateau", "plateau_with_step_hooks"],
)
def test_resume_within_an_epoch_is_exact(
    steps_per_hook: str, schedule: tuple[str, ...], compose: Compose, tmp_path: Path
) -> None:
    given = (*TINY, *EVERYTHING, *schedule, "scheduler.warmup_epochs=0.75")
    settings = compose(*given, f"trainer.steps_per_hook={steps_per_hook}")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    results = train(settings, whole)
    with pytest.raises(Interruption):
        train(settings.model_copy(update={"resume": "auto"}), stopped, [SignalAfter(10)])
    again = train(settings.model_copy(update={"resume": True}), stopped)
    for name in ("last", "best"):
        assert difference(checkpoint(whole, name), checkpoint(stopped, name)) == []
    assert results["metrics"] == again["metrics"]
    assert (whole / "augmentation.png").read_bytes()[:4] == b"\x89PNG"
    assert 'alt="augmentation"' in (whole / "report.html").read_text()


@pytest.mark.filterwarnings("ignore")  # Lightning's, about the machine
def test_a_plain_trainer_with_the_data_alone_gets_images_and_labels(tmp_path: Path) -> None:
    """The labels are those of the larger weight."""

    class Plain(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            images, labels = batch
            return functional.cross_entropy(self.model(images), labels)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    trainer = lightning.Trainer(
        max_epochs=1, limit_train_batches=3, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(Plain(), ImageDataModule("digits", image_size=16, augment="cutmix"))
    assert trainer.global_step == 3
