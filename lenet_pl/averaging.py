"""An average of a network's weights over the steps of its training."""

from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightAverage(AveragedModel):
    """Exponential average of weights and buffers; its first value is what they are after the first step.

    Args:
        model: whose weights are averaged.
        decay: share of the average that a step leaves; 0.999 spans about 1,000 steps.

    Source: Polyak and Juditsky 1992, in the exponential form of torch.optim.swa_utils.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        average: Any = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        super().__init__(model, multi_avg_fn=average, use_buffers=True)
        self.requires_grad_(False)  # nothing for several processes to agree on
