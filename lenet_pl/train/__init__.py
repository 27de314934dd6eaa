"""Train a classifier and test it once: `python -m lenet_pl.train model=lenet_bn data=fashion`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lenet_pl.cli.subprocess_job import start_fork_server
from lenet_pl.errors import SettingError
from lenet_pl.runtime.threads import LoadMeter, choose_threads, prepare_openmp, restored_threads
from lenet_pl.settings import TrainSettings

Callbacks = Sequence[Any] | Callable[[TrainSettings], Sequence[Any]]  # of Lightning's Callback


def train(settings: TrainSettings, folder: Path, callbacks: Callbacks = ()) -> dict[str, Any]:
    """Train, test the best epoch once, and write the run folder.

    Args:
        settings: The training settings. With `resume`, the training resumes from the folder's last checkpoint, if any.
        folder: The run folder. It must exist, and contain no run, or with `resume` the run to be resumed.
        callbacks: Additional Lightning callbacks, whose hooks run before the checkpoints are written, or a function
            of the training settings that builds them, called once per training. With `seeds` or `folds` there are
            several trainings, each with separate callbacks: those that the function builds, or deep copies of the given
            ones, which are not used themselves. With `n_jobs` they are pickled, and a script must call this function
            below `if __name__ == "__main__":`, as always with `multiprocessing`.

    Returns:
        The content of results.json:

        - `task` ("train"), `model`, `data`, `data_digest` (of the user's own images, else None), `seed`, `tags`
        - `fold`: number of the fold of a cross-validation that is the test split; None without
        - `init_from`: `path` and `sha256` of the file with the initial weights; None for random ones
        - `teachers`: of a distillation `checkpoint`, `sha256`, `name`, `model` and `test_accuracy` (None if unknown) of
          each teacher; None without
        - `parameters`: number of trainable parameters; without those that stay frozen
        - `images`: number of images of the splits `train`, `validation` and `test` (0 without test)
        - `metrics`: `best/<split>/loss` and `best/<split>/accuracy` of the best epoch for train and val, `test/loss`
          and `test/accuracy`; losses in nats (the training loss depends on `settings.loss`), accuracies in [0, 1]
        - `test_uses`: number of evaluations on the test split, including earlier ones of a resumed run
        - `per_class_accuracy` (by class name), `most_confused` (see `ClassificationMetrics`); None without test
        - `epochs` (number), `best_epoch` (counted from 1), `stopped_early`, `num_lr_changes` (between epochs)
        - `first_step_time` (ISO 8601, UTC), `resumed_at` (optimizer steps at each resume)
        - `training_seconds` (s, without validation), `images_per_second` (training images, over the same time),
          `total_seconds` (s, since the start of this process' training, with test and figures)
        - `precision`, `peak_memory_mb` (10⁶ bytes), `cores_of_others` (mean load of other programs, in cores)
        - `device`, `threads`, `cores`, `versions`, `git_commit`, `command`
        - `at_chance` (whether nothing was learned), `notes` (warnings, one line each)

        With `seeds`, of all trainings together: `task` ("seeds"), `seeds`, `metrics` (means), `std` (sample standard
        deviations), `at_chance` (seeds that learned nothing), `total_seconds`, `model`, `data`, `data_digest`, and the
        keys from `device` to `command`.

        With `folds`, the same for `task` ("folds"), with `seed`, `folds` (their number), `folds_group`, `images`
        (`folds`, and `left_out` of a test split of the dataset), `each` (`fold`, `images`, `metrics`, `epochs` and
        `best_epoch` of each training), and, of the held-out images of all folds together, `pooled` (`accuracy`,
        `loss`, `per_class`, `most_confused`) and `confusion_matrix` (`classes`, `rows_are`, `counts`).

        With `trainer.fast_dev_run`, `task` ("fast_dev_run") and `batches` (by split) of a check that writes nothing.

    Raises:
        UserError: Settings, files or devices cannot be used (before the training starts), or the training diverged.
        Interruption: A signal arrived; the run can be resumed.

    Example::

        folder = Path("runs/example")
        folder.mkdir(parents=True)
        settings = compose("train", TrainSettings, ["model=lenet_bn", "data=fashion", f"run={folder}"])
        print(train(settings, folder)["metrics"]["test/accuracy"])
    """
    if settings.n_jobs > 1 and settings.seeds is None and settings.folds is None:
        raise SettingError(f"n_jobs: got {settings.n_jobs} without seeds or folds; must be 1, or use seeds=[0,1]")
    prepare_openmp()
    if settings.n_jobs > 1:
        start_fork_server()
    # torch and Lightning take seconds to import; errors in the settings are reported earlier
    from lenet_pl.runtime.folder_checks import check_no_run
    from lenet_pl.runtime.folder_lock import lock_run_folder
    from lenet_pl.runtime.processes import this_process
    from lenet_pl.runtime.signals import SignalHandler
    from lenet_pl.runtime.slurm import note_job, requeue_on_preemption

    process = this_process(settings.trainer.num_devices)
    first = process.rank == 0
    with requeue_on_preemption(first=first), SignalHandler() as signals, lock_run_folder(folder, process):
        if not settings.resume:
            check_no_run(folder, process)  # another process may have started one meanwhile
        checked = bool(settings.trainer.fast_dev_run)
        if first and not checked:
            note_job(folder)
        from lenet_pl.engine.loggers.build import check_loggers
        from lenet_pl.engine.trainer import ranked, silence_lightning_logs
        from lenet_pl.runtime.memory import tune_malloc
        from lenet_pl.train.run_folders import run_folders

        silence_lightning_logs()
        tune_malloc()
        if first and not checked:
            check_loggers(settings.logger, *run_folders(settings, folder))
        with ranked(process.rank), restored_threads():
            if checked or (settings.seeds is None and settings.folds is None):
                return train_one(settings, folder, signals, callbacks)
            if settings.seeds is None:
                from lenet_pl.train.folds import train_folds

                return train_folds(settings, folder, signals, train_one, callbacks)
            from lenet_pl.train.seeds import train_seeds

            return train_seeds(settings, folder, signals, train_one, callbacks)


def train_one(
    settings: TrainSettings,
    folder: Path,
    signals: Any,
    callbacks: Callbacks = (),
    build: Callable[[TrainSettings, Any, Any, Sequence[Any]], tuple[Any, Any]] | None = None,
) -> dict[str, Any]:
    """Train with one seed, under a signal handler and a lock of the caller.

    Args:
        settings: The training settings; `seeds` and `folds` are ignored.
        folder: The run folder.
        signals: The `SignalHandler` of the process.
        callbacks: Additional callbacks, as for `train`.
        build: A function of settings, signal handler, recorded images and callbacks that builds the data module and
            the task, one of several trainings; the closing table is then omitted. None for `build_data_and_task`.

    Returns:
        The content of results.json, as for `train`.
    """
    load = LoadMeter()
    import lightning
    import torch

    from lenet_pl.artifacts.run_folder import RunFolder
    from lenet_pl.data.run_images import images_of_run
    from lenet_pl.engine.build import build_data_and_task
    from lenet_pl.engine.loggers.build import closing_loggers
    from lenet_pl.engine.trainer import MeetingError, build_trainer, meeting_others
    from lenet_pl.train.dev_run import dev_run
    from lenet_pl.train.fine_tune import initial_weights, with_digest
    from lenet_pl.train.teachers import read_teachers, with_teacher_digests

    watching = callbacks(settings) if callable(callbacks) else callbacks
    lightning.seed_everything(settings.seed, verbose=False)
    recorded = images_of_run(settings, folder)
    initial = None if build else initial_weights(settings, folder)
    teachers = None if build else read_teachers(settings, folder)
    if build:
        datamodule, task = build(settings, signals, recorded, watching)
    else:
        settings = with_teacher_digests(with_digest(settings, initial), teachers)
        distill = teachers.distillation if teachers else None
        datamodule, task = build_data_and_task(settings, signals, recorded, watching, initial, distill)
    threads = settings.trainer.num_threads or choose_threads(
        task.model, datamodule.example_input(), settings.loader.batch_size
    )
    torch.set_num_threads(threads)
    if build is None and (busy := load.describe(threads)):
        print(f"note: {busy}, which slows down this training")
    trainer = build_trainer(settings, folder, watching, signals)
    if initial and initial.weights and trainer.is_global_zero:
        print(initial.describe(task.model, datamodule.classes, reset_head=settings.reset_head), flush=True)
    if task.distillation and trainer.is_global_zero:
        for line in (
            *(teachers.descriptions() if teachers else ()),
            *(f"note: {one}" for one in task.distillation.notes),
        ):
            print(line, flush=True)
    if settings.trainer.fast_dev_run:
        with meeting_others():
            return dev_run(settings, datamodule, task, trainer)
    run = RunFolder(folder, settings, datamodule, task, trainer)
    last = run.resume_checkpoint()  # before writing: a corrupt checkpoint leaves the folder unchanged
    with closing_loggers(trainer.loggers):
        run.prepare()
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
        return run.write_results(show=build is None)
