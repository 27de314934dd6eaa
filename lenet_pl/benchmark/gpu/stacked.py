"""Networks of one shape whose weights lie together, so that one step computes all of them.

Each network's own parameters are slices of the stacked ones: what is scored, saved, loaded or changed by an optimizer
of one network alone needs no copying to and fro.

S stands for the number of networks; the other letters are those of `lenet_pl.batch`.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from lenet_pl.runtime.seeding import keep_global, seed_global


class Masked(nn.Module):
    """Stands where a dropout was; multiplies by a mask that was drawn outside, float (B, ...)."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(()))

    def forward(self, values: Tensor) -> Tensor:
        """Drop what the mask drops."""
        return values * self.mask


class StackedNetworks:
    """Take the weights of several networks together.

    Args:
        networks: of one shape, on one device; from now on their parameters and buffers are slices of the stacked ones,
            until they are stacked again with others.
        class_weights: float (K,), weight of each class in the loss.
        label_smoothing: share of the target that is spread over all classes.
    """

    def __init__(
        self, networks: Sequence[nn.Module], class_weights: Tensor | None = None, label_smoothing: float = 0.0
    ) -> None:
        self.networks = list(networks)
        self.class_weights, self.label_smoothing = class_weights, label_smoothing
        self.drops = {n: m.p for n, m in networks[0].named_modules() if isinstance(m, nn.Dropout)}  # in forward's order
        self._shapes: list[torch.Size] = []  # of what reaches each dropout, less B
        self._template = copy.deepcopy(networks[0]).train()
        for name in self.drops:
            self._template.set_submodule(name, Masked())
        parameters = [dict(network.named_parameters()) for network in networks]
        buffers = [dict(network.named_buffers()) for network in networks]
        self.weights = {name: _stack([each[name] for each in parameters]).requires_grad_() for name in parameters[0]}
        self.buffers = {name: _stack([each[name] for each in buffers]) for name in buffers[0]}

    def backward(
        self, images: Sequence[Tensor], labels: Sequence[Tensor], dropout_seeds: Sequence[int] = ()
    ) -> tuple[Tensor, Tensor]:
        """Compute loss and gradient of every network on a batch of its own; the gradients are left in its parameters.

        Args:
            images: S of float (B, C, H, W), of the networks' dtype.
            labels: S of int64 (B,).
            dropout_seeds: one for each network; what is dropped is what the network alone would drop after
                `torch.manual_seed` of it. Not needed without dropout.

        Returns:
            Losses (S,) and logits (S, B, K).
        """
        channels = images[0].shape[1]
        # Side by side as channels, which is how convolutions of several networks are computed at once
        stacked = torch.cat(list(images), 1).contiguous(memory_format=torch.channels_last)
        stacked = stacked.view(len(stacked), len(images), channels, *stacked.shape[2:])
        masks = self._draw_masks(images[0], dropout_seeds) if self.drops else {}
        for weight in self.weights.values():
            weight.grad = None
        losses, logits = vmap(self._loss, in_dims=(0, 0, 0, 1, 0))(
            self.weights, self.buffers, masks, stacked, torch.stack(list(labels))
        )
        losses.sum().backward()  # type: ignore[no-untyped-call]
        for name, weight in self.weights.items():
            assert weight.grad is not None
            for network, gradient in zip(self.networks, weight.grad, strict=True):
                network.get_parameter(name).grad = gradient
        return losses.detach(), logits.detach()

    def _loss(
        self,
        weights: dict[str, Tensor],
        buffers: dict[str, Tensor],
        masks: dict[str, Tensor],
        images: Tensor,
        labels: Tensor,
    ) -> tuple[Tensor, Tensor]:
        logits = functional_call(self._template, {**weights, **buffers, **masks}, (images,))
        loss = functional.cross_entropy(logits, labels, weight=self.class_weights, label_smoothing=self.label_smoothing)
        return loss, logits

    def _draw_masks(self, images: Tensor, seeds: Sequence[int]) -> dict[str, Tensor]:
        """Draw with the random numbers that each network alone would draw, in the same order."""
        self._shapes = self._shapes or self._find_shapes(images[:1])
        drawn = []
        for seed in seeds:
            seed_global(seed, images.device)
            ones = (images.new_ones((len(images), *shape)) for shape in self._shapes)
            drawn.append([functional.dropout(one, p, True) for one, p in zip(ones, self.drops.values(), strict=True)])
        columns = zip(*drawn, strict=True)
        return {f"{name}.mask": torch.stack(masks) for name, masks in zip(self.drops, columns, strict=True)}

    def _find_shapes(self, image: Tensor) -> list[torch.Size]:
        shapes: list[torch.Size] = []
        network = copy.deepcopy(self.networks[0]).eval()
        for name in self.drops:
            network.get_submodule(name).register_forward_pre_hook(lambda _, given: shapes.append(given[0].shape[1:]))
        with torch.no_grad():
            network(image)
        return shapes


def draws_otherwise(network: nn.Module, image: Tensor) -> bool:
    """Say whether a network in training draws random numbers for anything but `nn.Dropout`, which can be stacked.

    Args:
        network: on the device of the image; is left as it was.
        image: float (1, C, H, W).
    """
    plain = copy.deepcopy(network).train()
    for name in [name for name, module in plain.named_modules() if isinstance(module, nn.Dropout)]:
        plain.set_submodule(name, nn.Identity())
    with torch.no_grad(), keep_global(image.device):
        before = _state(image.device)
        plain(image.repeat(2, 1, 1, 1))  # batch normalization takes no single image
        return not torch.equal(before, _state(image.device))


def _state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _stack(tensors: list[Tensor]) -> Tensor:
    """Put tensors of one shape together, (S, ...), each becoming a slice of the result with the strides it had."""
    plain = [tensor.detach() for tensor in tensors]
    stacked = torch.cat(plain).view(len(plain), *plain[0].shape) if plain[0].dim() == 4 else torch.stack(plain)
    for tensor, part in zip(tensors, stacked, strict=True):
        tensor.data = part
    return stacked
