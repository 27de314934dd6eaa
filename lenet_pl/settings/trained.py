"""Settings of every command that works on a trained run, and those that it reads from a checkpoint."""

from pydantic import ConfigDict

from lenet_pl.settings.data import AnyDataSettings, LoaderSettings
from lenet_pl.settings.model import AnyModelSettings
from lenet_pl.settings.types import LocalPath, Settings


class TrainedSettings(Settings):
    """Which network, and where the command's files go."""

    run: LocalPath | None
    """Run folder, whose best checkpoint is used."""
    ckpt_path: LocalPath | None
    """Checkpoint file, instead of a run folder."""
    output_dir: LocalPath | None
    """Folder that receives the files; null: <run>/<command>/<date>_<time>."""
    traceback: bool
    """Whether errors show where in the code they arose."""


class RecordedModel(Settings):
    """What builds a network again, less channels and classes."""

    model: AnyModelSettings
    """Network."""


class RecordedSettings(Settings):
    """What later use needs of the settings in a checkpoint; another version may train with other keys."""

    model_config = ConfigDict(extra="ignore")

    seed: int
    """Seed of the run."""
    data: AnyDataSettings
    """Data set."""
    loader: LoaderSettings
    """Batches."""
    model: AnyModelSettings
    """Network."""
