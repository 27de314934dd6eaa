"""Names by which archives call the parts of a data set."""

import re

TRAINING, VALIDATION, TEST = "training", "validation", "test"
PARTS = (TRAINING, VALIDATION, TEST)
_NAMES = {
    **dict.fromkeys(("train", "training"), TRAINING),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}


def part_of(name: str) -> tuple[str, str]:
    """Return the part that a folder's name means, or an empty string, and the other words of the name."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+", name)
    words = [word.lower().removesuffix("set") or "set" for word in words]
    found = [word for word in words if word in _NAMES]
    if len(found) != 1:
        return "", ""
    words.remove(found[0])
    return _NAMES[found[0]], " ".join(words)
