import pytest
from torch import nn

from lenet_pl.errors import SettingError
from lenet_pl.models.layer_selection import head_of, layers_of, select_parameters


def network() -> nn.Sequential:
    features = nn.Sequential()
    features.add_module("conv1", nn.Conv2d(1, 2, 3))
    features.add_module("norm1", nn.BatchNorm2d(2))
    features.add_module("conv2", nn.Conv2d(2, 4, 3))
    model = nn.Sequential()
    model.add_module("features", features)
    model.add_module("output", nn.Linear(4, 10))
    return model


@pytest.mark.parametrize(
    ("patterns", "selected"),
    [
        (["features.conv1"], ["features.conv1.weight", "features.conv1.bias"]),
        (["*.norm*"], ["features.norm1.weight", "features.norm1.bias"]),
        (["*.bias"], ["features.conv1.bias", "features.norm1.bias", "features.conv2.bias", "output.bias"]),
        (
            ["output", "features.conv[12].weight"],
            ["features.conv1.weight", "features.conv2.weight", "output.weight", "output.bias"],
        ),
        ([], []),
    ],
)
def test_layers_are_selected_by_name_and_pattern(patterns: list[str], selected: list[str]) -> None:
    assert select_parameters(network(), patterns, "freeze") == selected


def test_a_name_without_layers_is_an_error_that_lists_them() -> None:
    line = (
        "freeze: got feature, which matches no layer with weights; did you mean features? must be among features, "
        "features.conv1, features.norm1, features.conv2, output, or a pattern of them"
    )
    with pytest.raises(SettingError) as caught:
        select_parameters(network(), ["feature"], "freeze")
    assert str(caught.value) == line


def test_layers_are_grouped_with_their_batch_normalization() -> None:
    assert [names[0] for names in layers_of(network())] == [
        "features.conv1.weight",
        "features.conv2.weight",
        "output.weight",
    ]
    assert "features.norm1.bias" in layers_of(network())[0]


def test_the_head_has_one_output_per_class() -> None:
    assert head_of(network(), 10) == "output"
    assert head_of(network(), 7) is None
