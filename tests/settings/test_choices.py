from pathlib import Path

import hydra
import pytest
from conftest import Compose
from hydra.core.global_hydra import GlobalHydra

from lenet_pl import models
from lenet_pl.errors import SettingError
from lenet_pl.settings.choices import list_choices, read_choice
from lenet_pl.settings.compose import conf_dir

REQUIRED = {"folder": {"path": "x"}, "arrays": {"path": "x"}}
GROUPS = ("model", "augment", "data")


@pytest.mark.parametrize(
    ("group", "name"), [(group, path.stem) for group in GROUPS for path in sorted((conf_dir() / group).glob("*.yaml"))]
)
def test_a_choice_equals_what_hydra_composes(group: str, name: str, compose: Compose) -> None:
    changes = REQUIRED.get(name, {})
    composed = compose(f"{group}={name}", "data_root=here", *(f"{group}.{k}={v}" for k, v in changes.items()))
    values = read_choice(group, name, changes)
    if "root" in values:
        assert values.pop("root") == "${data_root}"
        values["root"] = "here"
    assert values == getattr(composed, group).model_dump()


def test_nested_changes_are_merged() -> None:
    values = read_choice("data", "emnist", {"split": {"method": "last"}, "variant": "letters"})
    assert (values["split"], values["variant"]) == (
        {"method": "last", "val_size": 0.1, "fold": None},
        "letters",
    )


def test_choices_are_those_of_the_folder() -> None:
    mixes, policies = ["cutmix", "mixup"], ["rand_augment", "trivial_augment"]
    assert list_choices("augment") == sorted(
        ["affine", "cifar", "cutout", "elastic", "lecun", "none", *mixes, *policies]
    )


@pytest.mark.parametrize("name", ["nets", "../train", "lenet5.yaml", ""])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match=r"^model: got '.*'; must be one of cnn3_bn, cnn5_bn, "):
        read_choice("model", name)


def test_a_value_that_the_file_requires_is_asked_for() -> None:
    with pytest.raises(SettingError, match=r"^path: no value given; a value is required$"):
        read_choice("data", "folder")


def test_networks_can_be_built_inside_a_program_that_has_a_hydra_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("lr: 1\n")
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.3"):
        assert hydra.compose("train") == {"lr": 1}
        assert models.lenet5(num_classes=2).classes == 2
    assert not GlobalHydra.instance().is_initialized()
