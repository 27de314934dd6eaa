import contextlib
import csv
import io
import json
import statistics
import sys
from pathlib import Path

import pytest
import yaml
from matplotlib.image import imread

from lenet_pl.errors import DataError, SettingError
from lenet_pl.search import search
from lenet_pl.settings import TrainSettings
from lenet_pl.settings import compose as composition
from lenet_pl.settings.search import SearchSettings

TINY = (
    *("data=digits", "trainer.max_epochs=3", "trainer.limit_train_batches=2", "trainer.num_threads=1"),
    *(
        "search.pruner.n_startup_trials=2",
        "search.heartbeat_interval=1",
        "search.grace_period=6",
        "search.study_name=tiny",
    ),
)


def settings(run: Path, *overrides: str) -> SearchSettings:
    return composition.compose("search", SearchSettings, [*TINY, f"run={run}", *overrides])


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search with trials that diverge, a choice of models, and seeds of the best."""
    run = tmp_path_factory.mktemp("searched")
    given = settings(
        run,
        *("optimizer=sgd", "scheduler=none", "search=regularization", "search.study_name=tiny", "trainer.max_epochs=2"),
        *("~search.space.augment", "~search.space.loss", "search.pruner.name=none", "search.n_trials=6"),
        *("+search.space.optimizer.lr={choices:[0.05,1000.0]}", "+search.space.model.choices=[lenet5,cnn_plain]"),
        *("search.n_test_seeds=2", "search.sampler.name=random"),
    )
    (run / "worker").mkdir()
    with contextlib.redirect_stdout(io.StringIO()) as out:
        search(given, run / "worker")
    (run / "printed").write_text(out.getvalue())
    return run


def read_trials(run: Path) -> list[dict[str, str]]:
    with (run / "trials.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_trial_that_diverges_is_recorded_with_its_reason_and_the_search_goes_on(searched: Path) -> None:
    rows = read_trials(searched)
    assert len(rows) == 6
    states = {row["state"]: row for row in rows}
    assert set(states) == {"complete", "failed"}
    assert {row["optimizer.lr"] for row in rows if row["state"] == "failed"} == {"1000.0"}
    assert "the training diverged" in states["failed"]["reason"]
    lines = [line for line in (searched / "printed").read_text().splitlines() if line.startswith("trial ")]
    assert [int(line.split()[1].rstrip(":")) for line in lines] == list(range(6))
    assert sum("failed: " in line and "diverged" in line for line in lines) == sum(r["state"] == "failed" for r in rows)


def test_the_best_is_trained_with_other_seeds_and_tested_once_each(searched: Path) -> None:
    results = json.loads((searched / "results.json").read_text())
    seeds, best = results["test_seeds"], results["best"]
    assert [run["seed"] for run in seeds["runs"]] == [1, 2]
    assert best["value"] == pytest.approx(max(float(r["value"]) for r in read_trials(searched) if r["value"]))
    scores = []
    for seed in (1, 2):
        folder = searched / "seeds" / f"of_trial_{best['trial']}" / str(seed)
        found = json.loads((folder / "results.json").read_text())
        assert (found["seed"], found["images"]["test"]) == (seed, 359)
        scores.append(found["metrics"]["test/accuracy"])
        assert (
            yaml.safe_load((folder / "config.yaml").read_text())["optimizer"]["lr"] == best["settings"]["optimizer.lr"]
        )
    assert seeds["test/accuracy mean"] == pytest.approx(statistics.fmean(scores))
    assert seeds["test/accuracy std"] == pytest.approx(statistics.stdev(scores))
    shown = f"{statistics.fmean(scores):.4f} ± {statistics.stdev(scores):.4f} (n = 2)"
    assert shown in (searched / "printed").read_text()


def test_the_best_settings_are_an_experiment_for_train(searched: Path) -> None:
    best = json.loads((searched / "results.json").read_text())["best"]
    recorded = yaml.safe_load((searched / best["folder"] / "config.yaml").read_text())
    assert recorded["model"]["name"] == best["settings"]["model"]
    place = [f"hydra.searchpath=[file://{searched}]", "experiment=best", "run=unused"]
    again = composition.compose("train", TrainSettings, place).model_dump()
    for key in ("data", "loader", "augment", "model", "loss", "optimizer", "scheduler"):
        assert again[key] == recorded[key]
    assert again["trainer"] | {"num_threads": 1} == recorded["trainer"]


def test_pictures_show_something(searched: Path) -> None:
    for path in searched.glob("*.png"):
        assert imread(path)[:, :, :3].std() > 0.05
    assert len(list(searched.glob("*.png"))) >= 2


def test_another_search_under_the_same_name_is_refused(searched: Path) -> None:
    (searched / "other").mkdir(exist_ok=True)
    with pytest.raises(
        SettingError, match=r"search\.study_name: tiny was created with search\.space\..*; use the same value"
    ):
        search(settings(searched), searched / "other")


def test_no_completed_trial_is_an_error(tmp_path: Path) -> None:
    given = settings(
        tmp_path,
        *("optimizer=sgd", "~search.space.optimizer", "~search.space.loader", "search.n_trials=1"),
        "+search.space.optimizer.lr={choices:[1000.0]}",
    )
    (tmp_path / "worker").mkdir()
    with pytest.raises(DataError, match=r"search: none of 1 trials was completed; the last one: .*diverged"):
        search(given, tmp_path / "worker")
    assert [row["state"] for row in read_trials(tmp_path)] == ["failed"]


def test_without_optuna_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("lenet_pl.search.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SettingError, match=r"search: needs the package optuna; pip install 'lenet_pl\[search\]'"):
        search(settings(tmp_path / "new"), tmp_path)
    assert list(tmp_path.iterdir()) == []
