import re

import pytest
from commands import KINDS, NEEDED

from lenet_pl.errors import SettingError
from lenet_pl.settings.compose import compose, known_keys
from lenet_pl.settings.fields import describe_number, field_of, settings_class

REQUIRED = {"train": ("run=unused",), "search": ("run=unused",)} | NEEDED


def numbers(command: str) -> list[str]:
    kind = settings_class(command)
    chosen = compose(command, kind, REQUIRED.get(command, ())).model_dump()
    fields = {key: field_of(kind, key, chosen) for key in known_keys(command)}
    return [key for key, field in fields.items() if field and describe_number(field)]


def test_a_command_has_the_class_of_its_name() -> None:
    assert {name: settings_class(name) for name in KINDS} == KINDS


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("augment.hflip", "a number from 0 to 1"),
        ("augment.scale", "a number of at least 0 and less than 1"),
        ("optimizer.lr", "a number greater than 0 and at most 1000"),
        ("callbacks.ema.decay", "a number greater than 0 and less than 1"),
        ("loader.batch_size", "an integer of at least 1"),
        ("model.dropout", "a number of at least 0 and less than 1"),
        ("trainer.limit_val_batches", "a number"),
    ],
)
@pytest.mark.parametrize("value", ["true", "false"])
def test_a_number_given_as_true_or_false_is_answered_with_its_range(key: str, text: str, value: str) -> None:
    with pytest.raises(SettingError) as refused:
        compose("train", settings_class("train"), ["run=unused", f"{key}={value}"])
    assert str(refused.value).startswith(f"{key}: got {value}; must be {text}")


@pytest.mark.parametrize("command", KINDS)
def test_no_number_takes_true_or_false(command: str) -> None:
    for key in set(numbers(command)) - {"trainer.fast_dev_run"}:  # true: one batch
        with pytest.raises(SettingError, match=rf"{re.escape(key)}: got true; must be|with"):
            compose(command, settings_class(command), [*REQUIRED.get(command, ()), f"{key}=true"])
