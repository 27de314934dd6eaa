"""The environment that a result depends on, in addition to its settings: versions, machine, code and command."""

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import lenet_pl

COMMAND_ENV = "LENET_PL_COMMAND"  # environment variable: the command to record in results.json


def describe_environment(device: Any) -> dict[str, Any]:
    """Describe the device, threads, versions, git commit and command of this process as plain JSON values.

    Args:
        device: The `torch.device` in use.
    """
    import torch

    packages = ("lightning", "torchmetrics", "hydra-core", "numpy")
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}: {_processor()}",
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "versions": {"lenet_pl": lenet_pl.__version__, "python": platform.python_version()}
        | {"torch": str(torch.__version__)}
        | {name: metadata.version(name) for name in packages},
        "git_commit": _git_commit(),
        "command": recorded_command(),
    }


def recorded_command() -> str:
    """Return the command line to record: of this process, or the one that was chosen for it."""
    return os.environ.get(COMMAND_ENV) or shlex.join(["python", *_argv()])


def _argv() -> list[str]:
    module = getattr(sys.modules["__main__"], "__spec__", None)
    return [*(("-m", module.name.removesuffix(".__main__")) if module else (sys.argv[0],)), *sys.argv[1:]]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git_commit() -> str | None:
    """Return the commit of the code, with + if tracked files have changed since. None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        run = ["git", "-C", str(root)]
        commit = subprocess.run([*run, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*run, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changed.stdout.strip() else "")
