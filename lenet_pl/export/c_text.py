"""Text of C files: string literals, identifiers, comments and arrays."""

import re
import textwrap
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "int32": "int32_t", "float32": "float"}
WIDTH = 116  # columns


def string_literal(text: str) -> str:
    r"""Write a string literal in plain ASCII, in which `??/` is no trigraph and no escape takes in what follows it.

    Example:
        >>> string_literal('a"é')
        '"a\\"\\303\\251"'
    """
    return '"' + "".join(map(_escape, text.encode("utf-8", "surrogateescape"))) + '"'


def _escape(byte: int) -> str:
    if chr(byte) in '"\\?':
        return f"\\{chr(byte)}"
    return chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"  # an octal escape ends after three digits


def identifier(text: str) -> str:
    """Convert a text to a C identifier that is no keyword with a suffix, such as `lenet5_digits`."""
    plain = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")[:31].rstrip("_")
    return plain if plain[:1].isalpha() else f"model_{plain}".rstrip("_")


def comment_text(text: str) -> str:
    """Replace what could end a comment, begin a trigraph or is not ASCII."""
    return re.sub(r"[^A-Za-z0-9 _.,:=+@()-]", "_", text)


def array(name: str, values: Array) -> str:
    """Write a constant array, flattened; floats with all their digits."""
    flat = values.reshape(-1)
    words = [_float(value) for value in flat] if flat.dtype == np.float32 else [str(int(value)) for value in flat]
    lines = textwrap.fill(", ".join(words), WIDTH, initial_indent="    ", subsequent_indent="    ")
    return f"static const {TYPES[str(flat.dtype)]} {name}[{len(flat)}] = {{\n{lines}\n}};\n"


def _float(value: float) -> str:
    text = f"{value:.9g}"  # nine digits identify a float32
    return f"{text}F" if "." in text or "e" in text else f"{text}.0F"
