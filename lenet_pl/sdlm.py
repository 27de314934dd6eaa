"""Stochastic diagonal Levenberg-Marquardt: each weight has a step of its own, the smaller the more it is curved."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn, optim


class Sdlm(optim.Optimizer):
    """Step against the gradient by lr / (mu + h), where h is a weight's second derivative of the loss.

    h is estimated by someone else, once in a while; see `lenet_pl.model.curvature`. It is 0 until then.

    Args:
        parameters: what is learned.
        lr: η of the paper.
        mu: keeps steps small where the loss is hardly curved.

    Source: LeCun et al. 1998, section II.C and appendix C, equation 18.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, mu: float) -> None:
        super().__init__(parameters, {"lr": lr, "mu": mu})
        self.set_curvature({p: torch.zeros_like(p) for group in self.param_groups for p in group["params"]})

    def set_curvature(self, curvature: Mapping[nn.Parameter, Tensor]) -> None:
        """Take new second derivatives, one of the shape of each parameter; none is negative."""
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["curvature"] = curvature[parameter].clone()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Change the parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            learned = [p for p in group["params"] if p.grad is not None]
            if not learned:
                continue
            gradients = [p.grad for p in learned]
            damped = torch._foreach_add([self.state[p]["curvature"] for p in learned], group["mu"])
            torch._foreach_addcdiv_(learned, gradients, damped, value=-group["lr"])
        return loss
