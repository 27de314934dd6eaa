"""The choice between the fast path and the hooks of each step."""

from collections.abc import Sequence

from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    Callback,
    GradientAccumulationScheduler,
    LearningRateFinder,
    StochasticWeightAveraging,
)

from lenet_pl.engine.chunked import STEPS_PER_CHUNK
from lenet_pl.errors import SettingError
from lenet_pl.plugins.build import loaded
from lenet_pl.settings import TrainSettings

STEP_HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
# Callbacks of Lightning that have none of these hooks but change what Lightning does in a step
CHANGE_STEPS = (BatchSizeFinder, GradientAccumulationScheduler, LearningRateFinder, StochasticWeightAveraging)


def choose_steps_per_hook(settings: TrainSettings, callbacks: Sequence[Callback] = ()) -> int:
    """Resolve `trainer.steps_per_hook`: the number of optimizer steps per Lightning step, 1 for all hooks.

    Args:
        settings: The training settings.
        callbacks: The callbacks of the caller. Those of `extra_callbacks` are known from the settings.

    Raises:
        SettingError: More than one step was requested, but something needs the hooks of each step.
    """
    requested = settings.trainer.steps_per_hook
    why = why_step_hooks(settings, callbacks)
    if requested == "auto":
        return 1 if why else STEPS_PER_CHUNK
    if requested > 1 and why:
        raise SettingError(f"trainer.steps_per_hook: got {requested} with {why}, which needs 1; must be 1 or auto")
    return requested


def why_step_hooks(settings: TrainSettings, callbacks: Sequence[Callback] = ()) -> str:
    """Name what needs the hooks of each step; empty if nothing does."""
    given = settings.trainer
    needs = {
        f"trainer.devices={given.devices}": given.num_devices > 1,
        f"trainer.precision={given.precision}": given.precision in ("16-mixed", "64-true"),
        f"trainer.accumulate_grad_batches={given.accumulate_grad_batches}": given.accumulate_grad_batches > 1,
        f"trainer.max_steps={given.max_steps}": given.max_steps > 0,
        f"trainer.min_steps={given.min_steps}": given.min_steps is not None,
        f"trainer.max_time={given.max_time}": given.max_time is not None,
        f"trainer.val_check_interval={given.val_check_interval}": given.val_check_interval != 1.0,
        f"trainer.fast_dev_run={given.fast_dev_run}": bool(given.fast_dev_run),
    }
    built = [loaded("callback", part) for part in settings.extra_callbacks.values()]
    for kind in (*map(type, callbacks), *built):
        # What a function builds is not known yet
        needs |= {f"the callback {kind.__name__}": not isinstance(kind, type) or _has_step_hooks(kind)}
    return next((name for name, needed in needs.items() if needed), "")


def _has_step_hooks(kind: type) -> bool:
    return issubclass(kind, CHANGE_STEPS) or any(
        getattr(kind, name, None) is not getattr(Callback, name) for name in STEP_HOOKS
    )
