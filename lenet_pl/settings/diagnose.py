"""Settings of `python -m lenet_pl.diagnose`."""

from pydantic import PositiveFloat

from lenet_pl.settings.data import RunDataSettings
from lenet_pl.settings.trained import TrainedSettings
from lenet_pl.settings.types import LocalPath, PositiveInt, Threads


class DiagnoseSettings(TrainedSettings):
    """The training to examine, and the effort."""

    run: LocalPath | None
    """Run folder, finished, stopped or diverged; its training is repeated for some steps."""
    ckpt_path: LocalPath | None
    """Checkpoint of the run whose layers are examined; null: that of its last epoch."""
    data: RunDataSettings
    """Data of the run."""
    counter_runs: bool
    """Whether suspicions are tested by short trainings with one setting changed."""
    max_steps: PositiveInt
    """Largest number of optimizer steps of a short training."""
    time_budget: PositiveFloat
    """Seconds for all short trainings; suspicions that are left then are not tested."""
    num_threads: Threads
    """Intra-op threads; null: as for a training."""
