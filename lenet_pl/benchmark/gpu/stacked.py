"""Several networks of one shape with stacked weights, so that one step computes all of them.

S is the number of networks. The other letters are defined in `lenet_pl.batch`.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional


class StackedNetworks:
    """Networks without dropout whose parameters and buffers are slices of stacked tensors.

    Args:
        networks: The networks, of one shape and on one device. Their tensors become slices of the stacked ones, so an
            optimizer may update either.

    Attributes:
        weights: The stacked parameters by name, (S, ...).
        buffers: The stacked buffers by name, (S, ...).
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.networks = list(networks)
        self._template = copy.deepcopy(networks[0]).train()
        parameters = [dict(network.named_parameters()) for network in networks]
        buffers = [dict(network.named_buffers()) for network in networks]
        self.weights = {name: _stack([each[name] for each in parameters]).requires_grad_() for name in parameters[0]}
        self.buffers = {name: _stack([each[name] for each in buffers]) for name in buffers[0]}

    def backward(self, images: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """Compute the cross entropy of each network on its own batch, and the gradients of all parameters.

        Args:
            images: S batches, float (B, C, H, W).
            labels: S batches of classes, int64 (B,).

        Returns:
            The losses, (S,).
        """
        channels = images[0].shape[1]
        # As channels side by side, because vmap computes the convolutions of all networks as one grouped convolution
        stacked = torch.cat(list(images), 1).contiguous(memory_format=torch.channels_last)
        stacked = stacked.view(len(stacked), len(images), channels, *stacked.shape[2:])
        for weight in self.weights.values():
            weight.grad = None
        losses: Tensor = vmap(self._loss, in_dims=(0, 0, 1, 0))(
            self.weights, self.buffers, stacked, torch.stack(list(labels))
        )
        losses.sum().backward()  # type: ignore[no-untyped-call]
        for name, weight in self.weights.items():
            assert weight.grad is not None
            for network, gradient in zip(self.networks, weight.grad, strict=True):
                network.get_parameter(name).grad = gradient
        return losses.detach()

    def _loss(self, weights: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(self._template, {**weights, **buffers}, (images,)), labels)


def _stack(tensors: list[Tensor]) -> Tensor:
    """Stack tensors of one shape to (S, ...), and make each a slice of the result with its former strides."""
    plain = [tensor.detach() for tensor in tensors]
    stacked = torch.cat(plain).view(len(plain), *plain[0].shape) if plain[0].dim() == 4 else torch.stack(plain)
    for tensor, part in zip(tensors, stacked, strict=True):
        tensor.data = part
    return stacked
