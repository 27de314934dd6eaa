import pytest
import torch
from torch import nn

from lenet_pl.engine.distillation import Distillation
from lenet_pl.optim.distillation_loss import distillation_loss, soft_targets


def test_the_loss_is_the_formula_of_the_paper() -> None:
    generator = torch.Generator().manual_seed(0)
    teacher, student = 3 * torch.randn(2, 7, 5, generator=generator, dtype=torch.float64)
    p = torch.exp(teacher / 4) / torch.exp(teacher / 4).sum(1, keepdim=True)
    q = torch.exp(student / 4) / torch.exp(student / 4).sum(1, keepdim=True)
    expected = 16 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(distillation_loss(student, soft_targets([teacher], 4), 4), expected)


def test_several_teachers_are_the_mean_of_their_softened_probabilities() -> None:
    teachers = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    expected = sum(torch.softmax(logits / 2, 1) for logits in teachers) / 3
    torch.testing.assert_close(soft_targets(list(teachers), 2), expected)


def test_the_gradient_at_a_high_temperature_is_that_of_matching_logits() -> None:
    """Hinton et al. 2015, section 2.1: it tends to (z - v) / K for logits with mean 0, times T² here, per image."""
    generator = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    teacher, student = teacher - teacher.mean(1, keepdim=True), student - student.mean(1, keepdim=True)
    student.requires_grad_()
    distillation_loss(student, soft_targets([teacher], 1000), 1000).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    torch.testing.assert_close(student.grad, (student.detach() - teacher) / 5 / 6, rtol=0.01, atol=1e-4)


def test_logits_of_bf16_are_softened_in_float32() -> None:
    logits = torch.randn(4, 5).bfloat16()
    targets = soft_targets([logits], 3)
    assert targets.dtype == torch.float32
    assert float(distillation_loss(logits, targets, 3)) == pytest.approx(0, abs=1e-5)


def test_teachers_are_in_evaluation_mode_and_get_no_gradient() -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
    teacher(torch.randn(8, 1, 2, 2))
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    combined = Distillation([teacher], temperature=2, weight=0.25)
    images, logits = torch.randn(8, 1, 2, 2), torch.randn(8, 3, requires_grad=True)
    loss = nn.functional.cross_entropy(logits, torch.arange(8) % 3)
    found = combined(loss, logits, images)
    found.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        softened = (teacher.eval()(images) / 2).softmax(1)
    divergence = nn.functional.kl_div((logits / 2).log_softmax(1), softened, reduction="batchmean")
    torch.testing.assert_close(found, 0.25 * 4 * divergence + 0.75 * loss)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
