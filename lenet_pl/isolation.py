"""Work in a process of its own, forked from one that has imported torch and done nothing else.

Starting it is cheap, what other work set, leaked or broke is not in it, and a crash is only its own.
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

from lenet_pl.error_lines import exit_code, explain
from lenet_pl.interruption import Interruptible, Interruption
from lenet_pl.text import prepare_output

COMMAND = "LENET_PL_COMMAND"  # variable: what results.json gives as the command
IMPORTED = ["lenet_pl.artefacts", "lenet_pl.build", "lenet_pl.trainer"]  # what takes seconds, once for all jobs


def run_alone(
    name: str, settings: Any, folder: Path, command: str, started: Callable[[int], None], log: Path | None
) -> tuple[int, str]:
    """Let a verb work in a process of its own.

    Args:
        name: of the verb, its module and its function.
        settings: for the work.
        folder: for the work.
        command: that would do this alone.
        started: is told the number of the process.
        log: receives what the process prints; None: it goes where this one's goes.

    Returns:
        Exit code (negative: the signal that killed it), and one line that says why it is not 0.

    Raises:
        Interruption: a signal came; it was passed on, and the process has ended.
    """
    multiprocessing.set_start_method(
        "forkserver", force=True
    )  # joblib's workers have one that no child of theirs knows
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_alone, args=(name, settings, folder, command, log, there))
    stop: Interruption | None = None
    with Interruptible():
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
        reason = f"killed by {signal.Signals(-code).name}" if code < 0 else f"its process ended with {code}"
    return code, reason


def _alone(name: str, settings: Any, folder: Path, command: str, log: Path | None, answer: Connection) -> None:
    os.environ[COMMAND] = command
    os.setpgrp()  # a terminal's signals reach the sweep, which passes them on once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare_output()
    if log:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
    try:
        getattr(import_module(f"lenet_pl.{name}"), name)(settings, folder)
        answer.send((0, ""))
    except Exception as error:
        if settings.traceback:
            traceback.print_exception(error)
        answer.send((exit_code(error), explain(error, name)))
    except Interruption as interruption:
        answer.send((interruption.exit_code, str(interruption)))


def _end_with_parent() -> None:
    """End as after SIGTERM when the sweep itself was killed."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
