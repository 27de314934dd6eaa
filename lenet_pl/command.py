"""The command line: Hydra composes, settings are checked, errors become one line and an exit code.

Imports nothing heavy, so that `--help`, tab completion and mistakes answer at once.
"""

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from lenet_pl import startup
from lenet_pl.command_line import refuse_arguments
from lenet_pl.composition import conf_dir, to_settings
from lenet_pl.error_lines import exit_code, explain
from lenet_pl.errors import printable
from lenet_pl.interruption import Interruption
from lenet_pl.ownership import refuse_used_folder
from lenet_pl.processes import this_process
from lenet_pl.settings import Settings, TrainSettings
from lenet_pl.settings.trained import TrainedSettings
from lenet_pl.slurm import check_launcher
from lenet_pl.streams import own_streams, report_lost_output
from lenet_pl.sweep import begin_sweep, close_sweep, do_job
from lenet_pl.text import prepare_output
from lenet_pl.threads import prepare_openmp

AnySettings = TypeVar("AnySettings", bound=Settings)


def run_command(
    name: str,
    kind: type[AnySettings],
    work: Callable[[AnySettings, Path], Any],
    prepare: Callable[[AnySettings, Path, Sequence[str], bool], AnySettings | None] | None = None,
) -> None:
    """Compose `conf/<name>.yaml` with the command line, check it, and do the work; ends the process on an error.

    Exit codes: 2 for settings, 1 for the rest, 128 + its number after a signal; 1 if the output could not be shown.

    Args:
        name: of the verb and of its configuration file.
        kind: the settings that the verb takes.
        work: receives the settings and the run folder, which exists.
        prepare: receives settings, run folder, overrides of the command line and whether it is a job of a sweep;
            returns the settings to work with, or None where nothing is left to do. By default a used folder is refused.
    """
    prepare_openmp()
    failures: list[int] = []  # exit codes; a failed job of a sweep does not stop the others
    begun: list[Path] = []  # run folders
    jobs: Path | None = None  # folder of a sweep
    rank = 0  # of this process among those of its run

    def job(config: DictConfig) -> None:
        given = HydraConfig.get()
        folder, sweep, overrides = Path(given.runtime.output_dir), given.mode == RunMode.MULTIRUN, given.overrides.task
        begun.append(folder)

        def settle() -> AnySettings | None:
            nonlocal rank
            settings = to_settings(kind, config)
            if isinstance(settings, TrainSettings):
                rank = this_process(settings.trainer.devices).rank
            if prepare:
                return prepare(settings, folder, overrides, sweep)
            if not issubclass(kind, TrainedSettings):  # those verbs make their folder later, beside the run
                refuse_used_folder(folder)
            return settings

        if sweep and prepare:
            launcher = str(given.runtime.choices.get("hydra/launcher"))
            do_job(name, given.job.num, overrides, folder, settle, work, launcher)
            return
        try:
            with _signals_first():
                if (settings := settle()) is not None:
                    work(settings, folder)
        except (KeyboardInterrupt, Interruption):
            remove_empty(folder)
            raise
        except Exception as error:
            if sweep:
                error.add_note(f"job {given.job.num} ({' '.join(overrides)})")
            failures.append(_complain(error, name, started=True))
            remove_empty(folder)

    def compose_and_work() -> None:
        nonlocal jobs
        multirun = refuse_arguments(name)
        check_launcher(sys.argv, multirun)
        if multirun and prepare:
            jobs = begin_sweep(sys.argv)
        hydra.main(config_path=str(conf_dir()), config_name=name, version_base="1.3")(job)()

    def close() -> None:
        if jobs:
            failures.append(close_sweep(jobs))

    prepare_output()
    warnings.filterwarnings("error", r"provider=hydra\.searchpath", UserWarning)  # of a folder that does not exist
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands over its errors in place of printing several lines
    with own_streams() as stdout, startup.Working(name):
        for part in (compose_and_work, close):
            try:
                with _signals_first():
                    part()
            except (KeyboardInterrupt, SystemExit, Interruption) as stop:
                finished = jobs is None and any((folder / "results.json").exists() for folder in begun)
                resumable = jobs is not None or (not finished and any(folder.exists() for folder in begun))
                failures.append(_interrupted(stop, name, rank, resumable=resumable, finished=finished))
            except Exception as error:
                failures.append(_complain(error, name, started=bool(begun)))
    if code := report_lost_output(max(failures, default=0), stdout, worked=bool(begun or jobs)):
        sys.exit(code)


@contextlib.contextmanager
def _signals_first() -> Iterator[None]:
    """Raise Interruption for a signal of which a library has made another error."""
    try:
        yield
    except Exception as error:
        if number := startup.heard():
            raise Interruption(number) from error
        raise


def remove_empty(folder: Path) -> None:
    """Remove the folder that Hydra made for a refused run, and empty ones above it; what holds files stays."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: the folder is not below this one
        if folder.samefile(Path.cwd()):
            return
        folder.rmdir()
        for parent in folder.relative_to(Path.cwd()).parents[:-1]:
            parent.rmdir()


def _interrupted(stop: BaseException, name: str, rank: int, *, resumable: bool, finished: bool) -> int:
    """Say that a signal ended the work, the first process for all of a run; return 128 + its number, as shells do.

    Another exit is passed on.
    """
    if isinstance(stop, Interruption):
        code = stop.exit_code
    elif isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt):
        code = 130
    elif type(stop).__name__ == "SIGTERMException":  # Lightning's, an exit without a code, which would count as success
        code = 143
    else:
        return _exit_code_of(stop)
    more = "; run=<its folder> resume=true goes on" if name == "train" and resumable else ""
    if rank == 0:
        what = "the results are written" if finished else f"{name} is not finished{more}"
        print(f"error: interrupted; {what}", file=sys.stderr)
    return code


def _exit_code_of(stop: BaseException) -> int:
    """Read the exit code of a SystemExit, which may be nothing or a text."""
    code = getattr(stop, "code", 1)
    return code if isinstance(code, int) else int(code is not None)


def _complain(error: Exception, name: str, *, started: bool) -> int:
    """Print one line, or all there is if `traceback=true` was asked for; return the exit code."""
    if "traceback=true" in (argument.lower() for argument in sys.argv):
        traceback.print_exception(error)
    line = explain(error, name)
    if isinstance(error, OSError) and not isinstance(error, HydraException) and not started:
        line = f"run: {line}; accepted is a folder that can be written"
    where = "".join(f"{note}: " for note in getattr(error, "__notes__", []))
    print(f"error: {printable(where + line)}", file=sys.stderr)
    return exit_code(error)
