"""Muon for matrices, and AdamW for all other parameters, as one optimizer."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import optim

from lenet_pl.errors import SettingError

MATRICES = "muon"  # key of a parameter group: whether it is Muon's


class MuonWithAdamW(optim.Optimizer):
    """torch.optim.Muon for parameters with two dimensions, torch.optim.AdamW for the others.

    Muon orthogonalizes the update of a weight matrix. The others are the kernels of convolutions, biases, and the
    scales and shifts of normalizations. Learning rate and weight decay are the same for both.

    Args:
        parameters: The parameters to optimize, or groups of them as dictionaries. Each group is divided into two.
        lr: The learning rate.
        weight_decay: The decoupled weight decay.
        momentum: The momentum of Muon.
        nesterov: Whether this momentum is Nesterov's.
        adjust_lr: How Muon's learning rate depends on the shape, `adjust_lr_fn` of torch: "match_rms_adamw", so that
            its updates are as large as those of AdamW, or "original".
        betas: The decay rates of AdamW.
        eps: The term added to the denominator of AdamW.
        fused: Whether AdamW uses torch's fused kernels.

    Raises:
        SettingError: This version of torch has no Muon.

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; Liu et al. 2025, "Muon is
    scalable for LLM training", section 2.2, for the learning rate.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
        nesterov: bool,
        adjust_lr: str,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float,
        fused: bool = False,
    ) -> None:
        if not hasattr(optim, "Muon"):
            raise SettingError(f"optimizer: got muon with torch {torch.__version__}; needs torch 2.9 or newer")
        given = list(parameters)
        groups = given if given and isinstance(given[0], dict) else [{"params": given}]
        divided: list[dict[str, Any]] = []
        for group in groups:
            rest = {key: value for key, value in group.items() if key != "params"}
            for matrices in (True, False):
                some = [p for p in group["params"] if (p.ndim == 2) == matrices]
                divided += [{**rest, "params": some, MATRICES: matrices}] if some else []
        super().__init__(divided, {"lr": lr, "weight_decay": weight_decay})
        self._parts: list[tuple[bool, optim.Optimizer]] = []
        if some_groups := self._groups(matrices=True):
            muon = optim.Muon(
                some_groups, lr, weight_decay, momentum=momentum, nesterov=nesterov, adjust_lr_fn=adjust_lr
            )
            self._parts.append((True, muon))
        if some_groups := self._groups(matrices=False):
            adamw = optim.AdamW(some_groups, lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused)
            self._parts.append((False, adamw))
        self._share()

    def _groups(self, *, matrices: bool) -> list[dict[str, Any]]:
        return [group for group in self.param_groups if group[MATRICES] == matrices]

    def _share(self) -> None:
        """Give both parts the groups and the state of this optimizer, which schedulers and checkpoints see."""
        for matrices, part in self._parts:
            filled = {id(group["params"][0]): group for group in part.param_groups}
            for group in self._groups(matrices=matrices):  # with the settings of the part, such as betas
                group.update({k: v for k, v in filled[id(group["params"][0])].items() if k not in group})
            part.param_groups = self._groups(matrices=matrices)
            part.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Update the parameters that have a gradient; return the loss of `closure`, if it is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for _, part in self._parts:
            part.step()
        return loss
