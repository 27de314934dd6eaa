import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy import stats

from lenet_pl.compare.filter import parse_where
from lenet_pl.compare.groups import Comparison, Group, compare_runs
from lenet_pl.compare.run_index import find_runs
from lenet_pl.compare.setting_values import show_short
from lenet_pl.errors import DataError, SettingError

Write = Callable[..., Path]
Compare = Callable[..., Comparison]

A = (0.91, 0.93, 0.92)
B = (0.90, 0.90, 0.91)


@pytest.fixture
def write(digits_run: Path, tmp_path: Path) -> Write:
    """Write a finished run: `write("0", accuracy=0.9, model="a", seed=1, settings={"optimizer": {"lr": 0.1}})`."""
    real = json.loads((digits_run / "results.json").read_text()) | {"git_commit": "1f"}
    config = yaml.safe_load((digits_run / "config.yaml").read_text())

    def _write(
        place: str, *, accuracy: float | None = 0.9, settings: dict[str, Any] | None = None, **results: Any
    ) -> Path:
        folder = tmp_path / "runs" / place
        folder.mkdir(parents=True)
        own = {key: config[key] | part if isinstance(part, dict) else part for key, part in (settings or {}).items()}
        (folder / "config.yaml").write_text(yaml.safe_dump(config | own | {"run": str(folder)}, sort_keys=False))
        metrics = {k: v for k, v in real["metrics"].items() if not k.startswith("test/")}
        if accuracy is not None:
            metrics |= {"test/accuracy": accuracy, "test/loss": 1 - accuracy}
        (folder / "results.json").write_text(json.dumps(real | {"metrics": metrics} | results))
        return folder

    return _write


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    def _compare(*by: str, metric: str = "test/accuracy", where: Any = None) -> Comparison:
        index = find_runs([str(tmp_path / "runs")])
        return compare_runs(index, by or ("model", "data"), metric, parse_where(where))

    return _compare


def write_seeds(write: Write, model: str, accuracies: tuple[float, ...], data: str = "digits", **more: Any) -> None:
    for seed, accuracy in enumerate(accuracies):
        write(f"{data}/{model}/{seed}", accuracy=accuracy, model=model, data=data, seed=seed, **more)


def named(comparison: Comparison) -> dict[tuple[Any, ...], Group]:
    return {group.values: group for group in comparison.groups}


def test_means_and_deviations_by_hand(write: Write, compare: Compare) -> None:
    write_seeds(write, "a", A)
    write("one", model="one", accuracy=0.5)
    groups = named(compare())
    a = groups["a", "digits"]
    # mean of 91, 93, 92 is 92; deviations -1, 1, 0: variance 2 / (3 - 1) = 1
    assert (a.mean, a.sd) == pytest.approx((0.92, 0.01))
    assert a.metric("test/loss") == pytest.approx((0.08, 0.01))
    assert groups["one", "digits"].sd is None
    assert a.average("parameters") == 61706


def test_the_best_of_each_dataset_and_the_distance_to_it(write: Write, compare: Compare) -> None:
    write_seeds(write, "b", B)
    write_seeds(write, "a", A)
    write_seeds(write, "b", (0.7, 0.8), data="fashion")
    write_seeds(write, "c", (0.5,), data="fashion")
    comparison = compare()
    assert [(*g.values, g.best) for g in comparison.groups] == [
        ("a", "digits", True),
        ("b", "digits", False),
        ("b", "fashion", True),
        ("c", "fashion", False),
    ]
    groups = named(comparison)
    found = groups["b", "digits"].difference_to_best
    right = stats.ttest_rel(B, A).confidence_interval(0.95)
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((-0.05 / 3, right.low, right.high))
    other = groups["c", "fashion"].difference_to_best
    assert other is not None
    assert (other.mean, other.method) == (pytest.approx(-0.25), "n too small")
    assert groups["a", "digits"].difference_to_best is None


def test_the_smallest_loss_is_the_best(write: Write, compare: Compare) -> None:
    write_seeds(write, "a", A)
    write_seeds(write, "b", B)
    assert [g.values[0] for g in compare(metric="test/loss").groups] == ["a", "b"]


def test_runs_of_different_data_are_never_averaged(write: Write, compare: Compare) -> None:
    write_seeds(write, "a", A)
    write_seeds(write, "a", (0.5,), data="fashion")
    comparison = compare("model")
    assert comparison.by == ["model", "data"]
    assert [g.mean for g in comparison.groups] == [pytest.approx(0.92), 0.5]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("optimizer.lr", (0.1, 0.2)),
        ("loader.batch_size", (4, 8)),
        ("augment.degrees", (0.0, 5.0)),
        ("trainer.gradient_clip_val", (None, 1.0)),
        ("model.channels", ([[4], [8]], [[6], [16]])),
    ],
)
def test_any_setting_makes_groups(write: Write, compare: Compare, key: str, values: tuple[Any, Any]) -> None:
    group, _, name = key.partition(".")
    for place, value in enumerate(values):
        for seed in range(2):
            write(f"{place}/{seed}", seed=seed, accuracy=0.9 - place / 10, settings={group: {name: value}})
    comparison = compare(key)
    assert [g.values[0] for g in comparison.groups] == list(values)
    assert [len(g.scores) for g in comparison.groups] == [2, 2]
    assert comparison.notes == []


def test_long_lists_are_shortened_where_groups_are_named(write: Write, compare: Compare) -> None:
    teachers = [f"runs/a_teacher/seed_{seed}" for seed in range(5)]
    write("0", settings={"teacher": teachers})
    write("1", settings={"teacher": "runs/a"})
    assert sorted(group.label for group in compare("teacher").groups) == [
        "5 values: runs/a_…seed_0, runs/a_…seed_1, …, digits",
        "runs/a, digits",
    ]
    assert show_short([{"name": "a" * 30, "sha256": "0" * 64}]) == "1 value: aaaaaaa…aaaaaa"
    assert show_short([[32], [64], [128, 128]]) == "[[32], [64], [128, 128]]"


def test_folds_are_not_planned(write: Write, compare: Compare) -> None:
    for model, scores in {"a": A, "b": B}.items():
        for fold, accuracy in enumerate(scores, 1):
            write(f"{model}/{fold}", model=model, accuracy=accuracy, fold=fold)
    found = named(compare())["b", "digits"].difference_to_best
    assert found is not None
    assert found.corrected_p == pytest.approx(stats.ttest_rel(B, A).pvalue)
    assert found.more_seeds is None


def test_equal_numbers_make_one_group(write: Write, compare: Compare) -> None:
    write("0", seed=0, settings={"optimizer": {"lr": 1}})
    write("1", seed=1, settings={"optimizer": {"lr": 1.0}})
    assert len(compare("optimizer.lr").groups) == 1


def test_a_seed_that_was_run_twice_counts_once(write: Write, compare: Compare) -> None:
    write("0", seed=0, accuracy=0.8)
    write("1", seed=0, accuracy=0.9)
    write("2", seed=1, accuracy=0.95)
    comparison = compare()
    (group,) = comparison.groups
    assert group.scores == pytest.approx({0: 0.85, 1: 0.95})
    assert group.sd == pytest.approx(0.1 / math.sqrt(2))
    assert comparison.notes == ["lenet5, digits: repeated seeds, averaged first: seed 0 2 times"]


def test_what_differs_inside_a_group_is_noted(write: Write, compare: Compare) -> None:
    write("0", seed=0, settings={"seed": 0, "data_root": "x"})
    write("1", seed=1, git_commit="2f", settings={"seed": 1, "optimizer": {"lr": 0.5}, "trainer": {"max_epochs": 9}})
    (write("2", seed=2, settings={"seed": 2}) / "config.yaml").write_text("{")
    notes = compare().notes
    assert notes == [
        "lenet5, digits: config.yaml of 1 of 3 runs is missing or corrupt; their settings are not compared",
        "lenet5, digits: settings differ: optimizer.lr (0.001, 0.5); trainer.max_epochs (8, 9)",
        "lenet5, digits: git_commit differs: (1f, 2f)",
    ]


def test_different_test_parts_are_noted(write: Write, compare: Compare) -> None:
    write("0", model="a", images={"train": 1, "test": 10})
    write("1", model="b", images={"train": 1, "test": 20})
    assert compare().notes == ["digits: tested on different numbers of images: 10, 20"]


def test_runs_without_the_metric_or_the_end_are_left_out_with_the_reason(write: Write, compare: Compare) -> None:
    write_seeds(write, "a", A)
    untested = write("untested", accuracy=None, model="a")
    unfinished = write("unfinished")
    (unfinished / "results.json").unlink()
    comparison = compare()
    assert {run.folder: run.problem for run in comparison.problems} == {
        untested: "has no test/accuracy",
        unfinished: "not finished (no results.json); 0 of at most 8 epochs done",
    }
    assert [len(g.runs) for g in comparison.groups] == [3]
    assert sum(len(g.runs) for g in compare(metric="best/val/accuracy").groups) == 4


@pytest.mark.parametrize(
    "where", [{"data": "fashion"}, ["data=fashion"], "data=fashion", "[data=fashion, optimizer.lr=0.1]"]
)
def test_where_keeps_what_has_the_values(write: Write, compare: Compare, where: Any) -> None:
    write_seeds(write, "a", A)
    write_seeds(write, "a", (0.5,), data="fashion", settings={"data": {"name": "fashion"}, "optimizer": {"lr": 1e-1}})
    (write("unfinished") / "results.json").unlink()
    comparison = compare(where=where)
    assert [g.values for g in comparison.groups] == [("a", "fashion")]
    assert comparison.problems == []


def test_where_takes_dotted_nested_and_null_values() -> None:
    assert parse_where({"optimizer.lr": 1, "data": {"split": {"val_size": 2}}}) == {
        "optimizer.lr": 1,
        "data.split.val_size": 2,
    }
    assert parse_where(["a=null", "b=1e-3", "c=true", "d=x=y"]) == {"a": None, "b": 0.001, "c": True, "d": "x=y"}
    assert parse_where(None) == {}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"by": ["modle"]}, r"group_by: no run has modle; did you mean model\?"),
        ({"by": ["lr"]}, r"group_by: no run has lr; did you mean optimizer\.lr\?"),
        ({"by": ["augment"]}, r"group_by: augment is a group of settings; use one of them, such as augment\."),
        ({"metric": "test/acc"}, r"metric: no run has test/acc; did you mean test/accuracy\? must be one of best/"),
        ({"where": {"model": "aa"}}, r"filter: no run has model=aa; did you mean a\? must be one of a"),
        (
            {"where": {"scheduler.name": "passes"}},
            "filter: no run has scheduler.name=passes; it is now called piecewise_",
        ),
        ({"where": {"modle": "a"}}, r"filter: no run has modle; did you mean model\?"),
        ({"where": ["model"]}, "filter: got 'model'; must be"),
    ],
)
def test_mistakes_are_named(write: Write, compare: Compare, asked: dict[str, Any], message: str) -> None:
    write_seeds(write, "a", A)
    with pytest.raises(SettingError, match=message):
        compare(*asked.pop("by", ()), **asked)


def test_nothing_finished_is_named(write: Write, compare: Compare) -> None:
    (write("0") / "results.json").unlink()
    with pytest.raises(DataError, match=r"runs: none of 1 is finished; the first is .*0: not finished"):
        compare()
