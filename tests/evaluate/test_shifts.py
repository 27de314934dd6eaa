"""Systematic shifts beside torchvision, and their intervals beside SciPy."""

import csv
import json
from pathlib import Path

import pytest
import torch
from scipy.stats import binomtest
from sklearn.datasets import load_digits
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from lenet_pl.errors import SettingError
from lenet_pl.evaluate import evaluate
from lenet_pl.evaluate.shift_curves import wilson_interval
from lenet_pl.evaluate.shifts import UNITS, shift_images
from lenet_pl.inference.ensemble import ensemble_logits
from lenet_pl.inference.trained_run import load_run
from lenet_pl.settings.compose import compose
from lenet_pl.settings.evaluate import EvaluateSettings, ShiftAmounts, ShiftName, TtaSettings

DIGITS = torch.from_numpy(load_digits().images[:600] * 15.9375).round().to(torch.uint8)[:, None]
COLOR = torch.cat([DIGITS, DIGITS.flip(3), 255 - DIGITS], 1)


def settings(run: str, out: Path, *overrides: str) -> EvaluateSettings:
    return compose("evaluate", EvaluateSettings, [f"run={run}", f"output_dir='{out}'", *overrides])


def test_every_kind_has_amounts_and_a_unit() -> None:
    assert set(ShiftAmounts.model_fields) == set(UNITS)


@pytest.mark.parametrize(
    ("name", "amount", "angle", "scale", "shear"),
    [
        ("rotate", 30, 30, 1, 0),
        ("rotate", -75, -75, 1, 0),
        ("scale", 0.6, 0, 0.6, 0),
        ("scale", 1.7, 0, 1.7, 0),
        ("shear", 25, 0, 1, 25),
    ],
)
def test_shifts_equal_torchvision(name: ShiftName, amount: float, angle: float, scale: float, shear: float) -> None:
    (found,) = shift_images(COLOR, name, amount)
    unit = COLOR.double() / 255
    wanted = tv.affine(unit, angle, [0, 0], scale, [-shear, 0], InterpolationMode.BILINEAR)  # its x is mirrored
    assert found.dtype == torch.uint8
    assert (found - 255 * wanted).abs().max() < 0.51  # rounded to gray levels


def test_translation_moves_in_four_directions_and_shows_the_background() -> None:
    whole = shift_images(DIGITS, "translate", 2, background=1.0)
    half = shift_images(DIGITS, "translate", 0.5)
    assert len(whole) == len(half) == 4
    for found, fraction, (x, y) in zip(whole, half, ((1, 0), (-1, 0), (0, 1), (0, -1)), strict=True):
        assert torch.equal(found, tv.affine(DIGITS, 0, [2 * x, 2 * y], 1, [0, 0], fill=255))
        mean = (DIGITS.double() + tv.affine(DIGITS, 0, [x, y], 1, [0, 0])) / 2
        assert (fraction - mean).abs().max() < 0.51


@pytest.mark.parametrize(("name", "amount"), [("translate", 0), ("rotate", 0), ("scale", 1), ("shear", 0)])
def test_no_shift_changes_nothing(name: ShiftName, amount: float) -> None:
    for found in shift_images(COLOR, name, amount, background=0.3):
        assert torch.equal(found, COLOR)


@pytest.mark.parametrize(("right", "count"), [(0, 7), (7, 7), (93, 100), (359, 360), (4000, 10000)])
def test_the_interval_is_scipys(right: int, count: int) -> None:
    wanted = binomtest(right, count).proportion_ci(method="wilson")
    assert wilson_interval(right / count, count) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_curves_are_those_of_the_shifted_test_images(digits_run: Path, tmp_path: Path) -> None:
    amounts = ["shift_amounts.translate=[1]", "shift_amounts.rotate=[90,0]"]
    chosen = settings(
        f"'{digits_run}'", tmp_path / "out", "shifts=[translate,rotate]", *amounts, "tta.shift=1", "report=light"
    )
    found = evaluate(chosen)
    curves, run = found["shifts"], load_run(digits_run / "checkpoints" / "best.ckpt")
    test = run.load_data().test_set
    right = [
        (ensemble_logits([run], one, TtaSettings(shift=1, hflip=False)).argmax(1) == test.labels).double().mean().item()
        for one in (tv.affine(test.images, 0, list(move), 1, [0, 0]) for move in ((1, 0), (-1, 0), (0, 1), (0, -1)))
    ]
    assert curves["translate"][0]["accuracy"] == pytest.approx(sum(right) / 4, abs=1e-9)
    assert [point["amount"] for point in curves["rotate"]] == [0, 90]
    assert curves["rotate"][0]["accuracy"] == found["metrics"]["accuracy"] > curves["rotate"][1]["high"]
    assert json.loads((tmp_path / "out" / "results.json").read_text())["shifts"] == curves
    rows = list(csv.DictReader((tmp_path / "out" / "shifts.csv").read_text().splitlines()))
    assert [(row["shift"], row["unit"]) for row in rows] == [("translate", "px"), *[("rotate", "degrees")] * 2]
    assert [float(row["accuracy"]) for row in rows] == [p["accuracy"] for curve in curves.values() for p in curve]
    assert (tmp_path / "out" / "shifts.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "wrong",
    [
        "shifts=[roate]",
        "shifts=[rotate,rotate]",
        "shifts=[]",
        "shift_amounts.scale=[0]",
        "shift_amounts.translate=[-1]",
        "shift_amounts.rotate=[1,1.0]",
        "shift_amounts.shear=[90]",
        "shift_amounts.scale=[]",
    ],
)
def test_wrong_shifts_are_named(wrong: str) -> None:
    with pytest.raises(SettingError, match=wrong.split("=", maxsplit=1)[0]):
        compose("evaluate", EvaluateSettings, ["run=x", wrong])
