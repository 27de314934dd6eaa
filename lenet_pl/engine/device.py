"""Device and precision of a training."""

from typing import Any

import torch

from lenet_pl.errors import SettingError
from lenet_pl.settings import TrainerSettings


def choose_precision(settings: TrainerSettings) -> Any:
    """Resolve precision `auto`: bf16-mixed on a CPU with bf16 instructions (twice as fast as fp32), else 32-true.

    The choice depends on the device only, not on a timing, so that runs are reproducible.
    """
    if settings.precision != "auto":
        return settings.precision
    can: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # missing in older versions of torch
    native = any(can.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return "bf16-mixed" if native and device_kind(settings) == "cpu" else "32-true"


def device_kind(settings: TrainerSettings) -> str:
    """Resolve `trainer.accelerator`, also for `auto`: return gpu, mps or cpu."""
    if settings.accelerator != "auto":
        return settings.accelerator
    return "gpu" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def check_device(settings: TrainerSettings) -> None:
    """Raise SettingError if the requested devices or precision are not available; the message lists the devices."""
    gpus = torch.cuda.device_count()
    mps = torch.backends.mps.is_available()
    there = ["cpu"] + [f"gpu ({gpus})"] * bool(gpus) + ["mps"] * mps
    kind = device_kind(settings)
    if (kind == "gpu" and not gpus) or (kind == "mps" and not mps):
        raise SettingError(
            f"trainer.accelerator: got {kind}, not available here; must be one of auto, {', '.join(there)}"
        )
    limit = {"gpu": gpus, "mps": 1}.get(kind)
    if isinstance(settings.devices, list) and limit and (absent := [n for n in settings.devices if n >= limit]):
        raise SettingError(f"trainer.devices: got {absent[0]}; must be 0 to {limit - 1}, the GPUs of this machine")
    if limit and settings.num_devices > limit:
        raise SettingError(
            f"trainer.devices: got {settings.devices}; must be at most {limit} on this machine ({', '.join(there)})"
        )
    if settings.precision == "16-mixed" and kind == "cpu":
        raise SettingError(
            "trainer.precision: got 16-mixed, which needs a gpu; must be 32-true, bf16-mixed or 64-true on cpu"
        )
