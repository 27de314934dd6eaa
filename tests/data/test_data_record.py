import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Compose
from PIL import Image
from pydantic import ValidationError

from lenet_pl.data.data_record import DataRecord, read_data_record, write_data_record
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.engine.build import build_datamodule


def grey(level: int) -> Image.Image:
    return Image.new("L", (6, 6), level)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(40):
        path = tmp_path / "set" / ("cat", "dog")[number % 2]
        path.mkdir(parents=True, exist_ok=True)
        grey(number).save(path / f"{number:02}.png")
    return tmp_path / "set"


@pytest.fixture
def data(folder: Path, compose: Compose) -> ImageDataModule:
    return build_datamodule(compose("data=folder", f"data.path={folder}", "loader.batch_size=8"))


def record_of(data: ImageDataModule) -> DataRecord:
    assert data.record
    return data.record


def test_each_part_says_which_images_it_has(data: ImageDataModule, folder: Path, tmp_path: Path) -> None:
    write_data_record(tmp_path, data.record)
    record = json.loads((tmp_path / "data.json").read_text())
    assert [one["name"] for one in record["classes"]] == ["cat", "dog"]
    assert [one["images"] for one in record["classes"]] == [20, 20]
    sizes = {"train": len(data.train_set), "validation": len(data.validation_set), "test": len(data.test_set)}
    assert {name: part["images"] for name, part in record["parts"].items()} == sizes
    seen: list[str] = []
    for part, images in (("train", data.train_set), ("validation", data.validation_set), ("test", data.test_set)):
        found = record["parts"][part]
        seen += found["names"]
        contents = np.frombuffer(base64.b64decode(found["contents"]), "<i8")
        labels = np.frombuffer(base64.b64decode(found["labels"]), "<u2")
        rows = zip(found["names"], contents, labels, images.images, strict=True)
        for name, content, label, image in rows:
            file = (folder / name).read_bytes()
            digest = hashlib.blake2b(file, digest_size=8).digest()
            assert int.from_bytes(digest, "little", signed=True) == content
            assert name.startswith(f"{('cat', 'dog')[label]}/")
            assert int(image[0, 3, 3]) == int(Path(name).stem)  # the level is the number in the name
    assert sorted(seen) == sorted(str(file.relative_to(folder)) for file in folder.rglob("*.png"))


def test_what_was_written_is_read_again(data: ImageDataModule, tmp_path: Path) -> None:
    write_data_record(tmp_path, data.record)
    again = read_data_record(tmp_path)
    assert again == data.record
    assert list(tmp_path.glob("*.part")) == []
    write_data_record(tmp_path / "nowhere", None)


def test_what_a_checkpoint_holds_is_small_and_of_plain_values(compose: Compose) -> None:
    data = build_datamodule(compose("data=fake", "data.num_images=51000", "data.test_images=9000", "data.image_size=4"))
    record = record_of(data)
    compact = record.compact()
    size = len(json.dumps(compact))
    assert size < 9000 * 14 + 2000  # 8 + 2 bytes for each test image, in base64
    again = DataRecord.model_validate(compact)
    assert again.agrees(record)
    assert again.parts["test"].rows() is not None
    assert [again.parts[name].rows() for name in ("train", "validation")] == [None, None]
    assert all(part.names is None for part in again.parts.values())


@pytest.mark.parametrize("kind", ["digits", "fake"])
def test_sets_that_no_digest_was_published_of_are_recorded(kind: str, compose: Compose) -> None:
    first, again = (record_of(build_datamodule(compose(f"data={kind}"))) for _ in range(2))
    assert first == again
    other = record_of(build_datamodule(compose(f"data={kind}", "data.split.val_size=0.3")))
    assert other.digest == first.digest  # the same images before the split
    assert not other.agrees(first)


def test_a_set_of_other_noise_is_another(compose: Compose) -> None:
    first, other = (record_of(build_datamodule(compose("data=fake", f"data.seed={seed}"))) for seed in (0, 1))
    assert first.digest != other.digest


def broken(content: dict[str, Any], change: str) -> dict[str, Any]:
    test = content["parts"]["test"]
    if change == "a part missing":
        del content["parts"]["validation"]
    elif change == "another version":
        content["version"] = 2
    elif change == "names that are numbers and words":
        test["names"] = [1, "x"]
    elif change == "labels beyond the classes":
        labels = torch.full((test["images"],), 9)
        contents = np.frombuffer(base64.b64decode(test["contents"]), "<i8")
        test["labels"] = base64.b64encode(labels.numpy().astype("<u2").tobytes()).decode()
        test["digest"] = hashlib.sha256(contents.tobytes() + labels.numpy().astype("<u2").tobytes()).hexdigest()
    else:
        content["channels"] = 2
    return content


CHANGES = ["a part missing", "another version", "names that are numbers and words", "labels beyond the classes", ""]


@pytest.mark.parametrize("change", CHANGES)
def test_a_record_that_cannot_be_is_refused(change: str, data: ImageDataModule, tmp_path: Path) -> None:
    content = broken(record_of(data).model_dump(), change)
    with pytest.raises(ValidationError):
        DataRecord.model_validate(content)
    (tmp_path / "data.json").write_text(json.dumps(content))
    assert read_data_record(tmp_path) is None


@pytest.mark.parametrize("key", ["contents", "labels", "images"])
def test_a_listing_that_does_not_fit_its_digest_is_none(key: str, data: ImageDataModule) -> None:
    content = record_of(data).model_dump()
    part = content["parts"]["train"]
    part[key] = part["images"] - 1 if key == "images" else f"AQAA{part[key][4:]}"
    assert DataRecord.model_validate(content).parts["train"].rows() is None
    part["contents"] = "not base64"
    assert DataRecord.model_validate(content).parts["train"].rows() is None
