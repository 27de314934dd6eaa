"""Settings of `python -m lenet_pl.benchmark`."""

from typing import Annotated

from pydantic import Field

from lenet_pl.settings.types import Count, Positive, Settings

Names = Annotated[list[str], Field(min_length=1)]


class BenchmarkSettings(Settings):
    """What is compared, and for how long."""

    run: Annotated[str, Field(min_length=1)]  # folder that receives the results
    traceback: bool
    data_sets: Names  # choices of the group `data`; the first that is there is used
    data_root: str
    models: Names  # choices of the group `model`
    augments: Names  # choices of the group `augment`
    batch_sizes: Annotated[list[Count], Field(min_length=1)]  # images per step
    threads: Count | None  # intra-op threads; null: as many as torch finds
    rounds: Count
    seconds: Positive  # per loop and round
    tutorial: bool  # run the tutorial loop too
