import csv
import json
import statistics
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Compose
from forked_command import run_forked
from promise import case
from quiet import QUIET
from stopping import InterruptingHandler

from lenet_pl.compare.run_index import find_runs
from lenet_pl.engine.partial_epoch import Step
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.engine.trainer import silence_lightning_logs
from lenet_pl.errors import DivergenceError, SettingError
from lenet_pl.inference.trained_run import load_run
from lenet_pl.runtime.checkpoint_file import load_checkpoint
from lenet_pl.runtime.signals import Interruption
from lenet_pl.search import build_space
from lenet_pl.settings import compose as composition
from lenet_pl.settings.search import SearchSettings
from lenet_pl.train import train, train_one
from lenet_pl.train.resume import begin_or_resume
from lenet_pl.train.seeds import train_seeds

SEEDS = (3, 0, 5)
AUGMENTED = (*QUIET, "augment=affine", "trainer.max_epochs=3", "loader.batch_size=100")
MEASURED = ("seconds", "images/s")


def alone(compose: Compose, folder: Path, *overrides: str) -> None:
    for seed in SEEDS:
        place = folder / f"seed_{seed}"
        place.mkdir(parents=True)
        train(compose(*overrides, f"seed={seed}"), place)


def together(compose: Compose, folder: Path, *overrides: str) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return train(compose(*overrides, f"seeds={list(SEEDS)}"), folder)


def weights(folder: Path, seed: int, which: str = "last") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = load_checkpoint(folder / f"seed_{seed}" / "checkpoints" / f"{which}.ckpt")[
        "state_dict"
    ]
    return state


def figures(folder: Path, seed: int) -> list[dict[str, float]]:
    with (folder / f"seed_{seed}" / "metrics.csv").open() as stream:
        return [{k: float(v) for k, v in row.items() if k not in MEASURED} for row in csv.DictReader(stream)]


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


def assert_as_alone(folder: Path, single: Path, tolerance: float) -> None:
    for seed in SEEDS:
        got, expected = weights(folder, seed), weights(single, seed)
        assert got.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(got[name], value, rtol=tolerance, atol=tolerance)
        for row, other in zip(figures(folder, seed), figures(single, seed), strict=True):
            assert row == pytest.approx(other, rel=10 * tolerance, abs=2e-6)


@case("reproducibility", "one of several seeds in one process: bit-identical to a run of that seed")
def test_one_after_another_is_exactly_as_alone(compose: Compose, tmp_path: Path) -> None:
    overrides = (*AUGMENTED, "model=lenet_avg_dropout", "trainer.limit_train_batches=4")
    alone(compose, tmp_path / "alone", *overrides)
    together(compose, tmp_path / "all", *overrides)
    assert_as_alone(tmp_path / "all", tmp_path / "alone", 0)
    for seed in SEEDS:
        assert (
            results(tmp_path / "all" / f"seed_{seed}")["metrics"]
            == results(tmp_path / "alone" / f"seed_{seed}")["metrics"]
        )
        one, other = ((tmp_path / place / f"seed_{seed}" / "config.yaml").read_text() for place in ("all", "alone"))
        changed = {line.partition(":")[0] for line in set(one.splitlines()) ^ set(other.splitlines())}
        assert changed == {"run"}


def test_seeds_that_stop_early_leave_the_others_as_they_were(compose: Compose, tmp_path: Path) -> None:
    overrides = (
        *AUGMENTED, "trainer.max_epochs=9", "trainer.limit_train_batches=1", "callbacks.early_stopping.patience=1",
        "callbacks.early_stopping.monitor=val/accuracy", "loader.batch_size=20", "optimizer.lr=0.01", "test=false",
    )  # fmt: skip
    alone(compose, tmp_path / "alone", *overrides)
    together(compose, tmp_path / "all", *overrides)
    assert len({len(figures(tmp_path / "alone", seed)) for seed in SEEDS}) > 1
    assert_as_alone(tmp_path / "all", tmp_path / "alone", 0)
    for seed in SEEDS:
        for key in ("stopped_early", "epochs", "best_epoch"):
            one, other = (results(tmp_path / place / f"seed_{seed}")[key] for place in ("all", "alone"))
            assert one == other


def test_a_seed_is_a_run_for_every_verb_and_for_comparisons(compose: Compose, tmp_path: Path) -> None:
    found = together(compose, tmp_path, *AUGMENTED, "trainer.limit_train_batches=2", "trainer.max_epochs=1")
    index = find_runs([str(tmp_path)])
    assert [(run.value("seed"), run.problem) for run in index.runs] == [(seed, None) for seed in sorted(SEEDS)]
    accuracies = [run.results["metrics"]["test/accuracy"] for run in index.runs]
    assert found["metrics"]["test/accuracy"] == pytest.approx(statistics.fmean(accuracies), abs=1e-6)
    assert found["std"]["test/accuracy"] == pytest.approx(statistics.stdev(accuracies), abs=1e-6)
    for seed in SEEDS:
        folder = tmp_path / f"seed_{seed}"
        assert {"curves.png", "report.html", "confusion_matrix.png"} <= {path.name for path in folder.iterdir()}
        best = folder / "checkpoints" / "best.ckpt"
        run = load_run(best)
        assert run.settings.seed == seed
        module = run.load_data()
        logits = run.predict_logits(module.test_set.images)
        accuracy = float((logits.argmax(1) == module.test_set.labels).float().mean())
        assert results(folder)["metrics"]["test/accuracy"] == pytest.approx(accuracy, abs=1e-6)
        weights = sum(value.numel() * value.element_size() for value in load_checkpoint(best)["state_dict"].values())
        assert best.stat().st_size < 4.5 * weights  # with Adam's; not those of all seeds


@pytest.mark.parametrize(
    "checks", [2, pytest.param(6, marks=pytest.mark.long), pytest.param(13, marks=pytest.mark.long), 18]
)
def test_an_interrupted_command_goes_on_as_if_it_had_not_been(compose: Compose, tmp_path: Path, checks: int) -> None:
    overrides = (*AUGMENTED, "trainer.limit_train_batches=4", "trainer.max_epochs=2", "model.dropout=0.2", "test=false")
    given = compose(*overrides, f"seeds={list(SEEDS)}", f"run={tmp_path / 'all'}")
    (tmp_path / "all").mkdir()
    silence_lightning_logs()
    before = set(threading.enumerate())
    with pytest.raises(Interruption):
        train_seeds(given, tmp_path / "all", InterruptingHandler(checks), train_one)
    assert not (tmp_path / "all" / "results.json").exists()
    assert set(threading.enumerate()) <= before
    (tmp_path / "whole").mkdir()
    train(given, tmp_path / "whole")
    again = begin_or_resume(given.model_copy(update={"resume": True}), tmp_path / "all", [], False)
    assert again is not None
    train(again, tmp_path / "all")
    assert_as_alone(tmp_path / "all", tmp_path / "whole", 0)
    assert begin_or_resume(given.model_copy(update={"resume": "auto"}), tmp_path / "all", [], False) is None


def test_a_seed_that_diverges_does_not_stop_the_others(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = ImageClassifier._score

    def diverges(task: ImageClassifier, split: str, outputs: list[Step]) -> None:
        if task.seed == 0 and split == "val":
            raise DivergenceError("val/loss: nan")
        score(task, split, outputs)

    monkeypatch.setattr(ImageClassifier, "_score", diverges)
    with pytest.raises(DivergenceError) as caught:
        together(compose, tmp_path, *AUGMENTED, "trainer.limit_train_batches=2")
    assert caught.value.__notes__ == ["seed 0"]
    assert [(tmp_path / f"seed_{seed}" / "results.json").exists() for seed in SEEDS] == [True, False, True]
    monkeypatch.setattr(ImageClassifier, "_score", score)
    given = compose(*AUGMENTED, "trainer.limit_train_batches=2", f"seeds={list(SEEDS)}", "resume=auto")
    assert train(given, tmp_path)["seeds"] == list(SEEDS)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["seeds=[1,2,1]"], "seeds: got 1 twice; must be a list of different seeds"),
        (["seeds=[1,-2]"], "seeds.1: got -2; must be greater than or equal to 0"),
        (["seeds=[]"], "seeds: got []; must be a list of at least 1 or null"),
        (["seeds=[0,1]", "seed=3"], "seeds: got [0, 1] together with seed=3; must be one of the two"),
        (["seeds=3"], "seeds: got 3; must be a list or null"),
        (
            ["seeds=[0,1]", "trainer.devices=2"],
            "trainer.devices: got 2 with seeds; must be 1, or use seed= instead of seeds=",
        ),
    ],
)
def test_mistakes_are_one_line(
    overrides: list[str], line: str, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    done = run_forked("lenet_pl.train", f"run={tmp_path / 'run'}", *overrides, env=command_environment)
    assert (done.returncode, done.stderr) == (2, f"error: {line}\n")
    assert not list((tmp_path / "run").glob("*"))


def test_a_search_takes_no_seeds(tmp_path: Path) -> None:
    settings = composition.compose("search", SearchSettings, [f"run={tmp_path}", "seeds=[0,1]"])
    with pytest.raises(SettingError, match=r"^seeds: got \[0, 1\]; must be null"):
        build_space(settings)
