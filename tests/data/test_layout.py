import os
from pathlib import Path

import pytest

from lenet_pl.data.layout_checks import content, spelling
from lenet_pl.data.listing import Walk
from lenet_pl.data.split_names import parse_split_name
from lenet_pl.errors import DataError


@pytest.mark.parametrize(
    ("name", "part", "rest"),
    [
        *((name, "training", "") for name in ("train", "TRAIN", "Training", "trainset")),
        *((name, "validation", "") for name in ("val", "Valid", "validation", "DEV")),
        *((name, "test", "") for name in ("test", "Testing", "testset")),
        ("TrainSet", "training", "set"),
        ("seg_train", "training", "seg"),
        ("train_images", "training", "images"),
        ("images_test", "test", "images"),
        ("trainImages", "training", "images"),
        ("training_set", "training", "set"),
        ("Training Data", "training", "data"),
        ("test1", "test", "1"),
        *(
            (name, "", "")
            for name in ("trains", "contest", "testament", "device", "invalid", "cat", "train_test", "", "训练")
        ),
    ],
)
def test_the_part_that_a_name_means(name: str, part: str, rest: str) -> None:
    assert parse_split_name(name) == (part, rest)


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_a_listing_sorts_files_by_what_their_names_tell(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("b.JPG", "a.webp", "labels.CSV", "README", "hash", "Thumbs.db", ".x.png")))
    touch(tmp_path / "__MACOSX/x.png", tmp_path / "cat/x.png")
    found = Walk().look(tmp_path)
    assert [path.name for path in found.folders] == ["cat"]
    assert [path.name for path in found.images] == ["a.webp", "b.JPG"]
    assert [path.name for path in found.texts] == ["README", "labels.CSV"]
    assert [path.name for path in found.tables] == ["labels.CSV"]
    assert [path.name for path in found.unknown] == ["hash"]


def test_files_are_found_as_pathlib_finds_them(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("10.png", "9.png", "a/1.png", "a-/1.png", "a/b/c.jpg", "Z.gif", "no_suffix")))
    walk = Walk()
    walk.own(tmp_path, "training/x")
    files, texts = walk.files(tmp_path, "training/x")
    assert (files, texts) == (sorted(path for path in tmp_path.rglob("*") if path.is_file()), [])


def test_links_between_two_folders_end(tmp_path: Path) -> None:
    touch(tmp_path / "cat/1.png", tmp_path / "store/2.png")
    (tmp_path / "cat/store").symlink_to(tmp_path / "store", target_is_directory=True)
    (tmp_path / "store/back").symlink_to(tmp_path / "cat", target_is_directory=True)
    walk = Walk()
    walk.own(tmp_path / "cat", "training/cat")
    files, _ = walk.files(tmp_path / "cat", "training/cat")
    assert [file.name for file in files] == ["1.png", "2.png"]
    assert walk.again == [tmp_path / "cat/store/back"]
    assert Walk().holds_images(tmp_path / "cat")


def test_a_folder_of_links_in_a_circle_holds_no_images(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/up").symlink_to("..", target_is_directory=True)
    assert not Walk().holds_images(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    walk = Walk()
    assert walk.look(tmp_path).images == []
    assert walk.broken == [tmp_path / "x.png"]


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    walk = Walk()
    walk.own(tmp_path, "training/cat")
    with pytest.raises(DataError, match="must be in only one class of one split"):
        walk.own(tmp_path, "test/cat")


def test_content_is_told_in_a_few_words(tmp_path: Path) -> None:
    touch(*(tmp_path / f"c{k}/x.png" for k in range(8)), tmp_path / "c0/y.png", tmp_path / "c1/in/z.png")
    touch(tmp_path / "loose.png", tmp_path / "labels.csv", tmp_path / "notes.txt")
    walk = Walk()
    assert content(walk, walk.look(tmp_path)) == (
        "c0/ (2 images), c1/ (1 folder, 1 image), c2/ (1 image), c3/ (1 image), c4/ (1 image), c5/ (1 image), "
        "2 more folders, 1 image, labels.csv"
    )


def test_content_stays_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "a\nb").mkdir()
    walk = Walk()
    assert content(walk, walk.look(tmp_path)) == "a\\nb/ (no images)"


@pytest.mark.parametrize(("one", "other"), [("Cat", "cat"), ("CAFÉ", "cafe\u0301"), ("Straße", "STRASSE"), ("a ", "a")])
def test_names_that_look_alike_have_one_spelling(one: str, other: str) -> None:
    assert spelling(one) == spelling(other)
