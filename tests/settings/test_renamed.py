import itertools
from pathlib import Path
from typing import Any

import pytest
from commands import KINDS, NEEDED
from conftest import Run

from lenet_pl.config_files.groups import choices_of
from lenet_pl.errors import SettingError
from lenet_pl.settings import TrainSettings, setting_keys, validate
from lenet_pl.settings import compose as composition
from lenet_pl.settings.compose import conf_dir
from lenet_pl.settings.old_names import CHOICES, KEYS, RESULTS, TRAIN, VALUES
from lenet_pl.settings.renamed import upgraded, upgraded_results
from lenet_pl.settings.roles import roles

ROWS = [(command, old, new) for command, keys in KEYS.items() for old, new in keys.items()]


def takes(command: str, key: str) -> bool:
    """Whether settings of a command have a dotted key, in any choice of its groups."""
    table = roles(KINDS[command])
    return key in table or (key.startswith("search.space.") and key.removeprefix("search.space.") in table)


@pytest.mark.parametrize(("command", "old", "new"), ROWS)
def test_new_names_are_settings_and_old_ones_are_not(command: str, old: str, new: str) -> None:
    assert takes(command, new)
    assert not takes(command, old)


def test_new_choices_and_values_are_there_and_old_ones_are_not() -> None:
    for group, names in CHOICES.items():
        there = choices_of(conf_dir() / group)
        assert set(names.values()) <= set(there)
        assert not set(names) & set(there)


@pytest.mark.parametrize(
    ("command", "word", "line"),
    [
        ("train", "trainer.ema_decay=0.9",
         "trainer.ema_decay: got 0.9; it is now called callbacks.ema.decay, write callbacks.ema.decay=0.9"),
        ("train", "+trainer.ema_decay=0.9",
         "trainer.ema_decay: got 0.9; it is now called callbacks.ema.decay, write callbacks.ema.decay=0.9"),
        ("train", "trainer.threads",
         "trainer.threads: got no value; it is now called trainer.num_threads, write trainer.num_threads=<value>"),
        ("train", "scheduler=passes",
         "scheduler: got passes; it is now called piecewise_constant, write scheduler=piecewise_constant"),
        ("train", "model.norm=batch",
         "model.norm: got batch; it is now called batch_norm, write model.norm=batch_norm"),
        ("train", "data.colour=grey",
         "data.colour: got grey; it is now called data.color_mode, write data.color_mode=gray"),
        ("train", "vectorise=true", "vectorise: got true; seeds are trained one after another; leave it out"),
        ("evaluate", "part=validation", "part: got validation; it is now called split, write split=val"),
        ("evaluate", "split=validation", "split: got validation; it is now called val, write split=val"),
        ("benchmark", "data_sets=[fake]", "data_sets: got [fake]; it is now called datasets, write datasets=[fake]"),
        ("evaluate", "views.mirror=true", "views.mirror: got true; it is now called tta.hflip, write tta.hflip=true"),
        ("predict", "ckpt=a.ckpt", "ckpt: got a.ckpt; it is now called ckpt_path, write ckpt_path=a.ckpt"),
        ("compare", "by=[model]", "by: got [model]; it is now called group_by, write group_by=[model]"),
        ("benchmark", "run=x", "run: got x; it is now called output_dir, write output_dir=x"),
        ("search", "search.trials=5",
         "search.trials: got 5; it is now called search.n_trials, write search.n_trials=5"),
        ("search", "+search.space.augment.rotation={low:0,high:5}",
         "search.space.augment.rotation: got {low:0,high:5}; it is now called search.space.augment.degrees, write "
         "+search.space.augment.degrees={low:0,high:5}"),
    ],
)  # fmt: skip
def test_an_old_name_gets_one_line_with_the_new_one(command: str, word: str, line: str, run: Any) -> None:
    assert run(*NEEDED.get(command, ()), word, command=command) == (2, [f"error: {line}"])


def test_values_of_a_sweep_are_named_together(run: Any) -> None:
    assert run("-m", "model.pooling=max,average") == (
        2,
        ["error: model.pooling: got max,average; it is now called max,avg, write model.pooling=max,avg"],
    )


def test_an_old_key_inside_a_value_names_the_new_one(run: Any) -> None:
    code, lines = run("loss={rubbish:2}")
    assert (code, lines) == (
        2,
        ["error: loss.rubbish: got 2; it is now called loss.rubbish_penalty, write loss.rubbish_penalty=2"],
    )


def test_settings_are_upgraded_once_and_what_is_new_stays() -> None:
    old = {"trainer": {"ema_decay": 0.9, "max_epochs": 3}, "vectorise": "auto", "seed": 1, "model": {"norm": "batch"}}
    new = {
        "trainer": {"max_epochs": 3},
        "callbacks": {"ema": {"decay": 0.9}},
        "seed": 1,
        "model": {"norm": "batch_norm"},
    }
    assert upgraded(old) == new == upgraded(new)
    assert old["trainer"] == {"ema_decay": 0.9, "max_epochs": 3}
    both = {"trainer": {"threads": 1, "num_threads": 2}}
    assert upgraded(both) == {"trainer": {"num_threads": 2}}


def test_settings_of_today_are_left_as_they_are() -> None:
    for command, kind in KINDS.items():
        values = composition.compose(command, kind, [*NEEDED.get(command, ())]).model_dump()
        assert not set(setting_keys(values)) & set(KEYS.get(command, {}))
    plain = composition.compose("train", TrainSettings, ["run=unused"]).model_dump()
    again = upgraded(plain)
    assert again == plain
    assert all(again[name] is plain[name] for name in plain)


def test_results_are_upgraded() -> None:
    old = {"lr_changes": 2, "part": "validation", "views": {"shift": 1, "mirror": True}}
    assert upgraded_results(old) == {"num_lr_changes": 2, "split": "val", "tta": {"shift": 1, "hflip": True}}


def test_no_name_is_old_and_new() -> None:
    assert not set(RESULTS) & set(RESULTS.values())
    assert not set(TRAIN) & set(TRAIN.values())
    for names in itertools.chain(CHOICES.values(), VALUES.values()):
        assert not set(names) & set(names.values())


def test_an_old_key_in_a_config_file_of_the_user_is_answered_with_the_new_one() -> None:
    values = composition.compose("train", TrainSettings, ["run=x"]).model_dump()
    values["data"]["fit"] = "pad"
    with pytest.raises(SettingError, match=r"^data\.fit: it is now called data\.resize_mode$"):
        validate(TrainSettings, values)


def own_file(folder: Path, name: str, text: str) -> str:
    """Write a file of a user's own configuration folder; return the override that adds the folder."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return f"hydra.searchpath=[file://{folder}]"


def test_an_old_choice_in_the_defaults_of_a_file_is_answered_with_the_new_one(run: Run, tmp_path: Path) -> None:
    folder = own_file(tmp_path / "conf", "scheduler/mine.yaml", "defaults: [passes, _self_]\nepochs: [1]\n")
    line = "error: scheduler/mine: got scheduler=passes in its defaults; it is now called piecewise_constant"
    assert run(folder, "scheduler=mine") == (2, [line])
    folder = own_file(tmp_path / "conf", "scheduler/other.yaml", "defaults: [cosin, _self_]\n")
    code, [line] = run(folder, "scheduler=other")
    assert (code, line.partition(";")[0]) == (2, "error: scheduler/other: got scheduler=cosin in its defaults")
    assert "must be one of cosine, cosine_restarts, exponential" in line


def test_a_search_space_with_the_old_name_of_its_study_is_answered_with_the_new_one(run: Run, tmp_path: Path) -> None:
    folder = own_file(
        tmp_path / "conf", "search/mine.yaml", "study: mine\nspace: {optimizer.lr: {low: 0.1, high: 1}}\n"
    )
    line = "error: search.study_name: no value given; a value is required (before, it was called search.study)"
    assert run(folder, "search=mine", command="search") == (2, [line])


@pytest.mark.parametrize("key", ["callbacks.progress_bar", "optimizer.lr", "scheduler.patience"])
def test_a_command_offers_no_choice_of_a_group_that_it_does_not_have(key: str, run: Run) -> None:
    code, [line] = run(f"{key}=1", "run=x", command="evaluate")
    assert (code, line.startswith(f"error: {key}: ")) == (2, True)
    assert "not a setting of the chosen" not in line
