import csv
import json
from pathlib import Path

import pytest
import torch
from forked_command import run_forked
from PIL import Image

from lenet_pl.errors import DataError, printable
from lenet_pl.inference.trained_run import load_run
from lenet_pl.photo.find_files import find_images
from lenet_pl.predict import describe, predict
from lenet_pl.settings import compose as composition
from lenet_pl.settings.predict import PredictSettings


def asked(*overrides: str) -> PredictSettings:
    return composition.compose("predict", PredictSettings, overrides)


@pytest.fixture(scope="module")
def photos(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the first six test digits, one of them deeper, and what is to be left out."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "deeper").mkdir()
    test = load_run(digits_run / "checkpoints" / "best.ckpt").load_data().test_set
    for k in range(6):
        place = folder / "deeper" if k == 5 else folder
        Image.fromarray(test.images[k, 0].numpy()).save(place / f"digit {k}.{'PNG' if k == 1 else 'png'}")
    (folder / ".hidden.png").write_text("no image")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_the_tables_hold_what_the_network_says(
    digits_run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    predict(asked(f"run='{digits_run}'", f"images='{photos}'", f"output_dir='{out}'"))
    run = load_run(digits_run / "checkpoints" / "best.ckpt")
    expected = run.predict_logits(run.load_data().test_set.images[[5, 0, 1, 2, 3, 4]]).softmax(
        1
    )  # "deeper" before "digit"
    written = json.loads((out / "predictions.json").read_text())["images"]
    assert [Path(row["file"]).stem for row in written] == [f"digit {k}" for k in (5, 0, 1, 2, 3, 4)]
    assert [row["class"] for row in written] == [run.classes[k] for k in expected.argmax(1)]
    torch.testing.assert_close(torch.tensor([list(row["probabilities"].values()) for row in written]), expected)
    with (out / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row, truth in zip(rows, expected, strict=True):
        best, second = truth.topk(2).indices.tolist()
        assert (row["class"], row["second"], row["error"]) == (run.classes[best], run.classes[second], "")
        assert float(row["probability"]) == pytest.approx(float(truth[best]), rel=1e-5)
        assert [float(row[f"probability of {c}"]) for c in run.classes] == pytest.approx(truth.tolist(), rel=1e-4)
    with Image.open(out / "predictions.png") as sheet:
        assert sheet.width > 600
    assert "second guess" in capsys.readouterr().out


def test_a_bad_file_does_not_stop_the_others(
    digits_run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.png").write_text("not an image")
    with pytest.raises(DataError, match=r"^images: 1 of 3 could not be used, the first: .*bad\.png: a text file;"):
        predict(
            asked(
                f"run='{digits_run}'",
                f"images=['{photos}/digit 0.png','{tmp_path}/bad.png','{photos}/digit 2.png']",
                f"output_dir='{tmp_path}/out'",
            )
        )
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]
    assert ["class" in row for row in written] == [True, False, True]
    assert "a text file" in written[1]["error"]
    with (tmp_path / "out" / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert ["a text file" in row["error"] for row in rows] == [False, True, False]
    assert rows[1]["class"] == ""
    assert "error" in capsys.readouterr().out
    assert (tmp_path / "out" / "predictions.png").is_file()


@pytest.mark.parametrize("count", [1, 2])
def test_without_a_readable_image_nothing_is_left(digits_run: Path, tmp_path: Path, count: int) -> None:
    for number in range(count):
        (tmp_path / f"bad {number}.png").write_text("not an image")
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"bad 0\.png: a text file") as error:
        predict(asked(f"run='{digits_run}'", f"images='{tmp_path}'", f"output_dir='{out}'"))
    assert str(error.value).startswith("images: 2 of 2 could not be used, the first: ") == (count == 2)
    assert "\n" not in str(error.value)
    assert not out.exists()


def test_places_become_files(photos: Path) -> None:
    def names(*places: str) -> list[str]:
        return [str(file.relative_to(photos)) for file in find_images([f"{photos}/{place}" for place in places])]

    assert names("") == ["deeper/digit 5.png", *(f"digit {k}.{'PNG' if k == 1 else 'png'}" for k in range(5))]
    assert names("digit 3.png", "digit [0-1].*") == ["digit 3.png", "digit 0.png", "digit 1.PNG"]
    assert names("**/digit 5*") == ["deeper/digit 5.png"]
    assert names("deeper", "deeper/*") == ["deeper/digit 5.png"]  # once


def test_a_name_with_brackets_is_a_name_if_it_exists(tmp_path: Path) -> None:
    (tmp_path / "a[1].png").write_bytes(b"")
    assert find_images([f"{tmp_path}/a[1].png"]) == [tmp_path / "a[1].png"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("no.png", "no such file or directory"),
        ("*.jpeg", "nothing matches it"),
        ("empty", "has no images; must contain .png"),
        ("texts", "has no images; must contain .png"),
        ("x" * 5000, "no such file or directory"),
    ],
)
def test_places_without_images_are_named(place: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("text")
    (tmp_path / "texts" / ".b.png").write_text("hidden")
    with pytest.raises(DataError, match=message) as error:
        find_images([f"{tmp_path}/{place}"])
    assert place in str(error.value)
    assert "\n" not in str(error.value)


def test_names_stay_on_one_line_and_can_be_written() -> None:
    assert printable("zwölf 12.png") == "zwölf 12.png"
    assert printable("a\nb\x1b[31m\udcff") == r"a\nb\x1b[31m\udcff"


def test_numbers_that_are_none_are_no_prediction() -> None:
    assert describe([float("nan"), 0.5], "ab") is None
    found = describe([0.2, 0.5, 0.3], "abc")
    assert found is not None
    assert (found["class"], found["second"], found["probabilities"]["a"]) == ("b", "c", 0.2)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "error: images: no value given"),
        (["images=no.png", "run=nowhere"], 1, "error: images: no.png: no such file or directory"),
        (["images=a.png", "photo.invert=maybe"], 2, "error: photo.invert: got 'maybe'"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(
    arguments: list[str], code: int, message: str, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    done = run_forked("lenet_pl.predict", *arguments, cwd=tmp_path, env=command_environment)
    assert done.returncode == code
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
