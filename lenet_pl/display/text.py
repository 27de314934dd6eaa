"""Literal output of the user's text: class names, titles, paths, values and messages.

A class may be called `$5`, `[red]x`, `=1+1` or `<b>`, in any script, with 200 characters or a line break. This module
has a function for each file format and for the standard streams. `console` prints tables with rich, and `figure` draws
plots with matplotlib. The module imports nothing heavy.
"""

import codecs
import csv
import html
import io
import json
import re
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lenet_pl.errors import JOINERS, printable

FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r")  # first characters of what spreadsheets evaluate
# ASCII for the signs in messages of this package
SPELT = {"×": "x", "±": "+-", "–": "-", "…": "...", "•": "*", "→": "->", "’": "'"}
SPELL = "lenet_pl.spell"  # name of the error handler for encodings
MARKDOWN = re.compile(r"[\\`*<$|]|~(?=~)|\[(?=.*\]\()|(?<!\w)_|_(?!\w)")  # what Markdown interprets
NAME = 40  # maximum width of a class name in columns


def lines(text: str) -> str:
    """Escape each line of a text, and keep the line breaks."""
    return "\n".join(printable(line) for line in text.split("\n"))


def label(name: str | Path, longest: int = NAME) -> str:
    """Escape a name and shorten it to at most `longest` columns of one line."""
    return shorten(printable(name), longest)


def shorten(text: str, longest: int) -> str:
    """Shorten a text to `longest` columns by removing its middle, since both ends distinguish names."""
    widths = [_columns(character) for character in text]
    if sum(widths) <= longest:
        return text
    room = max(1, longest) - 1  # without the ellipsis
    start, end, left, right = 0, len(text), room - room // 2, room // 2
    while widths[start] <= left:
        left -= widths[start]
        start += 1
    while widths[end - 1] <= right:
        right -= widths[end - 1]
        end -= 1
    while end < len(text) and widths[end] == 0:  # combining marks of a removed character
        end += 1
    return f"{text[:start].rstrip(JOINERS)}…{text[end:]}"


def width(text: str) -> int:
    """Return the width of a line in terminal columns."""
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    """Return 2 for wide East Asian characters and most emoji, 0 for combining marks, else 1."""
    if character in JOINERS or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def as_json(content: Any, *, indent: int | None = 2, **options: Any) -> str:
    """Write readable JSON. A lone surrogate, from a file name in another encoding, becomes its escape."""
    text = json.dumps(content, indent=indent, ensure_ascii=False, **options) + "\n"
    return text.encode(errors="backslashreplace").decode()


def as_csv(rows: Iterable[Iterable[Any]]) -> str:
    """Write rows as CSV. Text that a spreadsheet would evaluate gets a leading apostrophe, numbers stay unchanged."""
    stream = io.StringIO()
    csv.writer(stream).writerows([_cell(value) for value in row] for row in rows)
    return stream.getvalue().encode(errors="backslashreplace").decode()


def _cell(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def as_html(text: object) -> str:
    """Escape text for HTML, including quoted attributes."""
    return html.escape(lines(str(text)))


def as_bdi(name: str) -> str:
    """Escape a name for HTML, on one line, isolated so that its direction does not affect the surrounding text."""
    return f"<bdi>{as_html(printable(name))}</bdi>"


def as_markdown(text: str) -> str:
    """Write text on one line, and escape what Markdown would interpret."""
    return MARKDOWN.sub(r"\\\g<0>", printable(text))


def as_file_name(name: str, longest: int = NAME) -> str:
    """Convert a name to a part of a file name or of a TensorBoard tag."""
    plain = label(name, longest).replace("/", "_").replace("\\", "_")
    return plain.encode(sys.getfilesystemencoding(), SPELL).decode(sys.getfilesystemencoding())


def prepare_output() -> None:
    """Let stdout and stderr replace characters that their encoding lacks, for which Python would raise an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # streams of a notebook are not, and accept everything
            stream.reconfigure(errors=SPELL)


def _spell(error: UnicodeError) -> tuple[str, int]:
    """Replace what cannot be encoded: signs and box drawing by similar ASCII, anything else by its escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(character: str) -> str:
    if "\u2500" <= character <= "\u257f":
        return "-" if character in "─━╌╍┄┅┈┉═╴╶╸╺╼╾" else "|" if character in "│┃║╎╏┆┇┊┋╵╷╹╻" else "+"
    return SPELT.get(character) or character.encode("ascii", "backslashreplace").decode()


codecs.register_error(SPELL, _spell)
