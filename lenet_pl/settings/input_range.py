"""The setting `input_range`: what the network receives for black and white."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

Level = Annotated[float, Field(ge=-1000, le=1000)]
Levels = Annotated[list[Level], Field(min_length=2, max_length=2)]  # for black and for white


def _kind(value: Any) -> str:
    """Choose the branch, so that an error speaks of what was meant."""
    return "each" if isinstance(value, list) and value and isinstance(value[0], list) else "all"


InputRange = Annotated[
    Annotated[Levels, Tag("all")] | Annotated[list[Levels], Field(max_length=3), Tag("each")], Discriminator(_kind)
]


def channel_ranges(levels: Sequence[float] | Sequence[Sequence[float]]) -> list[Sequence[float]]:
    """List the ranges in `input_range`: one for all channels, or one for each; none of an empty sequence."""
    ranges = [one for one in levels if isinstance(one, Sequence)]
    return ranges or ([levels] if levels else [])  # type: ignore[list-item]
