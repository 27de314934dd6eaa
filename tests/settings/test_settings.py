import copy
import math
import os
from typing import Any, get_args

import pytest
from conftest import Compose

from lenet_pl.errors import SettingError, did_you_mean
from lenet_pl.settings import TrainSettings, nearest_key, setting_keys, validate
from lenet_pl.settings import compose as composition
from lenet_pl.settings.benchmark import BenchmarkSettings, DatasetName

MISSING = object()


@pytest.fixture(scope="module")
def plain(compose: Compose) -> dict[str, Any]:
    return compose().model_dump()


def change(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Copy the values with one of them replaced, added or left out."""
    changed = copy.deepcopy(values)
    *groups, last = key.split(".")
    here = changed
    for group in groups:
        here = here[group]
    if value is MISSING:
        del here[last]
    else:
        here[last] = value
    return changed


def message(values: dict[str, Any], key: str, value: Any) -> str:
    with pytest.raises(SettingError) as error:
        validate(TrainSettings, change(values, key, value))
    assert error.value.exit_code == 2
    return str(error.value)


def test_what_was_dumped_validates_to_the_same(plain: dict[str, Any]) -> None:
    assert validate(TrainSettings, plain).model_dump() == plain


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        # type
        ("optimizer.lr", "abc", ["'abc'", "number"]),
        ("optimizer.lr", "0.1", ["'0.1'", "number"]),
        ("optimizer.lr", True, ["true", "number"]),
        ("optimizer.lr", None, ["null", "number"]),
        ("loader.batch_size", 3.7, ["3.7", "integer"]),
        ("loader.batch_size", 3.0, ["3.0", "integer"]),
        ("loader.shuffle", 1, ["1", "true or false"]),
        ("loader.shuffle", "yes", ["'yes'", "true or false"]),
        ("model.name", 5, ["5", "string"]),
        ("model.hidden_sizes", 100, ["100", "list"]),
        # range
        ("seed", -1, ["-1", "greater than or equal to 0"]),
        ("seed", 2**32, [str(2**32), "less than"]),
        ("optimizer.lr", 0, ["0", "greater than 0"]),
        ("optimizer.lr", 1001, ["1001", "1000"]),
        ("optimizer.weight_decay", -0.1, ["-0.1", "greater than or equal to 0"]),
        ("augment.degrees", 181, ["181", "180"]),
        ("augment.hflip", 1.5, ["1.5", "1"]),
        ("augment.random_erasing", 1.5, ["1.5", "1"]),
        ("augment.random_erasing", -0.1, ["-0.1", "0"]),
        ("augment.hue", 0.6, ["0.6", "0.5"]),
        ("augment.elastic_sigma", 0, ["0", "greater than 0"]),
        ("augment.rand_augment_magnitude", 31, ["31", "30"]),
        ("augment.gaussian_blur", [2.0, 1.0], ["[2.0, 1.0]", "second is not smaller"]),
        ("augment.gaussian_blur", [1.0], ["[1.0]", "2"]),
        ("augment.mixup", -1, ["-1", "0"]),
        ("scheduler.warmup_epochs", -1, ["-1", "0"]),
        ("scheduler.warmup_factor", 0, ["0", "greater than 0"]),
        ("loss.label_smoothing", 1, ["1", "less than 1"]),
        ("trainer.max_epochs", 0, ["0", "1"]),
        ("loader.batch_size", 0, ["0", "1"]),
        ("data.split.val_size", 0, ["0", "1"]),
        ("callbacks.early_stopping.patience", 0, ["0", "1"]),
        # not a number
        ("optimizer.lr", math.nan, ["nan", "finite"]),
        ("optimizer.lr", math.inf, ["inf", "finite"]),
        ("augment.scale", math.nan, ["nan", "finite"]),
        # choice
        ("model.activation", "rleu", ["'rleu'", "'sigmoid'", "did you mean relu?"]),
        ("scheduler.monitor", "val/acc", ["'val/acc'", "'train/loss'", "did you mean val/accuracy?"]),
        ("trainer.precision", 32, ["32", "'32-true'", "'64-true'"]),
        ("model.name", "../evil", ["'../evil'", "A-Za-z0-9"]),
        # lists
        ("optimizer.betas", [0.9], ["[0.9]", "2"]),
        ("optimizer.betas", [0.9, 1.0], ["1.0", "less than 1"]),
        ("model.channels", [], ["[]", "1"]),
        ("model.channels", [6, 16], ["6", "list"]),
        ("model.hidden_sizes", [120, 0], ["0", "1"]),
        # unions: what each branch accepts
        ("data.split.val_size", "abc", ["'abc'", "integer", "number"]),
        ("data.split.val_size", 1.5, ["1.5", "number of images", "less than 1"]),
        ("model.kernel_size", "a", ["'a'", "integer", "list"]),
        ("model.kernel_size", [5, "a"], ["'a'", "integer"]),
        ("model.dropout", [0.5, 1.5], ["1.5", "less than 1"]),
        ("loss.class_weights", "foo", ["'foo'", "balanced", "list"]),
        ("loss.class_weights", [1, 0], ["0", "greater than 0"]),
        ("loss.class_weights", [1], ["[1]", "balanced", "2"]),
        # groups
        ("loader", 3, ["3"]),
        ("callbacks.checkpoint", None, ["null"]),
        ("callbacks.early_stopping", 3, ["3"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_accepted(
    plain: dict[str, Any], key: str, value: Any, words: list[str]
) -> None:
    text = message(plain, key, value)
    assert text.startswith((f"{key}: got ", f"{key}."))
    assert text.count("got ") == 1
    assert "\n" not in text
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(("key", "value"), [("loader", 3), ("callbacks.checkpoint", None)])
def test_a_group_with_a_plain_value_is_explained_without_pythons_class_names(
    plain: dict[str, Any], key: str, value: Any
) -> None:
    assert "Settings" not in message(plain, key, value)


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("optimizer.lrr", "optimizer.lr"),
        ("lr", "optimizer.lr"),
        ("batch_size", "loader.batch_size"),
        ("trainer.max_epoch", "trainer.max_epochs"),
        ("modle", "model"),
        ("callbacks.early_stopping.patients", "callbacks.early_stopping.patience"),
    ],
)
def test_an_unknown_key_is_named_with_its_nearest_neighbour(plain: dict[str, Any], key: str, near: str) -> None:
    assert message(plain, key, 1) == f"{key}: unknown setting; did you mean {near}?"


def test_an_unknown_key_that_is_like_nothing_leads_to_the_help(plain: dict[str, Any]) -> None:
    assert message(plain, "qqqqqqqqq", 1) == "qqqqqqqqq: unknown setting; see --help for what there is"


@pytest.mark.parametrize("key", ["seed", "optimizer.lr", "data.split", "callbacks.early_stopping.patience", "model"])
def test_a_missing_value_is_named(plain: dict[str, Any], key: str) -> None:
    assert message(plain, key, MISSING).startswith(f"{key}: no value given")


@pytest.mark.parametrize(
    ("group", "name", "near"),
    [("optimizer", "adma", "adam"), ("scheduler", "plateu", "plateau"), ("data", "minst", "mnist")],
)
def test_an_unknown_kind_is_named_with_all_there_are(plain: dict[str, Any], group: str, name: str, near: str) -> None:
    text = message(plain, f"{group}.name", name)
    assert text.startswith(f"{group}.name: got {name!r}; must be ")
    assert f"did you mean {near}" in text


def test_a_setting_of_another_optimizer_is_unknown(plain: dict[str, Any]) -> None:
    assert message(plain, "optimizer.nesterov", True).startswith("optimizer.nesterov: unknown setting")


def test_nesterov_without_momentum_is_refused(compose: Compose) -> None:
    with pytest.raises(SettingError, match=r"^optimizer.*: nesterov=true needs momentum > 0"):
        compose("optimizer=sgd", "optimizer.momentum=0")


def test_the_share_of_validation_is_accepted_in_one_breath(plain: dict[str, Any]) -> None:
    line = "data.split.val_size: got 0; must be a number of images from 1, or a fraction greater than 0 and"
    assert message(plain, "data.split.val_size", 0).startswith(line)
    for value in (1, 5000, 0.15):
        assert validate(TrainSettings, change(plain, "data.split.val_size", value))


def test_more_threads_and_processes_than_cores_are_refused(plain: dict[str, Any]) -> None:
    cores = os.cpu_count() or 1
    line = f"trainer.num_threads: got 100000; must be null, or 1 to {cores}, the cores of this machine"
    assert message(plain, "trainer.num_threads", 100_000) == line
    assert message(plain, "trainer.num_threads", 0).startswith(
        "trainer.num_threads: got 0; must be greater than or equal"
    )
    assert validate(TrainSettings, change(plain, "trainer.num_threads", cores)).trainer.num_threads == cores
    line = f"trainer.devices: got {cores + 1} processes on cpu; must be 1 to {cores}, the cores of this machine"
    assert message(change(plain, "trainer.accelerator", "cpu"), "trainer.devices", cores + 1) == line
    assert validate(TrainSettings, change(plain, "trainer.devices", cores + 1))  # gpus, perhaps; the trainer knows


def test_a_word_that_is_like_none_has_no_neighbour(plain: dict[str, Any]) -> None:
    assert "did you mean" not in message(plain, "trainer.compile", "fast")
    assert "did you mean max-autotune?" in message(plain, "trainer.compile", "max-autotun")


@pytest.mark.parametrize("name", ["nowhere", "arrays", "folder"])
def test_the_benchmark_takes_sets_that_need_no_path(name: str) -> None:
    line = rf"^datasets\.0: got '{name}'; must be 'cifar10', .* or 'usps'"
    with pytest.raises(SettingError, match=line):
        composition.compose("benchmark", BenchmarkSettings, ["output_dir=unused", f"datasets=[{name}]"])


def test_the_benchmarks_sets_are_all_that_need_no_path() -> None:
    there = {file.stem for file in (composition.conf_dir() / "data").glob("*.yaml")}
    assert set(get_args(DatasetName)) == there - {"arrays", "folder"}


def test_several_wrong_values_are_counted(plain: dict[str, Any]) -> None:
    twice = change(change(plain, "optimizer.lr", "abc"), "loader.batch_size", 0)
    text = message(twice, "data.split.val_size", "x")
    assert text.endswith("(and 2 more wrong)")
    assert "\n" not in text


def test_settings_cannot_be_changed(compose: Compose) -> None:
    with pytest.raises(ValueError, match="frozen"):
        compose().seed = 1  # type: ignore[misc]


def test_keys_are_listed_with_their_groups() -> None:
    assert setting_keys({"a": {"b": {"c": 1}}, "d": []}) == ["a", "a.b", "a.b.c", "d"]


def test_the_same_last_part_is_nearer_than_similar_spelling() -> None:
    assert nearest_key("model.lr", ["model.pr", "optimizer.lr"]) == "did you mean optimizer.lr?"
    assert did_you_mean("fashon", ["fashion", "folder"]) == "did you mean fashion?"
    assert did_you_mean("zzz", ["fashion", "folder"]) == ""


def test_a_copy_takes_no_value_under_a_name_that_is_no_setting(plain: dict[str, Any]) -> None:
    settings = validate(TrainSettings, plain)
    assert settings.model_copy(update={"seed": 7}).seed == 7
    with pytest.raises(TypeError, match=r"^AugmentSettings has no settings rotation$"):
        settings.augment.model_copy(update={"rotation": 5.0})


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("augment=trivial_augment", "augment.rand_augment=2"),
            "augment.trivial_augment: got true with rand_augment > 0; only one of the two policies can be chosen",
        ),
        (
            ("trainer.max_epochs=3", "scheduler.warmup_epochs=3"),
            "trainer.max_epochs: got 3 with scheduler.warmup_epochs=3; must be greater",
        ),
        (
            ("scheduler=multistep", "scheduler.milestones=[5,3]"),
            "scheduler.milestones: got [5, 3]; must be in increasing order",
        ),
        (
            ("optimizer=muon", "scheduler=onecycle", "scheduler.cycle_momentum=true"),
            "scheduler.cycle_momentum: got true with optimizer=muon, which has two kinds of momentum; must be false",
        ),
    ],
)
def test_settings_that_exclude_each_other(words: tuple[str, ...], line: str, compose: Compose) -> None:
    with pytest.raises(SettingError) as error:
        compose(*words)
    assert str(error.value) == line
