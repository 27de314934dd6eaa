"""Settings of the group `trainer`."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveFloat, ValidationInfo, field_validator

from lenet_pl.settings.roles import Role
from lenet_pl.settings.types import PositiveInt, Settings, Threads, cores

CompileMode = Literal["default", "reduce-overhead", "max-autotune"]


def _check_compile(mode: bool | CompileMode | None) -> CompileMode | None:
    """Translate true and false to modes of torch.compile, so that both spellings give the same value."""
    return "default" if mode is True else mode or None


def _check_limit(limit: int | float) -> int | float:
    if limit >= 1 if isinstance(limit, int) else 0 < limit <= 1:
        return limit
    raise ValueError(f"got {limit}; must be a number of batches from 1, or a fraction greater than 0, up to 1.0")


def _check_max_steps(steps: int) -> int:
    if steps == 0:
        raise ValueError("got 0; must be at least 1, or -1 for no limit")
    return steps


def _check_max_time(limit: str | None) -> str | None:
    if limit is not None and not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", limit):
        raise ValueError(f"got {limit!r}; must be null, or days:hours:minutes:seconds as in 00:01:30:00")
    return limit


def _check_overfit(limit: int | float) -> int | float:
    return limit if limit == 0 else _check_limit(limit)


Limit = Annotated[int | float, AfterValidator(_check_limit)]
Device = Annotated[int, Field(ge=0)]
Devices = PositiveInt | Annotated[list[Device], Field(min_length=1)] | Literal["auto"]


class TrainerSettings(Settings):
    """Settings of the Trainer, with the meaning that `lightning.Trainer` gives them."""

    accelerator: Annotated[Literal["auto", "cpu", "gpu", "mps"], Role.MACHINE]
    """Kind of device."""
    devices: Annotated[Devices, Role.MACHINE]
    """Number of devices, one process for each; a list: these GPUs; auto: all GPUs, or one CPU process."""
    strategy: Annotated[Literal["auto", "ddp"], Role.MACHINE]
    """How several processes train together."""
    num_threads: Annotated[Threads, Role.MACHINE]
    """Intra-op threads; null: 1 for small networks, else as many as this process has cores."""
    precision: Annotated[Literal["auto", "32-true", "bf16-mixed", "16-mixed", "64-true"], Role.NUMERICS]
    """Floating-point precision of training."""
    compile: Annotated[bool | CompileMode | None, AfterValidator(_check_compile), Role.NUMERICS]
    """Mode of torch.compile; true: default, false or null: not compiled."""
    deterministic: bool
    """Whether the same seed gives the same bits on the same machine."""
    benchmark: Annotated[bool | None, Role.MACHINE]
    """Whether cuDNN times its algorithms and takes the fastest; null: Lightning decides."""
    detect_anomaly: Annotated[bool, Role.MACHINE]
    """Whether autograd names the operation that produced a NaN; slow."""
    max_epochs: PositiveInt
    """Largest number of epochs."""
    min_epochs: PositiveInt | None
    """Epochs before early stopping may end the training; null: no minimum."""
    max_steps: Annotated[int, Field(ge=-1), AfterValidator(_check_max_steps)]
    """Largest number of optimizer steps; -1: no limit but `max_epochs`."""
    min_steps: PositiveInt | None
    """Optimizer steps before early stopping may end the training; null: no minimum."""
    max_time: Annotated[str | None, AfterValidator(_check_max_time)]
    """Longest time of the training, days:hours:minutes:seconds as in 00:01:30:00; null: no limit."""
    accumulate_grad_batches: PositiveInt
    """Batches whose gradients are averaged for one optimizer step."""
    gradient_clip_val: PositiveFloat | None
    """Largest norm of the whole gradient, or largest absolute value; null: not clipped."""
    gradient_clip_algorithm: Literal["norm", "value"]
    """Whether `gradient_clip_val` limits the norm of the whole gradient or each value."""
    steps_per_hook: Annotated[Literal["auto"] | PositiveInt, Role.MACHINE]
    """Optimizer steps per Lightning step; auto: 20, or 1 where callbacks or settings need the hooks of each step."""
    cuda_graph: Annotated[Literal["auto"] | bool, Role.MACHINE]
    """Whether a GPU runs each optimizer step as one CUDA graph; auto: where a step can be captured."""
    log_every_n_steps: PositiveInt
    """Steps between two points of the per-step loss."""
    limit_train_batches: Limit | None
    """Training batches per epoch, a number or a fraction; null: all."""
    limit_val_batches: Annotated[Limit | None, Role.EVALUATION]
    """Validation batches per epoch, a number or a fraction; null: all."""
    limit_test_batches: Limit | None
    """Test batches, a number or a fraction; null: all."""
    overfit_batches: Annotated[int | float, AfterValidator(_check_overfit)]
    """Batches of each split, a number or a fraction, which are the same in every epoch, not shuffled; 0: all."""
    check_val_every_n_epoch: PositiveInt
    """Epochs between two validations."""
    val_check_interval: Annotated[Limit, Role.EVALUATION]
    """Training batches between two validations within an epoch, a number or a fraction of the epoch."""
    fast_dev_run: Annotated[bool | PositiveInt, Role.COMMAND]
    """Whether only one batch, or this many, of each split is run, and nothing is written; a check of the settings."""
    profiler: Annotated[Literal["simple", "advanced"] | None, Role.MACHINE]
    """Lightning profiler that times the hooks."""

    @property
    def num_devices(self) -> int:
        """The number of processes. For `auto`, torch counts the GPUs."""
        if isinstance(self.devices, int):
            return self.devices
        if isinstance(self.devices, list):
            return len(self.devices)
        if self.accelerator in ("cpu", "mps"):
            return 1
        import torch  # takes seconds, and is imported later in any case

        return max(1, torch.cuda.device_count())

    @property
    def compile_mode(self) -> CompileMode | None:
        """The mode of torch.compile; None: not compiled."""
        return _check_compile(self.compile)

    @field_validator("devices")
    @classmethod
    def _check_devices(cls, devices: Any, info: ValidationInfo) -> Any:
        # What `auto` stands for only torch knows, which is not imported yet; the trainer looks at it
        if info.data.get("accelerator") in ("cpu", "mps") and isinstance(devices, list):
            raise ValueError(f"got {devices} with accelerator={info.data['accelerator']}; must be a number")
        if info.data.get("accelerator") == "cpu" and isinstance(devices, int) and devices > cores():
            raise ValueError(f"got {devices} processes on cpu; must be 1 to {cores()}, the cores of this machine")
        if isinstance(devices, list) and len(set(devices)) < len(devices):
            raise ValueError(f"got {devices}; must be different GPUs")
        return devices

    @field_validator("min_steps")
    @classmethod
    def _check_min_steps(cls, least: int | None, info: ValidationInfo) -> int | None:
        most = info.data.get("max_steps", -1)
        if least and 0 < most < least:
            raise ValueError(f"got {least} with max_steps={most}; must be at most max_steps")
        return least

    @field_validator("check_val_every_n_epoch")
    @classmethod
    def _check_some_validation(cls, every: int, info: ValidationInfo) -> int:
        most = info.data.get("max_epochs")
        if most and every > most:
            raise ValueError(f"got {every} with max_epochs={most}; must be at most max_epochs")
        return every

    @field_validator("min_epochs")
    @classmethod
    def _check_min_epochs(cls, least: int | None, info: ValidationInfo) -> int | None:
        most = info.data.get("max_epochs")
        if least and most and least > most:
            raise ValueError(f"got {least} with max_epochs={most}; must be at most max_epochs")
        return least
