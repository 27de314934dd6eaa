from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Compose
from PIL import Image

from lenet_pl.data.choose_data import SettingsSource, choose_data
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.sources import load_dataset
from lenet_pl.engine.build import build_datamodule
from lenet_pl.errors import DataError, SettingError

NAMES = ["mnist", "fashion", "kmnist", "qmnist", "usps", "cifar10", "emnist", "digits", "fake"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_has_the_settings_of_its_file(name: str, compose: Compose) -> None:
    chosen = choose_data(name, root="here")
    assert isinstance(chosen, SettingsSource)
    assert chosen.settings == compose(f"data={name}", "data_root=here").data


def test_arguments_and_options_replace_those_of_the_file() -> None:
    chosen = choose_data("emnist", "here", "resize", 0.2, "last", options={"variant": "letters", "download": False})
    settings: Any = chosen.settings
    assert (settings.resize_mode, settings.split.val_size, settings.split.method) == ("resize", 0.2, "last")
    assert (settings.variant, settings.download, settings.root) == ("letters", False, "here")


def test_the_root_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LENET_PL_DATA", "/somewhere")
    assert choose_data("mnist").settings.root == "/somewhere"  # type: ignore[attr-defined]
    monkeypatch.delenv("LENET_PL_DATA")
    assert choose_data("mnist").settings.root == "data"  # type: ignore[attr-defined]


def test_a_named_dataset_equals_that_of_the_command(compose: Compose) -> None:
    wanted = build_datamodule(compose("data=digits"))
    found = ImageDataModule("digits")
    found.setup()
    assert torch.equal(found.train_set.images, wanted.train_set.images)
    assert (found.preprocess.mean, found.preprocess.fit) == (wanted.preprocess.mean, wanted.preprocess.fit)
    ours = next(iter(found.train_dataloader()))
    assert torch.equal(ours.labels, next(iter(wanted.train_dataloader())).labels)  # type: ignore[union-attr]


def test_a_folder_of_images_is_read(tmp_path: Path) -> None:
    for name, level in (("cat", 10), ("dog", 200)):
        (tmp_path / name).mkdir()
        for i in range(20):
            Image.new("L", (8, 8), level + i).save(tmp_path / name / f"{i}.png")
    data = ImageDataModule("folder", path=tmp_path, batch_size=8)
    data.prepare_data()
    data.setup()
    assert (data.classes, data.num_classes, data.channels) == (("cat", "dog"), 2, 1)


def test_preparing_finds_missing_files_before_anything_is_loaded(tmp_path: Path) -> None:
    data = ImageDataModule("kmnist", root=tmp_path, download=False)
    with pytest.raises(DataError, match=r"^data=kmnist: not found in "):
        data.prepare_data()


def test_preparing_twice_downloads_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data, calls = ImageDataModule("digits"), []
    monkeypatch.setattr("lenet_pl.data.choose_data.download_dataset", lambda settings: calls.append(settings))
    monkeypatch.setattr(
        "lenet_pl.data.choose_data.load_dataset", lambda *given: calls.append(0) or load_dataset(*given)
    )
    data.prepare_data()
    for stage in ("fit", "validate", "test", None):
        data.setup(stage)
        data.prepare_data()
    assert calls == [data.data.settings, 0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": "minst"}, r"^data: got 'minst'; must be one of arrays, cifar10, .*; did you mean mnist\?$"),
        ({"data": "folder"}, r"^path: no value given; a value is required$"),
        ({"data": "emnist", "varaint": "letters"}, r"^varaint: unknown setting; did you mean variant\?$"),
        ({"data": "digits", "val_size": 0}, r"^split\.val_size: got 0; must be a number of images from 1"),
        (
            {"data": "digits", "split_method": "sorted"},
            r"^split\.method: got 'sorted'; must be 'last', 'stratified' or",
        ),
        ({"data": "digits", "resize_mode": "crop"}, r"^resize_mode: got 'crop'; must be 'pad' or 'resize'"),
        ({"data": "digits", "augment": "afine"}, r"^augment: got 'afine'; .*; did you mean affine\?$"),
        ({"data": "digits", "augment": {"degrees": 400}}, r"^degrees: got 400; must be less than or equal to 180"),
        ({"data": "digits", "augment": {"degree": 4}}, r"^degree: unknown setting; did you mean degrees\?$"),
        ({"data": "digits", "augment": 5}, r"^augment: got int; must be a name, strengths, a transform"),
    ],
)
def test_what_is_wrong_is_one_line_at_construction(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message) as error:
        ImageDataModule(**given)
    assert "\n" not in str(error.value)


def test_a_path_is_not_a_dataset() -> None:
    with pytest.raises(DataError, match=r'^data: got the path pets; use data="folder" or data="arrays" with path='):
        ImageDataModule(Path("pets"))
