"""Exponential moving average (EMA) of a network's weights."""

from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class EMAModel(AveragedModel):
    """Exponential moving average of weights and buffers, initialized with their values after the first step.

    Args:
        model: The network to average.
        decay: The factor that keeps the old average at each update, in (0, 1). The average spans about 1 / (1 - decay)
            steps: 1,000 for 0.999.

    Source: Polyak and Juditsky 1992, in the exponential form of torch.optim.swa_utils.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        average: Any = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        super().__init__(model, multi_avg_fn=average, use_buffers=True)
        self.requires_grad_(False)  # DDP must not wait for gradients of the average
