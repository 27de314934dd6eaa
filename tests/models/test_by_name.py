import inspect
import re
from pathlib import Path

import pytest
import torch
from conftest import Compose
from torch import nn

from lenet_pl import models
from lenet_pl.errors import SettingError
from lenet_pl.models import ConvNet
from lenet_pl.models.build import build_model
from lenet_pl.settings.choices import read_choice
from lenet_pl.settings.compose import conf_dir

DOCS = Path(__file__).resolve().parents[2] / "docs"
NAMES = sorted(path.stem for path in (conf_dir() / "model").glob("*.yaml"))


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def published() -> dict[str, int]:
    """Read the parameters of each model from its page."""
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([\d,]+) \|$", (DOCS / "reference" / "models.md").read_text(), re.M)
    return {name: int(number.replace(",", "")) for name, number in rows}


def test_every_choice_of_the_group_has_a_function() -> None:
    assert models.list_models() == NAMES == sorted(published())
    assert {name for name in models.__all__ if name in NAMES} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_function_builds_the_network_of_its_file(name: str, compose: Compose) -> None:
    torch.manual_seed(0)
    wanted = build_model(compose(f"model={name}").model, 1, 10)
    for build in (getattr(models, name), lambda: models.get_model(name)):
        torch.manual_seed(0)
        model = build()
        assert type(model) is type(wanted)
        assert str(model) == str(wanted)
        assert model.image_size == wanted.image_size
        for key, values in model.state_dict().items():
            assert torch.equal(values, wanted.state_dict()[key])
    assert count(wanted) == published()[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_function_takes_other_classes_and_channels(name: str) -> None:
    model = getattr(models, name)(num_classes=7, in_channels=3)
    assert model(torch.zeros(2, 3, model.image_size, model.image_size)).shape == (2, 7)
    assert (model.channels, model.classes) == (3, 7)


def test_settings_replace_those_of_the_file() -> None:
    model = models.lenet5(image_size=28, activation="tanh", hidden_sizes=(50,), dropout=0.5)
    assert model.image_size == 28
    assert model.classifier.linear1.weight.shape == (50, 16 * 4 * 4)  # type: ignore[union-attr]
    assert [type(layer) for layer in model.modules()].count(nn.Tanh) == 3
    assert model.classifier.dropout1.p == 0.5


def test_the_defaults_of_a_convnet_are_lenet5() -> None:
    values = read_choice("model", "lenet5")
    for name, parameter in inspect.signature(ConvNet).parameters.items():
        if name not in ("num_classes", "in_channels"):
            default = parameter.default
            plain = (
                [list(row) if isinstance(row, tuple) else row for row in default] if type(default) is tuple else default
            )
            assert plain == values[name], name
    assert count(ConvNet()) == 61_706


def test_a_convnet_takes_keywords_alone() -> None:
    model = ConvNet(channels=[[8], [16, 16]], kernel_size=3, padding="same", norm="batch_norm", in_channels=3)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: models.get_model("lenet_nb"), r"^model: got 'lenet_nb'; must be one of .*; did you mean lenet_bn\?$"),
        (lambda: models.lenet5(dropuot=0.1), r"^dropuot: unknown setting; did you mean dropout\?$"),
        (lambda: models.lenet5(activation="relo"), r"^activation: got 'relo'; must be .*; did you mean relu\?$"),
        (lambda: models.lenet1(image_size=32), r"^image_size: got 32; must be 28$"),
        (lambda: models.lenet5_1998(num_classes=47), r"^model\.architecture: .* bitmaps for only 10 classes"),
        (lambda: ConvNet(kernel_size=0), r"^kernel_size: got 0; must be greater than or equal to 1"),
        (lambda: ConvNet(pool_size=[2]), r"pool_size has 1 entries for 2 stages; give one number or one each$"),
        (lambda: ConvNet(image_size=8), r"^model\.image_size: 8×8 px is too small for this network: pool1|conv2"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(build: object, message: str) -> None:
    with pytest.raises(SettingError, match=message) as error:
        build()  # type: ignore[operator]
    assert "\n" not in str(error.value)
