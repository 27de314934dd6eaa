import json
import re
import subprocess
from pathlib import Path

import pytest
from conftest import Run
from console import environment, install, write_own_conf
from quiet import WITHOUT_FIGURES

from lenet_pl.config_files import folders
from lenet_pl.config_files.folders import conf_dir, find_pyproject, own_folder
from lenet_pl.config_files.groups import choices
from lenet_pl.errors import SettingError
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.compose import compose, help_text


@pytest.fixture(autouse=True)
def _no_own_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LENET_PL_CONF", raising=False)
    folders.use()


@pytest.fixture
def seen(run: Run) -> list[TrainSettings]:
    return []


@pytest.mark.parametrize(
    "options", [["--config-dir=conf"], ["--config-dir", "conf"], ["-cd", "conf"], ["--config-dir=./conf/"]]
)
def test_a_folder_is_given_by_an_option(options: list[str], run: Run, seen: list[TrainSettings]) -> None:
    write_own_conf(Path("conf"))
    words = [*options, "experiment=mine_digits"]
    assert run(*words, work=lambda settings, folder: seen.append(settings)) == (0, [])
    assert (seen[0].model.name, seen[0].optimizer.lr) == ("tiny", 0.003)


def test_the_option_wins_over_the_variable_and_that_over_pyproject(
    run: Run, seen: list[TrainSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two", "three"):
        write_own_conf(Path(name))
        file = Path(name, "model", "tiny.yaml")
        file.write_text(file.read_text().replace("name: tiny", f"name: tiny_{name}"))
    Path("pyproject.toml").write_text('[tool.lenet_pl]\nconfig_dir = "three"\n')
    (Path("below") / "deeper").mkdir(parents=True)

    def name(*options: str) -> str:
        assert run(*options, "model=tiny", work=lambda settings, folder: seen.append(settings)) == (0, [])
        return seen[-1].model.name

    assert name() == "tiny_three"
    monkeypatch.setenv("LENET_PL_CONF", str(Path("two").resolve()))
    assert name() == "tiny_two"
    assert name("--config-dir=one") == "tiny_one"
    monkeypatch.setenv("LENET_PL_CONF", "")
    monkeypatch.chdir("below/deeper")
    assert name() == "tiny_three"


@pytest.mark.parametrize("origin", ["option", "variable", "pyproject"])
@pytest.mark.parametrize("command", ["train", "evaluate", "compare", "search"])
def test_a_missing_folder_is_one_line(origin: str, command: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    if origin == "variable":
        monkeypatch.setenv("LENET_PL_CONF", "missing")
    if origin == "pyproject":
        Path("pyproject.toml").write_text('[tool.lenet_pl]\nconfig_dir = "missing"\n')
    key = {
        "option": "--config-dir",
        "variable": "LENET_PL_CONF",
        "pyproject": "pyproject.toml: tool.lenet_pl.config_dir",
    }
    code, lines = run(*(["--config-dir=missing"] if origin == "option" else []), command=command)
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith(f"error: {key[origin]}: got missing, which does not exist; must be a folder")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[tool.lenet_pl]\nconfigdir = "x"\n', "tool.lenet_pl.configdir: unknown setting; did you mean config_dir?"),
        (
            "[tool.lenet_pl]\nconfig_dir = 3\n",
            "tool.lenet_pl.config_dir: got 3; must be the path of a folder in quotes",
        ),
        ('[tool.lenet_pl]\nconfig_dir = "x\n', "not valid TOML"),
        ("[tool]\nlenet_pl = 3 # tool.lenet_pl\n", "tool.lenet_pl: got 3; must be a table"),
    ],
)
def test_a_mistake_in_pyproject_is_one_line(text: str, words: str, run: Run) -> None:
    Path("pyproject.toml").write_text(text)
    code, lines = run()
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith(f"error: pyproject.toml: {words}")


def test_other_pyproject_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.lenet_pl]\nconfig_dir = "conf"\n')
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    assert find_pyproject(inner) == tmp_path / "pyproject.toml"


def test_no_folder_is_taken_from_a_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_own_conf(tmp_path / "conf")
    (tmp_path / "pyproject.toml").write_text('[tool.lenet_pl]\nconfig_dir = "conf"\n')
    monkeypatch.chdir(tmp_path)
    assert own_folder() == Path("conf")
    (tmp_path / "config.yaml").touch()
    (tmp_path / "results.json").touch()
    assert own_folder() is None


def test_a_file_with_the_name_of_one_of_ours_is_refused_unless_it_is_the_same(run: Run) -> None:
    write_own_conf(Path("conf"))
    copy = Path("conf/model/lenet5.yaml")
    copy.write_bytes((conf_dir() / "model/lenet5.yaml").read_bytes())
    assert run("--config-dir=conf", "model=lenet5") == (0, [])
    copy.write_text(copy.read_text().replace("relu", "tanh"))
    code, lines = run("--config-dir=conf", "model=lenet5")
    assert (code, len(lines)) == (2, 1)
    assert "conf/model/lenet5.yaml has the name of a file of lenet_pl" in lines[0]
    assert lines[0].endswith("rename it, for instance to model/my_lenet5.yaml")


@pytest.mark.parametrize(
    ("folder", "words"), [("conf/model", "the folder of one group"), ("flat", "no folder of a group")]
)
def test_a_folder_without_groups_is_refused(folder: str, words: str, run: Run) -> None:
    write_own_conf(Path("conf"))
    Path("flat").mkdir()
    Path("flat/mine.yaml").touch()
    code, lines = run(f"--config-dir={folder}")
    assert (code, len(lines)) == (2, 1)
    assert words in lines[0]


def test_own_choices_are_named_in_error_messages(run: Run) -> None:
    write_own_conf(Path("conf"))
    option = "--config-dir=conf"
    assert "did you mean tiny?" in run(option, "model=tny")[1][0]
    assert ", tiny" in run(option, "model=tny")[1][0]
    assert "tiny" not in run("model=tny")[1][0]
    assert "did you mean mine_digits?" in run(option, "experiment=mine_digit")[1][0]
    assert "must be written with its group, model=tiny" in run(option, "tiny")[1][0]
    assert "did you mean tiny?" in run("hydra.searchpath=[file://conf]", "model=tny")[1][0]


@pytest.mark.parametrize("command", ["train", "search"])
def test_own_choices_are_on_the_help_page(command: str, tmp_path: Path) -> None:
    write_own_conf(tmp_path / "conf")
    folders.use(tmp_path / "conf")
    text = help_text(command, ["model=tiny"], tmp_path / "conf")
    assert re.search(r"^model: .*, tiny$", text, re.MULTILINE)
    assert re.search(r"^experiment: .*, mine_digits, ", text, re.MULTILINE)
    assert re.search(r"^  channels: \[\[4\], \[8\]\] +# Output channels", text, re.MULTILINE)
    assert f"{conf_dir()} and {tmp_path / 'conf'} document each setting" in text


def test_python_composes_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_own_conf(tmp_path / "conf")
    words = ["run=unused", "experiment=mine_digits"]
    settings = compose("train", TrainSettings, words, config_dir=tmp_path / "conf")
    assert settings.model.name == "tiny"
    monkeypatch.setenv("LENET_PL_CONF", str(tmp_path / "conf"))
    assert compose("train", TrainSettings, words) == settings
    other = tmp_path / "other" / "experiment"
    other.mkdir(parents=True)
    (other / "more.yaml").write_text("# @package _global_\ndefaults: [mine_digits]\nseed: 7\n")
    words = ["run=unused", f"hydra.searchpath=[file://{tmp_path / 'other'}]", "experiment=more"]
    assert compose("train", TrainSettings, words).seed == 7
    with pytest.raises(SettingError, match=r"--config-dir: got nowhere, which does not exist"):
        compose("train", TrainSettings, ["run=unused"], config_dir="nowhere")
    assert "tiny" not in choices("model")


@pytest.mark.slow
def test_a_training_a_sweep_and_a_search_use_the_folder(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    write_own_conf(tmp_path / "conf")
    (tmp_path / "conf/search").mkdir()
    (tmp_path / "conf/search/mine.yaml").write_text("study_name: mine\nspace:\n  model: {choices: [tiny, lenet5]}\n")
    (tmp_path / "pyproject.toml").write_text('[tool.lenet_pl]\nconfig_dir = "conf"\n')
    variables = environment(install(tmp_path / "bin"))

    def lenet(*words: str) -> str:
        done = subprocess.run(
            ["lenet", *words], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    lenet("train", "experiment=mine_digits", "run=one", *WITHOUT_FIGURES)
    command = json.loads((tmp_path / "one/results.json").read_text())["command"]
    assert command.startswith("python -m lenet_pl.train --config-dir=conf experiment=mine_digits run=one")
    lenet(
        "train",
        "-m",
        "model=tiny,lenet5",
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=2",
        "run=both",
        *WITHOUT_FIGURES,
    )
    first = json.loads((tmp_path / "both/0/results.json").read_text())
    assert first["command"].startswith("python -m lenet_pl.train --config-dir=conf run=both/0 model=tiny")
    few = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "search.n_trials=2")
    lenet("search", "search=mine", "run=study", *few, "trainer.accelerator=cpu", "trainer.num_threads=1")
    assert json.loads((tmp_path / "study/results.json").read_text())["best"]["settings"]["model"] in ("tiny", "lenet5")
    assert "one" in lenet("evaluate", "run=one", "split=val")
