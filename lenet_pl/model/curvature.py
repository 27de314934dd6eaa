"""The diagonal of a loss's second derivatives, in the Gauss-Newton approximation, by one pass back through a network.

A weight that several connections share sums what each would have for itself, and what two numbers have in common is
left out: slopes and weights are squared on the way back where the gradient's pass takes them as they are.

Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", appendix C.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lenet_pl.errors import SettingError
from lenet_pl.losses import Loss
from lenet_pl.model.convnet import ACTIVATIONS
from lenet_pl.model.layers import RBFOutput, ScaledTanh, SparseConv2d, TrainableSubsampling

WEIGHTED = (nn.Conv2d, nn.Linear, SparseConv2d, TrainableSubsampling)  # sums of input × weight, plus a bias
ELEMENTWISE: tuple[type[nn.Module], ...] = (ScaledTanh, *ACTIVATIONS.values())


def diagonal_curvature(model: nn.Module, images: Tensor, loss: Loss) -> dict[nn.Parameter, Tensor]:
    """Estimate the second derivative of the mean loss of some images by each parameter.

    Args:
        model: layers one after another, as in all networks here; dropout lets everything pass.
        images: normalised, float (B, C, H, W).
        loss: that is trained with.

    Returns:
        For each parameter a tensor of its shape; none is negative.

    Raises:
        SettingError: a layer's curvature is not known here, as of batch normalisation.
    """
    layers = [layer for layer in model.modules() if not list(layer.children()) and not isinstance(layer, nn.Dropout)]
    inputs, values = [], images
    with torch.no_grad():
        for layer in layers:
            inputs.append(values)
            values = layer(values)
        shares = loss.shares(values)
    second = shares * (1 - shares)  # of the logits
    found: dict[nn.Parameter, Tensor] = {}
    with torch.enable_grad():
        for layer, given in zip(reversed(layers), reversed(inputs), strict=True):
            if isinstance(layer, RBFOutput):  # the last one, where nothing has to be left out
                second = _before_distances(given, layer.codes, shares)
            elif isinstance(layer, WEIGHTED):
                second, of_weights = _before_sums(layer, given, second)
                found |= {layer.get_parameter(name): value / len(images) for name, value in of_weights.items()}
            elif isinstance(layer, ELEMENTWISE):
                given = given.detach().requires_grad_()
                [slopes] = torch.autograd.grad(layer(given).sum(), given)
                second = second * slopes.square()
            elif isinstance(layer, nn.Flatten | nn.MaxPool2d | nn.AvgPool2d):
                given = given.detach().requires_grad_()
                [second] = torch.autograd.grad(layer(given), given, second)
                if isinstance(layer, nn.AvgPool2d):  # each of n numbers has the weight 1/n, and here its square
                    second = second / (layer.kernel_size * layer.kernel_size)  # type: ignore[operator]
            else:
                raise SettingError(
                    f"optimizer.name: sdlm cannot take the curvature through {type(layer).__name__}; accepted is "
                    "another optimizer, or a model without it"
                )
    return found


def _before_distances(values: Tensor, codes: Tensor, shares: Tensor) -> Tensor:
    """Second derivatives by what is compared with the codes, float (B, F), exactly.

    The penalty y_D has 2; what pushes classes away takes off its shares of that, and adds how far it is spread.
    """
    slopes, weights = 2 * (values[:, None] - codes), shares[:, :, None]  # slopes of y
    mean = (weights * slopes).sum(1, keepdim=True)
    left = (1 - weights.sum(1)).clamp(min=0)
    return 2 * left + (weights * (slopes - mean).square()).sum(1) + left * mean[:, 0].square()


def _before_sums(layer: nn.Module, given: Tensor, second: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Second derivatives by the inputs and by the weights of sums of input × weight, given those by the sums.

    Σ weight² × second and Σ input² × second are what the gradient's way back computes once all is squared.
    """
    inputs = given.square().requires_grad_()
    weights = {name: weight.detach().square().requires_grad_() for name, weight in layer.named_parameters()}
    sums = functional_call(layer, weights, (inputs,))
    before, *of_weights = torch.autograd.grad(sums, [inputs, *weights.values()], second)
    return before, dict(zip(weights, of_weights, strict=True))
