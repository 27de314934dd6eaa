"""Corruptions beside scikit-image, which the code of MNIST-C calls, and beside scalar forms of its formulas."""

import json
import math
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from lenet_pl.errors import SettingError
from lenet_pl.evaluate import evaluate
from lenet_pl.evaluate.corruptions import CORRUPTIONS, corrupt, lines, mean_error
from lenet_pl.evaluate.corruptions.canny import find_edges
from lenet_pl.evaluate.corruptions.fog import plasma
from lenet_pl.settings.compose import compose
from lenet_pl.settings.evaluate import CorruptionName, EvaluateSettings

DIGITS = torch.from_numpy(load_digits().images[:40] * 15.9375).round().to(torch.uint8)[:, None]
IMAGES = torch.nn.functional.interpolate(DIGITS.float(), 28, mode="bilinear").round().to(torch.uint8)
UNIT = IMAGES[:, 0].double() / 255


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_every_kind_has_settings() -> None:
    assert get_args(CorruptionName) == tuple(CORRUPTIONS)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_keep_their_form_and_get_worse(name: str) -> None:
    color = IMAGES[:6].expand(-1, 3, -1, -1)
    for images in (IMAGES, color, DIGITS):
        before = images.clone()
        light, heavy = (corrupt(images, name, severity) for severity in (1, 5))
        assert torch.equal(images, before)
        assert light.shape == heavy.shape == images.shape
        assert light.dtype == torch.uint8
        assert torch.equal(corrupt(images, name, 5), heavy)
        assert not torch.equal(light, images)
    assert distance(corrupt(IMAGES, name, 5)) > distance(corrupt(IMAGES, name, 1))


def distance(corrupted: Tensor) -> float:
    return (corrupted.float() - IMAGES.float()).abs().mean().item()


@pytest.mark.parametrize(("name", "severity"), [("shear", 2), ("rotate", 3), ("scale", 3), ("translate", 4)])
def test_warps_equal_scikit_images(name: str, severity: int) -> None:
    transform = pytest.importorskip("skimage.transform")
    found = CORRUPTIONS[name](IMAGES.double() / 255, severity, generator())[:, 0]
    middle = transform.AffineTransform(translation=(13.5, 13.5))
    for image, one in zip(UNIT, found, strict=True):
        assert (
            min(
                (torch.from_numpy(transform.warp(image.numpy(), middle.inverse + way + middle)) - one)
                .abs()
                .max()
                .item()
                for way in ways(transform, name, severity)
            )
            < 1e-6
        )


def ways(transform: object, name: str, severity: int) -> list[object]:
    """Return the maps from output to input px, about the center, of both directions."""
    kind, c = transform.AffineTransform, severity / 5  # type: ignore[attr-defined]
    match name:
        case "shear":  # matrix of scikit-image before 0.19
            return [kind(np.array([[1, -math.sin(a), 0], [0, math.cos(a), 0], [0, 0, 1]])) for a in (c, -c)]
        case "rotate":
            return [kind(rotation=a) for a in (c, -c)]
        case "scale":
            return [kind(scale=(1 / (1 - severity / 10),) * 2)]
    return [kind(translation=(a, b)) for a in (severity, -severity) for b in (severity, -severity)]


def test_edges_equal_scikit_images() -> None:
    feature = pytest.importorskip("skimage.feature")
    edges = find_edges(UNIT.float()).numpy()
    assert 0.02 < edges.mean() < 0.5
    for image, found in zip(UNIT.numpy(), edges, strict=True):
        assert (feature.canny(image) == found).mean() > 0.999


def test_noise_has_the_stated_strength() -> None:
    gray = torch.full((200, 1, 28, 28), 128, dtype=torch.uint8)
    for severity, photons in enumerate((60, 25, 12), 1):
        noisy = corrupt(gray, "shot_noise", severity).double() / 255
        assert noisy.mean().item() == pytest.approx(128 / 255, abs=0.005)
        assert noisy.std().item() == pytest.approx(math.sqrt(128 / 255 / photons), rel=0.05)
    for severity, amount in enumerate((0.03, 0.06, 0.09, 0.17, 0.27), 1):
        noisy = corrupt(gray, "impulse_noise", severity)
        for level in (0, 255):
            assert (noisy == level).double().mean().item() == pytest.approx(amount / 2, rel=0.05)


def test_brightness_is_the_value_of_hsv() -> None:
    from colorsys import hsv_to_rgb, rgb_to_hsv

    colors = torch.tensor([[0.0, 0, 0], [0.2, 0.4, 0.1], [0.9, 0.3, 0.3], [1, 1, 1]])
    found = CORRUPTIONS["brightness"](colors.view(-1, 3, 1, 1), 3, generator()).view(-1, 3)
    for color, one in zip(colors.tolist(), found.tolist(), strict=True):
        hue, saturation, value = rgb_to_hsv(*color)
        assert one == pytest.approx(hsv_to_rgb(hue, saturation, min(1, value + 0.3)), abs=1e-6)


def test_a_line_fades_with_the_distance() -> None:
    """The function of MNIST-C, pixel by pixel."""
    start, end, (c0, c1) = 3.0, 20.0, (2.5, 24.2)
    drawn = lines.draw_line(torch.zeros(1, 1, 28, 28), c0, torch.tensor([start]), c1, torch.tensor([end]))[0]
    for row in range(28):
        for column in range(28):
            distance = abs(row - ((end - start) / (c1 - c0) * (column - c0) + start))
            inside = math.floor(c0) <= column < math.ceil(c1)
            bright = math.log(1 - distance / 2.3) + 1 if distance < 2.3 and inside else 0
            assert drawn[row, column].item() == pytest.approx(min(1, max(0, bright)), abs=1e-4)


def test_a_plasma_wraps_around_and_fills_its_range() -> None:
    maps = plasma(3, 64, 2, generator())
    assert maps.amin((1, 2)).tolist() == [0] * 3
    assert maps.amax((1, 2)).tolist() == [1] * 3
    near, far = ((maps - maps.roll(step, 2)).abs().mean().item() for step in (1, 32))
    across = (maps[:, :, 0] - maps[:, :, -1]).abs().mean().item()
    assert max(near, across) < far / 3


def test_mean_error_is_the_mean_over_kinds_of_means() -> None:
    assert mean_error([[0.9, 0.7], [0.5]]) == pytest.approx(1 - (0.8 + 0.5) / 2)


def test_a_network_is_tested_on_corrupted_images(digits_run: Path, tmp_path: Path) -> None:
    chosen = ["corruptions=[rotate,stripe]", "severities=[5,1]"]
    overrides = [f"run='{digits_run}'", f"output_dir='{tmp_path / 'out'}'", *chosen]
    found = evaluate(compose("evaluate", EvaluateSettings, overrides))
    table = found["corruptions"]
    assert table["severities"] == [1, 5]
    assert set(table["accuracy"]) == {"rotate", "stripe"}
    assert table["accuracy"]["rotate"][1] < table["accuracy"]["rotate"][0] <= found["metrics"]["accuracy"]
    assert json.loads((tmp_path / "out" / "results.json").read_text())["corruptions"] == table
    assert {path.name for path in (tmp_path / "out").glob("corrupt*.png")} == {"corrupted.png", "corruptions.png"}


@pytest.mark.parametrize("wrong", ["corruptions=[fgo]", "corruptions=[fog,fog]", "severities=[6]", "corruptions=[]"])
def test_wrong_kinds_are_named(wrong: str) -> None:
    with pytest.raises(SettingError, match=wrong.split("=", maxsplit=1)[0]):
        compose("evaluate", EvaluateSettings, ["run=x", wrong])
