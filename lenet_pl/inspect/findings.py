"""What an inspection finds, and its table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lenet_pl.inspect.images import AllImages

KINDS = {
    "exact_duplicate": "Exact duplicates",
    "near_duplicate": "Near duplicates",
    "label_error": "Probable label errors",
    "unlikely_label": "Other labels that were not predicted",
    "nearly_empty": "Nearly empty images",
    "brightness": "Unusual brightness",
    "contrast": "Unusual contrast",
    "outlier": "Images unlike all others",
}
COLUMNS = (
    *("kind", "rank", "split", "image", "class", "score", "suggested_class"),
    *("other_split", "other_image", "other_class"),
)


@dataclass(frozen=True)
class Finding:
    """One finding about an image.

    Attributes:
        kind: A key of `KINDS`.
        index: The number of the image in `AllImages`.
        score: The figure that ranks the findings of a kind; see `docs/howto/inspect.md`.
        other: The number of the image of which it is a duplicate; None for other kinds.
        suggested: The label that the networks predict, of a label that is in doubt; else None.
    """

    kind: str
    index: int
    score: float
    other: int | None = None
    suggested: int | None = None


def of_kind(findings: Iterable[Finding], kind: str) -> list[Finding]:
    """Select the findings of a kind, in their order."""
    return [one for one in findings if one.kind == kind]


def rows_of(findings: Sequence[Finding], images: AllImages) -> list[tuple[Any, ...]]:
    """Write findings as rows with the columns of `COLUMNS`, ranked within their kind from 1."""
    names, found = images.names, []
    ranks = dict.fromkeys(KINDS, 0)
    for one in findings:
        ranks[one.kind] += 1
        suggested = "" if one.suggested is None else images.classes[one.suggested]
        place = (images.split_name(one.index), names[one.index], class_of(images, one.index))
        other = ("", "", "")
        if one.other is not None:
            other = (images.split_name(one.other), names[one.other], class_of(images, one.other))  # type: ignore[assignment]
        found.append((one.kind, ranks[one.kind], *place, round(one.score, 4), suggested, *other))
    return found


def class_of(images: AllImages, index: int) -> str:
    """Return the name of the class that an image is labeled with."""
    return images.classes[int(images.labels[index])]


def count_findings(
    findings: Sequence[Finding], images: AllImages, kinds: Iterable[str] = KINDS
) -> dict[str, dict[str, int]]:
    """Count the findings of the kinds; of duplicates also those between splits and those with different labels."""
    counts: dict[str, dict[str, int]] = {}
    for kind in kinds:
        own = of_kind(findings, kind)
        counts[kind] = {"images": len(own)}
        if kind.endswith("duplicate"):
            pairs = [(one.index, one.other) for one in own if one.other is not None]
            split, labels = images.split_of.tolist(), images.labels.tolist()
            counts[kind] |= {
                "between_splits": sum(split[one] != split[other] for one, other in pairs),
                "different_labels": sum(labels[one] != labels[other] for one, other in pairs),
            }
    return counts
