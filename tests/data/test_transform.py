import numpy as np
import pytest
import torch
from conftest import Compose
from sklearn.datasets import load_digits
from torchvision.transforms.v2 import Normalize
from torchvision.transforms.v2 import functional as tv

from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.transform import Preprocess, pixel_statistics
from lenet_pl.engine.build import build_datamodule
from lenet_pl.errors import SettingError

DIGITS = torch.from_numpy(load_digits().images * 15.9375).round().to(torch.uint8)[:40, None]


def colour(height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (4, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("images", [DIGITS, colour(8, 8), colour(7, 10), colour(32, 3)])
@pytest.mark.parametrize("background", [0, 255, 100])
def test_pad_equals_torchvision(images: torch.Tensor, background: int) -> None:
    height, width = images.shape[2:]
    left, top = (32 - width) // 2, (32 - height) // 2
    wanted = tv.pad(images, [left, top, 32 - width - left, 32 - height - top], fill=background)
    pixels = Preprocess(32, "pad", [0.5], [0.5], background).resize(images)
    torch.testing.assert_close(pixels, tv.to_dtype(wanted, torch.float32, scale=True))


@pytest.mark.parametrize("size", [4, 28, 33])
@pytest.mark.parametrize("images", [DIGITS, colour(8, 8), colour(40, 50), colour(7, 10)])
def test_resize_equals_torchvision(images: torch.Tensor, size: int) -> None:
    wanted = tv.resize(tv.to_dtype(images, torch.float32, scale=True), [size, size], antialias=True)
    torch.testing.assert_close(Preprocess(size, "resize", [0], [1]).resize(images), wanted)


def test_pad_makes_larger_images_smaller() -> None:
    images = colour(40, 40)
    pad, resize = (Preprocess(32, fit, [0], [1]).resize(images) for fit in ("pad", "resize"))
    assert torch.equal(pad, resize)


@pytest.mark.parametrize("fit", ["pad", "resize"])
def test_images_of_the_right_size_keep_their_pixels(fit: str) -> None:
    pixels = Preprocess(8, fit, [0], [1], background=9).resize(DIGITS)
    assert torch.equal((pixels * 255).round().to(torch.uint8), DIGITS)


def test_the_images_themselves_are_not_changed() -> None:
    images = colour(8, 8)
    before = images.clone()
    Preprocess(8, "pad", [0.5] * 3, [0.5] * 3)(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("images", "mean", "std"), [(DIGITS, [0.3], [0.4]), (colour(8, 8), [0.1, 0.5, 0.9], [2, 1, 0.2])]
)
def test_normalise_equals_torchvision(images: torch.Tensor, mean: list[float], std: list[float]) -> None:
    batch = Preprocess(8, "pad", mean, std)(images)
    torch.testing.assert_close(batch, tv.normalize(tv.to_dtype(images, torch.float32, scale=True), mean, std))
    assert batch.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("images", [DIGITS, colour(9, 5)])
def test_statistics_equal_numpy(images: torch.Tensor) -> None:
    mean, std = pixel_statistics(ImageDataset(images, torch.zeros(len(images), dtype=torch.int64)))
    pixels = images.numpy() / 255
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std((0, 2, 3)), rtol=1e-12)


def test_normalised_with_its_own_statistics_a_set_has_mean_0_and_deviation_1() -> None:
    images = colour(8, 8)
    batch = Preprocess(8, "pad", *pixel_statistics(ImageDataset(images, torch.zeros(4, dtype=torch.int64))))(images)
    torch.testing.assert_close(batch.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(batch.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)


def test_a_channel_without_any_contrast_stays_finite() -> None:
    images = ImageDataset(torch.full((2, 1, 4, 4), 7, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    assert Preprocess(4, "pad", *pixel_statistics(images))(images.images).isfinite().all()


def test_each_channel_may_have_an_input_range_as_torchvision_normalizes(compose: Compose) -> None:
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    pairs = [[-m / s, (1 - m) / s] for m, s in zip(mean, std, strict=True)]
    levels = ("data=fake", "model.image_size=28", f"input_range={pairs}")
    data = build_datamodule(compose(*levels, "data.channels=3"))
    images = data.test_set.images
    wanted = Normalize(mean, std)(images / 255)
    torch.testing.assert_close(data.preprocess(images), wanted, rtol=0, atol=1e-5, check_stride=False)
    with pytest.raises(SettingError, match=r"^input_range: got 3 ranges for 1 channel; must be"):
        build_datamodule(compose(*levels))
