import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import Compose
from sklearn.datasets import load_digits
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomErasing
from torchvision.transforms.v2 import functional as tv

from lenet_pl.batch import Batch
from lenet_pl.data.augment import Augment
from lenet_pl.data.augment.color import color_jitter
from lenet_pl.data.augment.geometry import inverse_affine, warp
from lenet_pl.data.mixing import Mixing
from lenet_pl.settings import AugmentSettings
from lenet_pl.settings.choices import read_choice
from lenet_pl.settings.compose import conf_dir

NONE = read_choice("augment", "none")
CHOICES = sorted(path.stem for path in (conf_dir() / "augment").glob("*.yaml"))
STRENGTHS = {
    "degrees": 30, "translate": 0.3, "scale": 0.4, "aspect_ratio": 0.4, "shear": 30, "crop_padding": 5, "hflip": 0.5,
    "brightness": 0.5, "contrast": 0.5, "saturation": 0.9, "hue": 0.4, "elastic_alpha": 20, "rand_augment": 2,
    "gaussian_blur": 1.5, "noise": 0.1, "random_erasing": 0.9, "cutout": 5,
}  # fmt: skip


def augment(background: float = 0.0, **strengths: float) -> Augment:
    return Augment(AugmentSettings(**{**NONE, **strengths}), background)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 4, channels: int = 3, height: int = 20, width: int = 24) -> Tensor:
    return torch.rand(count, channels, height, width, generator=seeded(7))


def draws(strengths: Augment, count: int = 4000, height: int = 20, width: int = 30) -> Tensor:
    return strengths.affine_matrices(torch.rand(count, 9, generator=seeded()), height, width)


# --------------------------------------------------------------------------------------------- against other libraries


@pytest.mark.parametrize(
    ("angle", "shift", "scale", "shear"),
    [
        (0, (0, 0), 1, 0),
        (30, (0, 0), 1, 0),
        (0, (3, -2), 1, 0),
        (0, (0, 0), 1.3, 0),
        (0, (0, 0), 1, 20),
        (-50, (2.5, 1), 0.8, -15),
    ],
)
def test_warp_equals_torchvision_affine(angle: float, shift: tuple[float, float], scale: float, shear: float) -> None:
    images = pictures()
    wanted = tv.affine(images, angle, list(shift), scale, [-shear, 0], InterpolationMode.BILINEAR)  # its x is mirrored
    one = torch.ones(len(images))
    matrices = inverse_affine(
        one * math.radians(angle), torch.tensor([shift]).expand(4, 2).float(), one * scale, one * scale,
        one * math.tan(math.radians(shear)),
    )  # fmt: skip
    torch.testing.assert_close(warp(images, matrices), wanted, atol=1e-4, rtol=0)


def test_inverse_affine_is_the_inverse_of_scale_shear_rotate_shift() -> None:
    angle, shift, scale_x, scale_y, shear = 0.7, (3.0, -5.0), -1.2, 0.6, 0.4
    rotate = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    forward = (
        np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])
        @ rotate
        @ np.array([[1, shear, 0], [0, 1, 0], [0, 0, 1]])
        @ np.diag([scale_x, scale_y, 1])
    )
    ours = inverse_affine(*(torch.tensor([v]) for v in (angle, shift, scale_x, scale_y, shear)))
    np.testing.assert_allclose(ours[0], np.linalg.inv(forward)[:2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "adjust"),
    [("brightness", tv.adjust_brightness), ("contrast", tv.adjust_contrast), ("saturation", tv.adjust_saturation)],
)
def test_jitter_equals_torchvision(name: str, adjust: Callable[[Tensor, float], Tensor], channels: int) -> None:
    images, factors = pictures(channels=channels), torch.tensor([0.3, 0.9, 1.0, 1.8])
    one = torch.ones(4)
    ours = color_jitter(
        images, *(factors if name == which else one for which in ("brightness", "contrast", "saturation"))
    )
    theirs = torch.stack([adjust(image, float(factor)) for image, factor in zip(images, factors, strict=True)])
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=0)  # torchvision weighs red 0.2989


def test_mirror_equals_torchvision() -> None:
    images = pictures()
    torch.testing.assert_close(augment(hflip=1)(images, seeded()), tv.hflip(images), atol=1e-5, rtol=0)


# ----------------------------------------------------------------------------------------------------- random draws


@pytest.mark.parametrize("name", STRENGTHS)
def test_one_image_twice_in_a_batch_comes_out_differently(name: str) -> None:
    digit = torch.from_numpy(load_digits().images[5:6, None] / 16).float()
    image = torch.cat([digit, digit / 2, digit * 0], 1) if name in ("saturation", "hue") else digit
    results = augment(**{name: STRENGTHS[name]})(image.expand(16, -1, -1, -1), seeded())
    assert len({tuple(result.flatten().tolist()) for result in results}) > 1


def test_the_generator_alone_decides() -> None:
    everything, images = augment(**STRENGTHS), pictures()
    first = everything(images, seeded(3))
    torch.manual_seed(1)
    assert torch.equal(everything(images, seeded(3)), first)
    assert not torch.equal(everything(images, seeded(4)), first)


def test_an_image_is_transformed_the_same_whatever_the_others_are() -> None:
    everything, images = augment(**STRENGTHS), pictures()
    others = torch.cat([images[:1], 1 - images[1:]])
    torch.testing.assert_close(everything(images, seeded())[0], everything(others, seeded())[0])


def test_input_is_not_changed() -> None:
    images = pictures()
    before = images.clone()
    augment(**STRENGTHS)(images, seeded())
    assert torch.equal(images, before)


def assert_fills(values: Tensor, low: float, high: float) -> None:
    """All lie between the bounds, and come close to both."""
    margin = (high - low) * 0.01
    assert low - 1e-4 <= values.min() < low + margin
    assert high - margin < values.max() <= high + 1e-4


def test_rotation_stays_within_its_bounds() -> None:
    matrices = draws(augment(degrees=25))
    assert_fills(torch.atan2(matrices[:, 0, 1], matrices[:, 0, 0]).rad2deg(), -25, 25)
    torch.testing.assert_close(torch.linalg.det(matrices[:, :, :2]), torch.ones(4000))


def test_translation_stays_within_its_share_of_each_side() -> None:
    matrices = draws(augment(translate=0.1))
    assert_fills(matrices[:, 0, 2], -3, 3)
    assert_fills(matrices[:, 1, 2], -2, 2)


def test_scale_stays_within_its_bounds_and_keeps_proportions() -> None:
    matrices = draws(augment(scale=0.2))
    assert_fills(1 / matrices[:, 0, 0], 0.8, 1.2)
    assert torch.equal(matrices[:, 0, 0], matrices[:, 1, 1])


def test_squeeze_stays_within_its_bounds_and_keeps_the_area() -> None:
    matrices = draws(augment(aspect_ratio=0.2))
    assert_fills(1 / matrices[:, 0, 0], 0.8, 1.2)
    torch.testing.assert_close(torch.linalg.det(matrices[:, :, :2]), torch.ones(4000))


def test_shear_stays_within_its_bounds() -> None:
    matrices = draws(augment(shear=15))
    assert_fills(torch.atan(matrices[:, 0, 1]).rad2deg(), -15, 15)
    assert (matrices[:, 1, 0] == 0).all()


@pytest.mark.parametrize("flip", [0.0, 0.25, 1.0])
def test_flip_happens_as_often_as_asked(flip: float) -> None:
    mirrored = (draws(augment(hflip=flip))[:, 0, 0] < 0).double().mean()
    assert abs(mirrored - flip) <= 4 * math.sqrt(flip * (1 - flip) / 4000)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colour_strengths_stay_within_their_bounds(name: str) -> None:
    image = torch.tensor([0.6, 0.4]).view(1, 1, 1, 2).expand(4000, 3, 1, 2)
    if name == "saturation":
        image = torch.tensor([0.6, 0.5, 0.5]).view(1, 3, 1, 1).expand(4000, 3, 1, 1)
    result = augment(**{name: 0.3})(image, seeded())
    factors = {
        "brightness": lambda: result[:, 0, 0, 0] / 0.6,
        "contrast": lambda: (result[:, 0, 0, 0] - result[:, 0, 0, 1]) / 0.2,
        "saturation": lambda: (result[:, 0, 0, 0] - result[:, 1, 0, 0]) / 0.1,
    }[name]()
    assert_fills(factors, 0.7, 1.3)


@pytest.mark.parametrize("channels", [1, 3])
def test_erasing_paints_one_rectangle_within_the_bounds_of_torchvision(channels: int) -> None:
    images = torch.full((4000, channels, 40, 30), 2.0)  # no colour is that bright
    erased = augment(random_erasing=1)(images, seeded())
    painted = (erased < 2).all(1)
    assert torch.equal(painted, (erased < 2).any(1))
    high, wide = painted.any(2).sum(1), painted.any(1).sum(1)
    assert torch.equal(painted.sum((1, 2)), high * wide)  # one rectangle, whole
    for colors in erased.flatten(2).unbind(1):
        assert all(len(set(row[row < 2].tolist())) == 1 for row in colors)
    assert 0.015 <= (high * wide / 1200).min() < 0.025
    assert 0.32 < (high * wide / 1200).max() <= 0.345
    assert (high / wide).min() < 0.35
    assert (high / wide).max() > 1 / 0.35
    assert ((high + 0.5) / (wide - 0.5)).min() >= 0.3  # sides are rounded to px
    assert ((high - 0.5) / (wide + 0.5)).max() <= 1 / 0.3
    assert painted.any(0).all()  # everywhere
    theirs = [RandomErasing.get_params(torch.empty(1, 40, 30), (0.02, 0.33), (0.3, 1 / 0.3)) for _ in range(2000)]
    means = torch.tensor([(h * w, h, w) for _, _, h, w, _ in theirs]).double().mean(0)
    ours = torch.stack([high * wide, high, wide]).double().mean(1)
    torch.testing.assert_close(ours, means, rtol=0.06, atol=0)


@pytest.mark.parametrize("erasing", [0.25, 1.0])
def test_erasing_happens_as_often_as_asked_and_touches_nothing_else(erasing: float) -> None:
    images = pictures(4000, 1, 12, 12) + 1
    erased = augment(random_erasing=erasing)(images, seeded())
    changed = (erased != images).flatten(1)
    assert abs(changed.any(1).double().mean() - erasing) <= 4 * math.sqrt(erasing * (1 - erasing) / 4000)
    assert (erased[changed.view(images.shape)] < 1).all()


def test_other_transforms_are_the_same_with_erasing() -> None:
    images = pictures(64)
    strengths = {name: value for name, value in STRENGTHS.items() if name not in ("random_erasing", "cutout")}
    moved, both = augment(**strengths)(images, seeded()), augment(**strengths, random_erasing=0.9)(images, seeded())
    kept = (moved == both).all(1).flatten(1).double().mean(1)
    assert kept.min() > 0.6  # but for what was painted over


def test_parameters_are_drawn_independently() -> None:
    matrices = draws(augment(degrees=20, translate=0.2))
    values = torch.stack([matrices[:, 0, 1], matrices[:, 0, 2], matrices[:, 1, 2]])
    assert (torch.corrcoef(values) - torch.eye(3)).abs().max() < 0.1


# -------------------------------------------------------------------------------------------------------- special cases


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_works_on_grey_and_colour(choice: str, channels: int, compose: Compose) -> None:
    images = pictures(channels=channels)
    settings = compose(f"augment={choice}").augment
    chosen, mixing = Augment(settings), Mixing(settings.mixup, settings.cutmix)
    result = mixing(Batch(chosen(images, seeded()), torch.arange(4)), seeded()).images
    assert result.shape == images.shape
    assert result.min() >= 0
    assert result.max() <= 1 + 1e-6
    assert torch.equal(result, images) == (choice == "none") == (not chosen.active and not mixing.active)


def test_zero_strengths_change_nothing() -> None:
    images = pictures()
    assert not augment().active
    assert torch.equal(augment()(images, seeded()), images)
    torch.testing.assert_close(warp(images, draws(augment(), 4, 20, 24)), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(color_jitter(images, *torch.ones(3, 4)), images)


@pytest.mark.parametrize("background", [0.0, 1.0])
def test_crop_moves_by_whole_pixels_and_reaches_every_place(background: float) -> None:
    image = pictures(1, 1, 8, 9)
    padded = tv.pad(image, [2, 2, 2, 2], fill=background)
    crops = torch.stack([padded[0, :, y : y + 8, x : x + 9] for y in range(5) for x in range(5)])
    results = augment(background, crop_padding=2)(image.expand(600, -1, -1, -1), seeded())
    errors = (results[:, None] - crops).abs().amax((2, 3, 4))
    assert errors.amin(1).max() < 1e-5
    assert set(errors.argmin(1).tolist()) == set(range(25))


def test_background_comes_in_from_outside() -> None:
    plain = torch.full((8, 3, 10, 10), 0.75)
    moves = {"degrees": 90, "translate": 0.5, "scale": 0.5, "aspect_ratio": 0.3, "shear": 30, "crop_padding": 3}
    torch.testing.assert_close(augment(0.75, **moves)(plain, seeded()), plain)
    assert (augment(0.0, **moves)(plain, seeded()) == 0).any()


def test_background_equals_torchvision_on_an_image_with_a_margin() -> None:
    images, one = pictures(), torch.ones(4)
    wide = tv.pad(images, [40, 40, 40, 40], fill=0.8)
    wanted = tv.center_crop(tv.affine(wide, 35, [4, -3], 0.7, [0, 0], InterpolationMode.BILINEAR), [20, 24])
    shift = torch.tensor([[4.0, -3.0]]).expand(4, 2)
    ours = warp(images, inverse_affine(one * math.radians(35), shift, one * 0.7, one * 0.7, one * 0), 0.8)
    torch.testing.assert_close(ours, wanted, atol=1e-4, rtol=0)
