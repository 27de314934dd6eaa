"""Each kind of augmentation beside torchvision, SciPy or the published code, for equal parameters."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.datasets import load_digits
from test_augment import NONE, augment, pictures, seeded
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import RandAugment, TrivialAugmentWide
from torchvision.transforms.v2 import functional as tv

from lenet_pl.data.augment import Augment
from lenet_pl.data.augment.color import shift_hue
from lenet_pl.data.augment.erasing import cutout
from lenet_pl.data.augment.filters import gaussian_blur
from lenet_pl.data.augment.geometry import elastic_displacement, inverse_affine, warp
from lenet_pl.data.augment.policies import (
    NUM_BINS,
    OPERATIONS,
    SIGNED,
    apply_operations,
    rand_augment_ranges,
    trivial_augment_ranges,
)
from lenet_pl.settings import AugmentSettings

NEW = {
    "hue": 0.4,
    "elastic_alpha": 20,
    "rand_augment": 2,
    "trivial_augment": True,
    "gaussian_blur": 1.5,
    "noise": 0.1,
    "cutout": 5,
}


@pytest.mark.parametrize("shift", [-0.5, -0.13, 0.0, 0.3, 0.5])
def test_hue_equals_torchvision(shift: float) -> None:
    images = torch.cat([pictures(), torch.full((1, 3, 20, 24), 0.4), torch.zeros(1, 3, 20, 24)])  # and gray, and black
    ours = shift_hue(images, torch.full((6,), shift))
    torch.testing.assert_close(ours, tv.adjust_hue(images, shift), atol=1e-5, rtol=0)


def test_hue_leaves_gray_images() -> None:
    images = pictures(channels=1)
    assert augment(hue=0.5)(images, seeded()) is images


def test_blur_equals_torchvision_with_a_sigma_for_each_image() -> None:
    images, sigmas = pictures(), torch.tensor([0.2, 0.7, 1.3, 2.0])
    wanted = [tv.gaussian_blur(image, [13, 13], [float(s)] * 2) for image, s in zip(images, sigmas, strict=True)]
    torch.testing.assert_close(gaussian_blur(images, sigmas, 2.0), torch.stack(wanted), atol=1e-6, rtol=0)


def test_blur_of_sigma_zero_changes_nothing_and_a_wide_one_fits_a_small_image() -> None:
    images = pictures(2, 1, 6, 5)
    torch.testing.assert_close(gaussian_blur(images, torch.zeros(2), 40.0), images)
    assert gaussian_blur(images, torch.full((2,), 40.0), 40.0).std() < images.std() / 3


def test_blur_takes_a_range() -> None:
    image = pictures(1, 1).expand(300, -1, -1, -1)
    changed = (augment(gaussian_blur=[1.0, 1.2])(image, seeded()) - image).flatten(1).norm(dim=1)
    ends = [(tv.gaussian_blur(image[0], [9, 9], [s, s]) - image[0]).norm() for s in (1.0, 1.2)]
    assert ends[0] - 1e-4 <= changed.min() < changed.max() <= ends[1] + 1e-4


def test_noise_has_the_standard_deviation_and_is_clamped() -> None:
    gray = torch.full((64, 1, 16, 16), 0.5)
    noisy = augment(noise=0.05)(gray, seeded())
    assert float((noisy - gray).std()) == pytest.approx(0.05, rel=0.02)
    assert abs(float((noisy - gray).mean())) < 0.001
    strong = augment(noise=1)(gray, seeded())
    assert (float(strong.min()), float(strong.max())) == (0, 1)


def published_cutout(image: np.ndarray, x: int, y: int, length: int) -> np.ndarray:
    """Mask as the code of DeVries and Taylor does: github.com/uoguelph-mlrg/Cutout."""
    h, w = image.shape[1:]
    mask = np.ones((h, w), np.float32)
    y1, y2 = np.clip(y - length // 2, 0, h), np.clip(y + length // 2, 0, h)
    x1, x2 = np.clip(x - length // 2, 0, w), np.clip(x + length // 2, 0, w)
    mask[y1:y2, x1:x2] = 0.0
    return image * mask


def test_cutout_equals_the_published_code_at_every_place() -> None:
    places = [(x, y) for x in range(9) for y in range(7)]
    images = pictures(len(places), 3, 7, 9)
    draws = torch.tensor([[(x + 0.5) / 9, (y + 0.5) / 7] for x, y in places])
    ours = cutout(images, draws, 4, torch.zeros(3))
    for image, mine, (x, y) in zip(images, ours, places, strict=True):
        np.testing.assert_array_equal(mine, published_cutout(image.numpy(), x, y, 4))


def test_cutout_fills_with_the_mean() -> None:
    images = torch.zeros(200, 3, 8, 8)
    filled = Augment(AugmentSettings(**{**NONE, "cutout": 3}), 0.0, [0.1, 0.2, 0.3])(images, seeded())
    there = filled[:, 0] > 0
    assert set(there.flatten(1).sum(1).tolist()) == {4, 6, 9}  # at a corner, at an edge, whole
    for channel, level in enumerate((0.1, 0.2, 0.3)):
        torch.testing.assert_close(filled[:, channel][there], torch.full((int(there.sum()),), level))


@pytest.mark.parametrize("background", [0.0, 0.8])
@pytest.mark.parametrize("degrees", [0, 25])
def test_elastic_distortion_equals_scipy(degrees: int, background: float) -> None:
    images = torch.from_numpy(np.kron(load_digits().images[:3] / 16, np.ones((3, 3)))).float()[:, None]  # 24×24
    noise = 2 * torch.rand(3, 2, 24, 24, generator=seeded()) - 1
    matrix = None
    linear = np.eye(2)
    if degrees:
        one, angle = torch.ones(3), math.radians(degrees)
        matrix = inverse_affine(one * angle, torch.zeros(3, 2), one, one, one * 0)
        linear = np.linalg.inv([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    ours = warp(images, matrix, background, elastic_displacement(noise, 34, 4))
    for image, field, mine in zip(images[:, 0].numpy(), noise.double().numpy(), ours[:, 0].numpy(), strict=True):
        dx, dy = (34 * ndimage.gaussian_filter(one, 4, mode="constant") for one in field)
        assert max(abs(dx).max(), abs(dy).max()) > 1  # px, so that it is a distortion
        y, x = np.mgrid[:24, :24] - 11.5
        at_x, at_y = np.einsum("ij,jhw->ihw", linear, np.stack([x + dx, y + dy])) + 11.5
        wanted = ndimage.map_coordinates(image, [at_y, at_x], order=1, mode="grid-constant", cval=background)
        np.testing.assert_allclose(mine, wanted, atol=2e-4)


# --------------------------------------------------------------------------------------------------------- policies


@pytest.mark.parametrize(
    ("ranges", "theirs"), [(rand_augment_ranges, RandAugment), (trivial_augment_ranges, TrivialAugmentWide)]
)
def test_operations_and_ranges_are_those_of_torchvision(ranges, theirs) -> None:  # type: ignore[no-untyped-def]
    assert tuple(theirs._AUGMENTATION_SPACE) == OPERATIONS
    for name, row in zip(OPERATIONS, ranges(20, 30), strict=True):
        magnitudes, signed = theirs._AUGMENTATION_SPACE[name]
        wanted = magnitudes(NUM_BINS, 20, 30)
        torch.testing.assert_close(row, torch.zeros(NUM_BINS) if wanted is None else wanted.float())
        assert (name in SIGNED) == signed


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_equals_torchvision(name: str, channels: int) -> None:
    images = pictures(6, channels)
    row = OPERATIONS.index(name)
    sign = torch.tensor([1, -1, 1, -1, 1, -1]) if name in SIGNED else 1
    magnitudes = trivial_augment_ranges(20, 24)[row, [0, 3, 9, 14, 22, 30]] * sign
    ours = apply_operations(images, torch.full((6,), row), magnitudes)
    wanted = [
        TrivialAugmentWide()._apply_image_or_video_transform(
            image, name, float(value), InterpolationMode.BILINEAR, {torch.Tensor: None}
        )
        for image, value in zip(images, magnitudes, strict=True)
    ]
    torch.testing.assert_close(ours, torch.stack(wanted), atol=1e-3, rtol=0)  # torchvision weighs red 0.2989


def test_a_batch_with_all_operations_is_each_image_alone() -> None:
    images, chosen = pictures(28), torch.arange(28) % 14
    magnitudes = rand_augment_ranges(20, 24)[chosen, 12]
    together = apply_operations(images, chosen, magnitudes, 0.2)
    alone = [apply_operations(images[i : i + 1], chosen[i : i + 1], magnitudes[i : i + 1], 0.2) for i in range(28)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["rand_augment", "trivial_augment"])
def test_a_policy_leaves_some_images_and_changes_the_others(name: str) -> None:
    images = pictures(400)
    same = (augment(**{name: NEW[name]})(images, seeded()) == images).flatten(1).all(1).double().mean()
    assert 0 < same < 0.35  # two identities in a row, or one, and operations that find nothing to change


# ------------------------------------------------------------------------------------------------------------ draws


@pytest.mark.parametrize("name", NEW)
def test_equal_generators_give_equal_images(name: str) -> None:
    one, images = augment(**{name: NEW[name]}), pictures()
    torch.manual_seed(1)
    first = one(images, seeded(3))
    torch.manual_seed(2)
    assert torch.equal(one(images, seeded(3)), first)
    assert not torch.equal(one(images, seeded(4)), first)


def transformed(images: Tensor) -> list[Tensor]:
    """Apply what has explicit parameters."""
    count = len(images)
    draws = torch.rand(count, 2, generator=seeded())
    noise = torch.rand(64, 2, 20, 24, generator=seeded())[:count]
    return [
        shift_hue(images, draws[:, 0] - 0.5),
        gaussian_blur(images, 2 * draws[:, 0], 2.0),
        cutout(images, draws, 5, torch.zeros(3)),
        warp(images, None, 0.1, elastic_displacement(noise, 30, 3)),
    ]


def test_an_image_comes_out_alike_in_batches_of_any_size() -> None:
    images = pictures(64)
    for whole, some in zip(transformed(images), transformed(images[:5]), strict=True):
        torch.testing.assert_close(whole[:5], some, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", NEW)
def test_batches_that_are_transformed_together_come_out_as_each_alone(name: str) -> None:
    one, images = augment(**{name: NEW[name]}, degrees=10, random_erasing=0.5), pictures(8)
    parts = images.split([3, 5])
    drawn = [one.draw(len(part), part.shape[1:], seeded(number)) for number, part in enumerate(parts)]
    together = one.apply(images, *(torch.cat(rows) for rows in zip(*drawn, strict=True)))
    alone = [one(part, seeded(number)) for number, part in enumerate(parts)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-6, rtol=0)
