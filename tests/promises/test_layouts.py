"""Image folders and arrays as distributed in archives: each is used as intended, or rejected with what was found."""

import os
import struct
import unicodedata
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Compose, Run
from omegaconf import OmegaConf
from PIL import Image
from promise import case
from quiet import WITHOUT_FIGURES

from lenet_pl.data.folder import FolderImages, read_folder
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.layout import find_layout
from lenet_pl.engine.build import build_datamodule
from lenet_pl.errors import UserError
from lenet_pl.inference.trained_run import load_run
from lenet_pl.settings import FolderDataSettings
from lenet_pl.settings.compose import conf_dir
from lenet_pl.train import train

TINY = (*WITHOUT_FIGURES, "trainer.max_epochs=1", "trainer.limit_train_batches=1", "loader.batch_size=2")
Tree = dict[str, int | str]


def plant(root: Path, tree: Tree) -> Path:
    """Create folders with a number of images, or with one file for each given name."""
    for place, content in tree.items():
        folder = root / place
        folder.mkdir(parents=True, exist_ok=True)
        names = content.split() if isinstance(content, str) else [f"{k}.png" for k in range(content)]
        for k, name in enumerate(names):
            if name.endswith((".png", ".jpg", ".JPEG")):
                Image.new("L", (8, 8), 10 * k).save(folder / name, "PNG")
            else:
                (folder / name).write_text("a text")
    return root


def settings(path: Path, **changes: Any) -> FolderDataSettings:
    defaults = OmegaConf.to_container(OmegaConf.load(conf_dir() / "data/folder.yaml"))
    assert isinstance(defaults, dict)
    return FolderDataSettings(**{**defaults, "path": str(path), **changes})


def read(path: Path, **changes: Any) -> FolderImages:
    return read_folder(settings(path, **changes), 8)


def counts(part: ImageDataset | None) -> list[int] | None:
    return None if part is None else part.labels.bincount().tolist()


def refused(path: Path, **changes: Any) -> str:
    with pytest.raises(UserError) as error:
        read(path, **changes)
    assert "\n" not in str(error.value)
    return str(error.value)


# archive: (folders, classes, numbers of images per class in the training, validation and test split). Without a test
# split, 15% of all images are used
USED: dict[str, tuple[Tree, str, tuple[list[int], list[int] | None, list[int]]]] = {
    "PyTorch's hymenoptera: a folder with train and val": (
        {f"hymenoptera_data/{part}/{name}": n for part, n in (("train", 8), ("val", 3)) for name in ("ants", "bees")},
        "ants bees",
        ([7, 7], [3, 3], [1, 1]),
    ),
    "Keras's cats_and_dogs_filtered: train and validation next to a script": (
        {f"{part}/{name}": n for part, n in (("train", 8), ("validation", 3)) for name in ("cats", "dogs")}
        | {".": "vectorize.py"},
        "cats dogs",
        ([7, 7], [3, 3], [1, 1]),
    ),
    "Kaggle's chest X-rays: train, val and test next to __MACOSX": (
        {f"chest_xray/{part}/{name}": n for part, n in (("train", 5), ("val", 1), ("test", 2)) for name in ("N", "P")}
        | {"chest_xray/__MACOSX/train/N": 3, "chest_xray": ".DS_Store", "chest_xray/train": ".DS_Store ._N.png"},
        "N P",
        ([5, 5], [1, 1], [2, 2]),
    ),
    "Kaggle's brain tumors: Training and Testing": (
        {f"{part}/{name}": n for part, n in (("Training", 5), ("Testing", 2)) for name in ("glioma", "notumor")},
        "glioma notumor",
        ([5, 5], None, [2, 2]),
    ),
    "Train and Test with capitals": (
        {f"{part}/{name}": n for part, n in (("Train", 5), ("Test", 2)) for name in "AB"},
        "A B",
        ([5, 5], None, [2, 2]),
    ),
    "Kaggle's Intel scenes without predictions: seg_train/seg_train and seg_test/seg_test": (
        {f"seg_{p}/seg_{p}/{name}": n for p, n in (("train", 5), ("test", 2)) for name in ("sea", "street")},
        "sea street",
        ([5, 5], None, [2, 2]),
    ),
    "a course's cats and dogs: dataset/training_set and dataset/test_set": (
        {f"dataset/{p}_set/{name}": n for p, n in (("training", 5), ("test", 2)) for name in ("cats", "dogs")},
        "cats dogs",
        ([5, 5], None, [2, 2]),
    ),
    "train_images and test_images": (
        {f"{p}_images/{name}": n for p, n in (("train", 5), ("test", 2)) for name in ("cats", "dogs")},
        "cats dogs",
        ([5, 5], None, [2, 2]),
    ),
    "Microsoft's cats and dogs: PetImages next to texts, with Thumbs.db": (
        {"PetImages/Cat": 10, "PetImages/Dog": 10, ".": "MSR-LA.docx readme[1].txt"}
        | {"PetImages/Cat/.": "Thumbs.db", "PetImages/Dog/.": "Thumbs.db desktop.ini"},
        "Cat Dog",
        ([8, 9], None, [2, 1]),
    ),
    "TensorFlow's flowers: flower_photos next to its archive, with a license": (
        {"flower_photos/daisy": 10, "flower_photos/roses": 10, "flower_photos": "LICENSE.txt", ".": "flowers.tgz.txt"},
        "daisy roses",
        ([8, 9], None, [2, 1]),
    ),
    "Roboflow's export: train, valid and test next to data.yaml": (
        {f"{part}/{name}": n for part, n in (("train", 5), ("valid", 1), ("test", 2)) for name in ("ok", "scratch")}
        | {".": "README.roboflow.txt data.yaml"},
        "ok scratch",
        ([5, 5], [1, 1], [2, 2]),
    ),
    "Fruits-360: Training and Test two levels down, next to a folder of papers": (
        {f"fruits-360/fruits-360/{p}/{name}": n for p, n in (("Training", 5), ("Test", 2)) for name in ("Kiwi", "Lime")}
        | {"fruits-360/fruits-360/papers": "paper.pdf", "fruits-360/fruits-360": "LICENSE readme.md"},
        "Kiwi Lime",
        ([5, 5], None, [2, 2]),
    ),
    "Caltech-101: 101_ObjectCategories": (
        {"101_ObjectCategories/accordion": 10, "101_ObjectCategories/airplanes": 10},
        "accordion airplanes",
        ([8, 9], None, [2, 1]),
    ),
    "Tiny ImageNet's training split: each class contains a folder images and a text": (
        {f"train/n0{k}/images": 10 for k in range(2)} | {f"train/n0{k}": f"n0{k}_boxes.txt" for k in range(2)},
        "n00 n01",
        ([8, 9], None, [2, 1]),
    ),
    "train, dev and test": (
        {f"{part}/{name}": n for part, n in (("train", 5), ("dev", 1), ("test", 2)) for name in "01"},
        "0 1",
        ([5, 5], [1, 1], [2, 2]),
    ),
    "vehicles, one of which is a train station": (
        {"test_tube": 10, "train_station": 10},
        "test_tube train_station",
        ([8, 9], None, [2, 1]),
    ),
}


@pytest.mark.parametrize(
    ("tree", "classes", "wanted"),
    [
        pytest.param(
            *row,
            id=what,
            marks=case("situations", f"data=folder, {what}: used as intended, with the exact number of images"),
        )
        for what, row in USED.items()
    ],
)
def test_a_folder_from_an_archive_is_used_as_meant(
    tree: Tree, classes: str, wanted: tuple[list[int], list[int] | None, list[int]], tmp_path: Path
) -> None:
    parts = read(plant(tmp_path, tree))
    assert parts.classes == tuple(classes.split())
    assert (counts(parts.train), counts(parts.validation), counts(parts.test)) == wanted


CLASSES = "data.layout=classes uses every folder as a class"
TABLES = "must be one folder of images per class (tables and file names are not read), or NumPy files for data=arrays"
REFUSED: dict[str, tuple[Tree, str]] = {
    "test next to the classes": (
        {"cat": 3, "dog": 4, "test": 2},
        "data.path: {path}: got cat/ (3 images), dog/ (4 images), test/ (2 images): splits and classes are "
        "mixed; must be "
        "one or the other: data.test_path={path}/test uses it as the test split and the other folders as classes; "
        + CLASSES,
    ),
    "val next to the classes": (
        {"cat": 3, "dog": 4, "val/cat": 2, "val/dog": 2},
        "data.path: {path}: got cat/ (3 images), dog/ (4 images), val/ (2 folders): splits and classes are "
        "mixed; must be "
        "one or the other: move the class folders into {path}/train, the training split; " + CLASSES,
    ),
    "train next to class folders": (
        {"cat": 3, "dog": 4, "train/cat": 2, "train/dog": 2},
        "data.path: {path}: got cat/ (3 images), dog/ (4 images), train/ (2 folders): splits and classes are "
        "mixed; must "
        "be one or the other: data.path={path}/train uses only this folder; " + CLASSES,
    ),
    "Kaggle's Intel scenes with predictions": (
        {f"seg_{p}/seg_{p}/{name}": 2 for p in ("train", "test") for name in ("sea", "street")}
        | {"seg_pred/seg_pred": 3},
        "data.path: {path}: got seg_pred/ (1 folder), seg_test/ (1 folder), seg_train/ (1 folder): splits and "
        "classes are "
        "mixed; must be one or the other: data.path={path}/seg_train data.test_path={path}/seg_test uses only these "
        "two; " + CLASSES,
    ),
    "Food-11: training, validation and evaluation": (
        {f"{part}/{name}": 2 for part in ("training", "validation", "evaluation") for name in ("Bread", "Rice")},
        "data.path: {path}: got evaluation/ (2 folders), training/ (2 folders), validation/ (2 folders): splits and "
        "classes are mixed; must be one or the other: data.test_path={path}/evaluation uses it as the test split; "
        + CLASSES,
    ),
    "train and Training": (
        {f"{part}/{name}": 2 for part in ("train", "Training") for name in "AB"},
        "data.path: {path}: got Training/ (2 folders), train/ (2 folders): two folders for one split; must be "
        "one train folder, with at most one val and one test folder; " + CLASSES,
    ),
    "val and test without train": (
        {f"{part}/{name}": 2 for part in ("val", "test") for name in "AB"},
        "data.path: {path}: got test/ (2 folders), val/ (2 folders): no training split; must be one train "
        "folder, with at most one val and one test folder; " + CLASSES,
    ),
    "Kaggle's dogs and cats: train with classes in file names": (
        {"train": "cat.0.jpg cat.1.jpg dog.0.jpg dog.1.jpg", ".": "sampleSubmission.csv"},
        "data.path: {path}/train: got 4 images and no class folders, classes may be in the names (cat, dog); " + TABLES,
    ),
    "Kaggle's dog breeds: train and test of loose images, labels.csv": (
        {"train": 4, "test": 2, ".": "labels.csv sample_submission.csv"},
        "data.path: {path}/train: got 4 images and no class folders, labels may be in labels.csv, "
        "sample_submission.csv; " + TABLES,
    ),
    "a competition's test split without classes": (
        {"train/A": 4, "train/B": 4, "test": 3},
        "data.path: {path}/test: got 3 images and no class folders; "
        + TABLES
        + "; data.path={path}/train splits validation and test images off it",
    ),
    "images next to labels.csv": (
        {"images": 4, ".": "labels.csv"},
        "data.path: {path}/images: got 4 images and no class folders, labels may be in labels.csv; " + TABLES,
    ),
    "Oxford's pets: images with the breed in each name": (
        {"images": "Bengal_1.jpg Bengal_2.jpg pug_1.jpg pug_2.jpg"},
        "data.path: {path}/images: got 4 images and no class folders, classes may be in the names (Bengal, pug); "
        + TABLES,
    ),
    "a folder of loose images": (
        {".": "IMG_1.jpg IMG_2.jpg IMG_3.jpg"},
        "data.path: {path}: got 3 images and no class folders; " + TABLES,
    ),
    "YOLO: train/images and train/labels": (
        {f"{part}/images": 2 for part in ("train", "valid")} | {f"{p}/labels": "0.txt" for p in ("train", "valid")},
        "data.path: {path}/train: got images/ (2 images), labels/ (no images): not class names; must be one "
        "folder of "
        "images per class; " + CLASSES,
    ),
    "Pascal VOC: JPEGImages next to Annotations": (
        {"VOC2012/JPEGImages": 2, "VOC2012/Annotations": "0.xml", "VOC2012/ImageSets/Main": "train.txt"},
        "data.path: {path}/VOC2012: got Annotations/ (no images), ImageSets/ (1 folder), JPEGImages/ (2 "
        "images): not class "
        "names; must be one folder of images per class; " + CLASSES,
    ),
    "Tiny ImageNet's val: images next to val_annotations.txt": (
        {f"train/n0{k}/images": 2 for k in range(2)} | {"val/images": 2, "val": "val_annotations.txt"},
        "data.path: {path}/val/images: got 2 images and no class folders; "
        + TABLES
        + "; data.path={path}/train splits validation and test images off it",
    ),
    "PlantVillage: color, grayscale and segmented with the same classes": (
        {f"{kind}/{name}": 2 for kind in ("color", "grayscale", "segmented") for name in ("Apple", "Corn", "Grape")},
        "data.path: {path}: got color/ (3 folders), grayscale/ (3 folders), segmented/ (3 folders): the same folders "
        "(Apple, Corn, Grape) are in several of them; must be classes: data.path={path}/color uses Apple, "
        "Corn, Grape as "
        "classes; " + CLASSES,
    ),
    "Office-31: amazon/images, dslr/images and webcam/images with the same classes": (
        {f"{kind}/images/{name}": 2 for kind in ("amazon", "dslr", "webcam") for name in ("bike", "mug")},
        "data.path: {path}: got amazon/ (1 folder), dslr/ (1 folder), webcam/ (1 folder): the same folders (bike, mug) "
        "are in several of them; must be classes: data.path={path}/amazon uses bike, mug as classes; " + CLASSES,
    ),
    "COVID-19 radiography: each class holds images and masks": (
        {f"{name}/{kind}": 2 for name in ("COVID", "Normal") for kind in ("images", "masks")},
        "data.path: {path}: got COVID/ (2 folders), Normal/ (2 folders): the same folders (images, masks) are "
        "in several "
        "of them; must be classes: move files that are not images of the class elsewhere; " + CLASSES,
    ),
    "parts inside the classes": (
        {f"{name}/{part}": 2 for name in ("cat", "dog") for part in ("train", "test")},
        "data.path: {path}: got cat/ (2 folders), dog/ (2 folders): the same folders (test, train) are in several of "
        "them; must be classes: move cat/test to test/cat, and so on; " + CLASSES,
    ),
    "Cat beside cat": (
        {"Cat": 2, "cat": 2, "dog": 2},
        "data.path: {path}: got Cat/ (2 images), cat/ (2 images), dog/ (2 images): Cat and cat differ only in case or "
        "Unicode form; must be one folder if they are one class; " + CLASSES,
    ),
    "train/Cat beside test/cat": (
        {"train/Cat": 2, "train/dog": 2, "test/cat": 2, "test/dog": 2},
        "{path}/test: classes differ from those of {path}/train: Cat, cat in only one of them, where they "
        "differ only in "
        "case or Unicode form; must be the same; data.path={path}/train splits validation and test images off it",
    ),
    "a class folder without images": (
        {"cat": 2, "dog": 2, "owl": "notes.txt"},
        "{path}/owl: no files; must contain at least one image",
    ),
}


@pytest.mark.parametrize(
    ("tree", "line"),
    [
        pytest.param(
            *row,
            id=what,
            marks=case("situations", f"data=folder, {what}: rejected with a description of what was found"),
        )
        for what, row in REFUSED.items()
    ],
)
def test_a_folder_that_can_be_meant_in_two_ways_is_refused(tree: Tree, line: str, tmp_path: Path) -> None:
    assert refused(plant(tmp_path, tree)) == line.format(path=tmp_path)


@case("situations", "data=folder, the solutions that the error lines suggest for an ambiguous layout: work")
def test_the_ways_out_work(tmp_path: Path) -> None:
    mixed = plant(tmp_path / "mixed", {"cat": 3, "dog": 4, "test/cat": 2, "test/dog": 2})
    parts = read(mixed, test_path=str(mixed / "test"))
    assert (parts.classes, counts(parts.train), counts(parts.test)) == (("cat", "dog"), [3, 4], [2, 2])
    assert read(mixed, layout="classes").classes == ("cat", "dog", "test")
    food = plant(
        tmp_path / "food", {f"{part}/{name}": 2 for part in ("training", "validation", "evaluation") for name in "AB"}
    )
    parts = read(food, test_path=str(food / "evaluation"))
    assert [counts(part) for part in parts[:3]] == [[2, 2]] * 3
    plants = plant(tmp_path / "plants", {f"{kind}/{name}": 6 for kind in ("color", "grey") for name in "AB"})
    assert read(plants / "color").classes == ("A", "B")
    assert sum(counts(read(plants, layout="classes").train) or []) == 20
    letters = plant(tmp_path / "letters", {"A": 4, "a": 4})
    assert read(letters, layout="classes").classes == ("A", "a")


@case("situations", "data=folder, a test_path in addition to a test folder in data.path: rejected, neither is ignored")
def test_two_test_parts(tmp_path: Path) -> None:
    plant(tmp_path, {f"{place}/{name}": 2 for place in ("set/train", "set/test", "other") for name in "AB"})
    assert refused(tmp_path / "set", test_path=str(tmp_path / "other")) == (
        f"data.test_path: got {tmp_path}/other with the test split {tmp_path}/set/test; must be one of the two: leave "
        f"data.test_path out, or use data.path={tmp_path}/set/train"
    )


@case("situations", "class names that differ only in Unicode normalization, as between macOS and Linux: rejected")
def test_unicode_forms(tmp_path: Path) -> None:
    one, other = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    plant(tmp_path, {f"train/{one}": 2, "train/thé": 2, f"test/{other}": 2, "test/thé": 2})
    assert ", where they differ only in case or Unicode form; must be the same" in refused(tmp_path)


@case(
    "situations",
    "train and val in a folder: val is the validation split, all of train is used for training, with a note",
)
def test_a_validation_part_is_the_validation_part(
    tmp_path: Path, compose: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    for part, level in (("train", 10), ("val", 100), ("test", 200)):
        for name in ("cat", "dog"):
            for k in range(4):
                (tmp_path / part / name).mkdir(parents=True, exist_ok=True)
                Image.new("L", (8, 8), level + k).save(tmp_path / part / name / f"{k}.png")
    data = build_datamodule(
        compose("data=folder", f"data.path={tmp_path}", "data.split.val_size=0.5", "loader.batch_size=8")
    )
    levels = [sorted(part.images[:, 0, 0, 0].tolist()) for part in (data.train_set, data.validation_set, data.test_set)]
    assert levels == [sorted(2 * [level + k for k in range(4)]) for level in (10, 100, 200)]
    out = capsys.readouterr().out
    assert out == f"note: validation images come from {tmp_path}/val; data.split does not apply\n"


@case(
    "situations",
    "the command on train/val/test, and on test next to the classes: trains; one error line, exit code 1, no folder",
)
def test_by_the_command(run: Run, tmp_path: Path) -> None:
    sound = plant(tmp_path / "sound", {f"{p}/{name}": 4 for p in ("Train", "Val", "Test") for name in "AB"})
    mixed = plant(tmp_path / "mixed", {"A": 4, "B": 4, "test": 4})
    assert run(*TINY, "data=folder", f"data.path={sound}", "run=sound", work=train) == (0, [])
    assert Path("sound/results.json").exists()
    code, lines = run(*TINY, "data=folder", f"data.path={mixed}", "run=mixed", work=train)
    assert (code, len(lines)) == (1, 1)
    assert "splits and classes are mixed" in lines[0]
    assert not Path("mixed").exists()


# ------------------------------------------------------------------------------------------------ links, other files


@case(
    "situations", "links to folders and files: followed; cyclic, broken or duplicate links: counted once, with a note"
)
def test_links(tmp_path: Path) -> None:
    plant(tmp_path / "store", {"cats": 3, "strays": 2})
    plant(tmp_path / "set", {"dog": 4, "cat": 1})
    cat = tmp_path / "set/cat"
    (cat / "more").symlink_to(tmp_path / "store/cats", target_is_directory=True)
    (cat / "again").symlink_to(tmp_path / "store/cats", target_is_directory=True)
    (cat / "stray.png").symlink_to(tmp_path / "store/strays/0.png")
    (cat / "same.png").symlink_to("0.png")
    (cat / "up").symlink_to("..", target_is_directory=True)
    (cat / "gone.png").symlink_to("nowhere")
    (cat / "itself.png").symlink_to("itself.png")
    layout = find_layout(settings(tmp_path / "set"))
    assert {name: len(files) for name, files in layout.train.files.items()} == {"cat": 5, "dog": 4}
    assert layout.notes[-1] == (
        f"left out: 3 × link to a file or folder counted already ({layout_link(layout.notes[-1])}); 2 × broken link, "
        f"pipe or device ({cat}/gone.png)"
    )


def layout_link(note: str) -> str:
    return note.partition("already (")[2].partition(")")[0]


@case("situations", "a folder linked as two classes or as training and test split: rejected with both names")
def test_one_folder_twice(tmp_path: Path) -> None:
    plant(tmp_path / "classes", {"cat": 3, "dog": 3})
    (tmp_path / "classes/lynx").symlink_to("cat", target_is_directory=True)
    assert refused(tmp_path / "classes") == (
        f"{tmp_path}/classes/lynx: got the same file or folder as {tmp_path}/classes/cat, by a link; must be in "
        "only one class of one split"
    )
    plant(tmp_path / "parts", {"train/cat": 3, "train/dog": 3})
    (tmp_path / "parts/test").symlink_to("train", target_is_directory=True)
    assert refused(tmp_path / "parts").endswith("by a link; must be in only one class of one split")
    plant(tmp_path / "files", {"cat": 3, "dog": 3})
    (tmp_path / "files/dog/9.png").symlink_to("../cat/0.png")
    assert refused(tmp_path / "files").startswith(
        f"{tmp_path}/files/dog/9.png: got the same file or folder as {tmp_path}/files/cat/0.png"
    )


@case("situations", "a folder that contains only a link to itself: one error line, no endless loop")
def test_a_circle_alone(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to(".", target_is_directory=True)
    assert "class directories" in refused(tmp_path)


@case("situations", "loose images, texts and tables next to and in class folders: counted in one note")
def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    plant(tmp_path, {"cat": 3, "dog": 3, ".": "sample.png README labels.csv", "cat/.": "notes.txt"})
    plant(tmp_path, {"dog/puppies": 2, "dog/.": "Thumbs.db .DS_Store desktop.ini"})
    layout = find_layout(settings(tmp_path))
    assert {name: len(files) for name, files in layout.train.files.items()} == {"cat": 3, "dog": 5}
    assert layout.notes == [
        "2 images are in subfolders of class folders and belong to that class, for example "
        f"{tmp_path}/dog/puppies/0.png",
        f"left out: 1 × image outside of class folders ({tmp_path}/sample.png); 3 × other file ({tmp_path}/README)",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@case("situations", "an unreadable class folder: an error with its path, not an empty class")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    plant(tmp_path, {"cat": 3, "dog": 3, "owl": 3})
    (tmp_path / "owl").chmod(0)
    try:
        assert refused(tmp_path) == f"{tmp_path}/owl: Permission denied; must be a readable folder"
    finally:
        (tmp_path / "owl").chmod(0o755)


# ---------------------------------------------------------------------------------------------------------- arrays

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)


def arrays(folder: Path, train_labels: np.ndarray, test_labels: np.ndarray, names: bytes | None = None) -> Path:
    folder.mkdir()
    for part, labels in (("train", train_labels), ("test", test_labels)):
        np.save(folder / f"{part}_images.npy", PIXELS[: len(labels)])
        np.save(folder / f"{part}_labels.npy", labels)
    if names is not None:
        (folder / "classes.txt").write_bytes(names)
    return folder


TEN = np.arange(40) % 10
LABELS: dict[str, tuple[np.ndarray, np.ndarray, bytes | None, str]] = {
    "labels from 1 to 10": (
        TEN + 1,
        TEN + 1,
        None,
        "train_labels.npy: got labels 1 to 10; must be 0 to 9: subtract 1 in train_labels.npy and test_labels.npy",
    ),
    "labels from 1 to 3 and three names": (
        TEN % 3 + 1,
        TEN % 3 + 1,
        b"a\nb\nc\n",
        "train_labels.npy: got labels 1 to 3; must be 0 to 2: subtract 1 in train_labels.npy and test_labels.npy",
    ),
    "only the labels 3 and 7": (
        np.where(TEN < 5, 3, 7),
        np.where(TEN < 5, 3, 7),
        None,
        "train_labels.npy: got labels 3, 7, no image of classes 0, 1, 2, 4, 5, …; must be 0 to 1 for 2 classes: "
        "renumber both files with numpy.searchsorted(numpy.unique(train_labels), labels)",
    ),
    "a gap in the labels": (
        np.where(TEN == 4, 5, TEN),
        np.where(TEN == 4, 5, TEN),
        None,
        "train_labels.npy: got labels 0, 1, 2, 3, 5, …, no image of class 4; must be 0 to 8 for 9 classes: "
        "renumber both files with numpy.searchsorted(numpy.unique(train_labels), labels)",
    ),
    "a test label without training images": (
        TEN % 3,
        TEN % 4,
        None,
        "test_labels.npy: got 3, missing in train_labels.npy (0 to 2); must be classes with at least one "
        "training "
        "image",
    ),
    "the same label for all images": (
        TEN * 0 + 3,
        TEN * 0 + 3,
        None,
        "train_labels.npy: every label is 3; must be two or more classes",
    ),
    "a class name without images": (
        TEN % 3,
        TEN % 3,
        b"a\nb\nc\nd\n",
        "train_labels.npy: got labels 0 to 2, no image of class d; must be 0 to 2 for 3 classes: renumber both "
        "files with numpy.searchsorted(numpy.unique(train_labels), labels) and delete the other names from "
        "classes.txt",
    ),
    "fewer names than labels": (
        TEN,
        TEN,
        b"a\nb\n",
        "classes.txt: got 2 names for labels up to 9; must be one name per class, label 0 on the first line",
    ),
    "a duplicate name": (
        TEN % 3,
        TEN % 3,
        b"cat\ndog\ncat\n",
        "classes.txt: got cat on lines 1 and 3; must be a different name for each class",
    ),
    "names in UTF-16": (
        TEN % 3,
        TEN % 3,
        "a\nb\nc\n".encode("utf-16"),
        "classes.txt: got UTF-16 text; must be UTF-8: save it again with this encoding",
    ),
    "names in UTF-16 without a byte order mark": (
        TEN % 3,
        TEN % 3,
        "a\nb\nc\n".encode("utf-16-le"),
        "classes.txt: got null bytes, as in UTF-16 text; must be UTF-8: save it again with this encoding",
    ),
}


@pytest.mark.parametrize(
    ("train_labels", "test_labels", "names", "line"),
    [
        pytest.param(
            *row, id=what, marks=case("situations", f"data=arrays, {what}: one error line with the file and a solution")
        )
        for what, row in LABELS.items()
    ],
)
def test_labels_that_do_not_fit_are_named(
    train_labels: np.ndarray, test_labels: np.ndarray, names: bytes | None, line: str, run: Run
) -> None:
    arrays(Path("set"), train_labels, test_labels, names)
    words = ("data=arrays", "data.path=set", "data.split.val_size=4", "run=here")
    code, lines = run(*TINY, *words, work=train)
    assert (code, lines) == (1, [f"error: set/{line}"])
    assert not Path("here").exists()


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(content, id=what, marks=case("situations", f"classes.txt {what}: the names are read without it"))
        for what, content in {
            "with a byte order mark": "\ufeffrot\ngrün\nblau\n".encode(),
            "with CRLF": "rot\r\ngrün\r\nblau\r\n".encode(),
            "with a byte order mark, CRLF and empty lines": "\ufeffrot\r\n\r\n  grün \r\nblau\r\n\r\n\r\n".encode(),
            "without a final line break": "rot\ngrün\nblau".encode(),
        }.items()
    ],
)
def test_names_of_classes(names: bytes, tmp_path: Path) -> None:
    from lenet_pl.data.arrays import read_arrays
    from lenet_pl.settings import ArraysDataSettings

    defaults = OmegaConf.to_container(OmegaConf.load(conf_dir() / "data/arrays.yaml"))
    assert isinstance(defaults, dict)
    folder = arrays(tmp_path / "set", TEN % 3, TEN % 3, names)
    assert read_arrays(ArraysDataSettings(**{**defaults, "path": str(folder)}))[2] == ("rot", "grün", "blau")


# ---------------------------------------------------------------------------------------------------------- pixels

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4  # 0 to 252


def pictures(folder: Path, images: list[Image.Image], suffix: str = "png", **options: Any) -> Path:
    """Save images as the class `a`, in addition to a class `b` of one black image."""
    plant(folder, {"a": 0, "b": 1})
    for k, image in enumerate(images):
        image.save(folder / "a" / f"{k}.{suffix}", **options)
    return folder


def class_a(folder: Path, **changes: Any) -> np.ndarray:
    """Read the class `a`, uint8 (N, C, 8, 8), with two black images as the test split."""
    test = plant(folder.parent / f"{folder.name}-test", {"a": 1, "b": 1})
    train = read(folder, test_path=str(test), **changes).train
    return train.images[train.labels == 0].numpy()


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        pytest.param(suffix, options, id=suffix, marks=case("situations", f"a valid {name} in a class folder: read"))
        for name, suffix, options in (
            ("WebP", "webp", {"lossless": True}),
            ("BMP", "bmp", {}),
            ("GIF", "gif", {}),
            ("TIFF", "tif", {}),
        )
    ],
)
def test_other_formats_are_read(suffix: str, options: dict[str, Any], tmp_path: Path) -> None:
    assert (class_a(pictures(tmp_path, [Image.fromarray(RAMP)], suffix, **options)) == RAMP).all()


@case("situations", "a GIF of several frames in a class folder: the first frame is used, with a note")
def test_the_first_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [Image.new("L", (8, 8), 200)]
    pictures(tmp_path, [Image.fromarray(RAMP)], "gif", save_all=True, append_images=frames)
    assert (class_a(tmp_path) == RAMP).all()
    assert capsys.readouterr().out.endswith(f"note: 1 × the first frame of several ({tmp_path}/a/0.gif)\n")


FOREIGN: dict[str, tuple[bytes, str]] = {
    "AVIF": (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "an AVIF image"),
    "PSD": (b"8BPS\0\1" + bytes(40), "a PSD image"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
    "an HTML page": (b"<!DOCTYPE html><html></html>", "an HTML page"),
    "a Git LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\n",
        "a Git LFS pointer, whose image was not fetched (git lfs pull)",
    ),
}


@pytest.mark.parametrize(
    ("content", "name"),
    [
        pytest.param(
            *row,
            id=what,
            marks=case(
                "situations",
                f"{what} in a class folder: an error with its name, or a note if unreadable files are skipped",
            ),
        )
        for what, row in FOREIGN.items()
    ],
)
def test_other_formats_are_named(content: bytes, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures(tmp_path, [Image.fromarray(RAMP)] * 3)
    file = tmp_path / "a/x.png"
    file.write_bytes(content)
    line = refused(tmp_path)
    assert line.startswith(f"{file}: {name}; must be a PNG, ")
    assert line.endswith("; data.skip_unreadable=true leaves such files out")
    assert (class_a(tmp_path, skip_unreadable=True) == RAMP).all()
    assert capsys.readouterr().out == f"note: skipped 1 unreadable files: 1 × {name} ({file})\n"


DEEP: dict[str, tuple[np.ndarray, str, float]] = {
    "a 16-bit PNG with values 0 to 255": (np.arange(64).reshape(8, 8) * 4 + 3, "png", 255),
    "a 16-bit PNG with values 0 to 1023": (np.arange(64).reshape(8, 8) * 16 + 15, "png", 1023),
    "a 16-bit PNG with values 0 to 4095": (np.arange(64).reshape(8, 8) * 64 + 63, "png", 4095),
    "a 16-bit PNG with values 0 to 65535": (np.arange(64).reshape(8, 8) * 1024 + 1023, "png", 65535),
    "a 16-bit TIFF with values 0 to 4095": (np.arange(64).reshape(8, 8) * 64 + 63, "tif", 4095),
    "an int32 TIFF with values 0 to 255": ((np.arange(64).reshape(8, 8) * 4 + 3).astype(np.int32), "tif", 255),
    "a float TIFF with values 0 to 1": (np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8), "tif", 1),
    "a float TIFF with values 0 to 255": (np.linspace(0, 255, 64, dtype=np.float32).reshape(8, 8), "tif", 255),
}


def deep(levels: np.ndarray) -> Image.Image:
    return Image.fromarray(levels if levels.dtype in (np.int32, np.float32) else levels.astype(np.uint16))


@pytest.mark.parametrize(
    ("levels", "suffix", "top"),
    [
        pytest.param(*row, id=what, marks=case("situations", f"{what}: scaled by the range of all images, with a note"))
        for what, row in DEEP.items()
    ],
)
def test_deep_images_are_scaled_by_the_range_in_use_over_the_set(
    levels: np.ndarray, suffix: str, top: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dark = (levels // 2 if levels.dtype != np.float32 else levels / 2).astype(levels.dtype)
    found = class_a(pictures(tmp_path, [deep(levels), deep(dark)], suffix))
    wanted = np.stack([levels, dark])[:, None].astype(float) * 255 / top
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 0.5 + 1e-3
    note = (
        f"note: 2 images of more than 8 bits have levels up to {levels.max():g}; "
        f"0 to {top:g} is scaled to 0 to 255 in all of them\n"
    )
    assert capsys.readouterr().out == ("" if top == 65535 else note)


@case("situations", "8-bit images next to 16-bit images of 0 to 4095: each scaled by its range")
def test_deep_images_beside_others(tmp_path: Path) -> None:
    levels = np.arange(64).reshape(8, 8) * 64 + 63
    found = class_a(pictures(tmp_path, [deep(levels), Image.fromarray(RAMP // 2)]))
    assert (found[1] == RAMP // 2).all()
    assert np.abs(found[0] - levels * (255 / 4095)).max() <= 0.5


@pytest.mark.parametrize(
    ("levels", "why"),
    [
        pytest.param(np.linspace(-1, 1, 64), "negative levels, down to -1", id="negative"),
        pytest.param(np.full(64, np.nan), "non-finite levels", id="nan"),
    ],
)
@case("situations", "a float TIFF with negative or non-finite values: rejected with the reason")
def test_levels_without_a_meaning(levels: np.ndarray, why: str, tmp_path: Path) -> None:
    pictures(tmp_path, [Image.fromarray(levels.reshape(8, 8).astype(np.float32))], "tif")
    assert refused(tmp_path).startswith(f"{tmp_path}/a/0.tif: {why}; must be")


def png_16_bit_color(levels: np.ndarray) -> bytes:
    """Encode a PNG with 16 bits per channel, which Pillow cannot write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@case(
    "situations", "color PNGs with 16 bits per channel: read if they use the range, rejected if all values are 0 to 255"
)
def test_deep_color(tmp_path: Path) -> None:
    colors = np.stack([RAMP, RAMP[::-1], RAMP.T], -1).astype(int)
    pictures(tmp_path, [Image.new("L", (8, 8))])
    (tmp_path / "a/0.png").write_bytes(png_16_bit_color(colors * 257))
    assert (class_a(tmp_path)[0] == colors.transpose(2, 0, 1)).all()
    (tmp_path / "a/0.png").write_bytes(png_16_bit_color(colors))
    assert refused(tmp_path) == (
        f"{tmp_path}/a/0.png: got color with 16 bits per channel and levels up to 255 in all such images, of which "
        "only the upper 8 bits are read; must use the whole range, or be saved with 8 bits"
    )


def grey_as(mode: str) -> Image.Image:
    image = Image.fromarray(RAMP)
    return image.convert("RGB").convert(mode) if mode == "CMYK" else image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix", "noise"),
    [
        pytest.param(
            mode, suffix, noise, id=f"{mode}-{suffix}", marks=case("situations", f"{what}: read as gray images")
        )
        for what, mode, suffix, noise in (
            ("gray images saved as RGB PNG", "RGB", "png", 0),
            ("gray images saved as RGBA PNG", "RGBA", "png", 0),
            ("gray images with alpha", "LA", "png", 0),
            ("gray images saved with a palette", "P", "png", 0),
            ("gray images saved as RGB BMP", "RGB", "bmp", 0),
            ("gray images saved as RGB JPEG", "RGB", "jpg", 9),
            ("gray images saved as lossy WebP", "RGB", "webp", 30),
            ("gray images saved as CMYK JPEG", "CMYK", "jpg", 9),
        )
    ],
)
def test_grey_pictures_saved_as_color_are_grey(
    mode: str, suffix: str, noise: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"quality": 95} if noise else {}
    found = class_a(pictures(tmp_path, [grey_as(mode)] * 2, suffix, **options))
    assert found.shape == (2, 1, 8, 8)
    assert np.abs(found.astype(int) - RAMP).max() <= noise
    assert "all images are gray" in capsys.readouterr().out or mode == "LA"
    assert class_a(tmp_path, color_mode="rgb").shape == (2, 3, 8, 8)


@case("situations", "gray images saved as RGB, trained with the command: a network with one channel")
def test_a_grey_network(run: Run, tmp_path: Path) -> None:
    pictures(tmp_path / "set", [Image.new("RGB", (8, 8), (20 * k,) * 3) for k in range(8)])
    for k in range(8):
        Image.new("RGB", (8, 8), (20 * k,) * 3).save(tmp_path / "set/b" / f"{k}.png")
    seen: list[int] = []
    words = ("data=folder", f"data.path={tmp_path}/set", "loader.batch_size=2")
    assert run(*WITHOUT_FIGURES, *words, work=lambda s, f: seen.append(build_datamodule(s).channels)) == (0, [])
    assert seen == [1]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@case("situations", "one color image among gray ones: a color dataset, and a note with the image")
def test_one_colored_picture(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    greys = [Image.fromarray(RAMP).convert("RGB")] * 3
    found = class_a(pictures(tmp_path, [*greys, Image.new("RGB", (8, 8), (200, 255, 255))], suffix))
    assert found.shape == (4, 3, 8, 8)
    assert capsys.readouterr().out == (
        f"note: using color, because 1 of 7 images are colored ({tmp_path}/a/3.{suffix}); data.color_mode=gray "
        "converts all to gray\n"
    )
    assert class_a(tmp_path, color_mode="gray").shape == (4, 1, 8, 8)


@case("situations", "a lossless image with a tint of one level: color, since compression cannot cause it")
def test_a_faint_tint(tmp_path: Path) -> None:
    assert class_a(pictures(tmp_path, [Image.new("RGB", (8, 8), (100, 100, 101))])).shape == (1, 3, 8, 8)


@case("situations", "color photos only: no note")
def test_colored_photos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures(tmp_path, [Image.new("RGB", (8, 8), (200, 100, 0))] * 3)
    Image.new("RGB", (8, 8), (0, 0, 9)).save(tmp_path / "b/0.png")
    assert read(tmp_path, test_fraction=0.3).train.images.shape[1] == 3
    assert capsys.readouterr().out == ""


@case("situations", "a network with three channels, tested on gray images: they are read as three channels")
def test_a_color_network_and_grey_pictures(run: Run, tmp_path: Path) -> None:
    colored = [Image.new("RGB", (8, 8), (20 * k, 9, 99)) for k in range(8)]
    pictures(tmp_path / "colored", colored)
    for k, image in enumerate(colored):
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "colored/b" / f"{k}.png")
    words = ("data=folder", f"data.path={tmp_path}/colored", "run=here")
    assert run(*TINY, *words, work=train) == (0, [])
    trained = load_run(Path("here/checkpoints/best.ckpt"))
    grey = plant(tmp_path / "grey", {"a": 4, "b": 4})
    assert trained.load_data(settings(grey)).test_set.images.shape[1] == trained.channels == 3
