"""Settings of `python -m lenet_pl.search`."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from lenet_pl.settings.train import TrainSettings
from lenet_pl.settings.types import Count, NotNegative, Positive, Settings

JUDGED_BY = ("val/accuracy", "val/loss")


class SamplerSettings(Settings):
    """Who proposes the values of a trial."""

    name: Literal["tpe", "random"]
    startup_trials: Count  # trials that tpe draws at random before it begins to learn
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None  # null: another one each time


class PrunerSettings(Settings):
    """Who ends a trial that promises little, after an epoch."""

    name: Literal["median", "halving", "hyperband", "none"]
    startup_trials: Annotated[int, Field(ge=0)]  # finished trials before median prunes
    warmup_epochs: Annotated[int, Field(ge=0)]  # epochs after which no trial is ended yet


class StudySettings(Settings):
    """What is searched, for how long, and where the trials are kept."""

    space: Annotated[dict[str, Any], Field(min_length=1)]  # settings of a training and their ranges or choices
    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]+$", max_length=200)]
    trials: Count  # in total, by all processes and repeats of the command
    metric: str  # of the best epoch; what is made better
    storage: Annotated[str, Field(min_length=1)] | None  # URL of a database; null: sqlite in the run folder
    sampler: SamplerSettings
    pruner: PrunerSettings
    timeout: Positive | None  # s after which this process begins no further trial
    seeds_of_best: Annotated[int, Field(ge=0, le=1000)]  # seeds with which the best trial is trained anew and tested
    heartbeat: Count  # s between two signs of life of a running trial
    grace: Count  # s without one after which a trial is taken for lost
    retries: Annotated[int, Field(ge=0)]  # of a trial whose process was killed, before it counts as failed
    patience: NotNegative  # s for which a database that does not answer is asked again
    rows: Count  # trials in the table on the terminal

    @field_validator("metric")
    @classmethod
    def _the_test_part_is_not_for_choosing(cls, metric: str) -> str:
        if metric not in JUDGED_BY:
            why = ": the test part is not for choosing" if metric.startswith("test/") else ""
            raise ValueError(f"got {metric!r}; accepted is {' or '.join(JUDGED_BY)}{why}")
        return metric

    @field_validator("grace")
    @classmethod
    def _a_sign_of_life_may_be_late(cls, grace: int, info: ValidationInfo) -> int:
        least = 2 * info.data.get("heartbeat", 0)
        if grace < least:
            raise ValueError(f"got {grace} s; accepted is at least twice search.heartbeat, {least} s")
        return grace


class SearchSettings(TrainSettings):
    """Everything that `python -m lenet_pl.search` takes: a training's settings, and `search`."""

    search: StudySettings
