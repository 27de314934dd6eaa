"""The loss as a function of the weights: its gradient, its largest curvature, and its rise within a ball.

Weights, gradients and buffers of the network are only read.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call


class LossSurface:
    """The mean loss of some images as a function of the trainable weights of a network.

    Args:
        model: The network, in the mode in which it is to be examined.
        loss: A function of logits (B, K) and labels (B,) that returns the mean loss.
        images: Normalized images, float (B, C, H, W).
        labels: Class indices, int64 (B,).
    """

    def __init__(
        self, model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], images: Tensor, labels: Tensor
    ) -> None:
        self.model, self.loss, self.images, self.labels = model, loss, images, labels
        self.weights = {name: value for name, value in model.named_parameters() if value.requires_grad}

    def value(self, step: Tensor | None = None) -> float:
        """Compute the loss (), at the weights plus a step of shape (P,) for all P of them, one after another."""
        weights: dict[str, Tensor] = dict(self.weights)
        if step is not None:
            parts = torch.split(step, [value.numel() for value in weights.values()])
            moves = zip(weights.items(), parts, strict=True)
            weights = {name: value + move.view_as(value) for (name, value), move in moves}
        with torch.no_grad():
            return float(self.loss(functional_call(self.model, weights, (self.images,)), self.labels))

    def gradient(self, *, differentiable: bool = False) -> Tensor:
        """Compute the gradient, (P,), to be differentiated again if `differentiable`."""
        with torch.enable_grad():
            loss = self.loss(self.model(self.images), self.labels)
            return _flat(torch.autograd.grad(loss, list(self.weights.values()), create_graph=differentiable))

    def rise(self, radius: float) -> float:
        """Compute by how much the loss rises, to first order at most, within a ball around the weights.

        Args:
            radius: The Euclidean radius of the ball, rho.

        Source: Foret et al. 2021, "Sharpness-aware minimization for efficiently improving generalization", equation 2.
        """
        gradient = self.gradient()
        return self.value(radius * gradient / gradient.norm().clamp(min=1e-12)) - self.value()

    def largest_eigenvalue(self, tolerance: float = 1e-3, seed: int = 0) -> float:
        """Compute the largest eigenvalue of the Hessian by the Lanczos method, from products with vectors.

        Args:
            tolerance: The relative accuracy.
            seed: The seed of the first vector.

        Returns:
            The eigenvalue; NaN if the method does not converge.

        Source: SciPy's `eigsh`, which calls ARPACK.
        """
        from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh  # only where it is measured

        gradient, weights = self.gradient(differentiable=True), list(self.weights.values())
        if len(gradient) < 3:  # as many as the method needs
            rows = [_flat(torch.autograd.grad(one, weights, retain_graph=True)) for one in gradient]
            return float(torch.linalg.eigvalsh(torch.stack(rows))[-1])

        def product(vector: Any) -> Any:
            direction = torch.from_numpy(vector.ravel()).to(gradient.dtype).to(gradient.device)
            found = torch.autograd.grad(gradient @ direction, weights, retain_graph=True, materialize_grads=True)
            return _flat(found).cpu().double().numpy()

        first = np.random.default_rng(seed).standard_normal(len(gradient))
        operator = LinearOperator((len(first),) * 2, matvec=product, dtype=np.float64)
        try:
            values = eigsh(operator, k=1, which="LA", v0=first, tol=tolerance, return_eigenvectors=False)
        except ArpackError:
            return float("nan")
        return float(values[0])


def gradient_noise(gradients: Iterable[Tensor], batch_size: int) -> tuple[float, float]:
    """Estimate the noise of the gradient from those of small batches, and from their mean, that of a large batch.

    The simple noise scale is their quotient: about the batch size from which on larger batches save few steps.

    Args:
        gradients: The gradient (P,) of the mean loss of each small batch; at least two.
        batch_size: The number of images of each.

    Returns:
        The trace of the covariance matrix of the gradients of single images, tr(Σ), and the squared norm of the mean
        gradient, ‖G‖². Both are unbiased, so that the latter may be negative near a minimum.

    Source: McCandlish et al. 2018, "An empirical model of large-batch training", appendix A.1.
    """
    total, squares, count = torch.zeros((), dtype=torch.float64), 0.0, 0
    for gradient in gradients:
        values = gradient.detach().cpu().double()
        total, squares, count = total + values, squares + float(values.square().sum()), count + 1
    small, large = squares / count, float((total / count).square().sum())
    many = count * batch_size
    norm_sq = (many * large - batch_size * small) / (many - batch_size)
    trace = (small - large) / (1 / batch_size - 1 / many)
    return trace, norm_sq


def _flat(parts: Iterable[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])
