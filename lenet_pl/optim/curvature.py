"""The diagonal of the Hessian of a loss, in the Gauss-Newton approximation, from one backward pass.

The pass resembles backpropagation, with every derivative and every weight squared. Off-diagonal terms are neglected.
The curvature of a shared weight is the sum over its connections.

Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", appendix C.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lenet_pl.errors import SettingError
from lenet_pl.models.convnet import ACTIVATIONS
from lenet_pl.models.layers import RBFOutput, ScaledTanh, SparseConv2d, TrainableSubsampling
from lenet_pl.optim.losses import Loss

WEIGHTED = (nn.Conv2d, nn.Linear, SparseConv2d, TrainableSubsampling)  # sums of input × weight, plus a bias
ELEMENTWISE: tuple[type[nn.Module], ...] = (ScaledTanh, *ACTIVATIONS.values())


def diagonal_curvature(model: nn.Module, images: Tensor, loss: Loss) -> dict[nn.Parameter, Tensor]:
    """Estimate the second derivative of the mean loss with respect to each parameter.

    Args:
        model: A network whose layers are applied one after another. Dropout layers are skipped.
        images: Normalized images, float (B, C, H, W).
        loss: The training loss.

    Returns:
        A tensor of non-negative values for each parameter, in the parameter's shape.

    Raises:
        SettingError: The network contains a layer without a curvature rule, such as batch normalization.
    """
    layers = [layer for layer in model.modules() if not list(layer.children()) and not isinstance(layer, nn.Dropout)]
    inputs, values = [], images
    with torch.no_grad():
        for layer in layers:
            inputs.append(values)
            values = layer(values)
        shares = loss.class_probabilities(values)
    second = shares * (1 - shares)  # with respect to the logits
    found: dict[nn.Parameter, Tensor] = {}
    with torch.enable_grad():
        for layer, given in zip(reversed(layers), reversed(inputs), strict=True):
            if isinstance(layer, RBFOutput):  # the last layer, whose curvature is exact
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
                if isinstance(layer, nn.AvgPool2d):  # autograd has multiplied by 1/n; the rule is 1/n²
                    second = second / (layer.kernel_size * layer.kernel_size)  # type: ignore[operator]
            else:
                raise SettingError(
                    f"optimizer.name: got sdlm, which has no curvature rule for {type(layer).__name__}; must be "
                    "another optimizer, or a model without this layer"
                )
    return found


def _before_distances(values: Tensor, codes: Tensor, shares: Tensor) -> Tensor:
    """Compute the exact second derivatives with respect to the inputs of an RBF layer, float (B, F).

    The distance y_D to the code of the true class contributes 2. The log-sum-exp of the MAP criterion subtracts 2 times
    the sum of the class probabilities, and adds the variance of dy/dvalues under these probabilities.
    """
    slopes, weights = 2 * (values[:, None] - codes), shares[:, :, None]  # dy/dvalues
    mean = (weights * slopes).sum(1, keepdim=True)
    left = (1 - weights.sum(1)).clamp(min=0)
    return 2 * left + (weights * (slopes - mean).square()).sum(1) + left * mean[:, 0].square()


def _before_sums(layer: nn.Module, given: Tensor, second: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Propagate second derivatives from the outputs of a linear layer to its inputs and its weights.

    They are Σ weight² × second and Σ input² × second, which is what backpropagation computes for squared inputs and
    squared weights.
    """
    inputs = given.square().requires_grad_()
    weights = {name: weight.detach().square().requires_grad_() for name, weight in layer.named_parameters()}
    sums = functional_call(layer, weights, (inputs,))
    before, *of_weights = torch.autograd.grad(sums, [inputs, *weights.values()], second)
    return before, dict(zip(weights, of_weights, strict=True))
