"""Subprocesses for trainings, forked from a server process that has imported torch and done nothing else.

Starting a subprocess is cheap. It contains nothing that another job has set, leaked or broken, and if it crashes no
other job is affected.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lenet_pl.cli.error_messages import exit_code, format_error
from lenet_pl.display.text import prepare_output
from lenet_pl.plugins.loading import load_plugins
from lenet_pl.runtime.environment import COMMAND_ENV
from lenet_pl.runtime.signals import Interruption, SignalHandler
from lenet_pl.settings import Settings, validate

PRELOAD = [
    "lenet_pl.artifacts.run_folder",
    "lenet_pl.engine.build",
    "lenet_pl.engine.trainer",
]  # imported once for all jobs, as they take seconds


def run_in_subprocess(
    name: str, settings: Any, folder: Path, command: str, started: Callable[[int], None], log: Path | None
) -> tuple[int, str]:
    """Run a command in a subprocess.

    Args:
        name: Name of the command, which is that of its module and of its function.
        settings: Settings to pass to the function.
        folder: Run folder to pass to the function.
        command: Command line that runs the job alone, to be recorded in results.json.
        started: Callback that receives the process id.
        log: File for the output of the subprocess. By default it goes to the streams of this process.

    Returns:
        The exit code, or the negative number of the signal that killed the subprocess, and a line with the reason if
        the code is not 0.

    Raises:
        Interruption: If a signal arrived. It was passed on, and the subprocess has ended.
    """
    # joblib's workers have another start method, which is unknown to their children
    multiprocessing.set_start_method("forkserver", force=True)
    context = start_context()
    here, there = context.Pipe(duplex=False)
    # Plain values, since classes of plug-ins exist only where these are loaded
    values = type(settings), settings.model_dump()
    process = context.Process(target=_child_main, args=(name, *values, folder, command, log, there))
    stop: Interruption | None = None
    with SignalHandler():
        process.start()
        there.close()
        assert process.pid
        started(process.pid)
        while process.is_alive():
            try:
                process.join()
            except Interruption as interruption:
                stop = interruption
                os.kill(process.pid, interruption.exit_code - 128)
    if stop:
        raise stop
    try:
        code, reason = here.recv()
    except EOFError:
        code = process.exitcode or 1
        reason = describe_exit(code)
    return code, reason


def start_context() -> Any:
    """Return the context of multiprocessing that starts subprocesses: with a fork server, or without on Windows."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def start_fork_server() -> None:
    """Let the fork server import torch from now on, while this process does so too and loads its data."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        from multiprocessing import forkserver  # not on Windows

        start_context()
        forkserver.ensure_running()


def enter_subprocess(log: Path | None) -> None:
    """Prepare a new subprocess, which from now on ends with its parent and gets signals only from it.

    Args:
        log: File for its output. By default it goes to the streams of the parent.
    """
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # signals of the terminal reach only the parent, which passes them on once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare_output()
    if log:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)


def describe_exit(code: int) -> str:
    """Describe how a subprocess without an answer ended, from its exit code or its negative signal number."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"its process exited with {code}"


def _child_main(
    name: str,
    kind: type[Settings],
    values: dict[str, Any],
    folder: Path,
    command: str,
    log: Path | None,
    connection: Connection,
) -> None:
    os.environ[COMMAND_ENV] = command
    enter_subprocess(log)
    try:
        load_plugins(values.get("plugins", []))
        settings = validate(kind, values)
        getattr(import_module(f"lenet_pl.{name}"), name)(settings, folder)
        connection.send((0, ""))
    except Exception as error:
        if values.get("traceback"):
            traceback.print_exception(error)
        connection.send((exit_code(error), format_error(error, name)))
    except Interruption as interruption:
        connection.send((interruption.exit_code, str(interruption)))


def _end_with_parent() -> None:
    """Send SIGTERM to this process when its parent has been killed."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
