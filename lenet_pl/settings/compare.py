"""Settings of `python -m lenet_pl.compare`."""

from typing import Annotated, Any

from pydantic import Field

from lenet_pl.settings.extra_parts import Plugins
from lenet_pl.settings.types import LocalPath, PositiveInt, Settings

Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1)]


class CompareSettings(Settings):
    """The runs to compare, and how to group them."""

    runs: LocalPath | Annotated[list[LocalPath], Field(min_length=1)]
    """Folders, or globs of folders, searched for runs at any depth."""
    group_by: Text | Texts
    """Dotted keys of results.json or of the settings that form the groups."""
    metric: Text
    """Key of `metrics` in results.json that ranks the groups."""
    filter: dict[str, Any] | list[Text] | Text | None
    """Values that keys must have: {key: value} or key=value."""
    include_evaluations: bool
    """Whether results of `evaluate` are compared too, grouped by networks and TTA copies (views) as well."""
    max_curves: PositiveInt
    """Groups of a dataset in the plot of validation curves, best first."""
    max_rows: PositiveInt
    """Groups in the table on the terminal; the files have all."""
    output_dir: LocalPath
    """Folder that receives the files."""
    traceback: bool
    """Whether errors show where in the code they arose."""
    plugins: Plugins
    """Modules that register further parts, such as the networks of the runs."""
