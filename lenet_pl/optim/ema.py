"""Exponential moving average (EMA) of a network's weights."""

from typing import Any

from torch import Tensor, nn
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
        self._average: Any = average
        self._started = False  # whether the average is known to have a value

    def update_parameters(self, model: nn.Module) -> None:
        """Update the average from the weights and buffers of a network.

        torch reads `n_averaged` in each update, for which the host would wait for a GPU.
        """
        if not self._started:
            super().update_parameters(model)
            self._started = True
            return
        averages = [*self.module.parameters(), *self.module.buffers()]
        values = [*model.parameters(), *model.buffers()]
        for dtype in {average.dtype: None for average in averages}:
            pairs = [(a.detach(), v.detach()) for a, v in zip(averages, values, strict=True) if a.dtype == dtype]
            self._average(*map(list, zip(*pairs, strict=True)), self.n_averaged)
        self.n_averaged += 1

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(state_dict, *args, **kwargs)
        self._started = False
