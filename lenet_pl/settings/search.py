"""Settings of `python -m lenet_pl.search`."""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, ValidationInfo, field_validator

from lenet_pl.settings.train import TrainSettings
from lenet_pl.settings.types import PositiveInt, Settings

JUDGED_BY = ("val/accuracy", "val/loss")


class SamplerSettings(Settings):
    """The sampler, which proposes the values of a trial."""

    name: Literal["tpe", "random"]
    """Optuna sampler."""
    n_startup_trials: PositiveInt
    """Trials that tpe draws at random first."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None
    """Seed of the sampler; null: a new one each time."""


class PrunerSettings(Settings):
    """The pruner, which stops unpromising trials after an epoch."""

    name: Literal["median", "halving", "hyperband", "none"]
    """Optuna pruner."""
    n_startup_trials: Annotated[int, Field(ge=0)]
    """Finished trials before median prunes one."""
    warmup_epochs: Annotated[int, Field(ge=0)]
    """Epochs before a trial can be pruned; for halving and hyperband the epochs of the first round."""


class StudySettings(Settings):
    """The search space, the number of trials, and the storage."""

    space: Annotated[dict[str, Any], Field(min_length=1)]
    """Settings of a training with their ranges or choices."""
    study_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]+$", max_length=200)]
    """Name of the Optuna study."""
    n_trials: PositiveInt
    """Trials in total, over all processes and repeats of the command."""
    metric: str
    """Metric of the best epoch that is optimized."""
    storage: Annotated[str, Field(min_length=1)] | None
    """URL of a database; null: SQLite in the run folder."""
    sampler: SamplerSettings
    """Sampler that proposes the values of a trial."""
    pruner: PrunerSettings
    """Pruner that ends trials early."""
    timeout: PositiveFloat | None
    """Seconds after which this process starts no further trial."""
    n_test_seeds: Annotated[int, Field(ge=0, le=1000)]
    """Number of further seeds with which the best trial is trained and tested."""
    heartbeat_interval: PositiveInt
    """Seconds between two heartbeats of a running trial."""
    grace_period: PositiveInt
    """Seconds without a heartbeat after which a trial counts as lost."""
    max_retry: Annotated[int, Field(ge=0)]
    """Retries of a trial whose process was killed, before it counts as failed."""
    storage_timeout: NonNegativeFloat
    """Seconds for which a database that does not answer is tried again."""
    max_rows: PositiveInt
    """Trials in the table on the terminal."""

    @field_validator("metric")
    @classmethod
    def _check_metric(cls, metric: str) -> str:
        if metric not in JUDGED_BY:
            why = ": the test split is not for selection" if metric.startswith("test/") else ""
            raise ValueError(f"got {metric!r}; must be {' or '.join(JUDGED_BY)}{why}")
        return metric

    @field_validator("grace_period")
    @classmethod
    def _check_grace_period(cls, grace: int, info: ValidationInfo) -> int:
        least = 2 * info.data.get("heartbeat_interval", 0)
        if grace < least:
            raise ValueError(f"got {grace} s; must be at least twice search.heartbeat_interval, {least} s")
        return grace


class SearchSettings(TrainSettings):
    """Settings of `python -m lenet_pl.search`: those of a training, and `search`."""

    search: StudySettings
    """Study."""
