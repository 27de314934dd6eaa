"""A rich console that prints text literally."""

from typing import Any

import rich.console
from rich.text import Text

from lenet_pl.display.text import SPELL, lines


class Console(rich.console.Console):
    """A console that takes every string as plain text, without markup, emoji codes or control characters.

    Characters that the encoding lacks are replaced before a table is laid out, so that its columns stay aligned.
    """

    def render_str(self, text: str, *, style: Any = "", justify: Any = None, overflow: Any = None, **_: Any) -> Text:
        """Convert a string, cell, title or caption to a rich Text."""
        plain = lines(text).encode(self.encoding, SPELL).decode(self.encoding)
        return Text(plain, style=style, justify=justify, overflow=overflow)
