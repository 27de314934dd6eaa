"""Gradient noise and sharpness beside torch.func on small networks, and trainings with and without them."""

import copy
import csv
import math
from pathlib import Path

import pytest
import torch
from checkpoint_diff import checkpoint, difference
from conftest import Compose
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vmap
from torch.nn import functional

from lenet_pl.engine.build import build_datamodule
from lenet_pl.errors import SettingError
from lenet_pl.models.build import build_model
from lenet_pl.optim.loss_surface import LossSurface, gradient_noise
from lenet_pl.train import train

COUNT = 240
IMAGES = torch.from_numpy(load_digits().images[:COUNT] / 16)[:, None, ::2, ::2].clone()  # float64
LABELS = torch.from_numpy(load_digits().target[:COUNT]).long()
EVERY = (
    "extra_callbacks=[gradient_noise,sharpness]",
    "extra_callbacks.sharpness.every_n_epochs=2",
    "extra_callbacks.sharpness.images=40",
    "extra_callbacks.gradient_noise.images=96",
)
SMALL = (
    "model=lenet_bn",
    "model.channels=[[4],[8]]",
    "model.hidden_sizes=[16]",
    "augment=affine",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=5",
    "trainer.accelerator=cpu",
    "trainer.num_threads=1",
    "trainer.precision=32-true",
    "callbacks.progress_bar=false",
    "callbacks.model_summary=false",
    "logger=csv",
    "report=none",
)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 10)
    ).double()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    for _ in range(20):
        optimizer.zero_grad()
        functional.cross_entropy(model(IMAGES), LABELS).backward()
        optimizer.step()
    return model.eval().requires_grad_()


def surface(model: nn.Module) -> LossSurface:
    return LossSurface(model, functional.cross_entropy, IMAGES, LABELS)


def gradients_of_each(model: nn.Module) -> Tensor:
    weights = dict(model.named_parameters())

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(model, weights, (image[None],)), label[None])

    each = vmap(grad(loss), (None, 0, 0))(weights, IMAGES, LABELS)
    return torch.cat([value.flatten(1) for value in each.values()], 1)


def test_noise_of_single_images_is_the_covariance_of_their_gradients(network: nn.Module) -> None:
    each = gradients_of_each(network)
    covariance = torch.cov(each.T)  # unbiased
    trace, norm_sq = gradient_noise(iter(each), 1)
    assert trace == pytest.approx(covariance.trace().item(), rel=1e-9)
    assert norm_sq == pytest.approx((each.mean(0).square().sum() - covariance.trace() / COUNT).item(), rel=1e-9)


def test_noise_of_small_batches_is_that_of_single_images_on_average(network: nn.Module) -> None:
    each = gradients_of_each(network)
    found = []
    for seed in range(100):
        order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(seed))
        found.append(gradient_noise(each[order].view(-1, 12, each.shape[1]).mean(1), 12))
    trace, norm_sq = torch.tensor(found).double().mean(0).tolist()
    direct = torch.cov(each.T).trace().item()
    assert trace == pytest.approx(direct, rel=0.03)
    assert trace / norm_sq == pytest.approx(direct / (each.mean(0).square().sum().item() - direct / COUNT), rel=0.05)


def test_the_gradient_is_that_of_the_mean_loss(network: nn.Module) -> None:
    torch.testing.assert_close(surface(network).gradient(), gradients_of_each(network).mean(0))


def test_the_eigenvalue_is_that_of_the_full_hessian(network: nn.Module) -> None:
    names = [name for name, _ in network.named_parameters()]
    shapes = [value.shape for _, value in network.named_parameters()]
    flat = torch.cat([value.detach().flatten() for value in network.parameters()])

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([shape.numel() for shape in shapes])
        weights = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return functional.cross_entropy(functional_call(network, weights, (IMAGES,)), LABELS)

    values = torch.linalg.eigvalsh(jacrev(grad(loss))(flat))
    assert surface(network).largest_eigenvalue(1e-6) == pytest.approx(values[-1].item(), rel=1e-5)
    assert values[0] < 0 < values[-1]


@pytest.mark.parametrize("curvatures", [[3.0], [2.0, -7.0], [1.0, -9.0, 4.0, 4.5, 0.0]])
def test_a_quadratic_has_its_own_curvature_and_rise(curvatures: list[float]) -> None:
    model = nn.Linear(len(curvatures), 1, bias=False).double()
    with torch.no_grad():
        model.weight.fill_(1.0)
    scales = torch.tensor(curvatures).double()

    def loss(outputs: Tensor, _: Tensor) -> Tensor:  # outputs are the weights
        return 0.5 * (scales * outputs.flatten().square()).sum()

    found = LossSurface(model, loss, torch.eye(len(curvatures)).double(), LABELS)
    assert found.largest_eigenvalue(1e-8) == pytest.approx(max(curvatures), rel=1e-6)
    step = scales / scales.norm() * 0.1
    assert found.rise(0.1) == pytest.approx((0.5 * scales * ((1 + step).square() - 1)).sum().item(), rel=1e-9)


def test_measuring_leaves_the_network_as_it_is(network: nn.Module) -> None:
    before = copy.deepcopy(network.state_dict())
    network[0].weight.requires_grad_(False)
    for value in network.parameters():
        value.grad = None
    one = surface(network)
    assert math.isfinite(one.largest_eigenvalue())
    assert one.rise(0.1) > 0
    assert len(one.gradient()) == sum(value.numel() for value in network.parameters()) - network[0].weight.numel()
    assert all(value.grad is None for value in network.parameters())
    assert difference(before, network.state_dict()) == []


def test_training_is_the_same_with_and_without_them(compose: Compose, tmp_path: Path) -> None:
    plain, measured = tmp_path / "plain", tmp_path / "measured"
    for folder, more in ((plain, ()), (measured, EVERY)):
        folder.mkdir()
        train(compose(*SMALL, *more), folder)
    for key in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert difference(checkpoint(plain)[key], checkpoint(measured)[key]) == []
    rows = list(csv.DictReader((measured / "metrics.csv").read_text().splitlines()))
    assert len(rows) == 2
    for row in rows:
        values = {
            name.removeprefix("gradient_noise/"): float(text or "nan") for name, text in row.items() if "/" in name
        }
        assert values["trace"] > 0
        if values["norm_sq"] > 0:
            assert values["scale"] == pytest.approx(values["trace"] / values["norm_sq"], rel=1e-4)
    assert rows[0]["sharpness/max_eigenvalue"] == ""
    assert float(rows[1]["sharpness/max_eigenvalue"]) > 0
    assert float(rows[1]["sharpness/loss_rise"]) > 0
    log = measured / "csv" / "metrics.csv"
    assert {"gradient_noise/scale", "sharpness/max_eigenvalue"} <= set(log.read_text().splitlines()[0].split(","))


def test_values_are_those_of_the_weights_at_the_end_of_the_epoch(compose: Compose, tmp_path: Path) -> None:
    settings = compose(*SMALL, *EVERY)
    train(settings, tmp_path)
    state = checkpoint(tmp_path)
    loader = build_datamodule(settings).train_dataloader()
    model = build_model(settings.model, 1, 10)
    model.load_state_dict({k[6:]: v for k, v in state["state_dict"].items() if k.startswith("model.")})
    batch = next(loader.plain_batches(40))
    found = LossSurface(model.eval(), functional.cross_entropy, *batch)
    row = state["callbacks"]["EpochRecorder"]["epochs"][-1]
    assert row["sharpness/max_eigenvalue"] == pytest.approx(found.largest_eigenvalue(1e-4), rel=1e-2)
    assert row["sharpness/loss_rise"] == pytest.approx(found.rise(0.05), rel=1e-2)


def test_what_cannot_be_measured_is_refused(compose: Compose, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"gradient_noise\.images: got 50 with batch_size=32"):
        compose(*EVERY, "extra_callbacks.gradient_noise.images=50")
    sizes = ("extra_callbacks.gradient_noise.images=1800", "extra_callbacks.gradient_noise.batch_size=900")
    settings = compose(*SMALL, "extra_callbacks=gradient_noise", *sizes)
    with pytest.raises(SettingError, match=r"gradient_noise\.batch_size: got 900 for \d+ training images"):
        train(settings, tmp_path)
