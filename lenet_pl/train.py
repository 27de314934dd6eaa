"""Train a classifier and test it once: `python -m lenet_pl.train model=lenet_bn data=fashion`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lenet_pl.command import run_command
from lenet_pl.resume import begin_or_resume
from lenet_pl.settings import TrainSettings
from lenet_pl.threads import LoadMeter, choose_threads, prepare_openmp, restored_threads

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
    prepare_openmp()
    # torch and Lightning take seconds to import; mistakes in the settings are answered before
    from lenet_pl.interruption import Interruptible
    from lenet_pl.ownership import refuse_run, used_by_one
    from lenet_pl.processes import this_process
    from lenet_pl.slurm import back_into_the_queue, note_job

    process = this_process(settings.trainer.devices)
    first = process.rank == 0
    with back_into_the_queue(first=first), Interruptible() as interruptible, used_by_one(folder, process):
        if not settings.resume:
            refuse_run(folder, process)  # one that was begun since the command looked
        if first:
            note_job(folder)
        from lenet_pl.memory import keep_freed_memory
        from lenet_pl.trainer import quiet_lightning, ranked

        quiet_lightning()
        keep_freed_memory()
        with ranked(process.rank), restored_threads():
            if settings.seeds is None:
                return train_one(settings, folder, interruptible, callbacks)
            from lenet_pl.seeds.session import train_seeds

            return train_seeds(settings, folder, interruptible, train_one, callbacks)


def train_one(
    settings: TrainSettings,
    folder: Path,
    interruptible: Any,
    callbacks: Callbacks = (),
    parts: Callable[[TrainSettings, Any, Any], tuple[Any, Any]] | None = None,
) -> dict[str, Any]:
    """Train with one seed; as `train`, for those who listen for signals themselves.

    Args:
        settings: checked settings.
        folder: the run folder.
        interruptible: listens for signals.
        callbacks: as of `train`.
        parts: builds data module and task, for a run that is continued from the images that it had; None: as the
            settings say, and the closing table is printed.

    Returns:
        What results.json holds.
    """
    load = LoadMeter()
    import lightning
    import torch

    from lenet_pl.artefacts import RunFolder
    from lenet_pl.build import build_parts
    from lenet_pl.data.own_images import images_of_run
    from lenet_pl.trainer import MeetingError, build_trainer, meeting_others

    lightning.seed_everything(settings.seed, verbose=False)
    datamodule, task = (parts or build_parts)(settings, interruptible, images_of_run(settings, folder))
    threads = settings.trainer.threads or choose_threads(task.model, datamodule.example(), settings.loader.batch_size)
    torch.set_num_threads(threads)
    if parts is None and (busy := load.describe(threads)):
        print(f"note: {busy}, so that this training takes longer than on an idle machine")
    watching = callbacks(settings) if callable(callbacks) else callbacks
    trainer = build_trainer(settings, folder, watching, interruptible)
    run = RunFolder(folder, settings, datamodule, task, trainer)
    last = run.last()  # a checkpoint that cannot be read leaves the folder as it is
    run.begin()
    if settings.train:
        try:
            with meeting_others():
                trainer.fit(task, datamodule, ckpt_path=last, weights_only=True)
        except MeetingError:
            run.withdraw()
            raise
        run.load_best()
    if settings.test:
        trainer.test(task, datamodule, verbose=False)
    return run.finish(show=parts is None)


if __name__ == "__main__":
    run_command("train", TrainSettings, train, prepare=begin_or_resume)
