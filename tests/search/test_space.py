from typing import Any

import optuna
import pytest

from lenet_pl.errors import SettingError
from lenet_pl.search import build_space
from lenet_pl.search.best_experiment import write_experiment
from lenet_pl.search.space import Space
from lenet_pl.settings import compose as composition
from lenet_pl.settings.compose import conf_dir
from lenet_pl.settings.search import SearchSettings

SPACES = sorted(path.stem for path in (conf_dir() / "search").glob("*.yaml"))


def settings(*overrides: str) -> SearchSettings:
    return composition.compose("search", SearchSettings, list(overrides))


def space(given: dict[str, Any], *overrides: str) -> Space:
    composed = settings(*overrides)
    return build_space(composed.model_copy(update={"search": composed.search.model_copy(update={"space": given})}))


@pytest.mark.parametrize("name", SPACES)
def test_every_space_is_one_that_training_takes(name: str) -> None:
    found = build_space(settings(f"search={name}"))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for _ in range(20):
        trial = study.ask()
        values = {dimension.key: dimension.suggest(trial) for dimension in found.dimensions}
        drawn = found.settings(values)
        assert drawn.test is False
        assert drawn.callbacks.checkpoint.monitor == "val/accuracy"


@pytest.mark.parametrize(
    ("key", "words", "message"),
    [
        ("model.dropuot", {"low": 0, "high": 1}, "search.space.model.dropuot: unknown setting; did you mean model.dr"),
        ("optimizer.lr", {"low": 1, "high": 0.1}, "search.space.optimizer.lr: low=1, high=0.1 is reversed"),
        ("optimizer.lr", {"low": 1, "high": 1}, "search.space.optimizer.lr: low=1, high=1 is empty"),
        ("optimizer.lr", {"low": 0, "high": 1, "log": True}, "search.space.optimizer.lr: low=0 with log=true"),
        ("optimizer.lr", {"low": 0.1, "high": 5000}, "search.space.optimizer.lr: got 5000; must be less than"),
        ("optimizer.lr", {"low": 0.1}, "search.space.optimizer.lr: high is missing; must be"),
        ("optimizer.lr", {"low": 0.1, "high": 1, "log": 1}, "search.space.optimizer.lr: log=1; must be true or"),
        ("optimizer.lr", {"low": 0.1, "high": float("nan")}, "search.space.optimizer.lr: high=nan; must be a fin"),
        ("optimizer.lr", {"low": "a", "high": 1}, "search.space.optimizer.lr: low='a'; must be a finite number"),
        ("optimizer.lr", {"low": 0.1, "high": 1, "hihg": 1}, "search.space.optimizer.lr.hihg: got 1; must be {low"),
        ("optimizer.lr", 0.1, "search.space.optimizer.lr: got 0.1; must be {low"),
        ("optimizer.lr", {"low": 0, "high": 1, "step": 0.3}, "search.space.optimizer.lr: step=0.3; must divide high"),
        ("model.dropout", {"low": 0, "high": 1.5}, "search.space.model.dropout: got 1.5; must be less than 1"),
        (
            "loader.batch_size",
            {"low": 16.0, "high": 64},
            "search.space.loader.batch_size: got 16.0; must be an int",
        ),
        ("loader.batch_size", {"choices": []}, "search.space.loader.batch_size: choices=[]; must be a list"),
        ("loader.batch_size", {"choices": [8, 8]}, "search.space.loader.batch_size: choices=[8, 8]; must be dist"),
        ("loader.batch_size", {"choices": [8, "x"]}, "search.space.loader.batch_size: got 'x'; must be an integer"),
        ("model", {"choices": ["lenet5", "lenet"]}, "search.space.model: got 'lenet'; must be cnn3_bn, cnn5_bn,"),
        ("seed", {"low": 0, "high": 9}, "search.space.seed: cannot be searched"),
        ("data", {"choices": ["mnist", "digits"]}, "search.space.data: cannot be searched"),
        ("data.split.val_size", {"low": 0.1, "high": 0.3}, "search.space.data.split.val_size: cannot be searched"),
    ],
)
def test_a_wrong_dimension_is_one_line(key: str, words: Any, message: str) -> None:
    with pytest.raises(SettingError) as caught:
        space({key: words})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_keys_may_be_nested_or_dotted_and_numbers_are_of_the_settings_kind() -> None:
    found = space(
        {
            "optimizer": {"weight_decay": {"low": 0, "high": 1}},
            "loader.batch_size": {"low": 16, "high": 64, "step": 16},
            "model.hidden_sizes": {"choices": [[120, 84], [10]]},
        }
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    drawn = []
    for _ in range(30):
        trial = study.ask()
        drawn.append(found.settings({dimension.key: dimension.suggest(trial) for dimension in found.dimensions}))
    assert {s.loader.batch_size for s in drawn} == {16, 32, 48, 64}
    assert {tuple(s.model.hidden_sizes) for s in drawn} == {(120, 84), (10,)}
    assert any(0 < s.optimizer.weight_decay < 1 for s in drawn)


def test_a_group_is_chosen_before_its_parts() -> None:
    found = space({"optimizer": {"choices": ["adam", "sgd"], "lr": {"low": 0.001, "high": 0.1}}})
    drawn = found.settings({"optimizer.lr": 0.02, "optimizer": "sgd"})
    assert (drawn.optimizer.name, drawn.optimizer.lr) == ("sgd", 0.02)
    with pytest.raises(SettingError, match=r"momentum: unknown setting.* with optimizer=adam"):
        space({"optimizer": {"choices": ["sgd", "adam"], "momentum": {"low": 0.1, "high": 0.9}}})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.metric=test/accuracy", "search.metric: got 'test/accuracy'; must be .*the test split is not for"),
        (
            "search.grace_period=3",
            "search.grace_period: got 3 s; must be at least twice search.heartbeat_interval, 20 s",
        ),
        ("search.n_trials=0", "search.n_trials: got 0; must be"),
        ("test=true", "test: got true; must be false"),
        ("trainer.devices=2", "trainer.devices: got 2; must be 1"),
        ("trainer.fast_dev_run=true", "trainer.fast_dev_run: got True; must be false"),
    ],
)
def test_settings_that_suit_no_search(override: str, message: str) -> None:
    with pytest.raises(SettingError, match=f"^{message}"):
        build_space(settings(override))


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=lenet_bn", "data=fashion", "optimizer=sgd", "scheduler=cosine", "callbacks.early_stopping=null"],
        ["experiment=mnist_99_fast", "model.hidden_sizes=[30]", "data.resize_mode=resize"],
        ["data=folder", "data.path='/some where/x,y'", "loss.class_weights=balanced", "model.name=mine"],
    ],
)
def test_the_written_experiment_gives_the_same_settings(overrides: list[str], tmp_path: Any) -> None:
    wanted = settings(*overrides)
    plain = wanted.model_dump(exclude={"search", "run", "logger", "callbacks", "test"})
    write_experiment(tmp_path / "experiment" / "best.yaml", wanted, ["command: none"])
    again = settings(f"hydra.searchpath=[file://{tmp_path}]", "experiment=best")
    assert again.model_dump(exclude={"search", "run", "logger", "callbacks", "test"}) == plain
    assert again.callbacks == wanted.callbacks
