from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lenet_pl.batch import MixedLabels
from lenet_pl.errors import SettingError
from lenet_pl.optim.losses import Loss
from lenet_pl.optim.mixed_loss import mixed_loss

K, B = 5, 12
WEIGHTS = torch.tensor([1.0, 2.0, 0.5, 3.0, 1.5])
LOGITS = torch.randn(B, K, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(B) % K
OTHERS = LABELS[torch.randperm(B, generator=torch.Generator().manual_seed(1))]


def mixed(weight: Tensor | float) -> MixedLabels:
    return MixedLabels(OTHERS, torch.as_tensor(weight).expand(B))


LOSSES: dict[str, Any] = {
    "own": Loss(),
    "own with label smoothing": Loss(label_smoothing=0.2),
    "own with class weights": Loss(class_weights=WEIGHTS),
    "own with both": Loss(class_weights=WEIGHTS, label_smoothing=0.2),
    "own map": Loss("map", 4.0),
    "own mle": Loss("mle"),
    "torch module": nn.CrossEntropyLoss(WEIGHTS, label_smoothing=0.1),
    "torch function": functional.cross_entropy,
    "torch multi margin": nn.MultiMarginLoss(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_with_one_weight_it_is_the_formula_of_the_paper(name: str) -> None:
    loss = LOSSES[name]
    wanted = 0.7 * loss(LOGITS, LABELS) + 0.3 * loss(LOGITS, OTHERS)
    torch.testing.assert_close(mixed_loss(loss, LOGITS, LABELS, mixed(0.7)), wanted)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_with_a_weight_for_each_image_it_is_cross_entropy_with_both_as_probabilities(smoothing: float) -> None:
    weight = 0.5 + 0.5 * torch.rand(B, generator=torch.Generator().manual_seed(2))
    target = weight[:, None] * functional.one_hot(LABELS, K) + (1 - weight[:, None]) * functional.one_hot(OTHERS, K)
    logits = LOGITS.clone().requires_grad_()
    wanted = functional.cross_entropy(logits, target, label_smoothing=smoothing)
    ours = mixed_loss(Loss(label_smoothing=smoothing), logits, LABELS, mixed(weight))
    torch.testing.assert_close(ours, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(one, logits)[0] for one in (ours, wanted)))


def focal(logits: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    log_p = functional.log_softmax(logits, 1).gather(1, labels[:, None])
    return -((1 - log_p.exp()) ** gamma * log_p).mean()


@pytest.mark.parametrize("loss", [focal, partial(focal, gamma=1.0)])
def test_a_loss_that_only_gives_the_mean_is_computed_for_each_image(loss: Any) -> None:
    weight = 0.5 + 0.5 * torch.rand(B, generator=torch.Generator().manual_seed(2))
    each = [
        w * loss(LOGITS[i : i + 1], LABELS[i : i + 1]) + (1 - w) * loss(LOGITS[i : i + 1], OTHERS[i : i + 1])
        for i, w in enumerate(weight)
    ]
    torch.testing.assert_close(mixed_loss(loss, LOGITS, LABELS, mixed(weight)), torch.stack(each).mean())


def test_in_bf16_a_loss_without_reduction_is_as_precise_as_torchs() -> None:
    weight = torch.full((B,), 0.7)
    low = LOGITS.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        theirs = mixed_loss(nn.CrossEntropyLoss(), low, LABELS, mixed(weight))
        ours = mixed_loss(lambda logits, labels: functional.cross_entropy(logits, labels), low, LABELS, mixed(weight))
    torch.testing.assert_close(ours, theirs)


def test_without_mixing_the_loss_is_called_as_usual() -> None:
    calls = []

    def loss(*given: Any) -> Tensor:
        calls.append(given)
        return focal(*given)

    assert torch.equal(mixed_loss(loss, LOGITS, LABELS, None), focal(LOGITS, LABELS))
    assert calls == [(LOGITS, LABELS)]


def test_a_loss_that_cannot_be_computed_for_each_image_is_named() -> None:
    def ranked(logits: Tensor, labels: Tensor) -> Tensor:
        return torch.tensor(float(logits.sum()))  # no tensor operation

    with pytest.raises(
        SettingError, match=r"^augment: mixup and cutmix need the loss of each image, which ranked does"
    ):
        mixed_loss(ranked, LOGITS, LABELS, mixed(0.6))
