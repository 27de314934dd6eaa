"""System fonts for characters that matplotlib's own font lacks."""

import contextlib
import logging
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

from matplotlib import font_manager
from matplotlib.font_manager import FontEntry, FontProperties, fontManager
from matplotlib.ft2font import FT2Font

from lenet_pl.errors import JOINERS

PLAIN = 400  # normal font weight


class SystemFonts:
    """An index of the system's fonts, which looks up each character once.

    Attributes:
        family: Font family of each character looked up so far. None if no font contains it.
        reported: Characters that were reported to the user as missing from all fonts.
    """

    def __init__(self) -> None:
        self.family: dict[str, str | None] = {}
        self.reported: set[str] = set()
        self._scanned = False

    def families(self, text: str, font: FontProperties) -> list[str]:
        """Return the font families that are needed in addition to a font to draw a text."""
        if not (drawn := _drawn(text)):
            return []
        file = font_manager.findfont(font)
        missing = [c for c in drawn if not _has(file, c)]
        if unknown := {c for c in missing if c not in self.family}:
            self._search(unknown)
        return list(dict.fromkeys(name for c in missing if (name := self.family[c])))

    def lacking(self, text: str) -> set[str]:
        """Return the characters of a text that were looked up and that no font contains."""
        return {c for c in _drawn(text) if self.family.get(c, "") is None}

    def _search(self, characters: set[str]) -> None:
        self._search_among(characters, fontManager.ttflist)
        if characters and not self._scanned:  # matplotlib's cached list may be outdated
            self._scanned = True
            known = len(fontManager.ttflist)
            for file in set(font_manager.findSystemFonts()) - {entry.fname for entry in fontManager.ttflist}:
                with contextlib.suppress(Exception):  # corrupt, or a bitmap font, which matplotlib rejects
                    fontManager.addfont(file)
            self._search_among(characters, fontManager.ttflist[known:])
        self.family |= dict.fromkeys(characters)

    def _search_among(self, characters: set[str], fonts: Sequence[FontEntry]) -> None:
        """Record the family of each character that a font contains, and remove it from the set."""
        seen: set[str] = set()
        for entry in sorted(fonts, key=_preference):
            if not characters:
                return
            if entry.name in seen or entry.name.replace(" ", "").lower().lstrip(".").startswith("lastresort"):
                continue  # these fonts draw a box for each character
            seen.add(entry.name)
            found = {c for c in characters if _has(entry.fname, c)}
            self.family |= dict.fromkeys(found, entry.name)
            characters -= found


FONTS = SystemFonts()
logging.getLogger("matplotlib.font_manager").addFilter(  # a font with one weight only is not worth a message
    lambda record: "Failed to find font weight" not in record.getMessage()
)


def _preference(entry: FontEntry) -> tuple[bool, str, bool, int]:
    """Sort fonts for text in figures: sans serif families first, and upright and normal weight first in each family."""
    plain = any(word in entry.name.lower() for word in ("sans", "gothic", "hei"))
    weight = font_manager.weight_dict.get(entry.weight, PLAIN) if isinstance(entry.weight, str) else entry.weight
    return not plain, entry.name, entry.style != "normal", abs(weight - PLAIN)


@lru_cache(8)
def _open(file: str) -> FT2Font:
    return FT2Font(file)


def _has(file: str, character: str) -> bool:
    try:
        return bool(_open(file).get_char_index(ord(character)))
    except (OSError, RuntimeError):
        return False


def _drawn(text: Iterable[str]) -> set[str]:
    """Return the characters that a font must contain, without those that only modify or join others."""
    return {
        c for c in text if c not in JOINERS and unicodedata.category(c)[0] not in "CZ" and not "\ufe00" <= c <= "\ufe0f"
    }
