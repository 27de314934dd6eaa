"""Commands in processes that are forked from one that has imported torch and Lightning, as the jobs of sweeps are.

The imports take seconds of each `python -m`. That this works, too, other tests show.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lenet_pl.cli.subprocess_job import PRELOAD

TESTS = Path(__file__).parent


def run_forked(
    *words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, seconds: float = 300
) -> "subprocess.CompletedProcess[str]":
    """Run `python -m <words>`, and return its exit code and its output.

    A sweep is started with a new interpreter, since its jobs would not inherit `env` otherwise.

    Args:
        words: The module and its arguments.
        cwd: The working directory; None for that of this process.
        env: All environment variables; None for those of this process.
        seconds: After how long the command is stopped.

    Raises:
        TimeoutError: The command was stopped.
    """
    folder, variables = cwd or Path.cwd(), dict(os.environ if env is None else env)
    if {"-m", "--multirun"} & {*words}:
        line = [sys.executable, "-m", *words]
        return subprocess.run(line, cwd=folder, env=variables, capture_output=True, text=True, timeout=seconds)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    with tempfile.TemporaryDirectory() as outputs:
        out, err = Path(outputs, "out"), Path(outputs, "err")
        process = context.Process(target=_run, args=(list(words), str(folder), variables, str(out), str(err)))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"{words}: {err.read_text()}")
        return subprocess.CompletedProcess(words, process.exitcode, out.read_text(), err.read_text())


def _run(words: list[str], folder: str, variables: dict[str, str], out: str, err: str) -> None:
    """Run a module in a new process, with the state of a new interpreter as far as commands can tell."""
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[:] = [folder, *(path for path in sys.path if path and TESTS not in (Path(path), *Path(path).parents))]
    sys.path[1:1] = [path for path in variables.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv, sys.orig_argv = words[:], [sys.executable, "-m", *words]
    sys.modules.pop("__mp_main__", None)
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
