"""Settings of `python -m lenet_pl.compare`."""

from typing import Annotated, Any

from pydantic import Field

from lenet_pl.settings.types import Count, LocalPath, Settings

Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1)]


class CompareSettings(Settings):
    """Which runs are compared, by what."""

    runs: (
        LocalPath | Annotated[list[LocalPath], Field(min_length=1)]
    )  # folders, or globs of folders, searched at any depth
    by: Text | Texts  # keys of results.json or of the settings, dotted
    metric: Text  # key of `metrics` in results.json that ranks
    where: dict[str, Any] | list[Text] | Text | None  # values that keys must have: {key: value} or key=value
    evaluations: bool  # what `evaluate` found is compared too, grouped by networks and views as well
    curves: Count  # groups of a data set in the picture of validation curves, best first
    rows: Count  # groups in the table on the terminal; the files have all
    out: LocalPath  # folder that receives the files
    traceback: bool
