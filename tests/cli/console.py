"""The console command for tests, as pip would install it, without installing the package."""

import os
import sys
import tomllib
from pathlib import Path

import lenet_pl

ROOT = Path(lenet_pl.__file__).parents[1]
# With RECORD set, a command line is printed instead of run
SCRIPT = """#!{python}
import json, os, sys
if "RECORD" in os.environ and sys.argv[1:2] not in (["__complete"], ["completion"]):
    sys.exit("ARGS" + json.dumps(sys.argv[1:]))
from {module} import {function}
sys.exit({function}())
"""


def install(folder: Path) -> Path:
    """Write the console script of pyproject.toml into a folder, and return it."""
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["lenet"]
    module, _, function = entry.partition(":")
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "lenet"
    script.write_text(SCRIPT.format(python=sys.executable, module=module, function=function))
    script.chmod(0o755)
    return script


def environment(script: Path, **more: str) -> dict[str, str]:
    """Return environment variables with the console script on the path."""
    path = os.pathsep.join([str(script.parent), os.environ["PATH"]])
    modules = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PATH": path, "PYTHONPATH": modules, "OMP_NUM_THREADS": "1", **more}


def write_own_conf(folder: Path) -> None:
    """Write a configuration folder of a user: a model and an experiment that uses it."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "tiny.yaml").write_text(
        "# Four channels\ndefaults: [lenet5, _self_]\nname: tiny\nchannels: [[4], [8]]\nhidden_sizes: [32]\n"
    )
    (folder / "experiment").mkdir()
    (folder / "experiment" / "mine_digits.yaml").write_text(
        "# @package _global_\n# Mine\ndefaults:\n  - override /model: tiny\n"
        "trainer: {max_epochs: 1, limit_train_batches: 2}\noptimizer: {lr: 0.003}\n"
    )
