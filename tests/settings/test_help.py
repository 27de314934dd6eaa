import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lenet_pl.settings.compose import conf_dir, known_keys

VERBS = (
    "evaluate",
    "predict",
    "explain",
    "export",
    "compare",
    "demo",
    "benchmark",
    "inspect",
    "datasets",
    "diagnose",
    "lab",
)
GROUPS = [folder.name for folder in conf_dir().iterdir() if folder.is_dir()]


def answer(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(folder.iterdir()) == []
    return done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_what_the_verb_takes_and_nothing_else(
    verb: str, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    text = answer(tmp_path, command_environment, f"lenet_pl.{verb}", "--help")
    lines = text.splitlines()
    assert lines[0].startswith(f"python -m lenet_pl.{verb} ")
    assert lines[1].endswith(".")
    assert "ydra" not in text
    for key in known_keys(verb):
        if verb == "inspect" and key.startswith("data."):
            continue  # of the chosen dataset; the help names the folder that describes them
        name = key.rpartition(".")[2]
        assert any(line.strip().startswith(f"{name}:") for line in lines)
    for file in {verb} | (
        {"_trained"} & set(yaml.safe_load((conf_dir() / f"{verb}.yaml").read_text())["defaults"][:1])
    ):
        settings, _, _ = (conf_dir() / f"{file}.yaml").read_text().partition("\nhydra:")
        said = [line.partition("  # ")[2].strip() for line in settings.splitlines() if "  # " in line]
        said = [
            words for words in said if file == verb or verb not in ("demo", "diagnose")
        ]  # these say anew what their run is
        assert [words for words in said if words not in text and "a choice of conf/data" not in words] == []
    listed = [
        line.partition(": ")[0] for line in lines if line.partition(": ")[0] in GROUPS and "fashion, folder" in line
    ]
    assert listed == (["data"] if verb in ("evaluate", "inspect") else [])
    assert not any(line.startswith(("optimizer:", "model:", "search:")) for line in lines)
    examples = lines[lines.index("Examples:") + 1 :]
    assert sum(line.startswith(f"  python -m lenet_pl.{verb}") for line in examples) >= 2


@pytest.mark.parametrize(("verb", "wanted"), [("train", False), ("search", True)])
def test_help_lists_the_groups_of_the_verb_alone(
    verb: str, wanted: bool, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    text = answer(tmp_path, command_environment, f"lenet_pl.{verb}", "--help")
    optimizers = "adam, adamw, lion, muon, nadam, radam, rmsprop, schedule_free_adamw, schedule_free_sgd, sdlm, sgd"
    assert f"\noptimizer: {optimizers}\n" in text
    assert ("\nsearch: architecture, learning, regularization\n" in text) == wanted
    assert f"{conf_dir()} document each setting and its unit" in text


def test_the_package_lists_its_verbs(tmp_path: Path, command_environment: dict[str, str]) -> None:
    lines = answer(tmp_path, command_environment, "lenet_pl").splitlines()
    assert len(lines) == 2 + len(VERBS)
    for verb, line in zip(("train", *sorted({*VERBS, "search"})), lines, strict=True):
        assert f": python -m lenet_pl.{verb}" in line or f"? python -m lenet_pl.{verb}" in line
