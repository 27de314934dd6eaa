"""Train a classifier and test it once: `python -m lenet_pl.train model=lenet_bn data=fashion`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_pl.command import run_command
from lenet_pl.settings import TrainSettings

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback


def train(settings: TrainSettings, folder: Path, callbacks: Sequence[Callback] = ()) -> dict[str, Any]:
    """Train, test the best epoch once, and fill the run folder.

    Args:
        settings: checked settings.
        folder: the run folder; it exists and holds no run.
        callbacks: what else watches the training; their hooks run before the checkpoints are written.

    Returns:
        What results.json holds.

    Raises:
        UserError: settings, files or devices that cannot be used; before the training begins.
    """
    # torch and Lightning take seconds to import; mistakes in the settings are answered before
    import lightning

    from lenet_pl.artefacts import RunFolder
    from lenet_pl.build import build_datamodule, build_task
    from lenet_pl.memory import keep_freed_memory
    from lenet_pl.trainer import build_trainer, quiet_lightning

    quiet_lightning()
    keep_freed_memory()
    lightning.seed_everything(settings.seed, verbose=False)
    datamodule = build_datamodule(settings)
    task = build_task(settings, datamodule)
    trainer = build_trainer(settings, folder, callbacks)
    run = RunFolder(folder, settings, datamodule, task, trainer)
    run.begin()
    if settings.train:
        trainer.fit(task, datamodule)
        run.load_best()
    if settings.test:
        trainer.test(task, datamodule, verbose=False)
    return run.finish()


if __name__ == "__main__":
    run_command("train", TrainSettings, train)
