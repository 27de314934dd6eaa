"""Folder names of splits, as they occur in dataset archives."""

import re
from collections import defaultdict
from pathlib import Path

TRAINING, VALIDATION, TEST = "training", "validation", "test"
SPLITS = (TRAINING, VALIDATION, TEST)
_NAMES = {
    **dict.fromkeys(("train", "training"), TRAINING),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}


def parse_split_name(name: str) -> tuple[str, str]:
    """Find the split that a folder name stands for.

    Returns:
        The split, or an empty string, and the other words of the name: `seg_train` gives ("training", "seg").
    """
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+", name)
    words = [word.lower().removesuffix("set") or "set" for word in words]
    found = [word for word in words if word in _NAMES]
    if len(found) != 1:
        return "", ""
    words.remove(found[0])
    return _NAMES[found[0]], " ".join(words)


def named_after_splits(folders: list[Path]) -> dict[Path, str]:
    """Select the folders named after splits: `train`, or several such as `seg_train` and `seg_test`."""
    groups: dict[str, dict[Path, str]] = defaultdict(dict)
    for folder in folders:
        split, rest = parse_split_name(folder.name)
        if split:
            groups[rest][folder] = split
    several = [g for rest, g in groups.items() if rest and TRAINING in g.values() and len(set(g.values())) > 1]
    return groups[""] or (several[0] if several else {})
