"""Every command and every example of the README and of the documentation.

A block of shell commands, Python or YAML is an example. All `lenet_pl` commands are composed and checked. On the pages
in RUN they are executed, too, in the order of the page and in an empty folder, shortened by `shorten`.
"""

import contextlib
import importlib
import io
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import KINDS
from conftest import FASHION
from PIL import Image
from sklearn.datasets import load_digits

from lenet_pl.cli.completion.candidates import SHELLS
from lenet_pl.datasets import with_words
from lenet_pl.runtime.checkpoint_file import load_checkpoint
from lenet_pl.settings import Settings
from lenet_pl.settings.compose import compose

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [
    README,
    *sorted(path for path in DOCS.rglob("*.md") if not {"_build", "generated"} & set(path.relative_to(DOCS).parts)),
]
LONG = (
    "cross_validate.md",
    "diagnose.md",
    "distillation.md",
    "fine_tune.md",
    "inspect.md",
    "loggers.md",
    "own_parts.md",
    "search.md",
    "sweeps.md",
)  # train often
WITH_FIGURES = ("README.md", "student.md")  # pages whose trainings draw them, which takes longer than these trainings
RUN = [page for page in PAGES if page.name not in ("promises.md", "reproduce_leaderboard.md", "slurm.md", "devices.md")]
# What is not executed, nor composed: program, and why.
NOT_CHECKED = {
    "tensorboard": "serves until it is stopped",
    "optuna-dashboard": "serves until it is stopped",
    "mlflow": "serves until it is stopped",
}
# `lenet_pl` commands that are composed only: words of the command, and why.
COMPOSED_ONLY = {
    r"lenet_pl\.demo": "serves until it is stopped; tests/demo",
    r"lenet_pl\.lab": "serves until it is stopped; tests/lab",
    r"lenet_pl\.datasets (fetch|(un)?pack)": "needs a download; tests/datasets",
    r"lenet_pl\.inspect data=(fashion|mnist)": "takes minutes; the figures of the page",
    r"lenet_pl\.benchmark": "takes minutes; tests/benchmark",
    r"hydra/launcher=slurm": "needs a cluster; tests/runtime/test_slurm.py",
    r"hydra/launcher=joblib": "tests/cli/test_sweep.py",
    r"trainer=ddp": "several processes; tests/engine/test_ddp.py",
    r"storage=postgresql": "needs a server; tests/search/test_workers.py",
    r"experiment=(mnist_99_fast|lenet5_mnist)|data=usps": "needs a download",
    r"runs/measured": "minutes; the figures of the page",
    r"runs/leaderboard|run=\$run": "hours; the leaderboard",
    r"debug=overfit": "100 epochs",
    r"tracking_uri=http": "needs a server; tests/engine/test_mlflow.py",
}
EXAMPLE = re.compile(r"^(?P<indent> *)```(?P<language>bash|python|yaml)\n(?P<body>.*?)^(?P=indent)```$", re.M | re.S)


@dataclass(frozen=True)
class Example:
    """A block of a page.

    Attributes:
        language: bash, python or yaml.
        body: Its text.
        line: Its number in the page.
    """

    language: str
    body: str
    line: int


def examples(text: str) -> list[Example]:
    found = EXAMPLE.finditer(text)
    return [
        Example(hit["language"], textwrap.dedent(hit["body"]), text.count("\n", 0, hit.start()) + 1) for hit in found
    ]


def commands(example: Example) -> list[str]:
    """List the commands of a shell block; of a loop, its body."""
    if example.language != "bash":
        return []
    lines = example.body.replace("\\\n", " ").splitlines()
    loop = re.compile(r"^for \w+ in .*?; do (.*); done$")
    return [hit[1] if (hit := loop.match(line)) else line for line in lines if line.strip()]


def lenet(command: str) -> tuple[str, list[str]] | None:
    """Split a command of this project into its name and its arguments; None for any other program."""
    words = shlex.split(command)
    if "srun" in words:
        words = words[words.index("python") :]
    if words[:2] == ["python", "-m"] and words[2].startswith("lenet_pl."):
        name = words[2].removeprefix("lenet_pl.")
        return name, with_words(words[3:]) if name == "datasets" else words[3:]
    return None


@pytest.fixture(scope="session")
def generated() -> dict[str, str]:
    """Pages that are made when the site is built."""
    pages: dict[str, str] = extension("settings_reference").pages()
    return pages


def extension(name: str) -> Any:
    """Import one of the extensions of the site."""
    if str(DOCS / "_ext") not in sys.path:
        sys.path.append(str(DOCS / "_ext"))
    return importlib.import_module(name)


def first_values(overrides: list[str]) -> list[str]:
    """Take the first of comma-separated values, as a job of a sweep does."""
    found = []
    for override in overrides:
        key, _, value = override.partition("=")
        outside = re.sub(r"\[.*?\]|\{.*?\}|\(.*?\)", lambda hit: hit[0].replace(",", "\0"), value)
        first = outside.split(",")[0].replace("\0", ",")
        if pattern := re.match(r"glob\((\w+).*\)", first):
            first = pattern[1]
        found.append(f"{key}={first}")
    return found


def check_composition(command: str, folder: Path) -> None:
    """Compose a command of this project and check every value, without doing anything."""
    split = lenet(command)
    assert split is not None, command
    name, arguments = split
    overrides = [word for word in arguments if word not in ("-m", "--multirun", "--version")]
    if "-m" in arguments:
        overrides = first_values(overrides)
    path = next((word for word in overrides if word.startswith(("hydra.searchpath=", "--config-dir="))), "")
    if path or any(word.startswith("plugins=") for word in overrides):  # are there only when the page is run
        return
    kind: type[Settings] = KINDS[name]
    compose(name, kind, overrides)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_valid(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in [command for example in examples(page.read_text()) for command in commands(example)]:
        check(command, tmp_path)


def check(command: str, folder: Path) -> None:
    """Check one line of a shell block, whatever it calls."""
    words = shlex.split(command)
    if lenet(command):
        check_composition(command, folder)
    elif words[:2] == ["lenet", "completion"]:
        assert words[2] in SHELLS, command
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
    elif words[:2] == ["pip", "install"]:
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        extras = re.findall(r"\[(.*?)\]", command)
        assert not {one for extra in extras for one in extra.split(",")} - set(known), command
    elif words[:3] == ["python", "-m", "lenet_pl"]:
        assert words[3:] in ([], ["--version"], ["--help"]), command
    else:
        assert words[0] in NOT_CHECKED, f"{command}: neither run, nor listed with a reason"


@pytest.mark.slow
def test_every_generated_command_is_valid(
    generated: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = [line for text in generated.values() for example in examples(text) for line in commands(example)]
    assert len(found) >= 2 * len(KINDS)
    for command in found:
        check(command, tmp_path)


def shorten(name: str, arguments: list[str]) -> list[str]:
    """Make a command short: few jobs, few epochs, few batches of large sets, few trials, few images."""
    if "-m" in arguments:
        arguments = [re.sub(r"^(\w+=[^(\[{,]+,[^,]+),.*", r"\1", word) for word in arguments]
    keys = {word.partition("=")[0] for word in arguments}
    if name in ("train", "search"):
        arguments = [*arguments, "callbacks.progress_bar=false"] if name == "train" else arguments
        small = {"trainer.max_epochs": "2"} | ({"logger": "none"} if name == "train" else {})
        if "data=fashion" in arguments:
            small |= {f"trainer.limit_{split}_batches": "2" for split in ("train", "val", "test")}
        if "resume=true" in arguments or "resume=auto" in arguments or keys & {"debug", "experiment"}:
            small = {}
        arguments += [f"{key}={value}" for key, value in small.items() if key not in keys]
    few = {"search": {"search.n_trials": "2", "search.n_test_seeds": "1"}, "explain": {"num_images": "2"}}
    few["inspect"] = {"network": "lenet1", "folds": "2", "epochs": "1"}
    few["export"] = {"num_images": "20", "min_run_time": "0.001", "repeats": "1"}
    small = few.get(name, {})
    given = [word for word in arguments if word.partition("=")[0] not in small]
    return given + [f"{key}={value}" for key, value in small.items()]


def write_pictures(folder: Path) -> None:
    """Write what a reader has: photos of digits, and images of two classes in a directory each."""
    digits = load_digits()
    (folder / "photos").mkdir()
    paper = np.full((400, 900), 235, dtype=np.uint8)
    for column, number in enumerate((3, 13)):
        ink = Image.fromarray((digits.images[number] * 255 / 16).astype(np.uint8)).resize((240, 240))
        top, left = 80, 60 + 420 * column
        paper[top : top + 240, left : left + 240] -= (np.asarray(ink) * 0.8).astype(np.uint8)
    Image.fromarray(paper).save(folder / "photos" / "number.jpg")
    Image.fromarray(paper[:, :400]).save(folder / "photos" / "three.jpg")
    noise = np.random.default_rng(0)
    for label, name in enumerate(("cats", "dogs")):
        (folder / "my_images" / name).mkdir(parents=True)
        for number in range(40):
            image = noise.integers(0, 128, (32, 32), dtype=np.uint8)
            image[:, 16 * label : 16 * label + 16] += 100
            Image.fromarray(image).save(folder / "my_images" / name / f"{number:03}.png")


def execute(name: str, arguments: list[str], command: str) -> None:
    """Run a command in this process, in which the jobs of its sweeps share one server from which they are forked.

    With plug-ins it is run in another process, since they stay registered.
    """
    if any(word.startswith("plugins=") for word in arguments):
        done = subprocess.run([sys.executable, "-m", f"lenet_pl.{name}", *arguments], capture_output=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stderr.decode()}"
        return
    output = io.StringIO()
    before = sys.argv
    sys.argv = [name, *arguments]
    try:
        with contextlib.redirect_stdout(output):
            runpy.run_module(f"lenet_pl.{name}.__main__", run_name="__main__")
        code: object = 0
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = before
    assert code == 0, f"{command}\n{output.getvalue()}"


def has_runs(page: Path) -> bool:
    return any(lenet(line) for example in examples(page.read_text()) for line in commands(example)) or any(
        example.language == "python" for example in examples(page.read_text())
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # as for a reader
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.long] * (page.name in LONG), id=str(page.relative_to(ROOT)))
        for page in RUN
        if has_runs(page)
    ],
)
def test_a_page_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], threads: None
) -> None:
    for module in ("optuna", "onnxruntime", "captum") if page.name != "resume.md" else ():
        pytest.importorskip(module)
    for module in ("mlflow", "wandb") if page.name == "loggers.md" else ():
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    write_pictures(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for example in examples(page.read_text()):
        if file := re.match(r"# (\S+\.py)\n", example.body):
            (tmp_path / file[1]).write_text(example.body)
        elif example.language == "python":
            exec(compile(example.body, f"{page.name}:{example.line}", "exec"), names)
        elif example.language == "yaml":
            path = tmp_path / re.search(r"^# (\S+\.yaml)$", example.body, re.MULTILINE)[1]  # type: ignore[index]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(example.body)
        for command in commands(example):
            split = lenet(command)
            if split is None or any(re.search(words, command) for words in COMPOSED_ONLY):
                continue
            if "data=fashion" in command and not FASHION.is_dir():
                continue
            arguments = shorten(*split)
            if split[0] == "train" and page.name not in WITH_FIGURES and not re.search(r"\breport=", command):
                arguments.append("report=none")
            execute(split[0], arguments, f"{page.name}:{example.line}: {command}")


def test_little_is_left_out() -> None:
    everything = [line for page in PAGES for example in examples(page.read_text()) for line in commands(example)]
    ours = [line for line in everything if lenet(line)]
    composed = [line for line in ours if any(re.search(words, line) for words in COMPOSED_ONLY)]
    assert len(NOT_CHECKED) <= 3
    assert len(composed) <= len(ours) / 3
    for words in COMPOSED_ONLY:  # each reason is still needed
        assert any(re.search(words, line) for line in ours), words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http:", "https:")) and "generated/" not in target:
            assert (page.parent / target).exists(), target


def test_the_readme_is_short_and_has_the_two_commands() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    assert "```bash\nmake train\nmake test\n```" in text
    assert text.count("![") == 1


def test_the_readme_claims_no_more_guarantees_than_there_are() -> None:
    claimed = re.search(r"More than (\d+) documented guarantees", README.read_text())
    there = re.search(r"^\| \*\*all\*\* \| (\d+) \|", (DOCS / "promises.md").read_text(), re.MULTILINE)
    assert claimed
    assert there
    assert int(claimed[1]) < int(there[1])


def rows_of(page: Path, heading: str) -> set[str]:
    """Read the names in the first column of the table under a heading."""
    section = page.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    firsts = re.findall(r"^\| (.*?) \|", section, re.MULTILINE)
    return {name for first in firsts for name in re.findall(r"`([^`]+)`", first)}


def test_the_reference_lists_what_a_run_leaves(digits_run: Path) -> None:
    page = DOCS / "reference" / "run_folder.md"
    assert rows_of(page, "`results.json`") == set(json.loads((digits_run / "results.json").read_text()))
    columns = (digits_run / "metrics.csv").read_text().splitlines()[0].split(",")
    assert rows_of(page, "`metrics.csv`") == set(columns)
    files = {str(path.relative_to(digits_run)) for path in digits_run.rglob("*") if path.is_file()}
    assert files <= set(re.findall(r"`([^`]+)`", page.read_text().partition("\nWith several")[0]))


def test_the_reference_lists_what_a_checkpoint_holds(digits_run: Path) -> None:
    page = DOCS / "reference" / "checkpoint.md"
    content = load_checkpoint(digits_run / "checkpoints" / "last.ckpt")
    described = set(re.findall(r"`([\w-]+)`", page.read_text().partition("\nIf an")[0]))
    assert set(content) <= described
    assert rows_of(page, "`hyper_parameters`") == set(content["hyper_parameters"])


def keys_of(cls: type[Settings], prefix: str = "") -> Iterator[str]:
    for name in cls.model_fields:
        yield f"{prefix}{name}"


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_the_reference_has_every_setting_of_a_command(name: str, generated: dict[str, str]) -> None:
    text = "\n".join(generated.values())
    missing = [key for key in keys_of(KINDS[name]) if f"`{key}`" not in text and f"`{key}." not in text]
    assert missing == []


@pytest.mark.slow
def test_the_reference_has_every_choice(generated: dict[str, str]) -> None:
    for group in ("data", "model", "augment", "optimizer", "scheduler", "trainer", "callbacks", "logger", "loss"):
        for path in (ROOT / "conf" / group).glob("*.yaml"):
            assert f"`{path.stem}`" in generated[f"settings_{group}"]


def test_the_diagram_has_every_folder() -> None:
    pytest.importorskip("docutils")
    drawing = extension("architecture_diagram").draw()
    for folder in (ROOT / "lenet_pl").iterdir():
        if folder.is_dir() and (folder / "__init__.py").exists():
            assert f">{folder.name}</text>" in drawing


def test_every_image_can_be_made_again() -> None:
    scripts = {path.stem: path.read_text() for path in (DOCS / "images").glob("*.py")}

    def has_script(image: Path) -> bool:
        if image.stem.startswith("page_"):
            return 'f"page_{screen}_{scheme}.png"' in scripts["make_page_images"]
        return f'"{image.stem}": ' in scripts["make_images"] or f'"{image.name}"' in scripts["leaderboard"]

    assert [path.name for path in sorted((DOCS / "images").glob("*.png")) if not has_script(path)] == []
