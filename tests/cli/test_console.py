import os
import subprocess
from pathlib import Path

import pytest
from commands import KINDS
from console import environment, install

QUICK = 0.8  # seconds of CPU time


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("bin"))


def lenet(script: Path, folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["lenet", *words], cwd=folder, env=environment(script), capture_output=True, text=True, timeout=120
    )


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--help"], ["help"], ["-h"]])
def test_the_commands_are_listed_as_they_are_typed(words: list[str], script: Path, tmp_path: Path) -> None:
    before = os.times()
    done = lenet(script, tmp_path, *words)
    after = os.times()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for name, line in zip(KINDS, lines, strict=False):
        assert f"lenet {name}" in line
    assert "python -m" not in done.stdout
    assert "lenet completion --help" in lines[-1]
    assert sum(after[2:4]) - sum(before[2:4]) < QUICK


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["trian"], "error: trian: no such command; did you mean train? must be one of train, benchmark,"),
        (["model=lenet5"], "error: model=lenet5: no such command; settings follow a command, as in lenet train model="),
        (["completion"], "error: completion: got no shell; must be bash, zsh or fish"),
        (["completion", "bsh"], "error: completion: got bsh; did you mean bash? must be bash, zsh or fish"),
        (["train", "evaluate"], "error: evaluate: got no value; for that command, use lenet evaluate"),
        (["train", "--config-dir=x"], "error: --config-dir: got x, which does not exist; must be a folder"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], line: str, script: Path, tmp_path: Path) -> None:
    done = lenet(script, tmp_path, *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(line)


@pytest.mark.slow
def test_a_command_is_called_as_it_is_typed(script: Path, tmp_path: Path) -> None:
    for name in KINDS:
        text = lenet(script, tmp_path, name, "--help").stdout
        assert text.startswith(f"lenet {name} ")
        assert f"\n  lenet {name} " in text
        assert "python -m" not in text
    assert lenet(script, tmp_path, "--version").stdout == lenet(script, tmp_path, "train", "--version").stdout
    assert "source <(lenet completion bash)" in lenet(script, tmp_path, "completion", "--help").stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("command", KINDS)
def test_what_hydra_shows_is_shown_for_every_command(command: str, script: Path, tmp_path: Path) -> None:
    shown = {
        ("--cfg", "job"): "\ntraceback: false\n",
        ("--cfg", "job", "--resolve"): "\ntraceback: false\n",
        ("--cfg", "hydra"): "\n  launcher:\n",
        ("--cfg", "hydra", "--package", "hydra.job"): "# @package hydra.job\n",
        ("--info", "searchpath"): "| main",
        ("--info", "defaults"): f"| {command} ",
    }
    for words, expected in shown.items():
        done = lenet(script, tmp_path, command, *words)
        assert done.returncode == 0, (words, done.stderr)
        assert done.stderr == ""
        assert expected in f"\n{done.stdout}", words
    assert list(tmp_path.iterdir()) == []
