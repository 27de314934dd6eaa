"""User-facing errors, and the text in their messages.

Each message is one line: the setting or file, the value received, the values allowed.
"""

import difflib
import unicodedata
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """An error that the user can fix.

    Commands print it as one line and exit with `exit_code`.
    """

    exit_code = 1


class SettingError(UserError):
    """An unknown, invalid or conflicting setting."""

    exit_code = 2


class DataError(UserError):
    """A missing, corrupt or unsuitable file or folder."""


class DivergenceError(UserError):
    """A non-finite loss or gradient."""


JOINERS = "\u200c\u200d"  # invisible, but change their neighbors in emoji, Persian and Indic scripts
DIVERGED = (
    "the training diverged; any checkpoints are from before; use a smaller optimizer.lr or set "
    "trainer.gradient_clip_val"
)


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return "did you mean X?" for the most similar choice, or an empty string if none is similar."""
    spellings = {choice.lower(): choice for choice in choices}
    similar = difflib.get_close_matches(name.lower(), list(spellings), n=1, cutoff=0.6)
    return f"did you mean {spellings[similar[0]]}?" if similar else ""


def display_path(path: Path) -> str:
    """Format a path on one line, relative to the working directory if it lies below it."""
    return printable(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def printable(name: str | Path) -> str:
    """Escape a name so that it stays on one line and can be encoded."""
    if str(name).isprintable():
        return str(name)
    return "".join(c if _harmless(c) else c.encode("unicode_escape", "surrogatepass").decode() for c in str(name))


def _harmless(character: str) -> bool:
    """Whether a character is visible, a joiner, or a space of any width."""
    return character.isprintable() or character in JOINERS or unicodedata.category(character) == "Zs"
