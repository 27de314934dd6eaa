import math

import pytest
import torch
from conftest import Compose
from promise import case
from torch import nn
from torch.nn import functional

from lenet_pl.errors import SettingError
from lenet_pl.models.build import build_model
from lenet_pl.models.layers import RBFOutput, ScaledTanh, SparseConv2d, TrainableSubsampling, digit_codes
from lenet_pl.models.lenet5_1998 import LeNet5Original


def network(compose: Compose, *overrides: str, channels: int = 1, classes: int = 10) -> LeNet5Original:
    torch.manual_seed(0)
    model = build_model(compose("model=lenet5_1998", *overrides).model, channels, classes)
    assert isinstance(model, LeNet5Original)
    return model


def test_each_layer_has_the_published_number_of_parameters(compose: Compose) -> None:
    model = network(compose)
    counts = [sum(p.numel() for p in layer.parameters()) for part in model.children() for layer in part.children()]
    assert [count for count in counts if count] == [156, 12, 1_516, 32, 48_120, 10_164]
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 60_000
    assert sum(p.numel() for p in model.parameters()) == 60_000


def test_each_layer_has_the_published_size(compose: Compose) -> None:
    model, values = network(compose), torch.zeros(2, 1, 32, 32)
    shapes = []
    for part in model.children():
        for name, layer in part.named_children():
            values = layer(values)
            if name.startswith(("conv", "subsampling", "linear", "output")):
                shapes.append(tuple(values.shape[1:]))
    assert shapes == [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,), (84,), (10,)]


def test_the_squashing_function_meets_one_at_one() -> None:
    squash = ScaledTanh()
    at = squash(torch.tensor([-1.0, 0.0, 1.0, 100.0])).tolist()
    assert at == pytest.approx([-1, 0, 1, 1.7159], abs=1e-4)
    assert at[3] == pytest.approx(1.7159 * math.tanh(2 / 3 * 100))


def test_subsampling_is_sum_times_coefficient_plus_bias() -> None:
    layer, maps = TrainableSubsampling(2), torch.randn(3, 2, 6, 4)
    with torch.no_grad():
        layer.coefficient.copy_(torch.tensor([0.5, -2.0]))
        layer.bias.copy_(torch.tensor([0.1, 7.0]))
    sums = maps[:, :, ::2, ::2] + maps[:, :, 1::2, ::2] + maps[:, :, ::2, 1::2] + maps[:, :, 1::2, 1::2]
    by_hand = sums * torch.tensor([0.5, -2.0]).view(2, 1, 1) + torch.tensor([0.1, 7.0]).view(2, 1, 1)
    torch.testing.assert_close(layer(maps), by_hand)


# Table I of the paper, read column by column: the maps of S2 that each map of C3 sees
SEEN = ["012", "123", "234", "345", "045", "015", "0123", "1234", "2345", "0345", "0145", "0125", "0134", "1245",
        "0235", "012345"]  # fmt: skip


def test_the_sparse_convolution_is_the_dense_one_with_zeros(compose: Compose) -> None:
    sparse = network(compose).features.conv2
    assert isinstance(sparse, SparseConv2d)
    sparse = sparse.double()
    dense = nn.Conv2d(6, 16, 5).double()
    with torch.no_grad():
        dense.weight.zero_()
        dense.bias.copy_(sparse.bias)
        weights = iter(sparse.weight.detach())
        for into, seen in enumerate(SEEN):
            for digit in seen:
                dense.weight[into, int(digit)] = next(weights)
    assert next(weights, None) is None
    maps = torch.randn(3, 6, 14, 14, dtype=torch.double)
    torch.testing.assert_close(sparse(maps), dense(maps))
    given = torch.randn(3, 16, 10, 10, dtype=torch.double)
    sparse(maps).backward(given)
    dense(maps).backward(given)
    assert sparse.weight.grad is not None
    gradients = torch.stack([dense.weight.grad[o, int(i)] for o, seen in enumerate(SEEN) for i in seen])  # type: ignore[index]
    torch.testing.assert_close(sparse.weight.grad, gradients)
    torch.testing.assert_close(sparse.bias.grad, dense.bias.grad)


@pytest.mark.parametrize("exponent", [1, 0.5])
def test_initial_weights_fill_their_range_and_no_more(exponent: float, compose: Compose) -> None:
    model = network(compose, f"model.fan_in_exponent={exponent}")
    inputs = {
        "features.conv1": 25, "features.subsampling1": 4, "features.subsampling2": 4,
        "classifier.linear1": 400, "classifier.linear2": 120,
    }  # fmt: skip
    for name, count in inputs.items():
        values = torch.cat([p.detach().flatten() for p in model.get_submodule(name).parameters()]).abs()
        bound = 2.4 / count**exponent
        assert values.max() <= bound
        assert values.max() > bound / 2
    weights = iter(model.get_submodule("features.conv2").get_parameter("weight").detach())
    for seen in SEEN:
        bound = 2.4 / (25 * len(seen)) ** exponent
        assert 0.9 * bound < max(float(next(weights).abs().max()) for _ in seen) <= bound


def test_the_codes_are_readable_digits_that_differ() -> None:
    codes = digit_codes()
    assert codes.shape == (10, 12 * 7)
    assert codes.unique().tolist() == [-1, 1]
    one = ["".join("#" if value > 0 else "." for value in row) for row in codes[1].view(12, 7)]
    assert one[:3] == ["...#...", "..##...", ".#.#..."]
    assert one[-1] == ".#####."
    differing = (codes[:, None] != codes).sum(2) + 84 * torch.eye(10, dtype=torch.long)
    assert differing.min() >= 9


def test_outputs_are_minus_squared_distances(compose: Compose) -> None:
    codes, values = digit_codes(), torch.randn(5, 84)
    by_hand = torch.tensor([[-sum((x - w) ** 2 for x, w in zip(v, c, strict=True)) for c in codes] for v in values])
    torch.testing.assert_close(RBFOutput(codes)(values), by_hand)
    assert RBFOutput(codes)(codes).argmax(1).tolist() == list(range(10))
    assert "classifier.output.codes" in network(compose).state_dict()  # a later drawing would not change a trained one


@pytest.mark.parametrize(("channels", "classes"), [(1, 10), (3, 10), (1, 2)])
def test_it_learns_from_one_step(channels: int, classes: int, compose: Compose) -> None:
    model = network(compose, channels=channels, classes=classes)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    logits = model(torch.randn(8, channels, 32, 32))
    assert logits.shape == (8, classes)
    functional.cross_entropy(logits, torch.arange(8) % classes).backward()
    optimizer.step()
    assert not [name for name, p in model.named_parameters() if torch.equal(p, before[name])]


@case("settings", "model=lenet5_1998 with more than 10 classes: one error line with the number of classes")
def test_more_classes_than_drawings_are_refused(compose: Compose) -> None:
    with pytest.raises(
        SettingError, match=r"^model.architecture: lenet5_1998 has bitmaps for only 10 .* the data has 47;"
    ):
        network(compose, classes=47)
