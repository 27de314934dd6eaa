"""A check of the settings with a few batches: `trainer.fast_dev_run`."""

from pathlib import Path
from typing import Any

import lightning

from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.errors import display_path
from lenet_pl.settings import TrainSettings


def dev_run(
    settings: TrainSettings, data: ImageDataModule, task: ImageClassifier, trainer: lightning.Trainer
) -> dict[str, Any]:
    """Train, validate and test on the batches that `trainer.fast_dev_run` leaves, and print which.

    Args:
        settings: The training settings, of which `train` and `test` say what is run.
        data: The data module.
        task: The classifier.
        trainer: A Trainer with `fast_dev_run`, which keeps no metrics, logs and checkpoints.

    Returns:
        `task` ("fast_dev_run") and `batches` of each split.
    """
    batches: dict[str, int] = {}
    if settings.train:
        trainer.fit(task, data)
        batches |= {"training": int(trainer.num_training_batches), "validation": int(sum(trainer.num_val_batches))}
    if settings.test:
        trainer.test(task, data, verbose=False)
        batches["test"] = int(sum(trainer.num_test_batches))
    if trainer.is_global_zero:
        ran = ", ".join(f"{count} {name} batch{'es' * (count != 1)}" for name, count in batches.items())
        print(
            f"fast_dev_run: {ran} without an error; nothing is kept in {display_path(Path(trainer.default_root_dir))}"
        )
    return {"task": "fast_dev_run", "batches": batches}
