"""The user's text on its way out: class names, titles, paths, values and messages, shown as they are.

A class may be called `$5`, `[red]x`, `=1+1` or `<b>`, in any script, in 200 characters or with a line break. Here is
one function for each kind of file and for the standard streams; `console` draws tables with rich, `figure` pictures
with matplotlib. Imports nothing heavy.
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

FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r")  # with which text begins that spreadsheets compute
SPELT = {"×": "x", "±": "+-", "–": "-", "…": "...", "•": "*", "→": "->", "’": "'"}  # our own signs, in ASCII
SPELL = "lenet_pl.spell"  # name of the error handler for encodings
MARKDOWN = re.compile(r"[\\`*<$|]|~(?=~)|\[(?=.*\]\()|(?<!\w)_|_(?!\w)")  # what would not be shown as it is
NAME = 40  # columns that a class name takes among others


def lines(text: str) -> str:
    """Make each line of a text printable, and keep its lines."""
    return "\n".join(printable(line) for line in text.split("\n"))


def label(name: str | Path, longest: int = NAME) -> str:
    """Write a name where room is limited: printable, on one line, in at most so many columns."""
    return shorten(printable(name), longest)


def shorten(text: str, longest: int) -> str:
    """Leave out the middle of a text that fills more columns; both ends tell names apart."""
    widths = [_columns(character) for character in text]
    if sum(widths) <= longest:
        return text
    room = max(1, longest) - 1  # beside the ellipsis
    start, end, left, right = 0, len(text), room - room // 2, room // 2
    while widths[start] <= left:
        left -= widths[start]
        start += 1
    while widths[end - 1] <= right:
        right -= widths[end - 1]
        end -= 1
    while end < len(text) and widths[end] == 0:  # marks of a character that is left out
        end += 1
    return f"{text[:start].rstrip(JOINERS)}…{text[end:]}"


def width(text: str) -> int:
    """Count the columns that a line fills."""
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    """2 for East Asian wide characters and most emoji, 0 for marks on the character before, else 1."""
    if character in JOINERS or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def as_json(content: Any, *, indent: int | None = 2, **options: Any) -> str:
    """Write JSON for people; a lone surrogate, of a file name in another encoding, stays what it is as an escape."""
    text = json.dumps(content, indent=indent, ensure_ascii=False, **options) + "\n"
    return text.encode(errors="backslashreplace").decode()


def as_csv(rows: Iterable[Iterable[Any]]) -> str:
    """Write rows as CSV; text that a spreadsheet would compute begins with an apostrophe, numbers are left alone."""
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
    """Write text for HTML, also inside an attribute's quotes."""
    return html.escape(lines(str(text)))


def as_bdi(name: str) -> str:
    """Write a name for HTML, on one line, so that its direction leaves what stands beside it alone."""
    return f"<bdi>{as_html(printable(name))}</bdi>"


def as_markdown(text: str) -> str:
    """Write text on one line, with nothing in it that Markdown would read as markup."""
    return MARKDOWN.sub(r"\\\g<0>", printable(text))


def as_file_name(name: str, longest: int = NAME) -> str:
    """Write a name as part of a file's name, and of a picture's in TensorBoard."""
    plain = label(name, longest).replace("/", "_").replace("\\", "_")
    return plain.encode(sys.getfilesystemencoding(), SPELL).decode(sys.getfilesystemencoding())


def prepare_output() -> None:
    """Let stdout and stderr spell what their encoding lacks, where Python would end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's are not, and take everything
            stream.reconfigure(errors=SPELL)


def _spell(error: UnicodeError) -> tuple[str, int]:
    """Replace what cannot be encoded: signs and box drawing by the like in ASCII, anything else by its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(character: str) -> str:
    if "\u2500" <= character <= "\u257f":
        return "-" if character in "─━╌╍┄┅┈┉═╴╶╸╺╼╾" else "|" if character in "│┃║╎╏┆┇┊┋╵╷╹╻" else "+"
    return SPELT.get(character) or character.encode("ascii", "backslashreplace").decode()


codecs.register_error(SPELL, _spell)
