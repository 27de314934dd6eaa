"""In words: what was added, removed, replaced, renamed or moved between two states of a set of images."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from lenet_pl.data.identity import ClassRecord, Identity, PartRecord, encodable
from lenet_pl.data.image_set import ImageSet

MOST = 5  # classes that are named
Name = str | tuple[str, int]  # relative to the folder of the set; or file and row


@dataclass(frozen=True)
class Image:
    """One image of a set."""

    name: Name
    content: int
    of_class: str


@dataclass(frozen=True)
class Listing:
    """All images of a set, in whatever part, and its classes; some may have no image."""

    classes: tuple[str, ...]
    images: tuple[Image, ...]


def list_source(classes: Sequence[str], *parts: ImageSet) -> Listing:
    """List a set as it is now."""
    named = tuple(map(encodable, classes))
    images: list[Image] = []
    for part in parts:
        file = "test" if part is parts[-1] else "train"
        assert part.contents is not None
        images += _images(named, file, part.contents, part.labels, part.names)
    return Listing(named, tuple(images))


def list_recorded(identity: Identity) -> Listing | None:
    """List a set as it was; None where the record does not say it image by image, or is damaged."""
    images: list[Image] = []
    for name, part in identity.parts.items():
        rows = part.rows()
        if rows is None or part.names is None or len(part.names) != part.images:
            return None
        images += _images(identity.class_names, "test" if name == "test" else "train", *rows, part.names)
    return Listing(identity.class_names, tuple(images))


def _images(
    classes: Sequence[str], file: str, contents: Tensor, labels: Tensor, names: Sequence[str | int]
) -> list[Image]:
    rows = zip(names, contents.tolist(), labels.tolist(), strict=True)
    return [
        Image(encodable(name) if isinstance(name, str) else (file, name), content, classes[label])
        for name, content, label in rows
    ]


def describe(before: Listing, after: Listing) -> str:
    """Say what happened between two states of a set; images are first known by their content, then by their name."""
    renamed = _renamed_classes(before, after)
    old = [Image(image.name, image.content, renamed.get(image.of_class, image.of_class)) for image in before.images]
    told = [f"class {one} renamed to {other}" for one, other in renamed.items()]
    classes = [renamed.get(name, name) for name in before.classes]
    fresh = [name for name in after.classes if name not in classes]
    gone = [name for name in classes if name not in after.classes]
    told += _counted("class {} added", fresh, after.images) + _counted("class {} removed", gone, old)

    there = {image.name: image for image in after.images}
    others: list[Image] = []  # old ones that are not there under their name
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
        elif image.of_class not in renamed.values():  # there the folder is the change, and is told
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
    told += _told("{} added in {}", added) + _told("{} gone from {}", +lost) + _told("{} replaced in {}", replaced)
    moved = +moved
    if len(moved) > MOST:
        told.append(f"{_plural(moved.total())} moved to other classes")
    else:
        told += [f"{_plural(count)} moved from {one} to {other}" for (one, other), count in moved.items()]
    in_rows = any(isinstance(image.name, tuple) for image in old)
    if not in_rows:
        told += _told("{} renamed in {}", elsewhere)
    elif not (added or +lost or fresh or gone):  # which move all that come after them
        told += _told("{} of {} in another row", elsewhere)
    return "; ".join(told) or "the order of the images changed"


def describe_classes(before: Sequence[ClassRecord], after: Sequence[ClassRecord]) -> str:
    """Say what happened between two states of a set of which only the classes are known."""
    old, now = ({one.name: one for one in state} for state in (before, after))
    told, contents = [], {one.digest: one.name for one in after if one.name not in old and one.images}
    for one in before:
        if one.name in now:
            count = now[one.name].images
            if count != one.images:
                told.append(f"{_plural(count)} in place of {one.images:,} in {one.name}")
            elif now[one.name].digest != one.digest:
                told.append(f"other images in {one.name}")
        elif one.digest in contents:
            told.append(f"class {one.name} renamed to {contents.pop(one.digest)}")
        else:
            told.append(f"class {one.name} removed with {_plural(one.images)}")
    kept = set(contents.values())
    told += [f"class {one.name} added with {_plural(one.images)}" for one in after if one.name in kept]
    more = f"; and {len(told) - MOST} more changes" if len(told) > MOST else ""
    return "; ".join(told[:MOST]) + more or "the order of the images changed"


def count_missing(part: PartRecord, contents: Iterable[int]) -> int | None:
    """Count the images of a part whose content is nowhere; None where the record does not say which these are."""
    rows = part.rows()
    there = set(contents)
    return None if rows is None else sum(content not in there for content in rows[0].tolist())


def _renamed_classes(before: Listing, after: Listing) -> dict[str, str]:
    """Pair classes that are gone with new ones that hold most of their images, old name → new name."""
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


def _counted(words: str, classes: Sequence[str], images: Iterable[Image]) -> list[str]:
    counts = Counter(image.of_class for image in images)
    more = [f"{len(classes) - MOST} more classes likewise"] if len(classes) > MOST else []
    return [f"{words.format(name)} with {_plural(counts[name])}" for name in classes[:MOST]] + more


def _told(words: str, counts: Counter[str]) -> list[str]:
    if not counts:
        return []
    names = sorted(counts)
    more = f" and {len(names) - MOST} more classes" if len(names) > MOST else ""
    return [words.format(_plural(counts.total()), ", ".join(names[:MOST]) + more)]


def _plural(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"
