import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from lenet_pl.data.pixels import Pixels
from lenet_pl.settings import FolderDataSettings
from lenet_pl.settings.compose import conf_dir


def pixels(count: int, size: int = 4, **changes: object) -> Pixels:
    defaults = OmegaConf.to_container(OmegaConf.load(conf_dir() / "data/folder.yaml"))
    assert isinstance(defaults, dict)
    return Pixels(count, FolderDataSettings(**{**defaults, "path": "x", **changes}), size)


def deep(*levels: int) -> Image.Image:
    return Image.fromarray(np.resize(np.array(levels, np.uint16), (4, 4)))


def test_one_bright_image_sets_the_scale_of_all() -> None:
    store = pixels(2)
    for image in (deep(100), deep(4095)):
        store.add(image, "x", lossy=False)
    assert store.finish()[:, 0, 0, 0].tolist() == [round(100 / 4095 * 255), 255]


@pytest.mark.parametrize(("fit", "corner"), [("pad", 90), ("resize", 255)])
def test_a_wide_deep_image_is_padded_with_the_background(fit: str, corner: int) -> None:
    store = pixels(1, resize_mode=fit, background=90)
    store.add(Image.fromarray(np.full((4, 8), 4095, np.uint16)), "x", lossy=False)
    assert store.finish()[0, 0, :, 0].tolist() == [corner, 255, 255, corner]


def test_the_transparent_level_of_a_deep_image_shows_the_background() -> None:
    image = deep(0, 4095)
    image.info["transparency"] = 0
    store = pixels(1, background=77)
    store.add(image, "x", lossy=False)
    assert store.finish()[0, 0, 0].tolist() == [77, 255, 77, 255]


def test_deep_images_in_a_color_set_have_three_channels() -> None:
    store = pixels(2)
    store.add(deep(65535), "deep", lossy=False)
    store.add(Image.new("RGB", (4, 4), (9, 8, 7)), "color", lossy=False)
    assert store.finish()[:, :, 0, 0].tolist() == [[255, 255, 255], [9, 8, 7]]


def test_grey_images_before_the_first_color_are_kept() -> None:
    store = pixels(3)
    for image in (Image.new("L", (4, 4), 5), Image.new("L", (4, 4), 6), Image.new("RGB", (4, 4), (9, 8, 7))):
        store.add(image, "x", lossy=False)
    assert store.finish()[:, :, 0, 0].tolist() == [[5, 5, 5], [6, 6, 6], [9, 8, 7]]


def test_nearly_equal_channels_become_pillows_grey() -> None:
    near = np.random.default_rng(0).integers(100, 108, (4, 4, 3), np.uint8)
    store = pixels(1)
    store.add(Image.fromarray(near), "x", lossy=True)
    assert (store.finish()[0, 0] == np.asarray(Image.fromarray(near).convert("L"))).all()


@pytest.mark.parametrize(("difference", "channels"), [(8, 1), (9, 3)])
def test_the_noise_of_lossy_formats_is_no_color(difference: int, channels: int) -> None:
    image = np.full((40, 40, 3), 100, np.uint8)
    image[3, 4, 1] += difference  # one pixel, away from those that are looked at first
    store = pixels(1)
    store.add(Image.fromarray(image), "x", lossy=True)
    assert store.finish().shape[1] == channels


def test_images_that_were_not_added_leave_no_rows() -> None:
    store = pixels(5)
    with pytest.raises(ValueError, match="negative levels, down to -"):
        store.add(Image.fromarray(np.full((4, 4), -1, np.int32)), "x", lossy=False)
    store.add(Image.new("L", (4, 4), 5), "x", lossy=False)
    assert store.finish().shape == (1, 1, 4, 4)
