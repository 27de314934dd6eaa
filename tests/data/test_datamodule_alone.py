"""`ImageDataModule` in a plain Trainer with a LightningModule that knows nothing of lenet_pl."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset
from torchvision.transforms import v2

from lenet_pl.batch import Batch
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.models import lenet5, lenet_bn


class HandWritten(lightning.LightningModule):
    """What a tutorial of Lightning has."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.losses: list[float] = []
        self.evaluated: dict[str, list[Tensor]] = {"val": [], "test": []}
        self.devices: set[torch.device] = set()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = batch
        loss = functional.cross_entropy(self.model(images), labels)
        self.log("train_loss", loss, on_epoch=True)
        self.losses.append(float(loss.detach()))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        images, labels = batch
        self.evaluated["val"].append(labels)
        self.log("val_loss", functional.cross_entropy(self.model(images), labels))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.evaluated["test"].append(batch[1])
        self.log("test_loss", functional.cross_entropy(self.model(batch[0]), batch[1]))

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        predicted: Tensor = self.model(batch[0]).argmax(1)
        return predicted

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)


def arrays() -> tuple[np.ndarray, np.ndarray]:
    bunch = load_digits()
    return (bunch.images[:, None] * (255 / 16)).round().astype(np.uint8), bunch.target


def torch_dataset() -> TensorDataset:
    images, labels = arrays()
    return TensorDataset(torch.from_numpy(images) / 255, torch.from_numpy(labels))


def new_model() -> nn.Module:
    torch.manual_seed(0)
    return lenet5()


def trainer(folder: Path, **flags: Any) -> lightning.Trainer:
    silent = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return lightning.Trainer(accelerator="cpu", default_root_dir=folder, **{"max_epochs": 2} | silent | flags)


DATA: dict[str, Callable[[], Any]] = {"digits": lambda: "digits", "arrays": arrays, "torch dataset": torch_dataset}


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("augment", [None, "affine"])
@pytest.mark.filterwarnings("ignore")
def test_a_plain_trainer_equals_a_plain_torch_loop(kind: str, augment: str | None, tmp_path: Path) -> None:
    task = HandWritten(new_model())
    data = ImageDataModule(DATA[kind](), batch_size=100, augment=augment, seed=3)
    trainer(tmp_path).fit(task, data)

    model = new_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    alone = ImageDataModule(DATA[kind](), batch_size=100, augment=augment, seed=3)
    alone.prepare_data()
    alone.setup()
    loader, losses = alone.train_dataloader(), []
    for _ in range(2):
        for images, labels in loader:  # type: ignore[misc]
            loss = functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert task.losses == losses
    assert losses[-1] < losses[0]
    for one, other in zip(task.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.filterwarnings("ignore")
def test_every_image_is_validated_tested_and_predicted_once(tmp_path: Path) -> None:
    task, data = HandWritten(new_model()), ImageDataModule("digits", eval_batch_size=100)
    with pytest.raises(RuntimeError, match=r"no data yet; call prepare_data\(\) and setup\(\)"):
        _ = data.channels
    once = trainer(tmp_path, max_epochs=1, num_sanity_val_steps=0)
    once.fit(task, data)
    once.test(task, data)
    predicted = torch.cat(once.predict(task, data))  # type: ignore[arg-type]
    assert torch.equal(torch.cat(task.evaluated["val"]), data.validation_set.labels)
    assert torch.equal(torch.cat(task.evaluated["test"]), data.test_set.labels)
    wanted = task.model(data.preprocess(data.test_set.images)).argmax(1)
    assert torch.equal(predicted, wanted)
    assert (data.num_classes, data.channels, data.classes) == (10, 1, tuple("0123456789"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_precision_plugins_convert_the_images(precision: Any, tmp_path: Path) -> None:
    class Typed(HandWritten):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            assert batch.images.dtype == (torch.float64 if precision == "64-true" else torch.bfloat16)
            assert (batch.labels.dtype, batch.loss_scale) == (torch.int64, 1.0)
            return super().training_step(batch, batch_idx)

    task = Typed(new_model())
    trainer(tmp_path, precision=precision, max_epochs=1).fit(task, ImageDataModule("digits"))
    assert len(task.losses) == 10


def test_batches_keep_their_scale_when_lightning_moves_them() -> None:
    batch = Batch(torch.zeros(3, 1, 2, 2), torch.arange(3), 0.5)
    assert batch.to("cpu") is batch
    moved = batch.to(torch.device("meta"))
    assert (moved.images.device.type, moved.labels.device.type, moved.loss_scale) == ("meta", "meta", 0.5)
    module = lightning.LightningModule()
    assert module.transfer_batch_to_device(batch, torch.device("cpu"), 0) is batch
    images, labels = batch
    assert (images is batch[0], labels is batch[1], len(batch)) == (True, True, 2)


@pytest.mark.filterwarnings("ignore")
def test_hooks_of_the_module_see_batches(tmp_path: Path) -> None:
    class Hooked(HandWritten):
        seen = 0

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            self.seen += 1
            return batch[0], batch[1]

        def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
            return super().transfer_batch_to_device(batch, device, dataloader_idx)

    task = Hooked(new_model())
    trainer(tmp_path, max_epochs=1, num_sanity_val_steps=0).fit(task, ImageDataModule("digits"))
    assert task.seen == 10 + 1


@pytest.mark.filterwarnings("ignore")
def test_trainer_flags_have_their_usual_meaning(tmp_path: Path) -> None:
    task = HandWritten(new_model())
    flags = {"accumulate_grad_batches": 2, "limit_train_batches": 0.5, "gradient_clip_val": 1.0, "max_epochs": 3}
    used = trainer(tmp_path, **flags)
    used.fit(task, ImageDataModule("digits", batch_size=100, drop_last=True))
    assert (len(task.losses), used.global_step) == (3 * 6, 3 * 3)


@pytest.mark.filterwarnings("ignore")
def test_a_torchvision_transform_trains_reproducibly(tmp_path: Path) -> None:
    augment = v2.Compose([v2.RandomAffine(10, (0.1, 0.1)), v2.RandomErasing(0.2)])
    losses = []
    for _ in range(2):
        torch.manual_seed(len(losses))  # the global state does not matter
        task = HandWritten(new_model())
        data = ImageDataModule("digits", batch_size=400, augment=augment)
        trainer(tmp_path, max_epochs=2, num_sanity_val_steps=0).fit(task, data)
        losses.append(task.losses)
    assert losses[0] == losses[1]
    plain = HandWritten(new_model())
    trainer(tmp_path, max_epochs=2).fit(plain, ImageDataModule("digits", batch_size=400))
    assert plain.losses != losses[0]


class SpreadLabels(HandWritten):
    """A module whose validation collects the labels of all ranks."""

    def on_validation_epoch_end(self) -> None:
        own = torch.cat(self.evaluated["val"])
        parts: list[Any] = [None, None]
        torch.distributed.all_gather_object(parts, own)
        self.evaluated["all"] = [torch.cat(parts)]
        if self.global_rank == 0:
            torch.save((torch.cat(parts), self.losses), Path(self.trainer.default_root_dir) / "labels.pt")


@pytest.mark.filterwarnings("ignore")
def test_two_processes_share_the_batches(tmp_path: Path) -> None:
    data = ImageDataModule(arrays(), batch_size=128, seed=1, image_size=32)
    flags = {"devices": 2, "strategy": "ddp_fork", "max_epochs": 1, "num_sanity_val_steps": 0}
    torch.manual_seed(0)
    trainer(tmp_path, **flags).fit(SpreadLabels(lenet_bn()), data)
    labels, losses = torch.load(tmp_path / "labels.pt", weights_only=True)
    data.setup()
    assert torch.equal(labels, data.validation_set.labels)
    assert len(losses) == len(data.train_dataloader())
