"""Every setting with its type, unit and range. Defaults live in `conf/` alone; nothing heavy is imported here.

A composed configuration becomes a `TrainSettings` (or an error that names the key) before anything else happens, and
the same classes check what a checkpoint says about itself. All values are plain JSON types.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lenet_pl.errors import SettingError, did_you_mean

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=1, le=4096)]
Side = Annotated[int, Field(ge=4, le=512)]  # px
Degrees = Annotated[float, Field(ge=0, le=180)]
Metric = Literal["train/loss", "train/accuracy", "val/loss", "val/accuracy"]


class Settings(BaseModel):
    """A group of settings: unknown keys, wrong types, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


# ---------------------------------------------------------------------------------------------------------------- data


class SplitSettings(Settings):
    """How validation images are taken from the training part; the same for every seed of a run."""

    method: Literal["last", "stratified", "random"]
    validation: Annotated[int, Field(ge=1)] | Share  # images, or share of the training part


class DataSettings(Settings):
    """What every data set has."""

    split: SplitSettings
    fit: Literal["pad", "resize"]  # how an image that is smaller than the model wants gets there


class NamedDataSettings(DataSettings):
    """A published data set that comes as files."""

    name: Literal["mnist", "fashion", "kmnist", "qmnist", "usps", "cifar10"]
    root: str  # folder in which data sets are looked for and downloaded to
    download: bool


class EmnistDataSettings(DataSettings):
    """EMNIST, one of its six splits."""

    name: Literal["emnist"]
    variant: Literal["balanced", "byclass", "bymerge", "letters", "digits", "mnist"]
    root: str
    download: bool


class DigitsDataSettings(DataSettings):
    """The handwritten digits that scikit-learn ships."""

    name: Literal["digits"]


class FolderDataSettings(DataSettings):
    """The user's own images, one directory for each class."""

    name: Literal["folder"]
    path: str  # directories of classes, or `train` and `test` with directories of classes
    test_path: str | None  # null: `path`/test, else a share of `path`
    test_fraction: Share  # share of each class that becomes the test part where there is no test directory
    image_size: Side | None  # px to which images are brought on reading; null: what the model wants
    colour: Literal["auto", "grey", "rgb"]
    background: Annotated[int, Field(ge=0, le=255)]  # grey level around the object
    skip_unreadable: bool


class FakeDataSettings(DataSettings):
    """Seeded noise around one pattern for each class, for tests."""

    name: Literal["fake"]
    images: Count  # training and validation
    test_images: Count
    classes: Annotated[int, Field(ge=2, le=1000)]
    channels: Literal[1, 3]
    image_size: Side  # px
    seed: Annotated[int, Field(ge=0)]


AnyDataSettings = Annotated[
    NamedDataSettings | EmnistDataSettings | DigitsDataSettings | FolderDataSettings | FakeDataSettings,
    Field(discriminator="name"),
]


class LoaderSettings(Settings):
    """How images become batches."""

    batch_size: Count  # images per optimiser step
    eval_batch_size: Count  # images per validation or test step
    shuffle: bool
    drop_last: bool  # leave out the last, smaller batch of an epoch


class AugmentSettings(Settings):
    """Strengths of the random transforms; 0 switches one off. Each image draws its own parameters."""

    rotation: Degrees  # ± degrees
    translation: Annotated[float, Field(ge=0, le=1)]  # ± share of the side
    scale: Probability  # ± share
    squeeze: Probability  # ± share: wider and flatter, or narrower and taller
    shear: Annotated[float, Field(ge=0, lt=80)]  # ± degrees, horizontal
    crop_padding: Annotated[int, Field(ge=0, le=256)]  # px added on each side before a random crop to the old size
    flip: Annotated[float, Field(ge=0, le=1)]  # probability of a left-right mirror
    brightness: Probability  # ± share
    contrast: Probability  # ± share
    saturation: Probability  # ± share; colour images only


# --------------------------------------------------------------------------------------------------------------- model


class ConvNetSettings(Settings):
    """Specification of a `ConvNet`."""

    architecture: Literal["convnet"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]+$")]
    image_size: Side  # px, height and width
    channels: Annotated[list[Annotated[list[Width], Field(min_length=1)]], Field(min_length=1)]  # per stage, per conv
    kernel_size: Annotated[int, Field(ge=1, le=31)] | list[Annotated[int, Field(ge=1, le=31)]]  # px, or one per stage
    padding: Literal["valid", "same"]
    activation: Literal["relu", "sigmoid", "tanh", "leaky_relu", "elu", "gelu", "silu"]
    pooling: Literal["max", "average"]
    pool_size: Annotated[int, Field(ge=1, le=31)] | list[Annotated[int, Field(ge=1, le=31)]]  # px; 1: none; per stage
    norm: Literal["none", "batch"]  # after each convolution
    hidden: list[Annotated[int, Field(ge=1, le=65536)]]  # widths of the fully connected layers before the last
    hidden_norm: Literal["none", "batch"]
    dropout: Probability | list[Probability]  # after each hidden layer, or one per hidden layer

    @model_validator(mode="after")
    def _lists_have_one_entry_per_layer(self) -> "ConvNetSettings":
        for key, wanted in (("kernel_size", self.channels), ("pool_size", self.channels), ("dropout", self.hidden)):
            value = getattr(self, key)
            if isinstance(value, list) and len(value) != len(wanted):
                what = "hidden layers" if key == "dropout" else "stages"
                raise ValueError(
                    f"{key} has {len(value)} entries for {len(wanted)} {what}; give one number or one each"
                )
        if self.padding == "same" and any(k % 2 == 0 for k in _as_list(self.kernel_size)):
            raise ValueError(f"padding=same needs odd kernel_size, got {self.kernel_size}")
        return self


def _as_list(value: int | list[int]) -> list[int]:
    return value if isinstance(value, list) else [value]


# ------------------------------------------------------------------------------------------------------------ learning


class LossSettings(Settings):
    """Cross entropy and its weights."""

    label_smoothing: Probability
    class_weights: Literal["balanced"] | Annotated[list[Positive], Field(min_length=2)] | None


class AdamSettings(Settings):
    """torch.optim.Adam or AdamW."""

    name: Literal["adam", "adamw"]
    lr: Annotated[float, Field(gt=0, le=1000)]  # with scheduler=onecycle the peak
    weight_decay: NotNegative
    betas: Annotated[list[Probability], Field(min_length=2, max_length=2)]
    eps: Positive


class SgdSettings(Settings):
    """torch.optim.SGD."""

    name: Literal["sgd"]
    lr: Annotated[float, Field(gt=0, le=1000)]
    weight_decay: NotNegative
    momentum: Probability
    nesterov: bool

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "SgdSettings":
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=true needs momentum > 0, got momentum=0")
        return self


class RmspropSettings(Settings):
    """torch.optim.RMSprop."""

    name: Literal["rmsprop"]
    lr: Annotated[float, Field(gt=0, le=1000)]
    weight_decay: NotNegative
    momentum: Probability
    alpha: Probability


class PlateauSettings(Settings):
    """Multiply the lr by `factor` after `patience` epochs without a better `monitor`."""

    name: Literal["plateau"]
    monitor: Metric
    factor: Share
    patience: Annotated[int, Field(ge=0)]  # epochs


class StepSettings(Settings):
    """Multiply the lr by `gamma` every `step_size` epochs."""

    name: Literal["step"]
    step_size: Count  # epochs
    gamma: Annotated[float, Field(gt=0, le=1)]


class ExponentialSettings(Settings):
    """Multiply the lr by `gamma` every epoch."""

    name: Literal["exponential"]
    gamma: Annotated[float, Field(gt=0, le=1)]


class CosineSettings(Settings):
    """Half a cosine from the lr down to `final_lr`, a little every step."""

    name: Literal["cosine"]
    final_lr: NotNegative


class OneCycleSettings(Settings):
    """Up to the lr and down again, a little every step. Source: Smith and Topin 2018."""

    name: Literal["onecycle"]
    warmup: Share  # share of all steps spent going up
    start_factor: Annotated[float, Field(gt=0, le=1)]  # first lr / peak lr
    final_factor: Annotated[float, Field(gt=0, le=1)]  # last lr / peak lr


class NoSchedulerSettings(Settings):
    """The lr stays as it is."""

    name: Literal["none"]


AnyOptimizerSettings = Annotated[AdamSettings | SgdSettings | RmspropSettings, Field(discriminator="name")]
AnySchedulerSettings = Annotated[
    PlateauSettings | StepSettings | ExponentialSettings | CosineSettings | OneCycleSettings | NoSchedulerSettings,
    Field(discriminator="name"),
]


class TrainerSettings(Settings):
    """Where and how long; keys have the meaning that `lightning.Trainer` gives them."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"]
    devices: Count
    strategy: Literal["auto", "ddp", "ddp_spawn"]
    threads: Count | None  # intra-op threads; null: as many as torch finds
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"]
    deterministic: bool
    max_epochs: Count
    gradient_clip_norm: Positive | None
    log_every_n_steps: Count
    limit_train_batches: Count | None  # per epoch
    limit_val_batches: Count | None
    limit_test_batches: Count | None
    profiler: Literal["simple", "advanced"] | None


class EarlyStoppingSettings(Settings):
    """Stop after `patience` epochs in which `monitor` did not improve by more than `min_delta`."""

    monitor: Metric
    patience: Count  # epochs
    min_delta: NotNegative


class CheckpointSettings(Settings):
    """The best epoch is the one with the best `monitor`; the last is kept too."""

    monitor: Metric


class CallbacksSettings(Settings):
    """What watches the training."""

    early_stopping: EarlyStoppingSettings | None
    checkpoint: CheckpointSettings
    progress_bar: bool
    model_summary: bool


class LoggerSettings(Settings):
    """Which loggers write into the run folder; metrics.csv and the pictures are always written."""

    tensorboard: bool
    csv: bool


class TrainSettings(Settings):
    """Everything that `python -m lenet_pl.train` takes."""

    run: str  # folder that receives everything
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    train: bool
    test: bool
    traceback: bool  # show Python's traceback with an error
    data_root: str
    data: AnyDataSettings
    loader: LoaderSettings
    augment: AugmentSettings
    model: ConvNetSettings
    loss: LossSettings
    optimizer: AnyOptimizerSettings
    scheduler: AnySchedulerSettings
    trainer: TrainerSettings
    callbacks: CallbacksSettings
    logger: LoggerSettings


# -------------------------------------------------------------------------------------------------------------- errors

AnySettings = TypeVar("AnySettings", bound=Settings)


def validate(kind: type[AnySettings], values: dict[str, Any]) -> AnySettings:
    """Build settings from plain values.

    Raises:
        SettingError: names the first wrong key, what came, what is accepted, and how many more are wrong.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        lines: dict[str, str] = {}
        for problem in error.errors(include_url=False):
            key, line = _key(problem["loc"], values), _line(problem, values)
            # A value that fits no branch of a union is reported once for each branch.
            lines[key] = f"{lines[key]}, or {line.rpartition('accepted is ')[2]}" if key in lines else line
        more = f" (and {len(lines) - 1} more wrong)" if len(lines) > 1 else ""
        raise SettingError(next(iter(lines.values())) + more) from None


def setting_keys(values: dict[str, Any], prefix: str = "") -> list[str]:
    """List dotted keys of a nested dictionary, groups included."""
    keys = []
    for name, value in values.items():
        keys.append(f"{prefix}{name}")
        if isinstance(value, dict):
            keys += setting_keys(value, f"{prefix}{name}.")
    return keys


def nearest_key(key: str, keys: list[str]) -> str:
    """Suggest the setting that was probably meant by `key`: same last part first, then similar spelling."""
    same = [k for k in keys if k.rpartition(".")[2] == key.rpartition(".")[2]]
    return f"did you mean {same[0]}?" if same else did_you_mean(key, keys)


def _key(loc: tuple[int | str, ...], values: Any) -> str:
    """Dotted key of pydantic's location, less the names of union branches, which are not keys."""
    parts, here = [], values
    for part in loc:
        known = isinstance(here, dict) and part in here
        if isinstance(here, list) and isinstance(part, int):
            here = here[part] if part < len(here) else None
        elif known:
            here = here[part]
        elif part is not loc[-1] or not isinstance(here, dict) or here.get("name") == part:
            continue
        parts.append(str(part))
    return ".".join(parts)


def _line(problem: Any, values: dict[str, Any]) -> str:
    key = _key(problem["loc"], values)
    if problem["type"] == "extra_forbidden":
        others = [k for k in setting_keys(values) if k != key and not k.startswith(f"{key}.")]
        return f"{key}: unknown setting; {nearest_key(key, others) or 'see --help for what there is'}"
    if problem["type"] == "missing":
        return f"{key}: no value given; a value is required"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "accepted is")
    if problem["type"] == "value_error":
        return f"{key}: {message}"
    came = problem["input"]
    hint = ""
    if problem["type"] in ("literal_error", "union_tag_invalid"):
        context = problem["ctx"]
        expected = context.get("expected") or context.get("expected_tags")
        hint = did_you_mean(str(came), [e.strip("' ") for e in expected.replace(" or ", ",").split(",")])
    if problem["type"] == "union_tag_invalid":
        key, came, message = f"{key}.name", came["name"], f"accepted is {expected}"
    return f"{key}: got {came!r}; {message}" + (f"; {hint}" if hint else "")
