"""What lenet_pl uses of Lightning beyond its documented interface: in which modules, and that it exists."""

import ast
from collections import defaultdict
from pathlib import Path
from typing import Any

import lightning
import pytest
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import Logger

import lenet_pl
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.engine.loop_state import AUTOMATIC, COUNTERS, MANUAL, LoopState, count_steps
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.engine.trainer import silence_lightning_logs
from lenet_pl.models import ConvNet

PACKAGE = Path(lenet_pl.__file__).parent
# The structure of the loops is not documented
LOOPS = ("fit_loop", "epoch_loop", "epoch_progress", "batch_progress", "manual_optimization", "optim_step_progress")
# Attribute or key, with the only module that touches it
INTERNALS = {
    "epoch_progress": "data/trainer_state.py",
    "batch_progress": "data/trainer_state.py",
    "manual_optimization": "engine/loop_state.py",
    "optim_step_progress": "engine/loop_state.py",
    "_batches_that_stepped": "engine/loop_state.py",
    AUTOMATIC: "engine/loop_state.py",
    MANUAL: "engine/loop_state.py",
    "epoch_loop.batch_progress": "engine/loop_state.py",
    "epoch_loop.val_loop.batch_progress": "engine/loop_state.py",
    "epoch_loop.state_dict": "engine/loop_state.py",
    "_get_train_description": "engine/progress_bar.py",
}


def bases_of(definition: ast.ClassDef) -> set[str]:
    return {node.id for base in definition.bases for node in ast.walk(base) if isinstance(node, ast.Name)}


def touched(path: Path) -> set[str]:
    """List private attributes of other objects, private methods that a class of Lightning calls, and parts of loops."""
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            of_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            on_trainer = any(
                isinstance(part, ast.Attribute | ast.Name)
                and "trainer" in getattr(part, "attr", getattr(part, "id", ""))
                for part in ast.walk(node.value)
            )
            if node.attr in LOOPS[2:] or (node.attr.startswith("_") and on_trainer and not of_self):
                found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value.startswith("epoch_loop.") or node.value == "_batches_that_stepped":
                found.add(node.value)
        elif isinstance(node, ast.ClassDef):
            for kind in LIGHTNING:
                if kind.__name__ in bases_of(node):
                    private = {n for base in kind.__mro__ for n in vars(base) if n.startswith("_") and n[1] != "_"}
                    found |= private & {f.name for f in node.body if isinstance(f, ast.FunctionDef)}
    return found


LIGHTNING: list[type] = [
    RichProgressBar,
    Logger,
    lightning.LightningModule,
    lightning.LightningDataModule,
    lightning.Trainer,
    *(kind for kind in vars(lightning.pytorch.callbacks).values() if isinstance(kind, type)),
    *(kind for kind in vars(lightning.pytorch.loggers).values() if isinstance(kind, type)),
]


def test_each_internal_is_touched_in_one_module_only() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in touched(path):
            places[name].add(path.relative_to(PACKAGE).as_posix())
    assert dict(places) == {name: {place} for name, place in INTERNALS.items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[lightning.Trainer, dict[str, Any]]:
    """Two steps of training, and the checkpoint after them."""
    silence_lightning_logs()
    folder = tmp_path_factory.mktemp("trained")
    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(accelerator="cpu", max_epochs=1, limit_train_batches=2, limit_val_batches=1, **options)
    task = ImageClassifier(ConvNet(channels=[[2], [4]], hidden_sizes=[8]), num_classes=10)
    saved = {}

    class Keep(lightning.Callback):
        def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
            saved[trainer.global_step] = trainer._checkpoint_connector.dump_checkpoint()

    trainer.callbacks.append(Keep())
    trainer.fit(task, ImageDataModule("digits"))
    trainer.save_checkpoint(folder / "end.ckpt")
    return trainer, saved[1]


@pytest.mark.parametrize("path", ["fit_loop.epoch_progress.current.processed", "fit_loop.epoch_loop.batch_progress"])
def test_the_loops_have_their_counters(path: str, trained: tuple[Any, dict[str, Any]]) -> None:
    at: Any = trained[0]
    for name in path.split("."):
        assert hasattr(at, name), (
            f"Lightning {lightning.__version__} has no {name} in {path}; see data/trainer_state.py"
        )
        at = getattr(at, name)
    if path.endswith("batch_progress"):
        assert at.current.ready == 2
    else:
        assert at == 1


def test_steps_of_manual_optimization_are_counted() -> None:
    silence_lightning_logs()
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(lightning.LightningModule())
    trainer.strategy._lightning_module.automatic_optimization = False
    count_steps(trainer)
    assert trainer.global_step == 1, f"Lightning {lightning.__version__} counts otherwise; see engine/loop_state.py"


@pytest.mark.parametrize("key", [name for name, place in INTERNALS.items() if "." in name])
def test_checkpoints_have_the_keys_of_the_loops(key: str, trained: tuple[Any, dict[str, Any]]) -> None:
    fit = trained[1]["loops"]["fit_loop"]
    assert key in fit, f"Lightning {lightning.__version__} has no {key} in a checkpoint; see engine/loop_state.py"
    if key.endswith("batch_progress"):
        assert set(COUNTERS) == set(fit[key]["total"])


def test_checkpoints_count_the_steps(trained: tuple[Any, dict[str, Any]]) -> None:
    fit = trained[1]["loops"]["fit_loop"]
    assert "_batches_that_stepped" in fit["epoch_loop.state_dict"]
    assert set(fit[AUTOMATIC]["optimizer"]["step"]["total"]) == set(fit[MANUAL]["total"]) == {"ready", "completed"}
    state = LoopState(trained[1])
    state.count_steps(automatic=True)
    state.count_steps(automatic=False)
    state.count_batches(1)
    assert fit[AUTOMATIC]["optimizer"]["step"]["total"]["completed"] == fit[MANUAL]["total"]["completed"] == 1


def test_the_progress_bar_has_a_description() -> None:
    assert hasattr(RichProgressBar, "_get_train_description"), "renamed by Lightning; see engine/progress_bar.py"
