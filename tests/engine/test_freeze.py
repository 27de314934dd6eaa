import lightning
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lenet_pl.engine.freeze import FreezeLayers

pytestmark = pytest.mark.filterwarnings("ignore:The `srun` command", "ignore:The '.*_dataloader' does not have many")


class Plain(lightning.LightningModule):
    """A hand-written LightningModule that knows nothing of this package."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(8, 2)
        self.norms: list[bool] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.norms.append(self.features[1].training)
        images, labels = batch
        return nn.functional.cross_entropy(self.head(self.features(images)), labels)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.features(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.01, weight_decay=0.1)


def loader() -> DataLoader[tuple[Tensor, ...]]:
    draw = torch.Generator().manual_seed(0)
    return DataLoader(TensorDataset(torch.randn(16, 4, generator=draw), torch.arange(16) % 2), batch_size=4)


def fit(module: Plain, epochs: int, *callbacks: lightning.Callback) -> None:
    trainer = lightning.Trainer(
        max_epochs=epochs, callbacks=list(callbacks), accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=1,
    )  # fmt: skip
    trainer.fit(module, loader(), loader())


def test_frozen_layers_and_their_statistics_do_not_move_in_a_plain_trainer() -> None:
    module = Plain()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    fit(module, 2, FreezeLayers(["features"]))
    after = module.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("features"))
    assert not torch.equal(after["head.weight"], before["head.weight"])
    assert module.norms == [False] * 8


def test_layers_are_unfrozen_after_the_given_epochs() -> None:
    module = Plain()
    before = module.features[0].weight.clone()
    fit(module, 3, FreezeLayers(["features"], unfreeze_after=2))
    assert module.norms == [False] * 8 + [True] * 4
    assert not torch.equal(module.features[0].weight, before)
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_frozen_part_equals_lightnings_own_callback_without_batch_normalization() -> None:
    class Backbone(lightning.pytorch.callbacks.BaseFinetuning):
        def freeze_before_training(self, pl_module: lightning.LightningModule) -> None:
            self.freeze(pl_module.head)  # type: ignore[arg-type]

        def finetune_function(self, pl_module: object, epoch: int, optimizer: object) -> None:
            pass

    ours, theirs = Plain(), Plain()
    theirs.load_state_dict(ours.state_dict())
    fit(ours, 2, FreezeLayers(["head"]))
    fit(theirs, 2, Backbone())
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
