"""Normalization and strided convolution beside networks that are written out with torch's own layers."""

from collections.abc import Callable

import pytest
import torch
from conftest import Compose
from torch import Tensor, nn
from torch.nn import functional

from lenet_pl.attribution.feature_maps import layer_maps
from lenet_pl.errors import SettingError
from lenet_pl.models.convnet import ConvNet, build_norm, num_groups
from lenet_pl.models.layer_selection import layers_of
from lenet_pl.optim.curvature import diagonal_curvature
from lenet_pl.optim.losses import Loss

MAPS = torch.randn(4, 12, 5, 7, generator=torch.Generator().manual_seed(0))
NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "batch_norm": nn.BatchNorm2d(12, affine=False),
    "layer_norm": nn.LayerNorm([12, 5, 7], elementwise_affine=False),
    "group_norm": nn.GroupNorm(6, 12, affine=False),
    "instance_norm": functional.instance_norm,
}


@pytest.mark.parametrize("name", NORMS)
def test_a_normalization_is_torchs_with_a_scale_and_a_shift_per_channel(name: str) -> None:
    norm = build_norm(name, 12)
    assert [tuple(p.shape) for p in norm.parameters()] == [(12,), (12,)]
    with torch.no_grad():
        scale, shift = (p.copy_(torch.rand(12)) for p in norm.parameters())
    wanted = NORMS[name](MAPS) * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)
    torch.testing.assert_close(norm(MAPS), wanted, atol=1e-5, rtol=1e-4)


def test_groups_have_at_least_two_channels() -> None:
    assert {c: num_groups(c) for c in (1, 2, 3, 6, 7, 16, 32, 64, 128)} == {
        1: 1, 2: 1, 3: 1, 6: 3, 7: 1, 16: 8, 32: 16, 64: 32, 128: 32,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["layer_norm", "group_norm", "instance_norm"])
def test_a_network_is_the_one_written_out(name: str) -> None:
    layer = {"layer_norm": nn.GroupNorm(1, 8), "group_norm": nn.GroupNorm(4, 8)}.get(name)
    plain = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        layer or nn.InstanceNorm2d(8, affine=True),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 7 * 7, 20),
        nn.LayerNorm(20),
        nn.ReLU(),
        nn.Linear(20, 10),
    )
    ours = ConvNet(
        channels=[[8]], kernel_size=3, norm=name, hidden_sizes=[20], hidden_norm="layer_norm", in_channels=3,
        image_size=16,
    )  # fmt: skip
    ours.load_state_dict(dict(zip(ours.state_dict(), plain.state_dict().values(), strict=True)))
    images = torch.randn(5, 3, 16, 16)
    torch.testing.assert_close(ours(images), plain(images))
    alone = torch.cat([ours(image[None]) for image in images])  # no image depends on the others, in training neither
    torch.testing.assert_close(alone, ours(images), atol=1e-5, rtol=1e-5)


def test_strided_convolutions_are_the_network_written_out() -> None:
    plain = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 2, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, stride=3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 2 * 2, 10),
    )
    ours = ConvNet(
        channels=[[4], [6]], kernel_size=3, padding="same", pooling="strided_conv", pool_size=[2, 3],
        norm="batch_norm", hidden_sizes=[], image_size=13,
    )  # fmt: skip
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in plain.parameters())
    ours.load_state_dict(dict(zip(ours.state_dict(), plain.state_dict().values(), strict=True)))
    images = torch.randn(5, 1, 13, 13)
    torch.testing.assert_close(ours(images), plain(images))
    assert len(layers_of(ours)) >= 5
    assert layer_maps(ours, images)


def test_strided_convolutions_count_for_the_limit_of_parameters() -> None:
    with pytest.raises(SettingError, match=r"^model: got 2\d,\d{3},\d{3} parameters"):
        ConvNet(channels=[[2400]], kernel_size=1, pooling="strided_conv", hidden_sizes=[], image_size=4)


def test_instance_norm_needs_more_than_one_output() -> None:
    with pytest.raises(SettingError, match=r"^model\.norm: got instance_norm, but conv2 has a single output"):
        ConvNet(channels=[[4], [8]], kernel_size=[5, 5], norm="instance_norm", image_size=14)


def test_sdlm_takes_strided_convolutions_and_no_normalization(compose: Compose) -> None:
    network = ConvNet(channels=[[4]], kernel_size=3, pooling="strided_conv", hidden_sizes=[], image_size=8)
    found = diagonal_curvature(network, torch.randn(6, 1, 8, 8), Loss())
    assert set(found) == set(network.parameters())
    with pytest.raises(SettingError, match="does not support group normalization; use another optimizer, or model"):
        compose("optimizer=sdlm", "model.norm=group_norm")
