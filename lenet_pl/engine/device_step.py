"""An optimizer step on a GPU that the host does not wait for."""

from typing import Any

import torch
from torch import Tensor, optim

from lenet_pl.batch import MixedLabels
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.optim.clipping import ClipAlgorithm, clip_and_measure_gradients

DEVICES = ("cuda",)
# Their fused kernels skip a step if `optimizer.found_inf` is 1, and read the learning rate from a tensor on the device
OPTIMIZERS = (optim.Adam, optim.AdamW, optim.SGD)


def needs_no_wait(device: torch.device, optimizer: optim.Optimizer) -> bool:
    """Whether a `DeviceStep` is possible. Other optimizers would need the host to skip a step that is not finite."""
    fused = all(group.get("fused") for group in optimizer.param_groups)
    return device.type in DEVICES and type(optimizer) in OPTIMIZERS and fused


class DeviceStep:
    """Optimizer steps that are checked for finiteness on the device, so that the host can run ahead of it.

    The first loss or gradient that is not finite sets a flag on the device. While it is set, no step changes a weight
    or the state of the optimizer. `first_divergence` reads the flag. Only buffers of batch normalization and the EMA,
    which the error that follows makes useless, still change.

    The learning rate is a float32 tensor on the device while the optimizer uses it. In `optimizer.param_groups` it
    stays a float for schedulers, loggers and checkpoints. The tensor rounds it to 24 bits, so that weights may differ
    in the last bit from those of an optimizer with a float.

    Args:
        task: The task, connected to its Trainer, on the device.
        optimizer: The optimizer, for which `needs_no_wait` holds.
        limit: The largest norm or absolute value of the gradient; None for no gradient clipping.
        algorithm: Whether the limit applies to the norm or to each value.

    Source: `found_inf` and tensors as `lr` in torch/optim/adam.py and sgd.py; torch.amp.GradScaler uses the former.
    """

    def __init__(
        self, task: ImageClassifier, optimizer: optim.Optimizer, limit: float | None, algorithm: ClipAlgorithm
    ) -> None:
        self.task, self.optimizer = task, optimizer
        self.limit, self.algorithm = limit, algorithm

        def zero() -> Tensor:
            return torch.zeros((), dtype=torch.float32, device=task.device)

        self._trace = zero()  # 0, and NaN from the first value on that is not finite
        self._found_inf = zero()  # 1 from then on
        self._lrs = [zero() for _ in optimizer.param_groups]
        self._filled: list[Any] = [None] * len(self._lrs)  # the floats in `_lrs`
        self._outcomes: list[Tensor] = []
        optimizer.found_inf = self._found_inf  # type: ignore[attr-defined]

    def __call__(self, images: Tensor, labels: Tensor, mixed: MixedLabels | None = None) -> tuple[Tensor, Tensor]:
        """Take a step on a batch; arguments and returned values as for `compute_gradient`."""
        self.set_lrs()
        outputs = self.compute_gradient(images, labels, mixed)
        self.update()
        return outputs

    def compute_gradient(
        self, images: Tensor, labels: Tensor, mixed: MixedLabels | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compute the clipped gradient, and set the flag if it or the loss is not finite.

        Args:
            images: Normalized images, float (B, C, H, W).
            labels: Class indices, int64 (B,).
            mixed: The other labels of images that are mixed from two.

        Returns:
            The loss and the norm of the gradient before clipping, float32 (2,), and the predictions, int64 (B,).
        """
        task = self.task
        self.optimizer.zero_grad()
        with task.trainer.precision_plugin.forward_context():
            logits, loss = task.logits_and_loss(images, labels, mixed)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = clip_and_measure_gradients(task.parameters(), self.limit, self.algorithm)
        outcome = torch.stack([loss.detach().float(), norm.float()])
        self._trace.add_(outcome.sum(), alpha=0)
        self._found_inf.copy_(self._trace.isnan())
        return outcome, logits.detach().argmax(1)

    def update(self) -> None:
        """Take the optimizer step, with the learning rates of the last `set_lrs`, unless the flag is set."""
        groups = self.optimizer.param_groups
        floats = [group["lr"] for group in groups]
        for group, lr in zip(groups, self._lrs, strict=True):
            group["lr"] = lr
        try:
            self.optimizer.step()
        finally:
            for group, lr in zip(groups, floats, strict=True):
                group["lr"] = lr

    def set_lrs(self) -> None:
        """Copy the learning rates to the device if they have changed."""
        for place, group in enumerate(self.optimizer.param_groups):
            if self._filled[place] != group["lr"]:
                self._lrs[place].fill_(group["lr"])
                self._filled[place] = group["lr"]

    def keep(self, outcome: Tensor) -> None:
        """Keep the loss and the norm of a step, (2,), for `first_divergence`."""
        self._outcomes.append(outcome)

    def first_divergence(self) -> tuple[int, str] | None:
        """Wait for the device, find the first of the kept steps that is not finite, and forget them.

        Returns:
            The number of kept steps before it, and the name and the value of what is not finite; None if all are
            finite.
        """
        kept, self._outcomes = self._outcomes, []
        if not kept or not self._found_inf.item():
            return None
        outcomes = torch.stack(kept)
        first = int(outcomes.sum(1).isfinite().logical_not().nonzero()[0])
        loss, norm = outcomes[first]
        odd = f"gradient norm: {float(norm)}" if loss.isfinite() else f"train/loss: {float(loss)}"
        return first, odd
