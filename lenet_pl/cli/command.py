"""The entry point of a command: Hydra composes the configuration, and errors become one line and an exit code.

The module imports nothing heavy, so that `--help`, tab completion and errors respond at once.
"""

import contextlib
import inspect
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lenet_pl.cli.arguments import check_arguments
from lenet_pl.cli.error_report import report_error, report_interrupt, signals_first
from lenet_pl.cli.sweep import report_sweep, start_sweep
from lenet_pl.cli.sweep_job import run_job
from lenet_pl.config_files.folders import conf_dir, own_sources, use
from lenet_pl.display.text import prepare_output
from lenet_pl.plugins.loading import load_plugins, named_in, refuse_others
from lenet_pl.runtime import startup
from lenet_pl.runtime.folder_checks import check_folder_unused
from lenet_pl.runtime.processes import this_process
from lenet_pl.runtime.signals import Interruption
from lenet_pl.runtime.slurm import check_launcher
from lenet_pl.runtime.streams import own_streams, report_lost_output
from lenet_pl.runtime.threads import prepare_openmp
from lenet_pl.settings import Settings, TrainSettings
from lenet_pl.settings.compose import to_settings
from lenet_pl.settings.datasets import DatasetsSettings
from lenet_pl.settings.lab import LabSettings
from lenet_pl.settings.trained import TrainedSettings

WITHOUT_FOLDER = (
    TrainedSettings,
    DatasetsSettings,
    LabSettings,
)  # of commands that create their folder themselves, or have none
AnySettings = TypeVar("AnySettings", bound=Settings)
AnySettings_contra = TypeVar("AnySettings_contra", bound=Settings, contravariant=True)


class SettingsMain(Protocol[AnySettings_contra]):
    """The function of a command that needs no run folder, called with the checked settings."""

    def __call__(self, settings: AnySettings_contra, /) -> object:
        """Run the command. A UserError ends it with one line, any other error is reported as unexpected."""
        ...


class FolderMain(Protocol[AnySettings_contra]):
    """The function of a command that writes to its run folder, called with the checked settings and the folder."""

    def __call__(self, settings: AnySettings_contra, folder: Path, /) -> object:
        """Run the command, as `SettingsMain`. The folder exists, and is removed if it is empty after an error."""
        ...


class Prepare(Protocol[AnySettings]):
    """A hook that checks the run folder and completes the settings before `main` is called."""

    def __call__(
        self, settings: AnySettings, folder: Path, overrides: Sequence[str], sweep: bool, /
    ) -> AnySettings | None:
        """Return the settings to run with.

        Args:
            settings: The checked settings of the command line.
            folder: The run folder, which exists.
            overrides: The overrides of the command line, or of the job in a sweep.
            sweep: Whether this is a job of a sweep.

        Returns:
            The settings for `main`. None if nothing is left to do, so that `main` is not called.

        Raises:
            UserError: If the folder or a setting cannot be used. It is reported like an error of `main`.
        """
        ...


def run_command(
    name: str,
    settings_cls: type[AnySettings],
    main: SettingsMain[AnySettings] | FolderMain[AnySettings],
    prepare: Prepare[AnySettings] | None = None,
) -> None:
    """Compose `conf/<name>.yaml` with the command line, check the settings, and call `main`.

    The command line is read from sys.argv, which is changed: what Hydra would not accept is replaced, and the folder
    of a sweep and the data of a resumed run are appended. With `-m` (`--multirun`) and `prepare`, each job of the sweep
    runs in a subprocess. Errors are printed to stderr in one line, and with `traceback=true` as a traceback too.

    Args:
        name: Name of the command and of its configuration file.
        settings_cls: Class of the settings of the command.
        main: Function of the command. It is called with the settings and the run folder, or with the settings alone if
            it takes one argument.
        prepare: Hook that is called before `main`. By default, a run folder that is not empty is rejected.

    Raises:
        SystemExit: If the exit code is not 0. It is 2 for an invalid setting, 1 for any other error or lost output, and
            128 + its number after a signal. In a sweep it is the largest exit code of the jobs.
    """
    prepare_openmp()
    call = _with_folder(main)
    exit_codes: list[int] = []  # a failed job of a sweep does not stop the others
    folders: list[Path] = []  # run folders
    jobs: Path | None = None  # folder of a sweep
    rank = 0

    def job(config: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        folder = Path(hydra_config.runtime.output_dir)
        overrides: Any = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)
        sweep = hydra_config.mode == RunMode.MULTIRUN
        folders.append(folder)
        use(*own_sources(hydra_config.runtime.config_sources))  # this may be another process than the sweep's

        def resolve_settings() -> AnySettings | None:
            nonlocal rank
            load_plugins(named_in(overrides))  # a launcher may have started this process
            settings = to_settings(settings_cls, config)
            refuse_others(getattr(settings, "plugins", []))
            if isinstance(settings, TrainSettings):
                rank = this_process(settings.trainer.num_devices).rank
            if prepare:
                return prepare(settings, folder, overrides, sweep)
            if not issubclass(settings_cls, WITHOUT_FOLDER):
                check_folder_unused(folder)
            return settings

        if sweep and prepare:
            launcher = str(hydra_config.runtime.choices.get("hydra/launcher"))
            run_job(name, hydra_config.job.num, overrides, folder, resolve_settings, call, launcher)
            return
        try:
            with signals_first():
                if (settings := resolve_settings()) is not None:
                    call(settings, folder)
                    remove_empty(folder)  # a check of the settings leaves nothing
        except (KeyboardInterrupt, Interruption):
            remove_empty(folder)
            raise
        except Exception as error:
            if sweep:
                error.add_note(f"job {hydra_config.job.num} ({' '.join(overrides)})")
            exit_codes.append(report_error(error, name, started=True))
            remove_empty(folder)

    def compose_and_run() -> None:
        nonlocal jobs
        multirun = check_arguments(name)
        check_launcher(sys.argv, multirun)
        if multirun and prepare:
            jobs = start_sweep(sys.argv)
        try:
            hydra.main(config_path=str(conf_dir()), config_name=name, version_base="1.3")(job)()
        finally:
            # A later call from Python would take the overrides of the command for its own
            HydraConfig.instance().cfg = None

    def report_jobs() -> None:
        if jobs:
            exit_codes.append(report_sweep(jobs))

    prepare_output()
    warnings.filterwarnings("error", r"provider=hydra\.searchpath", UserWarning)  # the folder does not exist
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing several lines
    with own_streams() as stdout, startup.Working(name):
        for stage in (compose_and_run, report_jobs):
            try:
                with signals_first():
                    stage()
            except (KeyboardInterrupt, SystemExit, Interruption) as stop:
                finished = jobs is None and any((folder / "results.json").exists() for folder in folders)
                unfinished = None if finished else next(filter(Path.exists, reversed(folders)), None)
                exit_codes.append(report_interrupt(stop, name, rank, resumable=jobs or unfinished, finished=finished))
            except Exception as error:
                exit_codes.append(report_error(error, name, started=bool(folders)))
    if code := report_lost_output(max(exit_codes, default=0), stdout, worked=bool(folders or jobs)):
        sys.exit(code)


def _with_folder(main: SettingsMain[AnySettings] | FolderMain[AnySettings]) -> FolderMain[AnySettings]:
    """Return a function that takes the run folder too, whether `main` takes it or not."""
    try:
        inspect.signature(main).bind("settings", "folder")
    except TypeError:
        return lambda settings, _: cast(SettingsMain[AnySettings], main)(settings)
    return cast(FolderMain[AnySettings], main)


def remove_empty(folder: Path) -> None:
    """Remove an empty run folder that Hydra created, and its empty parents below the working directory."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: the folder is not below the working directory
        if folder.samefile(Path.cwd()):
            return
        folder.rmdir()
        for parent in folder.relative_to(Path.cwd()).parents[:-1]:
            parent.rmdir()
