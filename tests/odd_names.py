"""Unusual class names, and a folder of images with all of them."""

from pathlib import Path

import numpy as np
from PIL import Image

NAMES = {
    "Chinese": "猫",
    "Japanese, with a wide space": "犬　ねこ",
    "Arabic": "قط",
    "Persian, with a joiner": "می\u200cخواهم",
    "an emoji": "😀",
    "emoji joined": "👩\u200d🚀",
    "a price": "$5",
    "two dollars": "$10_$20",
    "mathematics": "$A$",
    "broken mathematics": r"$\frac$",
    "brackets": "[x]",
    "a style": "[red]x",
    "a style alone": "[bold]",
    "an emoji code": ":smile:",
    "per cent": "100%",
    "an underscore": "_x_",
    "a tag": "<b>",
    "an entity": "&amp;",
    "quotes": '"it\'s"',
    "a backslash": "back\\slash",
    "a formula": "=1+1",
    "a sum": "+1+1",
    "a line break": "line\nbreak",
    "a tab": "tab\there",
    "an escape sequence": "\x1b[31mred",
    "a byte of another encoding": "bad\udcff",
    "a right-to-left mark": "right\u200fmark",
    "an override of direction": "\u202eevil",
    "long": f"long {'0123456789' * 19} end",
}
SHOWN = {
    **NAMES,
    "a line break": r"line\nbreak",
    "a tab": r"tab\there",
    "an escape sequence": r"\x1b[31mred",
    "a byte of another encoding": r"bad\udcff",
    "a right-to-left mark": r"right\u200fmark",
    "an override of direction": r"\u202eevil",
}  # as printed: on one line, with invisible characters escaped


def write_images(folder: Path) -> None:
    """Write four similar images per class."""
    draw = np.random.default_rng(0)
    for name in NAMES.values():
        (folder / name).mkdir(parents=True)
        base = draw.integers(20, 235, (12, 12))
        for number in range(4):
            pixels = base + draw.integers(-20, 20, base.shape)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
