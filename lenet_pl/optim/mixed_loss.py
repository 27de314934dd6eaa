"""The loss of images that mixup or CutMix made from two: the weighted mean of the losses for both labels."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lenet_pl.batch import MixedLabels
from lenet_pl.errors import SettingError
from lenet_pl.optim.losses import Loss


def mixed_loss(loss: Callable[..., Any], logits: Tensor, labels: Tensor, mixed: MixedLabels | None) -> Tensor:
    """Compute the mean loss of a batch whose images may be mixed.

    The loss is called with the labels and with the other labels. Of each image it is

        weight · loss(logits, label) + (1 - weight) · loss(logits, other label).

    With class weights the mean is weighted by those of both labels, as torch does for one. If all weights are the same,
    the result is thus that of Zhang's formula with the mean losses of the batch.

    Args:
        loss: A function of logits and labels that returns the mean loss. See `losses_per_image`.
        logits: The network's outputs, float (B, K).
        labels: The labels of the larger weight, int64 (B,).
        mixed: The other labels; None for images that are not mixed, for which the loss is called as usual.

    Returns:
        A scalar tensor ().

    Raises:
        SettingError: The loss is not a scalar, or cannot be computed for each image.

    Sources: Zhang et al. 2018, section 2; Yun et al. 2019, equation 1.
    """
    if mixed is None:
        mean: Tensor = loss(logits, labels)
        if mean.ndim:
            raise SettingError(
                f"loss: got a result of shape {tuple(mean.shape)}; must be a scalar, the mean of the batch"
            )
        return mean
    weight = mixed.weight.to(torch.promote_types(logits.dtype, torch.float32))  # of bf16 logits, too
    class_weights = _class_weights(loss)
    total, norm = weight.new_zeros(()), weight.new_zeros(())
    for these, share in ((labels, weight), (mixed.others, 1 - weight)):
        total = total + (share * losses_per_image(loss, logits, these)).sum()
        norm = norm + (share if class_weights is None else share * class_weights.to(share)[these]).sum()
    return total / norm


def losses_per_image(loss: Callable[..., Any], logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the loss of each image, float (B,).

    A loss with an attribute or argument `reduction`, such as torch's, is called with "none". Any other is called for
    each image alone, vectorized by `torch.func.vmap`.

    Raises:
        SettingError: This fails.
    """
    try:
        if _takes_reduction(loss):
            found = loss(logits, labels, reduction="none")
        elif hasattr(loss, "reduction"):
            before, loss.reduction = loss.reduction, "none"
            try:
                found = loss(logits, labels)
            finally:
                loss.reduction = before
        else:
            alone = partial(_of_one, loss)
            # Autocast does not reach inside of vmap, so that the loss would be computed in bf16
            full = logits.to(torch.promote_types(logits.dtype, torch.float32))
            found = torch.func.vmap(alone, randomness="different")(full, labels)
    except Exception as error:  # a plug-in may raise anything
        raise SettingError(_explain(loss, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")) from error
    if not isinstance(found, Tensor) or found.shape != labels.shape:
        raise SettingError(_explain(loss, f"got {tuple(getattr(found, 'shape', ()))} for {len(labels)} images"))
    return found


def _of_one(loss: Callable[..., Any], logits: Tensor, label: Tensor) -> Tensor:
    return loss(logits[None], label[None])  # type: ignore[no-any-return]


def _takes_reduction(loss: Callable[..., Any]) -> bool:
    function = loss.forward if isinstance(loss, nn.Module) else loss
    try:
        return "reduction" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin
        return False


def _class_weights(loss: Callable[..., Any]) -> Tensor | None:
    """Return the class weights by whose mean the loss is divided; None if there are none."""
    if isinstance(loss, Loss):
        return None if loss.name == "mle" else loss.class_weights
    return loss.weight if isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) else None


def _explain(loss: Callable[..., Any], why: str) -> str:
    name = getattr(getattr(loss, "func", loss), "__name__", type(loss).__name__)
    return (
        f"augment: mixup and cutmix need the loss of each image, which {name} does not give ({why}); must be 0, or the "
        'loss must have an argument reduction that takes "none"'
    )
