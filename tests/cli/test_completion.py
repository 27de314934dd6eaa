import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pexpect
import pytest
from commands import KINDS
from console import environment, install, write_own_conf
from omegaconf import OmegaConf

from lenet_pl.cli.completion.candidates import candidates
from lenet_pl.cli.completion.shells import escape, split
from lenet_pl.config_files import folders
from lenet_pl.config_files.groups import choices, groups_of
from lenet_pl.config_files.outline import outline
from lenet_pl.settings import setting_keys
from lenet_pl.settings.compose import _compose, known_keys
from lenet_pl.settings.fields import is_path, settings_class, values_of_field

SHELLS = ("bash", "zsh", "fish")
LIMIT = 0.5  # seconds of CPU time for a press of Tab; on an idle machine it takes less than 0.25


def needs(shell: str) -> Any:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"needs {shell}")


EVERY_SHELL = [pytest.param(shell, marks=needs(shell)) for shell in SHELLS]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return install(tmp_path / "bin")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of a user with a configuration folder, a run, and photos."""
    place = tmp_path / "project"
    write_own_conf(place / "conf")
    (place / "pyproject.toml").write_text('[tool.lenet_pl]\nconfig_dir = "conf"\n')
    (place / "runs" / "first").mkdir(parents=True)
    (place / "runs" / "first" / "config.yaml").touch()
    (place / "my photos").mkdir()
    (place / "my photos" / "a.png").touch()
    (place / "my photos" / "notes.txt").touch()
    monkeypatch.chdir(place)
    return place


@pytest.fixture(autouse=True)
def _no_own_folders() -> Any:
    yield
    folders.use()


def texts(*words: str) -> list[str]:
    return [one.text for one in candidates(words)]


def type_line(shell: str, line: str, script: Path, folder: Path) -> list[str]:
    """Type a line with tabs and Enter into a shell, and return the words that the program gets."""
    options = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"], "fish": ["--no-config", "-i"]}[shell]
    variables = environment(script, RECORD="1", TERM="xterm", HOME=str(folder), PS1="$ ")
    child = pexpect.spawn(shell, options, cwd=folder, env=variables, encoding="utf-8", timeout=30, dimensions=(50, 200))
    try:
        child.sendline("echo read''y")
        child.expect("ready")
        source = "lenet completion fish | source" if shell == "fish" else f"source <(lenet completion {shell})"
        child.sendline(f"{source}; echo sourc''ed")
        child.expect("sourced")
        for part in re.split(r"(\t)", line):
            child.send(part)
            time.sleep(1.5 if part == "\t" else 0.2)
        child.send("\r")
        child.expect(r"ARGS(\[.*?\])\r?\n")
        assert child.match
        found: list[str] = json.loads(child.match[1])
        return found
    finally:
        child.close(force=True)


@pytest.mark.slow
@pytest.mark.parametrize("shell", [one for one in EVERY_SHELL if one.values != ("fish",)])
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("lenet tra\tmodel=lenet5_19\t", ["train", "model=lenet5_1998"]),
        ("lenet train trainer.max_ep\t3", ["train", "trainer.max_epochs=3"]),
        ("lenet train trainer.precision=bf\tseed=1", ["train", "trainer.precision=bf16-mixed", "seed=1"]),
        ("lenet train trainer.determ\tf\t", ["train", "trainer.deterministic=false"]),
        ("lenet train experiment=min\tmodel=ti\t", ["train", "experiment=mine_digits", "model=tiny"]),
        ("lenet train -m model=tiny,lenet5_19\t", ["train", "-m", "model=tiny,lenet5_1998"]),
        ("lenet evaluate run=ru\tfi\tsplit=v\t", ["evaluate", "run=runs/first", "split=val"]),
        ("lenet predict images=my\ta\t", ["predict", "images=my photos/a.png"]),
        ("lenet train 'model=lenet5_19\t seed=1", ["train", "model=lenet5_1998", "seed=1"]),
        ("lenet train --config-dir co\t experiment=mi\t", ["train", "--config-dir", "conf/", "experiment=mine_digits"]),
    ],
)
def test_a_shell_completes(shell: str, line: str, words: list[str], script: Path, project: Path) -> None:
    assert type_line(shell, line, script, project) == words


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "line"),
    [
        pytest.param("bash", "lenet benchmark parts=[loops,mem\t]", marks=needs("bash")),
        # zsh takes brackets for a pattern, so that lists need quotes
        pytest.param("zsh", "lenet benchmark 'parts=[loops,mem\t]'", marks=needs("zsh")),
    ],
)
def test_the_items_of_a_list_are_completed(shell: str, line: str, script: Path, project: Path) -> None:
    assert type_line(shell, line, script, project) == ["benchmark", "parts=[loops,memory_mapped]"]


@pytest.mark.slow
@needs("fish")
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("lenet tra", ["train"]),
        ("lenet train model=lenet5_19", ["model=lenet5_1998"]),
        ("lenet train model=ti", ["model=tiny"]),
        ("lenet train experiment=min", ["experiment=mine_digits"]),
        ("lenet train trainer.max_ep", ["trainer.max_epochs="]),
        ("lenet train seed=1 trainer.precision=bf", ["trainer.precision=bf16-mixed"]),
        ("lenet evaluate run=runs/f", ["run=runs/first"]),
    ],
)
def test_fish_completes(line: str, found: list[str], script: Path, project: Path) -> None:
    program = f"lenet completion fish | source; complete -C '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", program],
        cwd=project,
        env=environment(script, HOME=str(project)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [answer.partition("\t")[0] for answer in done.stdout.splitlines()] == found


@pytest.mark.slow
@pytest.mark.parametrize("shell", EVERY_SHELL)
def test_a_script_is_accepted_by_its_shell(shell: str, script: Path, tmp_path: Path) -> None:
    written = subprocess.run(
        ["lenet", "completion", shell], env=environment(script), capture_output=True, text=True, check=True
    )
    (tmp_path / "script").write_text(written.stdout)
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True, timeout=60)


@pytest.mark.parametrize("command", KINDS)
def test_the_keys_are_those_that_hydra_composes(command: str) -> None:
    assert set(setting_keys(outline(command, {}))) == set(known_keys(command))


@pytest.mark.slow
def test_the_keys_of_every_choice_are_those_that_hydra_composes() -> None:
    for group in groups_of("search"):
        for choice in choices(group):
            hydras: Any = OmegaConf.to_container(_compose("search", [f"{group}={choice}"]))
            assert set(setting_keys(outline("search", {group: choice}))) == set(setting_keys(hydras)), (group, choice)


def test_a_path_or_one_of_a_few_values_is_offered_for_all_such_settings() -> None:
    fields = settings_class("evaluate").model_fields
    assert {name for name, field in fields.items() if is_path(field)} == {"run", "ckpt_path", "output_dir", "data_root"}
    assert {name for name, field in fields.items() if values_of_field(field)} == {
        "traceback",
        "split",
        "report",
        "corruptions",
        "shifts",
    }


def test_what_is_given_is_not_offered_again(project: Path) -> None:
    assert texts("train", "seed=1", "model=tiny", "se") == ["seeds="]
    assert "model=" not in texts("train", "model=tiny", "mod")
    assert texts("train", "optimizer=sgd", "optimizer.mom") == ["optimizer.momentum="]
    assert texts("train", "optimizer=adam", "optimizer.mom") == []
    assert texts("train", "~log") == ["~logger=", "~logger."]


def test_options_and_their_values_are_offered(project: Path) -> None:
    assert texts("train", "--c") == ["--cfg", "--config-dir"]
    assert texts("train", "--cfg", "") == ["job", "hydra", "all"]
    assert "defaults-tree" in texts("train", "--info", "def")
    assert texts("train", "--cfg", "job", "--package", "trai") == ["trainer"]
    assert texts("train", "--config-dir=co") == ["--config-dir=conf/"]
    assert texts("completion", "z") == ["zsh"]
    assert texts("no_such_command", "") == []


def test_paths_are_those_that_a_setting_takes(project: Path) -> None:
    (project / "runs" / "first" / "best.ckpt").touch()
    assert texts("evaluate", "run=runs/") == ["run=runs/first"]
    assert texts("evaluate", "run=[runs/first,runs/") == ["run=[runs/first,runs/first"]
    assert texts("evaluate", "ckpt_path=runs/first/") == ["ckpt_path=runs/first/best.ckpt"]
    assert texts("predict", "images=my photos/") == ["images=my photos/a.png"]
    assert texts("predict", "run=no such folder/") == []


def test_an_unusable_folder_of_the_user_does_not_disturb(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LENET_PL_CONF", "missing")
    assert texts("train", "model=ti") == []
    assert texts("train", "model=lenet5_b") == ["model=lenet5_bn"]


@pytest.mark.parametrize(
    ("line", "words", "quote"),
    [
        ("lenet ", ["lenet", ""], ""),
        ("lenet train run=my\\ ru", ["lenet", "train", "run=my ru"], ""),
        ("lenet train 'run=my ru", ["lenet", "train", "run=my ru"], "'"),
        ('lenet train "a b" c', ["lenet", "train", "a b", "c"], ""),
        ("cd x && lenet train mo", ["lenet", "train", "mo"], ""),
        ("lenet train ''", ["lenet", "train", ""], ""),
    ],
)
def test_a_line_is_split_as_by_bash(line: str, words: list[str], quote: str) -> None:
    assert split(line) == (words, quote)


def test_escaped_words_are_read_back() -> None:
    for word in ("run=a b", "x=$(y)", "x='y'", "parts=[a,b", "x;y&z|w", "λ=猫 (1)"):
        assert split(escape(word)) == ([word], "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["zsh", "train", ""], ["zsh", "train", "trainer.precision="], ["bash", "lenet train ", "=:"]]
)
def test_a_press_of_tab_is_answered_without_torch_and_hydra(words: list[str], script: Path, tmp_path: Path) -> None:
    call = [sys.executable, "-X", "importtime", str(script), "__complete", *words]
    done = subprocess.run(call, cwd=tmp_path, env=environment(script), capture_output=True, text=True, timeout=60)
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "yaml" in imported
    assert len(done.stdout.splitlines()) >= 5
    assert not imported & {"torch", "lightning", "hydra", "omegaconf", "numpy", "matplotlib"}
