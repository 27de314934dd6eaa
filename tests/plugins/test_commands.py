"""Every command on a run whose parts all come from a repository of the user's own."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml
from forked_command import run_forked
from own_repository import write_repository
from quiet import QUIET

pytestmark = pytest.mark.slow
OWN = ("plugins=[mine]", "hydra.searchpath=[file://conf]", "experiment=bars")
SHORT = [word for word in QUIET if not word.startswith("logger")]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("own"))


def call(folder: Path, command: str, *words: str, code: int = 0) -> str:
    """Run a command in a folder, and return what it prints; on stderr for another exit code than 0."""
    done = run_forked(f"lenet_pl.{command}", *words, cwd=folder)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


@pytest.fixture(scope="module")
def trained(repository: Path) -> Path:
    call(repository, "train", *OWN, "run=runs/first", *SHORT)
    return repository / "runs" / "first"


def test_all_parts_take_part_in_the_training(trained: Path) -> None:
    settings = yaml.safe_load((trained / "config.yaml").read_text())
    assert settings["plugins"] == ["mine"]
    assert settings["loss"] == {"name": "focal", "gamma": 2.0}
    assert settings["optimizer"]["lr"] == 0.05
    assert list(settings["transforms"]) == ["noise", "blur"]
    assert (trained / "counted.txt").read_text() == "epochs: 2"
    assert list(trained.glob("lightning_logs/*/metrics.csv"))
    with (trained / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["lr"]) for row in rows] == [0.05, 0.025]  # half a cosine over T_0=2 epochs
    results = json.loads((trained / "results.json").read_text())
    assert {"best/val/hinge", "best/val/f1", "test/hinge", "test/f1"} <= results["metrics"].keys()
    assert results["images"] == {"train": 204, "validation": 36, "test": 240}
    assert results["notes"] == [note for note in results["notes"] if note.startswith("learned nothing")]
    assert (trained / "filters.png").exists()
    checkpoint = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["hyper_parameters"]["settings"]["plugins"] == ["mine"]
    assert checkpoint["hyper_parameters"]["classes"] == ["horizontal", "vertical", "empty"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("evaluate", ["run=runs/first"]),
        ("predict", ["run=runs/first", "images=runs/first/curves.png"]),
        ("explain", ["run=runs/first", "methods=[grad_cam,integrated_gradients,feature_maps,filters]", "num_images=2"]),
        ("export", ["run=runs/first"]),
    ],
)
def test_a_trained_network_is_used_with_its_plugin_and_explains_without(
    command: str, words: list[str], trained: Path
) -> None:
    call(trained.parents[1], command, *words, "plugins=[mine]")
    line = call(trained.parents[1], command, *words, code=1)
    assert line == (
        "error: runs/first/checkpoints/best.ckpt: needs the plug-in mine, which is not loaded; use plugins=[mine] "
        "if you trust the code of that name\n"
    )


def test_compare_reads_such_a_run_with_and_without_the_plugin(trained: Path) -> None:
    assert "tiny_resnet" in call(trained.parents[1], "compare", "runs=runs/first", "plugins=[mine]")
    assert "tiny_resnet" in call(trained.parents[1], "compare", "runs=runs/first")


def test_a_resumed_run_equals_an_uninterrupted_one(trained: Path) -> None:
    folder = trained.parents[1]
    longer = "trainer.max_epochs=3"
    call(folder, "train", *OWN, "run=runs/three", *SHORT, longer)
    call(folder, "train", *OWN, "run=runs/two", *SHORT)
    line = call(folder, "train", "run=runs/two", "resume=true", longer, code=1)
    assert "runs/two: needs the plug-in mine, which is not loaded; use plugins=[mine]" in line
    call(folder, "train", "plugins=[mine]", "run=runs/two", "resume=true", longer)
    whole, resumed = (
        torch.load(folder / "runs" / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("three", "two")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_jobs_of_a_sweep_load_the_plugin(repository: Path) -> None:
    words = ["loss.gamma=1,3", "run=runs/sweep", *SHORT, "trainer.max_epochs=1"]
    call(repository, "train", "-m", *OWN, *words)
    found = [json.loads((repository / f"runs/sweep/{job}/results.json").read_text())["model"] for job in (0, 1)]
    assert found == ["tiny_resnet", "tiny_resnet"]


def test_a_search_varies_a_setting_of_a_plugin(repository: Path) -> None:
    space = "+search.space.loss.gamma={low:1.0,high:3.0}"
    text = call(repository, "search", *OWN, space, "search.n_trials=2", "run=runs/search", "trainer.max_epochs=1")
    trials = sorted((repository / "runs/search/trials").glob("*/config.yaml"))
    gammas = [yaml.safe_load(file.read_text())["loss"]["gamma"] for file in trials]
    assert len(set(gammas)) == 2
    best = next(line for line in text.splitlines() if line.startswith("train: python -m lenet_pl.train "))
    assert best.endswith(" experiment=best plugins=[mine]")
    words = ["hydra.searchpath=[file://runs/search]", "experiment=best", "plugins=[mine]", "run=runs/best", *SHORT]
    call(repository, "train", *words)
    settings = yaml.safe_load((repository / "runs/best/config.yaml").read_text())
    assert (settings["model"]["name"], settings["loss"]["name"]) == ("tiny_resnet", "focal")
    assert settings["loss"]["gamma"] in gammas


def test_without_the_plugin_its_choices_are_unknown(repository: Path) -> None:
    line = call(repository, "train", "model=tiny_resnet", code=2)
    assert line.startswith("error: model=tiny_resnet: no such model")
    assert "plugins=[<module>]" in line


def test_the_help_lists_the_choices_of_plugins(repository: Path) -> None:
    page = call(repository, "train", "plugins=[mine]", "--help")
    assert "tiny_resnet" in page
    assert "focal" in page


def test_nothing_that_a_run_folder_names_is_imported(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "hostile.py").write_text("from pathlib import Path\nPath('imported.txt').write_text('x')\n")
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    settings = yaml.safe_load((trained / "config.yaml").read_text())
    checkpoint = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    for values in (settings, checkpoint["hyper_parameters"]["settings"]):
        values["plugins"] = ["hostile"]
        values["model"] |= {"architecture": "hostile:run", "_target_": "hostile.run"}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    (run / "results.json").write_text((trained / "results.json").read_text())
    for name in ("best", "last"):
        torch.save(checkpoint, run / "checkpoints" / f"{name}.ckpt")
    for command, words in (
        ("evaluate", ["run=run"]),
        ("evaluate", ["ckpt_path=run/checkpoints/best.ckpt"]),
        ("predict", ["run=run", f"images={trained}/curves.png"]),
        ("explain", ["run=run"]),
        ("export", ["run=run"]),
        ("train", ["run=run", "resume=true"]),
    ):
        line = call(tmp_path, command, *words, code=1)
        assert line.count("\n") == 1
        assert "needs the plug-in hostile, which is not loaded" in line
    call(tmp_path, "compare", "runs=run")
    assert not (tmp_path / "imported.txt").exists()
