"""Fonts of the system for characters that matplotlib's own lacks."""

import contextlib
import logging
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

from matplotlib import font_manager
from matplotlib.font_manager import FontEntry, FontProperties, fontManager
from matplotlib.ft2font import FT2Font

from lenet_pl.errors import JOINERS

PLAIN = 400  # weight of ordinary text


class SystemFonts:
    """What is known of the system's fonts; each character is looked for once.

    Attributes:
        family: of each character that was looked for; None where no font has it.
        told: characters that the user was told no font has.
    """

    def __init__(self) -> None:
        self.family: dict[str, str | None] = {}
        self.told: set[str] = set()
        self._scanned = False

    def families(self, text: str, font: FontProperties) -> list[str]:
        """Name the families that are needed beside a font to draw a text."""
        missing = [c for c in _drawn(text) if not _has(font_manager.findfont(font), c)]
        if unknown := {c for c in missing if c not in self.family}:
            self._search(unknown)
        return list(dict.fromkeys(name for c in missing if (name := self.family[c])))

    def lacking(self, text: str) -> set[str]:
        """Characters of a text that was looked for and that no font has."""
        return {c for c in _drawn(text) if self.family.get(c, "") is None}

    def _search(self, characters: set[str]) -> None:
        self._search_among(characters, fontManager.ttflist)
        if characters and not self._scanned:  # matplotlib's list may be older than the system's fonts
            self._scanned = True
            known = len(fontManager.ttflist)
            for file in set(font_manager.findSystemFonts()) - {entry.fname for entry in fontManager.ttflist}:
                with contextlib.suppress(Exception):  # damaged, or of pixels only, which matplotlib does not take
                    fontManager.addfont(file)
            self._search_among(characters, fontManager.ttflist[known:])
        self.family |= dict.fromkeys(characters)

    def _search_among(self, characters: set[str], fonts: Sequence[FontEntry]) -> None:
        """Note the families of those characters that a font has, and take them out of the set."""
        seen: set[str] = set()
        for entry in sorted(fonts, key=_preference):
            if not characters:
                return
            if entry.name in seen or entry.name.replace(" ", "").lower().lstrip(".").startswith("lastresort"):
                continue  # of which one has a picture of a box for each character
            seen.add(entry.name)
            found = {c for c in characters if _has(entry.fname, c)}
            self.family |= dict.fromkeys(found, entry.name)
            characters -= found


FONTS = SystemFonts()
logging.getLogger("matplotlib.font_manager").addFilter(  # that a font has one weight only is no reason for a message
    lambda record: "Failed to find font weight" not in record.getMessage()
)


def _preference(entry: FontEntry) -> tuple[bool, str, bool, int]:
    """Order fonts for text among figures: without serifs first, upright and of ordinary weight in each family."""
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
    """Characters that a font must have: not those that only change or join others."""
    return {
        c for c in text if c not in JOINERS and unicodedata.category(c)[0] not in "CZ" and not "\ufe00" <= c <= "\ufe0f"
    }
