import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from lenet_pl.data.folder import READ, read_folder
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.errors import DataError, SettingError, UserError
from lenet_pl.settings import FolderDataSettings
from lenet_pl.settings.compose import conf_dir
from lenet_pl.settings.config_file import completed

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def settings(path: Path, **changes: Any) -> FolderDataSettings:
    defaults = OmegaConf.load(conf_dir() / "data/folder.yaml")
    return FolderDataSettings(**{**OmegaConf.to_container(defaults), "path": str(path), **changes})


def read(path: Path, size: int = 16, **changes: Any) -> tuple[ImageDataset, ImageDataset, tuple[str, ...]]:
    parts = read_folder(settings(path, **changes), size)
    assert parts.validation is None
    return parts.train, parts.test, parts.classes


def refused(path: Path, kind: type[UserError] = DataError, **changes: Any) -> str:
    with pytest.raises(kind) as error:
        read(path, **changes)
    assert "\n" not in str(error.value)
    return str(error.value)


def save(path: Path, image: Image.Image | np.ndarray | None = None, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(RAMP) if image is None else image
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **more)
    return path


def fill(path: Path, level: int = 0, classes: tuple[str, ...] = ("dog", "cat"), count: int = 4) -> Path:
    """Write images whose grey level tells them apart: `level`, `level` + 1, … in the order of reading."""
    for i, name in enumerate(sorted(classes)):
        for j in range(count):
            save(path / name / f"{j}.png", Image.new("L", (16, 16), level + i * count + j))
    return path


def levels(images: ImageDataset) -> list[int]:
    return images.images[:, 0, 0, 0].tolist()


def one(tmp_path: Path, image: Image.Image | np.ndarray, file: str = "x.png", size: int = 16, **changes: Any) -> Tensor:
    """Read one image, uint8 (C, S, S)."""
    format_options = {key: changes.pop(key) for key in ("exif", "quality", "transparency") if key in changes}
    save(tmp_path / "a" / file, image, **format_options)
    save(tmp_path / "b/x.png", Image.new("L", (16, 16)))
    train, _, _ = read(tmp_path, size, test_path=str(other_part(tmp_path)), **changes)
    return train.images[0]


def other_part(tmp_path: Path) -> Path:
    """A test part beside the folder, so that all of the folder is training part."""
    return fill(tmp_path.parent / f"{tmp_path.name}-test", classes=("a", "b"), count=1)


# --------------------------------------------------------------------------------------------------------------- layout


def test_classes_are_the_directories_in_alphabetical_order(tmp_path: Path) -> None:
    train, test, classes = read(fill(tmp_path))
    assert classes == ("cat", "dog")
    for part in (train, test):
        assert [level // 4 for level in levels(part)] == part.labels.tolist()


def test_without_a_test_directory_a_share_of_each_class_is_the_test_part(tmp_path: Path) -> None:
    train, test, _ = read(fill(tmp_path, count=8), test_fraction=0.25)
    assert test.labels.bincount().tolist() == [2, 2]
    assert sorted(levels(train) + levels(test)) == list(range(16))
    again = read(tmp_path, test_fraction=0.25)[1]
    assert levels(test) == levels(again)


def test_train_and_test_directories_are_the_parts(tmp_path: Path) -> None:
    fill(tmp_path / "train", 0)
    fill(tmp_path / "test", 100, count=1)
    train, test, classes = read(tmp_path)
    assert (levels(train), levels(test), classes) == (list(range(8)), [100, 101], ("cat", "dog"))


def test_test_path_is_the_test_part(tmp_path: Path) -> None:
    train, test, _ = read(fill(tmp_path / "mine"), test_path=str(fill(tmp_path / "theirs", 100)))
    assert (levels(train), levels(test)) == (list(range(8)), list(range(100, 108)))


def test_images_in_subdirectories_belong_to_the_class(tmp_path: Path) -> None:
    save(fill(tmp_path) / "cat/2024/may/x.jpeg")
    train, test, _ = read(tmp_path)
    assert len(train) + len(test) == 9


def test_hidden_files_and_directories_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path)
    for name in (".git/x.png", "cat/.x.png", "cat/.ipynb_checkpoints/x.png"):
        save(tmp_path / name)
    (tmp_path / "cat/.DS_Store").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("beside the classes")
    train, test, classes = read(tmp_path)
    assert classes == ("cat", "dog")
    assert len(train) + len(test) == 8


def test_absent_path_is_named_with_its_setting(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    assert refused(nothing).startswith(f"data.path: {nothing} does not exist; must be a directory")
    message = refused(fill(tmp_path / "images"), test_path=str(nothing))
    assert message.startswith(f"data.test_path: {nothing} does not exist; must be a directory")


def test_path_that_is_a_file_is_named(tmp_path: Path) -> None:
    assert refused(save(tmp_path / "x.png")).startswith(f"data.path: {tmp_path}/x.png is a file; must be a dir")


def test_empty_directory_is_refused(tmp_path: Path) -> None:
    assert "has 0 class directories (none); must be two or more" in refused(tmp_path)


def test_one_class_is_refused(tmp_path: Path) -> None:
    assert "has 1 class directories (cat); must be two or more" in refused(fill(tmp_path, classes=("cat",)))


def test_empty_class_is_named(tmp_path: Path) -> None:
    (fill(tmp_path) / "owl").mkdir()
    assert refused(tmp_path).startswith(f"{tmp_path}/owl: no files; must contain at least one")


def test_classes_of_one_part_only_are_named(tmp_path: Path) -> None:
    fill(tmp_path / "train", classes=("cat", "dog", "owl"))
    fill(tmp_path / "test", classes=("cat", "dog", "rat"))
    message = refused(tmp_path)
    assert f"classes differ from those of {tmp_path}/train: owl, rat in only one of them" in message


def test_a_test_part_that_would_be_empty_is_refused(tmp_path: Path) -> None:
    message = refused(fill(tmp_path), SettingError, test_fraction=0.01)
    assert message.startswith("data.test_fraction: 0.01 takes 0 of 8 images; must be")


@pytest.mark.parametrize("test_path", ["", "."])
def test_the_training_directory_is_refused_as_test_path(test_path: str, tmp_path: Path) -> None:
    fill(tmp_path)
    assert "data.test_path" in refused(tmp_path, UserError, test_path=f"{tmp_path}/{test_path}")


def test_settings_of_a_run_from_before_there_was_a_layout_are_read() -> None:
    values = settings(Path("somewhere")).model_dump()
    assert values.pop("layout") == "auto"
    assert FolderDataSettings(**completed({"data": values})["data"]) == settings(Path("somewhere"))


def test_parts_are_not_taken_for_classes(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        fill(tmp_path / part)
    parts = read_folder(settings(tmp_path), 16)
    assert parts.validation is not None
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (8, 8, 8)


# --------------------------------------------------------------------------------------------------------------- pixels


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA", "I;16"])
@pytest.mark.parametrize("color_mode", ["gray", "rgb"])
@pytest.mark.parametrize("fit", ["pad", "resize"])
def test_every_mode_keeps_its_256_grey_levels(mode: str, color_mode: str, fit: str, tmp_path: Path) -> None:
    wide = Image.fromarray(RAMP.astype(np.uint16) * 257)
    image = wide if mode == "I;16" else Image.fromarray(RAMP).convert(mode)
    pixels = one(tmp_path, image, color_mode=color_mode, resize_mode=fit, background=99)
    assert torch.equal(pixels, torch.from_numpy(RAMP).expand(1 if color_mode == "gray" else 3, -1, -1))


def test_bilevel_images_are_black_and_white(tmp_path: Path) -> None:
    pattern = np.indices((16, 16)).sum(0) % 3 == 0
    pixels = one(tmp_path, Image.fromarray(pattern), color_mode="gray")
    assert torch.equal(pixels[0], torch.from_numpy(pattern * 255).to(torch.uint8))


def test_colours_keep_their_channels(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    assert torch.equal(one(tmp_path, picture), torch.from_numpy(picture).permute(2, 0, 1))


def test_grey_of_colours_is_that_of_bt_601(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    wanted = picture @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(one(tmp_path, picture, color_mode="gray")[0], wanted, atol=1)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
@pytest.mark.parametrize("background", [0, 255, 100])
def test_transparent_pixels_show_the_background(mode: str, background: int, tmp_path: Path) -> None:
    alpha = np.where(np.arange(256).reshape(16, 16) % 2, 255, 0).astype(np.uint8)
    if mode == "P":
        image, more = Image.fromarray(RAMP).convert("P"), {"transparency": bytes(alpha.flatten())}
    else:
        image, more = Image.fromarray(RAMP).convert(mode), {}
        image.putalpha(Image.fromarray(alpha))
    pixels = one(tmp_path, image, color_mode="gray", background=background, **more)
    assert torch.equal(pixels[0], torch.from_numpy(np.where(alpha, RAMP, np.uint8(background))))


@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_jpeg_is_turned_as_its_exif_says(orientation: int, turn: int, tmp_path: Path) -> None:
    picture = np.zeros((16, 16), np.uint8)
    picture[:8, :8], picture[:8, 8:] = 240, 120
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = one(tmp_path, picture, "x.jpg", exif=exif, quality=100)
    np.testing.assert_allclose(pixels[0], np.rot90(picture, turn), atol=8)


def test_auto_is_grey_only_if_every_image_of_both_parts_is(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    fill(tmp_path / "test")
    assert read(tmp_path)[0].images.shape[1] == 1
    save(tmp_path / "test/dog/z.png", Image.new("RGB", (16, 16), (9, 8, 7)))
    train, test, _ = read(tmp_path)
    assert train.images.shape[1] == test.images.shape[1] == 3
    assert test.images[-1, :, 0, 0].tolist() == [9, 8, 7]
    assert read(tmp_path, color_mode="gray")[0].images.shape[1] == 1


@pytest.mark.parametrize(
    ("height", "width", "inner"), [(16, 8, (16, 8)), (4, 8, (8, 16)), (64, 32, (16, 8)), (5, 5, (16, 16))]
)
@pytest.mark.parametrize("background", [0, 200])
def test_pad_keeps_proportions_and_centres(
    height: int, width: int, inner: tuple[int, int], background: int, tmp_path: Path
) -> None:
    pixels = one(tmp_path, Image.new("L", (width, height), 77), background=background)
    top, left = (16 - inner[0]) // 2, (16 - inner[1]) // 2
    wanted = np.full((16, 16), background)
    wanted[top : top + inner[0], left : left + inner[1]] = 77
    assert pixels[0].tolist() == wanted.tolist()


@pytest.mark.parametrize("shape", [(16, 8), (5, 7), (64, 40)])
@pytest.mark.parametrize("size", [16, 9])
def test_resize_equals_torchvision(shape: tuple[int, int], size: int, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    wanted = tv.resize(torch.from_numpy(picture).permute(2, 0, 1), [size, size], antialias=True)
    ours = one(tmp_path, picture, size=size, resize_mode="resize")
    assert (ours.int() - wanted.int()).abs().max() <= 1


@pytest.mark.parametrize(("width", "height"), [(100, 1), (1, 100), (2000, 2)])
@pytest.mark.parametrize("fit", ["pad", "resize"])
def test_thin_images_are_brought_to_size(width: int, height: int, fit: str, tmp_path: Path) -> None:
    assert one(tmp_path, Image.new("L", (width, height), 50), resize_mode=fit).max() == 50


def test_image_size_overrules_that_of_the_model(tmp_path: Path) -> None:
    assert read(fill(tmp_path), image_size=8)[0].images.shape[2:] == (8, 8)
    assert read(tmp_path)[0].images.shape[2:] == (16, 16)


# ----------------------------------------------------------------------------------------------------- unreadable files


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(RAMP).save(stream, kind)
    return stream.getvalue()


def png(*chunks: bytes) -> bytes:
    framed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def huge(side: int) -> bytes:
    """A PNG that has nothing but a header."""
    return png(b"IHDR" + struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0), b"IDAT")


UNREADABLE = [
    pytest.param(b"", id="empty"),
    pytest.param(b"just a text", id="text"),
    pytest.param(encoded("PPM"), id="PPM"),
    pytest.param(encoded("PNG")[:20], id="PNG cut in its header"),
    pytest.param(png(b"IHDR" + bytes(5), b"IDAT"), id="PNG with a short header"),
    pytest.param(encoded("PNG")[:-40], id="PNG cut"),
    pytest.param(encoded("JPEG")[:-40], id="JPEG cut"),
    pytest.param(huge(16), id="PNG without pixels"),
    pytest.param(huge(4097), id="PNG of 4,097 px"),
    pytest.param(huge(10_000), id="PNG of 10,000 px"),
    pytest.param(huge(60_000), id="PNG of 60,000 px"),
]


@pytest.mark.parametrize("color_mode", ["auto", "gray"])
@pytest.mark.parametrize("content", UNREADABLE)
def test_unreadable_file_is_named_with_a_way_out(content: bytes, color_mode: str, tmp_path: Path) -> None:
    path = fill(tmp_path) / "cat/2.png"
    path.write_bytes(content)
    message = refused(tmp_path, color_mode=color_mode)
    assert message.startswith(f"{path}: ")
    assert f"; {READ}; data.skip_unreadable=true leaves such files out" in message


@pytest.mark.parametrize("content", UNREADABLE)
def test_unreadable_file_is_left_out_and_counted_where_asked(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (fill(tmp_path) / "cat/2.png").write_bytes(content)
    train, test, _ = read(tmp_path, skip_unreadable=True)
    assert sorted(levels(train) + levels(test)) == [0, 1, 3, 4, 5, 6, 7]
    assert "skipped 1 unreadable" in capsys.readouterr().out


@pytest.mark.parametrize("side", [4097, 10_000, 60_000])
def test_huge_image_is_refused_for_its_size_before_it_is_decoded(side: int, tmp_path: Path) -> None:
    (fill(tmp_path) / "cat/2.png").write_bytes(huge(side))
    assert f": {side}×{side} px; must be a PNG, " in refused(tmp_path)


def test_image_with_odd_exif_is_read_or_named(tmp_path: Path) -> None:
    tags = struct.pack(">H HHII HHIHH I", 2, 256, 2, 6, 38, 0x0112, 3, 1, 6, 0, 0)  # a text as width; turned
    path = save(fill(tmp_path) / "cat/x.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08" + tags + b"hello\0")
    try:
        read(tmp_path)
    except DataError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017


def test_class_of_unreadable_files_alone_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, classes=("cat", "dog", "owl"), count=1)
    (tmp_path / "dog/0.png").write_bytes(b"no image")
    assert "dog: no readable image" in refused(tmp_path, skip_unreadable=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_named(tmp_path: Path) -> None:
    (fill(tmp_path) / "cat/2.png").chmod(0)
    assert refused(tmp_path).startswith(f"{tmp_path}/cat/2.png: ")


def test_a_test_share_that_takes_all_images_of_a_class_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, classes=("cat", "dog"), count=8)
    fill(tmp_path, classes=("owl",), count=1)
    message = refused(tmp_path, SettingError, test_fraction=0.9)
    assert message.startswith("data.test_fraction: 0.9 leaves no training image of owl; must be a smaller fraction")


def test_a_file_of_more_than_20_mb_is_read_where_its_sides_are_not_too_long(tmp_path: Path) -> None:
    path = save(fill(tmp_path, count=1) / "cat/large.bmp", Image.new("RGB", (2900, 2900), (77, 77, 77)))
    assert path.stat().st_size > 25_000_000
    assert 77 in levels(read(tmp_path, test_fraction=0.3)[0]) + levels(read(tmp_path, test_fraction=0.3)[1])
    assert " and 150 MB; " in READ + "; "
