"""Descriptions of what was added, removed, replaced, renamed or moved between two states of a dataset."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from lenet_pl.data.create_data_record import encodable
from lenet_pl.data.data_record import ClassRecord, DataRecord, SplitRecord
from lenet_pl.data.image_dataset import ImageDataset

MAX_NAMED = 5  # classes listed by name
Name = str | tuple[str, int]  # path relative to the folder of the dataset, or file and row


@dataclass(frozen=True)
class Image:
    """One image of a dataset."""

    name: Name
    content: int  # digest
    of_class: str


@dataclass(frozen=True)
class Listing:
    """All images of a dataset, whatever their split, and its classes, some of which may have no image."""

    classes: tuple[str, ...]
    images: tuple[Image, ...]


def list_current(classes: Sequence[str], *splits: ImageDataset) -> Listing:
    """List the current images of a dataset, the test split last."""
    named = tuple(map(encodable, classes))
    images: list[Image] = []
    for split in splits:
        file = "test" if split is splits[-1] else "train"
        assert split.contents is not None
        images += _images(named, file, split.contents, split.labels, split.names)
    return Listing(named, tuple(images))


def list_recorded(record: DataRecord) -> Listing | None:
    """List the recorded images of a dataset; None if the record is corrupt or does not list single images."""
    images: list[Image] = []
    for name, split in record.parts.items():
        rows = split.rows()
        if rows is None or split.names is None or len(split.names) != split.images:
            return None
        images += _images(record.class_names, "test" if name == "test" else "train", *rows, split.names)
    return Listing(record.class_names, tuple(images))


def _images(
    classes: Sequence[str], file: str, contents: Tensor, labels: Tensor, names: Sequence[str | int]
) -> list[Image]:
    rows = zip(names, contents.tolist(), labels.tolist(), strict=True)
    return [
        Image(encodable(name) if isinstance(name, str) else (file, name), content, classes[label])
        for name, content, label in rows
    ]


def describe(before: Listing, after: Listing) -> str:
    """Describe the changes between two states of a dataset. Images are matched by content first, then by name."""
    renamed = _renamed_classes(before, after)
    old = [Image(image.name, image.content, renamed.get(image.of_class, image.of_class)) for image in before.images]
    changes = [f"class {one} renamed to {other}" for one, other in renamed.items()]
    classes = [renamed.get(name, name) for name in before.classes]
    fresh = [name for name in after.classes if name not in classes]
    gone = [name for name in classes if name not in after.classes]
    changes += _describe_classes("class {} added", fresh, after.images)
    changes += _describe_classes("class {} removed", gone, old)

    there = {image.name: image for image in after.images}
    others: list[Image] = []  # old images without the same content under the same name
    moved: Counter[tuple[str, str]] = Counter()
    for image in old:
        now = there.get(image.name)
        if now is None or now.content != image.content:
            others.append(image)
            continue
        del there[image.name]
        moved[image.of_class, now.of_class] += image.of_class != now.of_class
    by_content: dict[int, list[Image]] = defaultdict(list)
    for now in there.values():
        by_content[now.content].append(now)
    elsewhere: Counter[str] = Counter()
    missing: list[Image] = []
    for image in others:
        found = by_content[image.content]
        if not found:
            missing.append(image)
            continue
        now = next((one for one in found if one.of_class == image.of_class), found[0])
        found.remove(now)
        del there[now.name]
        if now.of_class != image.of_class:
            moved[image.of_class, now.of_class] += 1
        elif image.of_class not in renamed.values():  # the renamed folder is already listed as a change
            elsewhere[image.of_class] += 1
    replaced: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for image in missing:
        now = there.get(image.name)
        if now is not None and now.of_class == image.of_class:
            del there[image.name]
            replaced[image.of_class] += 1
        else:
            lost[image.of_class] += image.of_class not in gone
    added = Counter(now.of_class for now in there.values() if now.of_class not in fresh)
    changes += _describe_counts("{} added to {}", added)
    changes += _describe_counts("{} removed from {}", +lost)
    changes += _describe_counts("{} replaced in {}", replaced)
    moved = +moved
    if len(moved) > MAX_NAMED:
        changes.append(f"{_plural(moved.total())} moved to other classes")
    else:
        changes += [f"{_plural(count)} moved from {one} to {other}" for (one, other), count in moved.items()]
    in_rows = any(isinstance(image.name, tuple) for image in old)
    if not in_rows:
        changes += _describe_counts("{} renamed in {}", elsewhere)
    elif not (added or +lost or fresh or gone):  # additions and removals shift all rows after them
        changes += _describe_counts("{} of {} in another row", elsewhere)
    return "; ".join(changes) or "the order of the images changed"


def describe_classes(before: Sequence[ClassRecord], after: Sequence[ClassRecord]) -> str:
    """Describe the changes between two states of a dataset from the records of its classes alone."""
    old, now = ({one.name: one for one in state} for state in (before, after))
    changes, contents = [], {one.digest: one.name for one in after if one.name not in old and one.images}
    for one in before:
        if one.name in now:
            count = now[one.name].images
            if count != one.images:
                changes.append(f"{_plural(count)} instead of {one.images:,} in {one.name}")
            elif now[one.name].digest != one.digest:
                changes.append(f"different images in {one.name}")
        elif one.digest in contents:
            changes.append(f"class {one.name} renamed to {contents.pop(one.digest)}")
        else:
            changes.append(f"class {one.name} removed with {_plural(one.images)}")
    kept = set(contents.values())
    changes += [f"class {one.name} added with {_plural(one.images)}" for one in after if one.name in kept]
    more = f"; and {len(changes) - MAX_NAMED} more changes" if len(changes) > MAX_NAMED else ""
    return "; ".join(changes[:MAX_NAMED]) + more or "the order of the images changed"


def count_missing(split: SplitRecord, contents: Iterable[int]) -> int | None:
    """Count the images of a split whose digest is not in `contents`; None if the record does not list them."""
    rows = split.rows()
    there = set(contents)
    return None if rows is None else sum(content not in there for content in rows[0].tolist())


def _renamed_classes(before: Listing, after: Listing) -> dict[str, str]:
    """Match removed classes with added classes that contain most of their images, old name → new name."""
    held: list[dict[str, Counter[int]]] = []
    for one, other in ((before, after), (after, before)):
        only = [name for name in one.classes if name not in other.classes]
        found: dict[str, Counter[int]] = {name: Counter() for name in only}
        for image in one.images:
            if image.of_class in found:
                found[image.of_class][image.content] += 1
        held.append(found)
    pairs: dict[str, str] = {}
    for name, contents in held[0].items():
        shared = {new: (contents & held[1][new]).total() for new in held[1] if new not in pairs.values()}
        best = max(shared, key=lambda new: shared[new], default=None)
        if best is not None and shared[best] * 2 > contents.total():
            pairs[name] = best
    return pairs


def _describe_classes(template: str, classes: Sequence[str], images: Iterable[Image]) -> list[str]:
    counts = Counter(image.of_class for image in images)
    more = [f"{len(classes) - MAX_NAMED} more classes likewise"] if len(classes) > MAX_NAMED else []
    return [f"{template.format(name)} with {_plural(counts[name])}" for name in classes[:MAX_NAMED]] + more


def _describe_counts(template: str, counts: Counter[str]) -> list[str]:
    if not counts:
        return []
    names = sorted(counts)
    more = f" and {len(names) - MAX_NAMED} more classes" if len(names) > MAX_NAMED else ""
    return [template.format(_plural(counts.total()), ", ".join(names[:MAX_NAMED]) + more)]


def _plural(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"
