import pytest
import torch
from conftest import Compose

from lenet_pl.models.build import build_model
from lenet_pl.models.layers import SparseConv2d
from lenet_pl.models.lenet1 import LeNet1

# Halves of H3 see one half of H2: each of its two maps alone, and four times both
SEEN = ["0", "01", "01", "1", "01", "01", "2", "23", "23", "3", "23", "23"]


def network(compose: Compose, channels: int = 1, classes: int = 10) -> LeNet1:
    torch.manual_seed(0)
    model = build_model(compose("model=lenet1").model, channels, classes)
    assert isinstance(model, LeNet1)
    return model


def test_it_has_the_published_sizes_and_number_of_parameters(compose: Compose) -> None:
    model, values = network(compose), torch.zeros(2, 1, 28, 28)
    shapes = []
    for part in model.children():
        for name, layer in part.named_children():
            values = layer(values)
            if name.startswith(("conv", "subsampling", "output")):
                shapes.append((tuple(values.shape[1:]), sum(p.numel() for p in layer.parameters())))
    assert shapes == [((4, 24, 24), 104), ((4, 12, 12), 8), ((12, 8, 8), 512), ((12, 4, 4), 24), ((10,), 1_930)]
    assert sum(p.numel() for p in model.parameters()) == 2_578


def test_each_map_of_h3_sees_its_half(compose: Compose) -> None:
    layer = network(compose).features.conv2
    assert isinstance(layer, SparseConv2d)
    seen = layer.kernel().abs().sum((2, 3)) > 0
    assert ["".join(str(place) for place in row.nonzero()[:, 0].tolist()) for row in seen] == SEEN


def test_initial_weights_are_uniform_within_the_printed_bounds(compose: Compose) -> None:
    model = network(compose)
    for layer, inputs in ((model.features.conv1, 25), (model.classifier.output, 192)):
        bound = 2.4 / inputs
        for values in layer.parameters():
            assert float(values.detach().abs().max()) <= bound
        spread = float(layer.weight.detach().std())
        assert spread == pytest.approx(bound / 3**0.5, rel=0.25)  # of a uniform distribution


def test_other_channels_and_classes_are_taken(compose: Compose) -> None:
    assert network(compose, channels=3, classes=47)(torch.zeros(2, 3, 28, 28)).shape == (2, 47)
