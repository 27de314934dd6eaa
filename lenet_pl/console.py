"""The terminal as rich draws on it, with text shown as it is."""

from typing import Any

import rich.console
from rich.text import Text

from lenet_pl.text import SPELL, lines


class Console(rich.console.Console):
    """Console for which a string is text and nothing else: no markup, no emoji codes, no control characters.

    What the encoding lacks is spelt before a table is laid out, so that its columns stay straight.
    """

    def render_str(self, text: str, *, style: Any = "", justify: Any = None, overflow: Any = None, **_: Any) -> Text:
        """Make a renderable of a string, a cell, a title or a caption."""
        said = lines(text).encode(self.encoding, SPELL).decode(self.encoding)
        return Text(said, style=style, justify=justify, overflow=overflow)
