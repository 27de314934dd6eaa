import itertools
from typing import Any

import pytest
import torch
from conftest import Compose
from torch import nn
from torch.nn import functional

from lenet_pl.errors import SettingError
from lenet_pl.models import convnet
from lenet_pl.models.build import build_model
from lenet_pl.models.convnet import ConvNet
from lenet_pl.settings.compose import conf_dir

MODELS = sorted(
    path.stem for path in (conf_dir() / "model").glob("*.yaml") if path.stem not in ("lenet1", "lenet5_1998")
)


def network(compose: Compose, *overrides: str, channels: int = 1, classes: int = 10) -> ConvNet:
    model = build_model(compose(*overrides).model, channels, classes)
    assert isinstance(model, ConvNet)
    return model


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("image_size", [28, 32])
def test_every_model_learns_from_one_step(name: str, image_size: int, compose: Compose) -> None:
    settings = compose(f"model={name}", f"model.image_size={image_size}").model
    for channels, classes in itertools.product((1, 3), (2, 10, 47)):
        torch.manual_seed(0)
        model = build_model(settings, channels, classes)
        before = {key: value.clone() for key, value in model.named_parameters() if key.endswith("weight")}
        optimizer = torch.optim.Adam(model.parameters())
        logits = model(torch.randn(8, channels, image_size, image_size))
        assert logits.shape == (8, classes)
        loss = functional.cross_entropy(logits, torch.arange(8) % classes)
        loss.backward()
        optimizer.step()
        assert loss.isfinite()
        after = dict(model.named_parameters())
        assert not [key for key, value in before.items() if torch.equal(value, after[key])]
        assert all(value.isfinite().all() for value in after.values())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("lenet5", 61_706),
        ("lenet5_bn", 61_706 + 2 * 6 + 2 * 16),
        ("lenet_sigmoid_avg", 61_706),
        ("lenet_sigmoid", 156 + 2_416 + 30_840 + 10_164 + 850),
        ("lenet_avg_dropout", 61_706),
        # convolutions: out × (in × k² + 1); 28 px pooled twice, with the size kept by each convolution: 7 px
        ("cnn_plain", 16 * (1 * 25 + 1) + 32 * (16 * 25 + 1) + 32 * (32 * 25 + 1) + 64 * (32 * 25 + 1)
         + 10 * (64 * 7 * 7 + 1)),
        # 32 → 28 → 14 → 10 → 5 px; each normalisation adds a scale and a shift per channel
        ("lenet_bn", 32 * (1 * 25 + 1) + 2 * 32 + 64 * (32 * 25 + 1) + 2 * 64 + 512 * (64 * 5 * 5 + 1) + 2 * 512
         + 256 * (512 + 1) + 2 * 256 + 10 * (256 + 1)),
        # 32 → 16 → 8 → 4 px
        ("cnn3_bn", 32 * (1 * 9 + 1) + 2 * 32 + 64 * (32 * 9 + 1) + 2 * 64 + 128 * (64 * 9 + 1) + 2 * 128
         + 512 * (128 * 4 * 4 + 1) + 10 * (512 + 1)),
        # 28 → 14 → 7 → 3 px
        ("cnn5_bn", 32 * (1 * 9 + 1) + 64 * (32 * 9 + 1) + 64 * (64 * 9 + 1) + 128 * (64 * 9 + 1) + 128 * (128 * 9 + 1)
         + 2 * (32 + 64 + 64 + 128 + 128) + 10 * (128 * 3 * 3 + 1)),
    ],
)  # fmt: skip
def test_models_have_as_many_parameters_as_the_formula_says(name: str, parameters: int, compose: Compose) -> None:
    assert count(network(compose, f"model={name}")) == parameters


def test_every_model_has_its_parameters_counted() -> None:
    marks = test_models_have_as_many_parameters_as_the_formula_says.pytestmark  # type: ignore[attr-defined]
    assert sorted(case[0] for case in marks[0].args[1]) == MODELS


def test_layers_of_lenet_sigmoid_have_the_parameters_of_the_source(compose: Compose) -> None:
    model = network(compose, "model=lenet_sigmoid")
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [count(layer) for layer in layers] == [156, 2_416, 30_840, 10_164, 850]


@pytest.mark.parametrize(
    ("name", "activation", "pooling"),
    [
        ("lenet5", nn.ReLU, nn.MaxPool2d),
        ("lenet_sigmoid_avg", nn.Sigmoid, nn.AvgPool2d),
        ("lenet_sigmoid", nn.Sigmoid, nn.MaxPool2d),
    ],
)
def test_output_equals_the_network_written_by_hand(
    name: str, activation: type[nn.Module], pooling: Any, compose: Compose
) -> None:
    model = network(compose, f"model={name}")
    side = {28: 4, 32: 5}[model.image_size]
    by_hand = nn.Sequential(
        nn.Conv2d(1, 6, 5), activation(), pooling(2), nn.Conv2d(6, 16, 5), activation(), pooling(2), nn.Flatten(),
        nn.Linear(16 * side * side, 120), activation(), nn.Linear(120, 84), activation(), nn.Linear(84, 10),
    )  # fmt: skip
    by_hand.load_state_dict(dict(zip(by_hand.state_dict(), model.state_dict().values(), strict=True)))
    images = torch.randn(5, 1, model.image_size, model.image_size)
    torch.testing.assert_close(model(images), by_hand(images))


def test_batch_form_pools_before_the_activation(compose: Compose) -> None:
    model = network(compose, "model=lenet_bn")
    assert [type(m).__name__ for m in model.features] == ["Conv2d", "BatchNorm2d", "MaxPool2d", "ReLU"] * 2
    hidden = ["Linear", "BatchNorm1d", "ReLU", "Dropout"]
    assert [type(m).__name__ for m in model.classifier] == ["Flatten", *hidden, *hidden, "Linear"]


@pytest.mark.parametrize("activation", convnet.MONOTONE)
@pytest.mark.parametrize("scale", [0.1, 1, 30])  # 30 saturates, so that many values are equal
def test_pooling_first_is_exactly_the_same(activation: str, scale: float) -> None:
    layer, pool = convnet.ACTIVATIONS[activation](), nn.MaxPool2d(2)
    ours = (torch.randn(16, 6, 28, 28) * scale).contiguous(memory_format=torch.channels_last).requires_grad_()
    usual = ours.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    weight = torch.randn(16, 6, 14, 14)
    first, last = layer(pool(ours)), pool(layer(usual))
    assert torch.equal(first, last)
    (first * weight).sum().backward()
    (last * weight).sum().backward()
    assert ours.grad is not None
    assert usual.grad is not None
    # Values that saturation made equal pass the gradient, which is as good as zero there, to another place
    torch.testing.assert_close(ours.grad, usual.grad, rtol=0, atol=0 if activation == "relu" else 1e-4)


@pytest.mark.parametrize("overrides", [("model.activation=gelu",), ("model.pooling=avg",)])
def test_pooling_comes_last_where_the_order_matters(overrides: tuple[str, ...], compose: Compose) -> None:
    names = [name for name, _ in network(compose, *overrides).features.named_children()]
    assert names == ["conv1", "activation1", "pool1", "conv2", "activation2", "pool2"]


def test_dropout_can_be_given_per_hidden_layer(compose: Compose) -> None:
    model = network(compose, "model.hidden_sizes=[30,20,10]", "model.dropout=[0.1,0,0.3]")
    found = {name: m.p for name, m in model.classifier.named_children() if isinstance(m, nn.Dropout)}
    assert found == {"dropout1": 0.1, "dropout3": 0.3}


def test_kernel_and_pool_can_be_given_per_stage(compose: Compose) -> None:
    model = network(compose, "model.kernel_size=[3,1]", "model.pool_size=[1,3]", "model.hidden_sizes=[]")
    assert model.features.conv1.kernel_size == (3, 3)
    assert model.features.conv2.kernel_size == (1, 1)
    assert [m.kernel_size for m in model.features if isinstance(m, nn.MaxPool2d)] == [3]
    assert model.classifier.output.in_features == 16 * 10 * 10  # 32 → 30 → 30 → 30 → 10


@pytest.mark.parametrize(("name", "module"), convnet.ACTIVATIONS.items())
def test_activations_are_what_they_are_called(name: str, module: type[nn.Module], compose: Compose) -> None:
    values = torch.linspace(-3, 3, 7)
    reference = getattr(torch, name, None) or getattr(functional, name)
    torch.testing.assert_close(module()(values), reference(values))
    assert any(isinstance(m, module) for m in network(compose, f"model.activation={name}").modules())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.image_size=8"], ["8×8", "conv2", "5×5", "2×2"]),  # 8 → 4 → 2
        (["model.image_size=4"], ["4×4", "conv1", "5×5"]),
        (["model.image_size=13"], ["13×13", "conv2", "5×5", "4×4"]),  # 13 → 9 → 4
        (["model.image_size=15", "model.pool_size=[2,3]"], ["pool2", "3×3", "1×1"]),  # 15 → 11 → 5 → 1
    ],
)
def test_too_small_images_are_refused_with_layer_and_size(
    overrides: list[str], words: list[str], compose: Compose
) -> None:
    with pytest.raises(SettingError, match=r"^model\.image_size: ") as error:
        network(compose, *overrides)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words)


def test_the_smallest_image_that_fits_is_accepted(compose: Compose) -> None:
    assert network(compose, "model.image_size=16")(torch.zeros(1, 1, 16, 16)).shape == (1, 10)  # 16 → 12 → 6 → 2 → 1


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.padding=same", "model.kernel_size=4"], ["same", "odd", "4"]),
        (["model.padding=same", "model.kernel_size=[5,2]"], ["same", "odd", "2"]),
        (["model.kernel_size=[5,5,5]"], ["kernel_size", "3", "2 stages"]),
        (["model.pool_size=[2]"], ["pool_size", "1", "2 stages"]),
        (["model.dropout=[0.1]"], ["dropout", "1", "2 hidden"]),
        (["model.channels=[]"], ["model.channels"]),
        (["model.channels=[[]]"], ["model.channels"]),
        (["model.dropout=1"], ["model.dropout"]),
    ],
)
def test_specifications_that_contradict_themselves_are_refused(
    overrides: list[str], words: list[str], compose: Compose
) -> None:
    with pytest.raises(SettingError, match=r"^model") as error:
        network(compose, *overrides)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.hidden_sizes=[60000]"],
        ["model=cnn_plain", "model.hidden_sizes=[60000]"],
        ["model.hidden_sizes=[9999,9999]"],
    ],
)
def test_networks_that_are_too_large_are_refused_before_memory_is_taken(
    overrides: list[str], compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = compose(*overrides).model
    made: list[int] = []
    linear = nn.Linear
    # the rest of the network may be built, but no large matrix
    monkeypatch.setattr(convnet.nn, "Linear", lambda a, b: made.append(a * b) or linear(a, b, device="meta"))
    with pytest.raises(SettingError, match=r"^model: .* parameters") as error:
        build_model(settings, 1, 10)
    assert made == []
    assert "\n" not in str(error.value)


def test_the_number_of_parameters_in_the_message_is_right(compose: Compose) -> None:
    with pytest.raises(SettingError) as error:
        network(compose, "model.hidden_sizes=[65536,1000]")
    linear = 65_536 * (400 + 1) + 1_000 * (65_536 + 1) + 10 * (1_000 + 1)
    assert f"{156 + 2_416 + linear:,} parameters" in str(error.value)
