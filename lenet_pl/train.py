"""Train a classifier and test it once: `python -m lenet_pl.train model=lenet_bn data=fashion`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lenet_pl.command import run_command
from lenet_pl.resume import begin_or_resume
from lenet_pl.settings import TrainSettings

Callbacks = Sequence[Any] | Callable[[TrainSettings], Sequence[Any]]  # of Lightning's Callback


def train(settings: TrainSettings, folder: Path, callbacks: Callbacks = ()) -> dict[str, Any]:
    """Train, test the best epoch once, and fill the run folder.

    Args:
        settings: checked settings. With `resume` training goes on from the folder's last checkpoint, if there is one.
        folder: the run folder; it exists and holds no run, or with `resume` the run to continue.
        callbacks: Lightning's, what else watches the training; their hooks run before the checkpoints are written. A
            function is called once for each training, with its settings, and makes them. With `seeds` each training
            has callbacks of its own: what the function makes, or a deep copy of those given, which see nothing.

    Returns:
        What results.json holds.

    Raises:
        UserError: settings, files or devices that cannot be used; before the training begins.
        Interruption: a signal came; the run can be continued.
    """
    # torch and Lightning take seconds to import; mistakes in the settings are answered before
    from lenet_pl.atomic import used_by_one
    from lenet_pl.interruption import Interruptible
    from lenet_pl.memory import keep_freed_memory
    from lenet_pl.slurm import back_into_the_queue
    from lenet_pl.trainer import quiet_lightning

    with back_into_the_queue(), Interruptible() as interruptible, used_by_one(folder):
        quiet_lightning()
        keep_freed_memory()
        if settings.seeds is None:
            return train_one(settings, folder, interruptible, callbacks)
        from lenet_pl.seeds.session import train_seeds

        return train_seeds(settings, folder, interruptible, train_one, callbacks)


def train_one(
    settings: TrainSettings,
    folder: Path,
    interruptible: Any,
    callbacks: Callbacks = (),
    parts: Callable[[TrainSettings, Any], tuple[Any, Any]] | None = None,
) -> dict[str, Any]:
    """Train with one seed; as `train`, for those who listen for signals themselves.

    Args:
        settings: checked settings.
        folder: the run folder.
        interruptible: listens for signals.
        callbacks: as of `train`.
        parts: builds data module and task; None: as the settings say, and the closing table is printed.

    Returns:
        What results.json holds.
    """
    import lightning

    from lenet_pl.artefacts import RunFolder
    from lenet_pl.build import build_parts
    from lenet_pl.trainer import build_trainer

    lightning.seed_everything(settings.seed, verbose=False)
    datamodule, task = (parts or build_parts)(settings, interruptible)
    watching = callbacks(settings) if callable(callbacks) else callbacks
    trainer = build_trainer(settings, folder, watching, interruptible)
    run = RunFolder(folder, settings, datamodule, task, trainer)
    last = run.last()  # a checkpoint that cannot be read leaves the folder as it is
    run.begin()
    if settings.train:
        trainer.fit(task, datamodule, ckpt_path=last, weights_only=True)
        run.load_best()
    if settings.test:
        trainer.test(task, datamodule, verbose=False)
    return run.finish(show=parts is None)


if __name__ == "__main__":
    run_command("train", TrainSettings, train, prepare=begin_or_resume)
