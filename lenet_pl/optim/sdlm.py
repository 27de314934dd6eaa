"""Stochastic diagonal Levenberg-Marquardt: gradient descent with a step size per weight, from the curvature."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn, optim


class SDLM(optim.Optimizer):
    """Gradient descent with the step size lr / (mu + h), where h is the second derivative of the loss per weight.

    h is 0 until `set_curvature` is called. `lenet_pl.optim.curvature` estimates it. The callback `EstimateCurvature`
    updates it before each epoch.

    Args:
        parameters: The parameters to optimize, or parameter groups.
        lr: The global learning rate, η of the paper.
        mu: The damping, μ of the paper. It bounds the step size where the loss is almost flat.

    Source: LeCun et al. 1998, section II.C and appendix C, equation 18.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, mu: float) -> None:
        super().__init__(parameters, {"lr": lr, "mu": mu})
        self.set_curvature({p: torch.zeros_like(p) for group in self.param_groups for p in group["params"]})

    def set_curvature(self, curvature: Mapping[nn.Parameter, Tensor]) -> None:
        """Set the second derivatives.

        Args:
            curvature: A tensor of non-negative values for each parameter, in the parameter's shape. It is copied.
        """
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["curvature"] = curvature[parameter].clone()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Update the parameters that have a gradient; return the loss of `closure`, if it is given."""
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
