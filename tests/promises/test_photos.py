"""Realistic photos of handwriting: framed, several digits, cropped, faint. Each is read correctly, or with a note."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps
from promise import case

from lenet_pl.errors import SettingError
from lenet_pl.inference.trained_run import TrainedRun, load_run
from lenet_pl.photo.prepare import see
from lenet_pl.predict import predict
from lenet_pl.settings import compose as composition
from lenet_pl.settings.predict import PhotoSettings, PredictSettings

sys.path.insert(0, str(Path(__file__).parents[1] / "photo"))
from scenes import SCENES

AUTO = PhotoSettings(invert="auto", remove_background="auto", center="auto")
SIDE, WIDTH = 520, 5  # px: page side and line width
Draw = Callable[[ImageDraw.ImageDraw, tuple[int, int, int, int]], object]


@pytest.fixture(scope="module")
def run(digits_run: Path) -> TrainedRun:
    return load_run(digits_run / "checkpoints" / "best.ckpt")


@pytest.fixture(scope="module")
def glyphs(run: TrainedRun) -> list[Image.Image]:
    """Select one test digit per class, 8 × 8 px, with straight strokes for 1, 4 and 7."""
    test = run.load_data().test_set
    return [Image.fromarray(test.images[int((test.labels == k).nonzero()[1])][0].numpy()) for k in range(10)]


def page(glyph: Image.Image, *, side: int = 260, at: tuple[int, int] = (130, 130)) -> Image.Image:
    whole = Image.new("L", (SIDE, SIDE))
    whole.paste(glyph.resize((side, side), Image.Resampling.BICUBIC), at)
    return whole


def photo(ink: Image.Image) -> Image.Image:
    image = ImageOps.invert(ink)
    image.info = {"name": "photo"}
    return image


def boxed(pen: ImageDraw.ImageDraw, ink: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = ink
    pen.rectangle((left - 40, top - 40, right + 40, bottom + 40), outline=255, width=WIDTH)


def touched(pen: ImageDraw.ImageDraw, ink: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = ink
    pen.rectangle((left - 30, top - 30, right + 30, bottom - 3 + WIDTH), outline=255, width=WIDTH)


def grid(pen: ImageDraw.ImageDraw, ink: tuple[int, int, int, int]) -> None:
    for v in (100, 420):
        pen.line((v, 0, v, SIDE), fill=255, width=WIDTH)
        pen.line((0, v, SIDE, v), fill=255, width=WIDTH)


def ruled(pen: ImageDraw.ImageDraw, ink: tuple[int, int, int, int]) -> None:
    for v in range(45, SIDE, 110):
        pen.line((0, v, SIDE, v + 20), fill=255, width=WIDTH)


def axes(pen: ImageDraw.ImageDraw, ink: tuple[int, int, int, int]) -> None:
    pen.line((60, 30, 60, 470, 500, 470), fill=255, width=WIDTH)
    for v in range(5):
        pen.text((30, 40 + 90 * v), str(5 * v))
        pen.text((80 + 90 * v, 485), str(5 * v))


def underlined(pen: ImageDraw.ImageDraw, ink: tuple[int, int, int, int]) -> None:
    pen.line((60, 450, 480, 456), fill=255, width=WIDTH)


FRAMES: dict[str, Draw] = {
    "a form's box": boxed,
    "a box that the digit touches": touched,
    "a cell of a sudoku": grid,
    "ruled lines through the digit": ruled,
    "axes with labels": axes,
    "an underline": underlined,
}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(k, marks=case("situations", f"a digit in {k}: preprocessed as without, for at least 9 of 10"))
        for k in FRAMES
    ],
)
def test_a_frame_is_left_out(kind: str, run: TrainedRun, glyphs: list[Image.Image]) -> None:
    alike = 0
    for glyph in glyphs:
        ink = page(glyph)
        alone = see(photo(ink), run, AUTO)[0].image.float()
        framed = ink.copy()
        FRAMES[kind](ImageDraw.Draw(framed), ink.point(lambda v: 255 * (v > 90)).getbbox() or (0, 0, 0, 0))
        seen = see(photo(framed), run, AUTO)[0]
        alike += float((seen.image.float() - alone).abs().mean()) < 12
    assert alike >= 9


@case("situations", "digits without a frame, among them 0, 1, 4, 7 and 8: no stroke is removed as a line, no note")
def test_strokes_are_no_frame(run: TrainedRun, glyphs: list[Image.Image]) -> None:
    from lenet_pl.photo.frame import without_frame

    for glyph in glyphs:
        ink = np.asarray(page(glyph)) > 90
        rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
        for mask in (ink, ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], np.pad(ink, 300)):
            unframed = without_frame(mask)
            assert not unframed.lines.any()
            assert not unframed.doubtful


@case("situations", "two digits in one photo: a note; with photo.many=true each is classified, left to right")
def test_two_digits(digits_run: Path, run: TrainedRun, glyphs: list[Image.Image], tmp_path: Path) -> None:
    both = Image.new("L", (SIDE, SIDE))
    for place, k in enumerate((3, 6)):
        both.paste(glyphs[k].resize((180, 180), Image.Resampling.BICUBIC), (60 + 220 * place, 150))
    photo(both).save(tmp_path / "two.png")
    rows = {}
    for many in ("false", "true"):
        out = tmp_path / many
        predict(
            composition.compose(
                "predict",
                PredictSettings,
                [f"run='{digits_run}'", f"images='{tmp_path}/two.png'", f"output_dir='{out}'", f"photo.many={many}"],
            )
        )
        rows[many] = json.loads((out / "predictions.json").read_text())["images"]
        with (out / "predictions.csv").open(newline="") as stream:
            assert [row["note"] for row in csv.DictReader(stream)] == ["; ".join(row["notes"]) for row in rows[many]]
        assert (out / "predictions.png").is_file()
    [one], [left, right] = rows["false"], rows["true"]
    assert "2 digits seen; photo.many=true predicts each" in one["notes"]
    assert (left["digit"], right["digit"]) == (1, 2)
    assert left["box"][2] <= right["box"][0]
    for row, k, at in ((left, 3, 60), (right, 6, 280)):
        alone = Image.new("L", (SIDE, SIDE))
        alone.paste(glyphs[k].resize((180, 180), Image.Resampling.BICUBIC), (at, 150))
        probabilities = run.predict_logits(see(photo(alone), run, AUTO)[0].image[None])[0].softmax(0)
        assert row["class"] == run.classes[int(probabilities.argmax())]
        assert at <= row["box"][0] < row["box"][2] <= at + 180


@case("situations", "photo.many=true with a network not trained on handwriting: rejected with the key")
def test_many_of_garments(run: TrainedRun) -> None:
    class Garments:
        settings = type("Settings", (), {"data": type("Data", (), {"name": "fashion"})})
        side, channels = 28, 1

    with pytest.raises(SettingError, match=r"^photo\.many: got true; must be false for .* data=fashion"):
        see(photo(Image.new("L", (50, 50))), Garments(), AUTO, many=True)  # type: ignore[arg-type]


def noted(scene: str, glyph: Image.Image, run: TrainedRun) -> list[str]:
    image = SCENES[scene](glyph, np.random.default_rng(0))
    image.info = {"name": scene}
    return see(image, run, AUTO)[0].notes


@pytest.mark.parametrize(
    ("scene", "note"),
    [
        pytest.param(scene, note, marks=case("situations", f"a photo, {scene}: the note '{note} …'"))
        for scene, note in {
            "cut at the edge": "reaches the edge of the photo",
            "almost no contrast": "hardly any contrast",
            "two digits": "2 digits seen",
            "two digits that touch": "wide enough for two digits",
            "stamp beside the digit": "2 digits seen",
        }.items()
    ],
)
def test_what_is_doubtful_is_noted(scene: str, note: str, run: TrainedRun, glyphs: list[Image.Image]) -> None:
    assert any(text.startswith(note) for text in noted(scene, glyphs[3], run))


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(scene, marks=case("situations", f"a photo, {scene}: preprocessed as the digit on white paper"))
        for scene in (
            "dark squared paper, turned 20°",
            "squared paper in the ink's color",
            "screenshot of a plot, light on black",
            "sheet of paper on a dark table",
            "sticky note on a white wall",
            "a circle around it",
            "torn paper",
            "highlighter",
        )
    ],
)
def test_a_scene_is_seen_as_the_digit_alone(scene: str, run: TrainedRun, glyphs: list[Image.Image]) -> None:
    for k in (3, 5):
        image = SCENES[scene](glyphs[k], np.random.default_rng(0))
        image.info = {"name": scene}
        seen = see(image, run, AUTO)[0].image.float()
        alone = see(photo(page(glyphs[k], side=240, at=(140, 140))), run, AUTO)[0].image.float()
        likeness = torch.corrcoef(torch.stack([seen.flatten(), alone.flatten()]))[0, 1]
        assert likeness > 0.8
