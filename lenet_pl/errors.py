"""What can go wrong by the user's side. One line each: the setting or file, what came, what is accepted."""

import difflib
import unicodedata
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """An error that the user can mend; commands print it as one line and end with `exit_code`."""

    exit_code = 1


class SettingError(UserError):
    """A setting that cannot be used."""

    exit_code = 2


class DataError(UserError):
    """A file or folder that is absent, damaged, or not what it should be."""


class DivergenceError(UserError):
    """A loss, or a gradient, that is no longer a finite number."""


JOINERS = "\u200c\u200d"  # seen only by what they do to their neighbors, in emoji, Persian and Indic scripts
DIVERGED = (
    "the training diverged; checkpoints, if there are any, are from before; a smaller optimizer.lr or a "
    "trainer.gradient_clip_norm may help"
)


def did_you_mean(name: str, accepted: Iterable[str]) -> str:
    """Return "did you mean X?" for the nearest accepted name, or an empty string."""
    spellings = {one.lower(): one for one in accepted}
    near = difflib.get_close_matches(name.lower(), list(spellings), n=1, cutoff=0.6)
    return f"did you mean {spellings[near[0]]}?" if near else ""


def from_here(path: Path) -> str:
    """Write a path as seen from the working directory, if it is below that, and on one line."""
    return printable(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def printable(name: str | Path) -> str:
    """Write a name so that it stays on one line and can be encoded, whatever is in it."""
    if str(name).isprintable():
        return str(name)
    return "".join(c if _harmless(c) else c.encode("unicode_escape", "surrogatepass").decode() for c in str(name))


def _harmless(character: str) -> bool:
    """Whether a character is seen, joins others, or is a space of any width."""
    return character.isprintable() or character in JOINERS or unicodedata.category(character) == "Zs"
