import pytest

from lenet_pl.data.changes import Image, Listing, describe, describe_classes
from lenet_pl.data.data_record import ClassRecord

BEFORE = {"a/1": 1, "a/2": 2, "a/3": 3, "b/1": 4, "b/2": 5, "b/3": 6, "c/1": 7}


def listing(files: dict[str, int], *more: str) -> Listing:
    """List files by name and content; the folder is the class."""
    images = tuple(Image(name, content, name.partition("/")[0]) for name, content in files.items())
    return Listing(tuple(sorted({image.of_class for image in images} | set(more))), images)


def without(*names: str) -> dict[str, int]:
    return {name: content for name, content in BEFORE.items() if name not in names}


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (BEFORE | {"a/4": 8, "b/4": 9, "b/5": 10}, "3 images added to a, b"),
        (without("a/1", "b/1"), "2 images removed from a, b"),
        (BEFORE | {"a/1": 8}, "1 image replaced in a"),
        (without("a/1") | {"a/x": 1}, "1 image renamed in a"),
        (BEFORE | {"a/1": 2, "a/2": 1}, "2 images renamed in a"),
        (without("a/1") | {"b/x": 1}, "1 image moved from a to b"),
        (without("a/1") | {"a/4": 8}, "1 image added to a; 1 image removed from a"),
        (BEFORE | {"d/1": 8, "d/2": 9}, "class d added with 2 images"),
        (without("c/1"), "class c removed with 1 image"),
        (without("c/1") | {"d/1": 7}, "class c renamed to d"),
        (without("c/1") | {"d/1": 8}, "class d added with 1 image; class c removed with 1 image"),
        (without("c/1") | {"a/7": 7}, "class c removed with 1 image; 1 image moved from c to a"),
        (BEFORE | {"a/4": 1}, "1 image added to a"),  # a copy
        (dict(reversed(BEFORE.items())), "the order of the images changed"),
        (
            without("b/1") | {"a/4": 8, "a/1": 9, "a/y": 2, "a/2": 20} | {"d/1": 30},
            "class d added with 1 image; 2 images added to a; 1 image removed from b; 1 image replaced in a; "
            "1 image renamed in a",
        ),
        (without("b/1", "b/2", "b/3") | {"z/1": 4, "z/2": 5, "z/9": 99}, "class b renamed to z; 1 image added to z; "),
    ],
)
def test_what_happened_is_said(after: dict[str, int], words: str) -> None:
    told = describe(listing(BEFORE), listing(after))
    assert told == words or (words.endswith("; ") and told.startswith(words))


def test_many_classes_are_counted_not_listed() -> None:
    before = {f"{name}/1": ord(name) for name in "abcdefgh"}
    after = before | {f"{name}/2": ord(name) + 100 for name in "abcdefgh"}
    assert describe(listing(before), listing(after)) == "8 images added to a, b, c, d, e and 3 more classes"
    more = {f"{name}/1": ord(name) for name in "ijklmnop"}
    told = describe(listing(before), listing(before | more))
    assert told.endswith("class m added with 1 image; 3 more classes likewise")
    turned = {f"{name}/1": ord(before) for before, name in zip("abcdefgh", "bcdefgha", strict=True)}
    assert describe(listing(before), listing(turned)) == "8 images moved to other classes"


def test_a_class_without_images_can_come_and_go() -> None:
    assert describe(listing(BEFORE), listing(BEFORE, "z")) == "class z added with 0 images"
    assert describe(listing(BEFORE, "z"), listing(BEFORE)) == "class z removed with 0 images"


def rows(images: str, classes: str) -> Listing:
    """List the rows of an array, each content a letter."""
    pairs = zip(images, classes, strict=True)
    return Listing(("0", "1"), tuple(Image(("train", k), ord(one), of) for k, (one, of) in enumerate(pairs)))


@pytest.mark.parametrize(
    ("images", "classes", "words"),
    [
        ("xabcd", "00011", "1 image added to 0"),
        ("acd", "011", "1 image removed from 0"),
        ("abxd", "0011", "1 image replaced in 1"),
        ("bacd", "0011", "2 images of 0 in another row"),
        ("abcd", "0111", "1 image moved from 0 to 1"),
        ("abcdd", "00111", "1 image added to 1"),
    ],
)
def test_rows_are_known_by_their_content(images: str, classes: str, words: str) -> None:
    assert describe(rows("abcd", "0011"), rows(images, classes)) == words


def classes(**counts: tuple[int, str]) -> list[ClassRecord]:
    return [ClassRecord(name=name, images=count, digest=digest) for name, (count, digest) in counts.items()]


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (classes(a=(3, "x"), b=(2, "y")), "the order of the images changed"),
        (classes(a=(4, "z"), b=(2, "y")), "4 images instead of 3 in a"),
        (classes(a=(3, "z"), b=(2, "y")), "different images in a"),
        (classes(a=(3, "x"), c=(2, "y")), "class b renamed to c"),
        (classes(a=(3, "x")), "class b removed with 2 images"),
        (classes(a=(3, "x"), b=(2, "y"), c=(1, "q")), "class c added with 1 image"),
    ],
)
def test_what_is_known_of_the_classes_alone_is_said(after: list[ClassRecord], words: str) -> None:
    assert describe_classes(classes(a=(3, "x"), b=(2, "y")), after) == words
