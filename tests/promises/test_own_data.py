"""A run recognizes its images, whatever has happened to their folder or files."""

import contextlib
import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from promise import case
from sklearn.datasets import load_digits

from lenet_pl.compare import compare
from lenet_pl.errors import DataError, SettingError
from lenet_pl.evaluate import evaluate
from lenet_pl.explain import explain
from lenet_pl.export import export
from lenet_pl.inference.trained_run import load_run
from lenet_pl.search import search
from lenet_pl.settings import TrainSettings
from lenet_pl.settings import compose as composition
from lenet_pl.settings.compare import CompareSettings
from lenet_pl.settings.evaluate import EvaluateSettings
from lenet_pl.settings.explain import ExplainSettings
from lenet_pl.settings.export import ExportSettings
from lenet_pl.settings.search import SearchSettings
from lenet_pl.train import train
from lenet_pl.train.resume import begin_or_resume

Change = Callable[[Path], None]
CLASSES = ("0", "1", "7")
EACH = 24  # number of images per class
QUICK = (
    *("trainer.accelerator=cpu", "trainer.num_threads=1", "logger=none", "callbacks.progress_bar=false"),
    *("callbacks.model_summary=false", "model=lenet5", "loader.batch_size=16", "augment=affine", "scheduler=none"),
    *("optimizer.lr=0.003", "loss.class_weights=balanced"),
)
DATA = {
    "folder": ("data=folder", "data.path=set"),
    "arrays": ("data=arrays", "data.path=set", "data.split.val_size=12"),
}


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Load EACH real digits per class, uint8 (N, 8, 8), with the labels 0, 1, 2, shuffled."""
    bunch = load_digits()
    rows = np.concatenate([np.flatnonzero(bunch.target == int(name))[:EACH] for name in CLASSES])
    order = np.random.default_rng(0).permutation(rows)
    pixels = (bunch.images[order] * (255 / 16)).round().astype(np.uint8)
    return pixels, np.searchsorted([int(name) for name in CLASSES], bunch.target[order])


def make(kind: str, path: Path) -> None:
    pixels, labels = digits()
    path.mkdir()
    if kind == "folder":
        for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            (path / CLASSES[label]).mkdir(exist_ok=True)
            Image.fromarray(image).save(path / CLASSES[label] / f"{number:03}.png")
        return
    for part, rows in (("train", slice(0, 54)), ("test", slice(54, None))):
        np.save(path / f"{part}_images.npy", pixels[rows])
        np.save(path / f"{part}_labels.npy", labels[rows])
    (path / "classes.txt").write_text("\n".join(CLASSES))


def compose(kind: str, *overrides: str) -> TrainSettings:
    return composition.compose("train", TrainSettings, ["run=run", *DATA[kind], *QUICK, *overrides])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the plots."""
    monkeypatch.setattr("lenet_pl.artifacts.run_folder.pictures_of", lambda *_: {})
    monkeypatch.setattr("lenet_pl.evaluate.figures.write_figures", lambda *_: None)
    monkeypatch.setattr("lenet_pl.explain._write", lambda *_, **__: None)
    monkeypatch.setattr("lenet_pl.search.session.draw_study", lambda *_: [])


@pytest.fixture(scope="module", params=["folder", "arrays"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a folder with `set`, `finished` (a run of two epochs) and `begun` (the same run after its first epoch)."""
    place = tmp_path_factory.mktemp(request.param)
    with contextlib.chdir(place), contextlib.redirect_stdout(io.StringIO()):
        make(request.param, Path("set"))
        for name, epochs in (("finished", 2), ("begun", 1)):
            Path(name).mkdir()
            train(compose(request.param, f"trainer.max_epochs={epochs}"), Path(name))
        Path("begun/results.json").unlink()
    return place


@pytest.fixture
def kind(trained: Path) -> str:
    return "folder" if (trained / "set" / "0").is_dir() else "arrays"


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the data and the runs, and change to the copy."""
    shutil.copytree(trained, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # All cached digests are kept, the most misleading case
    monkeypatch.setattr("lenet_pl.data.image_digests.SETTLED", -1)
    return tmp_path / "place"


def files_of(part: str, label: int = 0) -> list[Path]:
    """List the images of a class in a split, from the record of the run."""
    record = json.loads(Path("finished/data.json").read_text())["parts"][part]
    return [Path("set") / name for name in record["names"] if name.startswith(f"{CLASSES[label]}/")]


def another(number: int) -> Image.Image:
    """Return a digit that is not in the dataset."""
    bunch = load_digits()
    row = np.flatnonzero(bunch.target == 0)[EACH + number]
    return Image.fromarray((bunch.images[row] * (255 / 16)).round().astype(np.uint8))


def edit(part: str, change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> None:
    """Change the images and labels of a dataset of arrays."""
    names = [Path(f"set/{part}_{what}.npy") for what in ("images", "labels")]
    for name, values in zip(names, change(*(np.load(name) for name in names)), strict=True):
        np.save(name, values)


def first_trained_row() -> int:
    """Find a row of class 0 in train_images.npy that belongs to the training split."""
    labels = np.load("set/train_labels.npy")
    rows = json.loads(Path("finished/data.json").read_text())["parts"]["train"]["names"]
    return next(row for row in rows if labels[row] == 0)


class Folder:
    """Build the changes to a folder of images."""

    @staticmethod
    def added() -> None:
        for number in range(3):
            another(number).save(f"set/0/a{number}.png")
        another(3).save("set/1/zz.png")

    @staticmethod
    def removed() -> None:
        files_of("train")[0].unlink()

    @staticmethod
    def replaced() -> None:
        file = files_of("train")[0]
        size = file.stat().st_size
        content = bytearray(file.read_bytes())
        Image.fromarray(255 - np.array(Image.open(file))).save(file)
        if file.stat().st_size != size:  # a file of the same size: PNG allows a truncated or padded tail
            grown = file.read_bytes()
            file.write_bytes(grown[:size] if len(grown) > size else grown + bytes(size - len(grown)))
        assert file.stat().st_size == size
        assert file.read_bytes() != content

    @staticmethod
    def renamed() -> None:
        Path(files_of("train")[0]).rename("set/0/zzz.png")

    @staticmethod
    def class_added() -> None:
        Path("set/5").mkdir()
        another(0).save("set/5/0.png")

    @staticmethod
    def class_removed() -> None:
        shutil.rmtree("set/7")

    @staticmethod
    def order() -> None:
        one, other = files_of("train")[0], files_of("test")[0]
        one.rename("set/keep")
        other.rename(one)
        Path("set/keep").rename(other)

    @staticmethod
    def times() -> None:
        for file in Path("set").rglob("*.png"):
            os.utime(file, (1, 1))


class Arrays:
    """Build the changes to NumPy files."""

    @staticmethod
    def added() -> None:
        new = np.stack([np.array(another(number)) for number in range(4)])
        edit("train", lambda x, y: (np.concatenate([new, x]), np.concatenate([[0, 0, 0, 1], y])))

    @staticmethod
    def removed() -> None:
        row = first_trained_row()
        edit("train", lambda x, y: (np.delete(x, row, 0), np.delete(y, row)))

    @staticmethod
    def replaced() -> None:
        row = first_trained_row()
        edit("train", lambda x, y: (np.where(np.arange(len(x))[:, None, None] == row, 255 - x, x), y))

    @staticmethod
    def renamed() -> None:
        Path("set/classes.txt").write_text("0\n1\nseven")

    @staticmethod
    def class_added() -> None:
        edit("train", lambda x, y: (np.concatenate([x, 255 - x[:2]]), np.concatenate([y, [3, 3]])))
        Path("set/classes.txt").write_text("0\n1\n7\n8")

    @staticmethod
    def class_removed() -> None:
        for part in ("train", "test"):
            edit(part, lambda x, y: (x[y < 2], y[y < 2]))
        Path("set/classes.txt").write_text("0\n1")

    @staticmethod
    def order() -> None:
        edit("train", lambda x, y: (x[::-1], y[::-1]))
        edit("test", lambda x, y: (x[::-1], y[::-1]))

    @staticmethod
    def times() -> None:
        for file in Path("set").iterdir():
            os.utime(file, (1, 1))


WAYS = ("added", "removed", "replaced", "renamed", "class_added", "class_removed", "order", "times")
WHAT = {
    "folder": {
        "added": "4 images added to 0, 1",
        "removed": "1 image removed from 0",
        "replaced": "1 image replaced in 0",
        "renamed": "1 image renamed in 0",
        "class_added": "class 5 added with 1 image",
        "class_removed": "class 7 removed with 24 images",
        "order": "2 images renamed in 0",
    },
    "arrays": {
        "added": "4 images added to 0, 1",
        "removed": "1 image removed from 0",
        "replaced": "1 image replaced in 0",
        "renamed": "class 7 renamed to seven",
        "class_added": "class 8 added with 2 images",
        "class_removed": "class 7 removed with 24 images",
        "order": "72 images of 0, 1, 7 in another row",
    },
}


def change(kind: str, way: str) -> None:
    getattr({"folder": Folder, "arrays": Arrays}[kind], way)()


def resume(kind: str, *overrides: str) -> dict[str, Any]:
    words = ["resume=true", "trainer.max_epochs=2", *overrides]
    settings = begin_or_resume(compose(kind, *words), Path("begun"), words, False)
    assert settings
    return train(settings, Path("begun"))


def evaluated(*overrides: str) -> dict[str, Any]:
    return evaluate(composition.compose("evaluate", EvaluateSettings, ["run=finished", "output_dir=null", *overrides]))


def explained(*overrides: str) -> dict[str, Any]:
    words = ["run=finished", "methods=[filters]", *overrides]
    return explain(composition.compose("explain", ExplainSettings, words))


def exported(*overrides: str) -> dict[str, Any]:
    words = ["run=finished", "formats=[safetensors]", "repeats=1", "min_run_time=0.001", "batch_sizes=[1]", *overrides]
    return export(composition.compose("export", ExportSettings, words))


VERBS: dict[str, Callable[..., dict[str, Any]]] = {"evaluate": evaluated, "explain": explained, "export": exported}
FIGURES = {
    "evaluate": ("metrics", "per_class", "confusion_matrix", "images", "data_digest"),
    "explain": ("images",),
    "export": ("metadata", "data"),
}


def files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


@pytest.mark.parametrize("verb", ["resume", *VERBS])
@pytest.mark.parametrize("way", WAYS)
@case(
    "situations",
    "images added, removed, replaced, renamed or moved, or a class added or removed since training, then resume, "
    "evaluate, explain or export: one error line with the changes, no file modified; changed file times: same results",
)
def test_changed_data(way: str, verb: str, kind: str, place: Path) -> None:
    work = VERBS.get(verb, lambda *overrides: resume(kind, *overrides))
    before = None if verb == "resume" else work()
    change(kind, way)
    there = files()
    if way == "times":
        after = work()
        if before:
            assert {key: after[key] for key in FIGURES[verb]} == {key: before[key] for key in FIGURES[verb]}
        else:
            same_run("begun")
        return
    with pytest.raises(DataError) as error:
        work()
    line = str(error.value)
    assert line.startswith(f"data: {WHAT[kind][way]} since the run was trained; must be the original dataset")
    assert "\n" not in line
    gone = way == "class_removed" or (verb == "resume" and way in ("removed", "replaced"))
    parts = "training, validation, test" if verb == "resume" else "test"
    own = f", or data.accept_changes=true to use the {parts} images of the run, none of which is missing"
    assert line.endswith(" of the run are missing" if gone else own)
    assert {name: content for name, content in files().items() if name not in there or content != there[name]} == {}


def same_run(name: str) -> None:
    """Compare the epochs and weights of a resumed run with those of the uninterrupted run."""
    for file in ("last", "best"):
        one, other = (
            torch.load(Path(run, "checkpoints", f"{file}.ckpt"), weights_only=True)["state_dict"]
            for run in (name, "finished")
        )
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    figures = []
    for run in (name, "finished"):
        with Path(run, "metrics.csv").open() as stream:
            figures.append(
                [{k: v for k, v in row.items() if "/" in k and k != "images/s"} for row in csv.DictReader(stream)]
            )
    assert figures[0] == figures[1]
    metrics = [json.loads(Path(run, "results.json").read_text())["metrics"] for run in (name, "finished")]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize("way", WAYS)
@case(
    "situations",
    "data.accept_changes=true after any of these changes: the original test images and identical results, or an error "
    "if some of them are missing",
)
def test_accepted_changes_give_the_runs_own_figures(way: str, kind: str, place: Path) -> None:
    accept = "data.accept_changes=true"
    before = evaluated()
    assert before["metrics"]["accuracy"] < 1
    change(kind, way)
    if way == "class_removed":
        with pytest.raises(DataError, match=r": \d of 1[18] test images of the run are missing$"):
            evaluated(accept)
    else:
        after = evaluated(accept)
        assert {key: after[key] for key in FIGURES["evaluate"]} == {key: before[key] for key in FIGURES["evaluate"]}
        assert after["images_trained_on"] == 0
    if way in ("class_removed", "removed", "replaced"):
        with pytest.raises(DataError, match=r": \d+ of \d+ training images .*of the run are missing$"):
            resume(kind, accept)
        assert not Path("begun/results.json").exists()
    else:
        record = Path("begun/data.json").read_bytes()
        resume(kind, accept)
        same_run("begun")
        assert Path("begun/data.json").read_bytes() == record
        assert not yaml.safe_load(Path("begun/config.yaml").read_text())["data"]["accept_changes"]


@pytest.mark.parametrize("verb", ["explain", "export"])
def test_accepted_changes_in_explain_and_export(verb: str, kind: str, place: Path) -> None:
    before = VERBS[verb]()
    change(kind, "added")
    after = VERBS[verb]("data.accept_changes=true")
    assert {key: after[key] for key in FIGURES[verb]} == {key: before[key] for key in FIGURES[verb]}


def moved(kind: str, place: Path) -> Path:
    """Copy the best checkpoint to an otherwise empty folder."""
    alone = place / "elsewhere" / "kept.ckpt"
    alone.parent.mkdir()
    shutil.copy(place / "finished/checkpoints/best.ckpt", alone)
    return alone


def asked_alone(*overrides: str) -> dict[str, Any]:
    words = ["ckpt_path=elsewhere/kept.ckpt", *overrides]
    return evaluate(composition.compose("evaluate", EvaluateSettings, words))


@pytest.mark.parametrize(
    ("way", "folder", "arrays"),
    [
        ("added", "27 images instead of 24 in 0; 25 images instead of 24 in 1", None),
        ("removed", "23 images instead of 24 in 0", None),
        ("replaced", "different images in 0", None),
        ("renamed", "the order of the images changed", "class 7 renamed to seven"),
        ("class_added", "class 5 added with 1 image", "class 8 added with 2 images"),
        ("class_removed", "class 7 removed with 24 images", None),
        ("order", "the order of the images changed", None),
    ],
)
@case(
    "situations",
    "a checkpoint moved out of its run folder, and changed data: one error line with the changed classes; with "
    "data.accept_changes=true the original test images",
)
def test_a_checkpoint_alone(way: str, folder: str, arrays: str | None, kind: str, place: Path) -> None:
    moved(kind, place)
    before = asked_alone()
    change(kind, way)
    words = folder if kind == "folder" else arrays or folder
    with pytest.raises(DataError, match=rf"^data: {words} since the run was trained; must be the original dataset"):
        asked_alone()
    if way != "class_removed":
        assert asked_alone("data.accept_changes=true")["metrics"] == before["metrics"]


def test_a_checkpoint_alone_does_not_say_which_images_were_for_validation(kind: str, place: Path) -> None:
    moved(kind, place)
    change(kind, "added")
    with pytest.raises(DataError, match=r"; recovering the validation images of the run requires its data\.json$"):
        asked_alone("data.accept_changes=true", "split=val")


@pytest.mark.parametrize("damage", ["", "{", "[[[", '{"version": 1}', "another run's", "gone"])
def test_a_data_json_that_is_not_the_runs_is_passed_over(damage: str, kind: str, place: Path) -> None:
    record = Path("finished/data.json")
    sound, before = record.read_text(), evaluated()["metrics"]

    def spoil() -> None:
        if damage == "gone":
            record.unlink()
        elif damage == "another run's":
            content = json.loads(sound)
            content["parts"]["train"] = content["parts"]["validation"]
            record.write_text(json.dumps(content))
        else:
            record.write_text(damage)

    spoil()
    assert evaluated()["metrics"] == before
    record.write_text(sound)
    change(kind, "removed")
    spoil()
    with pytest.raises(DataError, match=r"^data: 23 images instead of 24 in 0 since"):
        evaluated()
    assert evaluated("data.accept_changes=true")["metrics"] == before


def forget(run: str) -> None:
    """Convert the run to the format of an earlier version."""
    for file in Path(run, "checkpoints").iterdir():
        content = torch.load(file, weights_only=True)
        del content["hyper_parameters"]["data"]
        content["hyper_parameters"]["settings"]["data"].pop("accept_changes")
        torch.save(content, file)
    config = yaml.safe_load(Path(run, "config.yaml").read_text())
    config["data"].pop("accept_changes")
    Path(run, "config.yaml").write_text(yaml.safe_dump(config))
    Path(run, "data.json").unlink()


NOT_KNOWN = "note: the run was started by an earlier version that did not record its images; "


@case("situations", "a run of an earlier version without a record of its data: used and resumed, with one note")
def test_a_run_of_an_earlier_version(kind: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = evaluated()
    for run in ("finished", "begun"):
        forget(run)
    capsys.readouterr()
    after = evaluated()
    assert capsys.readouterr().out.count(NOT_KNOWN) == 1
    assert after["metrics"] == before["metrics"]
    assert (after["data_digest"], after["images_trained_on"]) == (None, None)
    resume(kind)
    assert capsys.readouterr().out.count(NOT_KNOWN) == 1
    assert not Path("begun/data.json").exists()  # it is unknown whether the run was started with these images
    same_run("begun")
    exported()
    explained()


@case(
    "situations",
    "evaluate data=folder data.path=<the same> after images were added: another dataset, with the number of training "
    "images in it as a note and in the results",
)
def test_the_own_data_by_name(kind: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = evaluated(*DATA[kind])
    assert same["metrics"] == evaluated()["metrics"]
    assert same["images_trained_on"] == 0
    assert "note:" not in capsys.readouterr().out
    run = load_run(Path("finished/checkpoints/best.ckpt"))
    trained_on = {image.tobytes() for image in run.load_data().train_set.images.numpy()}
    for number in range(20):  # another test split is sampled
        if kind == "folder":
            another(number).save(f"set/0/a{number}.png")
    if kind == "arrays":  # some test images are training images
        images, labels = (np.load(f"set/train_{what}.npy") for what in ("images", "labels"))
        edit("test", lambda x, y: (np.concatenate([x, images[:9]]), np.concatenate([y, labels[:9]])))
    other = composition.compose("evaluate", EvaluateSettings, ["run=finished", *DATA[kind]]).other_data
    tested = run.load_data(other).test_set.images.numpy()
    expected = sum(image.tobytes() in trained_on for image in tested)
    found = evaluated(*DATA[kind])
    assert (found["images"], found["images_trained_on"]) == (len(tested), expected)
    assert expected > 0
    said = f"note: the network was trained on {expected} of these {len(tested)} images"
    assert said in capsys.readouterr().out


def test_an_ensemble_of_runs_before_and_after_a_change(kind: str, place: Path) -> None:
    before = load_run(Path("finished/checkpoints/best.ckpt"))
    trained_on = {image.tobytes() for image in before.load_data().train_set.images.numpy()}
    change(kind, "added")
    Path("after").mkdir()
    train(compose(kind, "trainer.max_epochs=1"), Path("after"))
    tested = load_run(Path("after/checkpoints/best.ckpt")).load_data().test_set.images.numpy()
    expected = sum(image.tobytes() in trained_on for image in tested)
    assert evaluated("run=[after,finished]")["images_trained_on"] == expected
    with pytest.raises(DataError, match=r"^data: 4 images added to 0, 1 since the run was trained"):
        evaluated("run=[finished,after]")


def test_accepting_changes_is_refused_where_nothing_can_have_changed(kind: str, place: Path) -> None:
    words = ["data.accept_changes=true"]
    Path("new").mkdir()
    with pytest.raises(SettingError, match=r"^data\.accept_changes: got true for a new run, which uses the data as"):
        begin_or_resume(compose(kind, *words), Path("new"), words, False)
    with pytest.raises(SettingError, match=r"^data: got accept_changes=true with another dataset; must be false"):
        evaluated("data=usps", *words)
    with pytest.raises(SettingError, match=r"^data\.accept_changes: got true; must be false, all trials of"):
        search(composition.compose("search", SearchSettings, ["run=study", *DATA[kind], *QUICK, *words]), Path("new"))


def relabelled() -> None:
    row = first_trained_row()
    edit("train", lambda x, y: (x, np.where(np.arange(len(y)) == row, 1, y)))


def swapped_names() -> None:
    Path("set/classes.txt").write_text("1\n0\n7")


def twice() -> None:
    row = first_trained_row()
    edit("train", lambda x, y: (np.concatenate([x, x[row : row + 1]]), np.concatenate([y, y[row : row + 1]])))


def across_files() -> None:
    """Move ten images from one file to the other, some of them test images."""
    images, labels = (np.load(f"set/test_{what}.npy") for what in ("images", "labels"))
    edit("train", lambda x, y: (np.concatenate([images[:10], x]), np.concatenate([labels[:10], y])))
    edit("test", lambda x, y: (x[10:], y[10:]))


def nothing_in_another_form() -> None:
    edit("train", lambda x, y: (x, y.astype(np.uint8)))  # the same labels with another dtype


def class_renamed() -> None:
    Path("set/7").rename("set/seven")


def class_renamed_to_the_front() -> None:
    Path("set/7").rename("set/00")


def moved_between_classes() -> None:
    file = files_of("train")[0]
    file.rename(Path("set/7") / file.name)


def a_colour_image() -> None:
    Image.new("RGB", (8, 8), (200, 30, 30)).save("set/0/red.png")


def a_name_in_no_encoding() -> None:
    files_of("train")[0].rename(os.fsdecode(b"set/0/\xe9.png"))


def two_at_once() -> None:
    Folder.replaced()
    Folder.class_added()


def copied() -> None:
    shutil.copy(files_of("test")[0], "set/0/000000.png")


SIBLINGS: dict[str, dict[Callable[[], None], str]] = {
    "arrays": {
        relabelled: "1 image moved from 0 to 1",
        swapped_names: "24 images moved from {} to {}; 24 images moved from {} to {}",
        twice: "1 image added to 0",
        across_files: "72 images of 0, 1, 7 in another row",
        nothing_in_another_form: "",
    },
    "folder": {
        class_renamed: "class 7 renamed to seven",
        class_renamed_to_the_front: "class 7 renamed to 00",
        moved_between_classes: "1 image moved from 0 to 7",
        a_colour_image: "1 image added to 0",
        a_name_in_no_encoding: "1 image renamed in 0",
        two_at_once: "class 5 added with 1 image; 1 image replaced in 0",
        copied: "1 image added to 0",
    },
}


@pytest.mark.parametrize("number", range(7))
def test_further_changes(number: int, kind: str, place: Path) -> None:
    if number >= len(SIBLINGS[kind]):
        pytest.skip("there are fewer for arrays")
    work, words = list(SIBLINGS[kind].items())[number]
    before = evaluated()
    work()
    if words:
        pattern = words.replace("{}", "[01]")
        with pytest.raises(DataError, match=rf"^data: {pattern} since the run was trained; must be"):
            evaluated()
    else:
        assert evaluated()["metrics"] == before["metrics"]
    after = evaluated("data.accept_changes=true")
    assert {key: after[key] for key in FIGURES["evaluate"]} == {key: before[key] for key in FIGURES["evaluate"]}
    if work is not two_at_once:
        resume(kind, "data.accept_changes=true")
        same_run("begun")


@case(
    "situations",
    "seeds=[0,1] with data changed before resume: rejected; with data.accept_changes=true: the original images",
)
def test_many_seeds(kind: str, place: Path) -> None:
    words = ["trainer.max_epochs=2", "seeds=[0,1]"]
    Path("many").mkdir()
    train(compose(kind, *words), Path("many"))
    record = Path("many/data.json").read_bytes()
    assert [Path(f"many/seed_{seed}/data.json").read_bytes() for seed in (0, 1)] == [record] * 2
    ended = [json.loads(Path(f"many/seed_{seed}/results.json").read_text())["metrics"] for seed in (0, 1)]
    for name in ("results.json", "seed_1/results.json"):
        Path("many", name).unlink()
    change(kind, "added")
    there = files()

    def again(*overrides: str) -> None:
        given = ["resume=true", *words, *overrides]
        settings = begin_or_resume(compose(kind, *given), Path("many"), given, False)
        assert settings
        train(settings, Path("many"))

    with pytest.raises(DataError, match=r"^data: 4 images added to 0, 1 since the run was trained; must be"):
        again()
    assert files() == there
    again("data.accept_changes=true")
    assert [json.loads(Path(f"many/seed_{seed}/results.json").read_text())["metrics"] for seed in (0, 1)] == ended
    assert Path("many/data.json").read_bytes() == record


@case("situations", "compare over runs on a folder before and after images were added: two datasets, no common mean")
def test_compared(kind: str, place: Path) -> None:
    for number in (0, 1):
        if number:
            change(kind, "added")
        for seed in (0, 1):
            folder = Path(f"runs/{number}{seed}")
            folder.mkdir(parents=True)
            train(compose(kind, "trainer.max_epochs=1", f"seed={seed}"), folder)
    Path("compared").mkdir()
    compare(composition.compose("compare", CompareSettings, ["runs=runs", "output_dir=compared"]), Path("compared"))
    found = json.loads(Path("compared/compare.json").read_text())
    digests = [json.loads(Path(f"runs/{number}0/data.json").read_text())["digest"] for number in (0, 1)]
    assert {group["data"]: group["n"] for group in found["groups"]} == {f"{kind} {one[:8]}": 2 for one in digests}
    told = [note for note in found["notes"] if note.startswith(f"{kind}: 2 different datasets have this name")]
    assert len(told) == 1


def searched(kind: str, trials: int) -> None:
    words = [*DATA[kind], *QUICK, "trainer.max_epochs=1", "loader.batch_size=8", f"search.n_trials={trials}"]
    words += ["~search.space.loader", "search.study_name=one"]
    Path("worker").mkdir(exist_ok=True)
    search(composition.compose("search", SearchSettings, ["run=study", *words]), Path("worker"))


@case("situations", "a study resumed on changed data: rejected with the changes, no trial is started")
def test_searched(kind: str, place: Path) -> None:
    searched(kind, 1)
    assert Path("study/data.json").read_bytes() == Path("study/trials/0/data.json").read_bytes()
    change(kind, "times")
    searched(kind, 2)
    change(kind, "added")
    solution = "must be the original dataset, or another run= and search.study_name="
    with pytest.raises(DataError) as error:
        searched(kind, 3)
    assert str(error.value) == f"data: 4 images added to 0, 1 since the run was trained; {solution}"
    Path("study/data.json").unlink()  # like a worker on another machine, which shares only the database
    with pytest.raises(SettingError) as other:
        searched(kind, 3)
    assert str(other.value) == (
        "data: the images have changed since search.study_name=one was created; restore them, or use another run= and "
        "search.study_name="
    )
    assert sorted(path.name for path in Path("study/trials").iterdir()) == ["0", "1"]


def test_data_that_change_while_a_search_is_under_way(
    kind: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def later(settings: TrainSettings, folder: Path, callbacks: Any) -> dict[str, Any]:
        if folder.name == "1":
            change(kind, "replaced")
        return train(settings, folder, callbacks)

    monkeypatch.setattr("lenet_pl.train.train", later)
    searched(kind, 2)
    with Path("study/trials.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["state"] for row in rows] == ["complete", "failed"]
    assert "the images have changed since the search started" in rows[1]["reason"]
