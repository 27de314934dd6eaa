"""Situations in which a new user lost a result, or got a wrong one without a message."""

import contextlib
import csv
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Compose, Run
from PIL import Image
from promise import case
from sklearn.datasets import load_digits

from lenet_pl.cli.command import run_command
from lenet_pl.data.arrays import read_arrays
from lenet_pl.data.pixels import Pixels
from lenet_pl.errors import DataError, SettingError
from lenet_pl.photo.digits import is_crowded
from lenet_pl.search import check_no_other_results
from lenet_pl.settings import ArraysDataSettings, TrainSettings
from lenet_pl.train import train
from lenet_pl.train.resume import begin_or_resume

QUICK = (
    *("trainer.max_epochs=1", "loader.batch_size=16", "trainer.accelerator=cpu", "trainer.precision=32-true"),
    *("logger=none", "callbacks.progress_bar=false", "callbacks.model_summary=false", "model=lenet_sigmoid"),
)
DIGITS = load_digits()


def write(folder: Path, rows: range) -> None:
    """Write digits of three classes as PNG files, one folder per class."""
    for row in rows:
        label = int(DIGITS.target[row])
        if label < 3:
            (folder / str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray((DIGITS.images[row] * 15.9).astype(np.uint8)).save(folder / str(label) / f"{row}.png")


def trained(settings: TrainSettings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    folder.mkdir()
    monkeypatch.setattr("lenet_pl.artifacts.run_folder.pictures_of", lambda *_: {})
    with contextlib.redirect_stdout(io.StringIO()):
        return train(settings, folder)


@case("situations", "search run=<finished run of train>: one error line, results.json is unchanged")
def test_a_search_writes_over_no_results_of_a_training(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"task": "train"}')
    with pytest.raises(SettingError, match=r"run: .* contains results of train; must be a new or an empty folder"):
        check_no_other_results(tmp_path)
    (tmp_path / "config.yaml").write_text("seed: 0")
    with pytest.raises(SettingError, match=r"run: .* contains a run; must be"):
        check_no_other_results(tmp_path)


def test_a_study_goes_on_in_its_folder_and_a_new_one_begins(tmp_path: Path) -> None:
    check_no_other_results(tmp_path / "new")
    (tmp_path / "results.json").write_text('{"task": "search"}')
    check_no_other_results(tmp_path)
    (tmp_path / "results.json").write_text("[")
    with pytest.raises(SettingError, match="results of something else"):
        check_no_other_results(tmp_path)


@case("situations", "test images that are copies of training images: a note with their number, also in results.json")
def test_copies_among_the_test_images_are_counted(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "set" / "train", range(300))
    write(tmp_path / "set" / "test", range(280, 340))
    copies = sum(int(DIGITS.target[row]) < 3 for row in range(280, 300))
    tested = sum(int(DIGITS.target[row]) < 3 for row in range(280, 340))
    settings = compose(*QUICK, "data=folder", f"data.path={tmp_path / 'set'}")
    notes = trained(settings, tmp_path / "run", monkeypatch)["notes"]
    assert isinstance(notes, list)
    found = [note for note in notes if f"of the {tested} test images are copies" in note]
    assert sum(int(note.split()[0]) for note in found) == copies


@case("situations", "a class without test images: a note with its name")
def test_a_class_without_test_images_is_named(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = compose(*QUICK, "data=fake", "data.classes=4", "data.test_images=3", "data.num_images=200")
    notes = trained(settings, tmp_path / "run", monkeypatch)["notes"]
    assert isinstance(notes, list)
    assert "no test image of class 3" in notes


@case("situations", "train=false: results.json records that the network was not trained")
def test_an_untrained_network_is_called_so(compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = trained(compose(*QUICK, "train=false"), tmp_path / "run", monkeypatch)
    assert results["notes"] == ["the network was not trained (train=false)"]


@case("situations", "identical images, such as dark ink on a transparent background: rejected before training")
def test_images_that_are_all_alike_are_refused(compose: Compose, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for k in range(30):
            ink = np.zeros((8, 8, 4), np.uint8)
            ink[k % 8, :, 3] = 255  # black, with the digit in the alpha channel
            Image.fromarray(ink).save(tmp_path / name / f"{k}.png")
    settings = compose(*QUICK, "data=folder", f"data.path={tmp_path}")
    (tmp_path.parent / "alike").mkdir()
    with (
        contextlib.redirect_stdout(io.StringIO()),
        pytest.raises(
            DataError, match=r"all training images are identical, every level is 0; must differ.*background=255"
        ),
    ):
        train(settings, tmp_path.parent / "alike")


@case("situations", "data=arrays with a file that is modified while a run uses it: one error line, no results")
def test_an_array_that_changes_while_it_is_used_is_noticed(compose: Compose, tmp_path: Path) -> None:
    for part in ("train", "test"):
        np.save(tmp_path / f"{part}_images.npy", np.zeros((20, 8, 8), np.uint8))
        np.save(tmp_path / f"{part}_labels.npy", np.arange(20) % 2)
    settings = compose("data=arrays", f"data.path={tmp_path}").data
    assert isinstance(settings, ArraysDataSettings)
    train_set, test_set, _ = read_arrays(settings)
    assert train_set.prefetcher
    assert test_set.prefetcher
    train_set.prefetcher.verify()
    np.save(tmp_path / "train_images.npy", np.ones((20, 8, 8), np.uint8))
    with pytest.raises(DataError, match=r"train_images\.npy: changed while in use; must stay unchanged"):
        train_set.prefetcher.verify()
    test_set.prefetcher.verify()


@case("situations", "resume=true in the folder of an active run: the error says that the folder is locked")
def test_a_run_under_way_is_told_as_such(compose: Compose, tmp_path: Path) -> None:
    from filelock import FileLock

    with FileLock(tmp_path / ".lock"), pytest.raises(SettingError, match="is locked by another process"):
        begin_or_resume(compose("resume=true"), tmp_path, ["resume=true"], False)


@case("situations", "resume=true data.accept_changes=true, as the error suggests: resumes with the original images")
@pytest.mark.parametrize("moved", [False, True])
def test_changes_are_accepted_as_the_line_proposes(
    moved: bool, compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "it's a set", range(300))
    path = str(tmp_path / "it's a set").replace("'", r"\'")
    words = ["data=folder", f"data.path='{path}'", "data.test_fraction=0.2"]
    trained(compose(*QUICK, *words), tmp_path / "run", monkeypatch)
    ask = [f"run={tmp_path / 'run'}", "resume=true", "trainer.max_epochs=2"]
    if moved:
        (tmp_path / "it's a set").rename(tmp_path / "moved")
        ask.append(f"data.path={tmp_path / 'moved'}")
    else:
        write(tmp_path / "it's a set", range(300, 330))
        ask.append("data.accept_changes=true")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train", *ask])
    run_command("train", TrainSettings, train, prepare=begin_or_resume)
    with (tmp_path / "run" / "metrics.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 2
    said = capsys.readouterr().out
    assert ("images of the run, none of which is missing" in said) is not moved


@case("situations", "float images slightly above 1: scaled by their range, not by 255")
def test_float_images_a_little_above_one(compose: Compose) -> None:
    settings = compose("data=folder", "data.path=x").data
    pixels = Pixels(1, settings, 8)  # type: ignore[arg-type]
    pixels.add(Image.fromarray(np.linspace(0, 1.275, 64, dtype=np.float32).reshape(8, 8)), "x", lossy=False)
    assert pixels.finish().max() == 255


@case("situations", "more connected components than can be separated into digits: a note with the prediction")
def test_a_page_of_writing_is_noted() -> None:
    mask = np.zeros((200, 200), bool)
    mask[::8, ::8] = True
    assert is_crowded(mask)
    mask[:] = False
    mask[50:100, 50:60] = True
    assert not is_crowded(mask)


@case("situations", "a value instead of a choice, model=[[6],[16]]: rejected with the choices")
@pytest.mark.parametrize("choice", ["[[6],[16]]", "[1]", "3", "[{a:1}]"])
def test_a_value_in_place_of_a_choice_is_refused(choice: str, run: Run) -> None:
    code, lines = run("run=out", f"model={choice}")
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith(f"error: model: got {choice}; must be one of cnn3_bn,")


@case("situations", "a sweep whose jobs were rejected: resume=auto is not suggested, since it would fail again")
def test_a_refused_sweep_proposes_no_resume(tmp_path: Path, run: Run) -> None:
    from lenet_pl.cli.sweep import SWEEP, Job, report_sweep

    (tmp_path / "0").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWEEP, "now")
        Job("now", 0, ["seed=x"], "refused", "seed: got 'x'", 2).write(tmp_path / "0")
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            assert report_sweep(tmp_path) == 2
    assert said.getvalue() == "error: 1 of 1 jobs have no result\n"
