"""Settings that every verb takes which works on a trained run, and those that a checkpoint hands on to it."""

from pydantic import ConfigDict

from lenet_pl.settings.data import AnyDataSettings, LoaderSettings
from lenet_pl.settings.model import AnyModelSettings
from lenet_pl.settings.types import LocalPath, Settings


class TrainedSettings(Settings):
    """Which network, and where the verb's files go."""

    run: LocalPath | None  # folder of a run; its best checkpoint is taken
    ckpt: LocalPath | None  # or one checkpoint file
    out: LocalPath | None  # folder that receives the files; null: <run>/<verb>/<date>_<time>
    traceback: bool


class RecordedModel(Settings):
    """What builds a network again, less channels and classes."""

    model: AnyModelSettings


class RecordedSettings(Settings):
    """What later use needs of the settings in a checkpoint; another version may train with other keys."""

    model_config = ConfigDict(extra="ignore")

    seed: int
    data: AnyDataSettings
    loader: LoaderSettings
    model: AnyModelSettings
