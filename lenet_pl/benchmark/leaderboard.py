"""Rows of a leaderboard file such as docs/leaderboard.csv, and the intervals of their means."""

import csv
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from scipy.special import stdtrit

from lenet_pl.errors import DataError, did_you_mean, printable
from lenet_pl.settings.config_file import reason

LEVEL = 0.95
Text = Annotated[str, Field(max_length=500)]
OrUnknown = BeforeValidator(lambda value: None if value == "" else value)  # an empty cell is an unknown figure
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Row(BaseModel):
    """Accuracy of one network on one dataset. None is unknown.

    Attributes:
        table: The table of the page. In "published" are figures of others, in "tutorials" recipes of others that were
            trained here.
        id: The name of the row, for `versus` and `python -m lenet_pl.benchmark`.
        name: The name in the table.
        model: A name of `lenet_pl.models`; empty for networks of others.
        data: The dataset.
        recipe: The words after `python -m lenet_pl.train`.
        seeds: The seeds; empty for an ensemble.
        epochs: The number of epochs.
        networks: The number of networks whose probabilities are averaged.
        tta_copies: The number of copies of an image whose probabilities are averaged; 1 without TTA.
        n: The number of independent scores, one per seed.
        mean: Their mean test accuracy.
        sd: Their standard deviation (n - 1).
        low: The lower end of the 95% interval of the mean (Student's t).
        high: The upper end.
        parameters: The number of parameters of all networks.
        multiply_adds: The number of multiply-adds for an image, with all networks and copies.
        seconds: The training time of one network.
        hardware: Where it was trained.
        precision: The precision of the training, such as 32-true.
        commit: The commit that was measured, or the one that recorded the figures.
        versus: The rows next to which a tutorial's recipe is shown.
        source: "measured here", or where the figure was published.
        note: What else must be known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: Literal["main", "models", "tutorials", "ours", "published"]
    id: Text
    name: Text
    model: Text
    data: Text
    recipe: Text
    seeds: Annotated[tuple[int, ...], BeforeValidator(lambda text: tuple(str(text).split()))]
    epochs: Annotated[Count | None, OrUnknown]
    networks: Count
    tta_copies: Count
    n: Annotated[Count | None, OrUnknown]
    mean: Annotated[Fraction | None, OrUnknown]
    sd: Annotated[Fraction | None, OrUnknown]
    low: Annotated[float | None, OrUnknown]
    high: Annotated[float | None, OrUnknown]
    parameters: Annotated[Count | None, OrUnknown]
    multiply_adds: Annotated[Count | None, OrUnknown]
    seconds: Annotated[float | None, OrUnknown]
    hardware: Text
    precision: Text
    commit: Text
    versus: Annotated[tuple[str, ...], BeforeValidator(lambda text: tuple(str(text).split()))]
    source: Text
    note: Text

    def interval(self) -> tuple[float, float] | None:
        """Compute the 95% interval of the mean; None for an unknown spread."""
        return None if self.n is None else self._around(1 / self.n)

    def prediction(self, count: int) -> tuple[float, float] | None:
        """Compute the 95% prediction interval for the mean of `count` further seeds.

        It is wider than `interval`, since the new mean has an error of its own: t · sd · √(1/n + 1/count) (Hahn and
        Meeker, "Statistical Intervals", 1991, section 4.7).
        """
        return None if self.n is None else self._around(1 / self.n + 1 / count)

    def _around(self, factor: float) -> tuple[float, float] | None:
        if self.n is None or self.n < 2 or self.mean is None or self.sd is None:
            return None
        half = float(stdtrit(self.n - 1, (1 + LEVEL) / 2)) * self.sd * math.sqrt(factor)
        return self.mean - half, self.mean + half


def read_rows(path: Path) -> list[Row]:
    """Read a leaderboard file.

    Raises:
        DataError: It is missing or corrupt.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            lines: list[dict[str, Any]] = list(csv.DictReader(stream))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"leaderboard: {printable(str(path))}: {reason(error)}") from None
    rows = []
    for number, line in enumerate(lines, 2):
        try:
            rows.append(Row.model_validate(line))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(map(str, first["loc"]))
            raise DataError(f"leaderboard: line {number} of {printable(str(path))}: {key}: {first['msg']}") from None
    return rows


def find_row(rows: list[Row], name: str) -> Row:
    """Find a row by its `id`.

    Raises:
        DataError: There is none.
    """
    for row in rows:
        if row.id == name:
            return row
    near = did_you_mean(name, [row.id for row in rows])
    raise DataError(f"leaderboard_row: got {printable(name)}; {near or 'must be an id of the leaderboard file'}")
