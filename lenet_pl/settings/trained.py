"""Settings of every command that works on a trained run, and those that it reads from a checkpoint."""

from pydantic import ConfigDict

from lenet_pl.settings.data import AnyDataSettings, LoaderSettings
from lenet_pl.settings.extra_parts import Plugins
from lenet_pl.settings.model import AnyModelSettings
from lenet_pl.settings.types import LocalPath, Settings


class TrainedSettings(Settings):
    """The network, and the folder for the files of the command."""

    run: LocalPath | None
    """Run folder, whose best checkpoint is used."""
    ckpt_path: LocalPath | None
    """Checkpoint file, instead of a run folder."""
    output_dir: LocalPath | None
    """Folder that receives the files; null: <run>/<command>/<date>_<time> is made."""
    traceback: bool
    """Whether errors show where in the code they arose."""
    plugins: Plugins
    """Modules that register further parts, such as the network of the run."""


class RecordedModel(Settings):
    """The settings that rebuild a network, without channels and classes."""

    model: AnyModelSettings
    """Network."""


class RecordedSettings(Settings):
    """The settings of a checkpoint that later commands need. Other keys, as of another version, are ignored."""

    model_config = ConfigDict(extra="ignore")

    seed: int
    """Seed of the run."""
    data: AnyDataSettings
    """Dataset."""
    loader: LoaderSettings
    """Batches."""
    model: AnyModelSettings
    """Network."""
