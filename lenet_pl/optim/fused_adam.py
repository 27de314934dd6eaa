"""Steps of torch's fused Adam on the CPU without the work around the kernel."""

from typing import Any

import torch
from torch import Tensor, optim

KERNELS: dict[type[optim.Optimizer], Any] = {optim.Adam: torch._fused_adam_, optim.AdamW: torch._fused_adamw_}


class FusedAdam:
    """Steps of a fused Adam or AdamW on the CPU, with the same bits as `optimizer.step()`.

    The update of a small network takes a tenth of a millisecond. torch takes several times as long around it, to
    collect and group the tensors, and for its profiler, even if that is off. Here they are collected once. Where this
    is not possible, for another optimizer or device, or for parameters without a gradient, torch's own step is called.

    Args:
        optimizer: Any optimizer of torch. Its state must not be replaced after the first step.

    Source: `_fused_adam` in torch/optim/adam.py.
    """

    def __init__(self, optimizer: optim.Optimizer) -> None:
        self.optimizer = optimizer
        self._possible = is_possible(optimizer)
        self._groups: list[list[list[Tensor]]] = []  # of each group: parameters, both averages, and counts of steps

    def zero_grad(self) -> None:
        """Set all gradients to None."""
        if not self._possible:
            self.optimizer.zero_grad()
            return
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def step(self) -> None:
        """Take an optimizer step, and call the hooks after it."""
        gradients = [[parameter.grad for parameter in group[0]] for group in self._groups]
        if not gradients or any(gradient is None for some in gradients for gradient in some):
            self.optimizer.step()  # the first step creates the state, and tells the scheduler that there was one
            self._groups = self._collect() if self._possible else []
            return
        kernel = KERNELS[type(self.optimizer)]
        with torch.no_grad():
            for group, tensors, some in zip(self.optimizer.param_groups, self._groups, gradients, strict=True):
                parameters, averages, squares, steps = tensors
                torch._foreach_add_(steps, 1)
                kernel(
                    parameters,
                    some,
                    averages,
                    squares,
                    [],
                    steps,
                    lr=group["lr"],
                    beta1=group["betas"][0],
                    beta2=group["betas"][1],
                    weight_decay=group["weight_decay"],
                    eps=group["eps"],
                    amsgrad=False,
                    maximize=group["maximize"],
                )
        for hook in self.optimizer._optimizer_step_post_hooks.values():
            hook(self.optimizer, (), {})

    def _collect(self) -> list[list[list[Tensor]]]:
        """Collect the parameters and their state; nothing if a parameter has none."""
        state = self.optimizer.state
        groups = [group["params"] for group in self.optimizer.param_groups]
        if not all(parameter in state for group in groups for parameter in group):
            return []
        names = ("exp_avg", "exp_avg_sq", "step")
        return [[group, *([state[parameter][name] for parameter in group] for name in names)] for group in groups]


def is_possible(optimizer: optim.Optimizer) -> bool:
    """Whether a step is nothing but one call of the kernel for each group."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return (
        type(optimizer) in KERNELS
        and all(group["fused"] and not group["amsgrad"] for group in optimizer.param_groups)
        and all(isinstance(group["lr"], float) for group in optimizer.param_groups)
        and all(parameter.device.type == "cpu" for parameter in parameters)
        and len({parameter.dtype for parameter in parameters}) == 1
        and not optimizer._optimizer_step_pre_hooks
    )
