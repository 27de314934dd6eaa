from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
from annotated_types import Ge
from conftest import Compose
from pydantic import Field
from torch import nn

from lenet_pl.engine.build import without_resume
from lenet_pl.engine.plugin_parts import build_metrics, build_transforms
from lenet_pl.errors import SettingError
from lenet_pl.models.build import build_model
from lenet_pl.optim.optimizers import build_optimizer
from lenet_pl.optim.schedulers import build_scheduler
from lenet_pl.plugins import register
from lenet_pl.plugins.build import build
from lenet_pl.plugins.kinds import KINDS
from lenet_pl.plugins.parameters import REQUIRED, Keyword, keywords, plain_type
from lenet_pl.plugins.registry import STATE, entries, used_plugins
from lenet_pl.settings import Settings, TrainSettings, validate
from lenet_pl.settings.config_file import completed
from lenet_pl.settings.parts import offered_choices
from lenet_pl.settings.renamed import upgraded_parameter
from lenet_pl.train.recorded_settings import has_fixed_length


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    before = {kind: dict(named) for kind, named in STATE.entries.items()}
    yield
    STATE.entries.update(before)


class Color(Enum):
    RED = 1


@pytest.mark.parametrize(
    ("annotation", "plain"),
    [
        (int, int),
        (float | torch.Tensor, float),
        (bool | None, bool | None),
        (Literal["a", "b"], Literal["a", "b"]),
        (tuple[float, float], list[float]),
        (list[int] | None, list[int] | None),
        (str | Path, str),
        (dict[str, int], dict[str, Any]),
        (Annotated[int, Ge(1)], Annotated[int, Ge(1)]),
        (torch.Tensor, None),
        (Color, None),
        (torch.Tensor | None, None),
    ],
)
def test_a_type_is_restricted_to_what_a_configuration_can_hold(annotation: Any, plain: Any) -> None:
    assert plain_type(annotation) == plain


def test_the_keyword_arguments_of_a_class_are_its_settings() -> None:
    found = keywords(KINDS["optimizer"], torch.optim.Adam)
    assert "params" not in found
    assert found["lr"] == Keyword(float, 0.001)
    assert found["betas"] == Keyword(list[float], [0.9, 0.999])
    assert found["amsgrad"] == Keyword(bool, False)
    assert keywords(KINDS["scheduler"], torch.optim.lr_scheduler.StepLR)["step_size"] == Keyword(int, REQUIRED)


def test_every_optimizer_of_torch_can_be_registered(compose: Compose) -> None:
    for name in ("Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "ASGD", "Rprop", "Adam", "SGD"):
        register("optimizer", f"torch_{name}")(getattr(torch.optim, name))
        settings = compose(f"optimizer=torch_{name}", "optimizer.lr=0.25", "scheduler=none").optimizer
        model = nn.Linear(2, 2)
        ours = build_optimizer(settings, model.parameters())
        assert ours.defaults == getattr(torch.optim, name)(model.parameters(), lr=0.25).defaults


def test_a_scheduler_of_torch_is_stepped_by_epoch_and_gets_its_settings(compose: Compose) -> None:
    register("scheduler", "poly")(torch.optim.lr_scheduler.PolynomialLR)
    settings = compose("scheduler=poly", "scheduler.total_iters=7")
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.1)
    schedule = build_scheduler(settings.scheduler, optimizer, 100)
    assert schedule is not None
    assert (schedule["interval"], schedule["scheduler"].total_iters) == ("epoch", 7)


def test_a_scheduler_may_return_the_dictionary_of_lightning_and_take_the_number_of_steps(compose: Compose) -> None:
    @register("scheduler", "line")
    def line(optimizer: Any, steps: int, end: float = 0.0) -> dict[str, Any]:
        scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, end, total_iters=steps)
        return {"scheduler": scheduler, "interval": "step"}

    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.1)
    schedule = build_scheduler(compose("scheduler=line", "scheduler.end=0.5").scheduler, optimizer, 100)
    assert schedule is not None
    assert schedule["interval"] == "step"
    assert (schedule["scheduler"].total_iters, schedule["scheduler"].end_factor) == (100, 0.5)


def test_a_scheduler_that_returns_nothing_is_an_error(compose: Compose) -> None:
    @register("scheduler", "forgotten")
    def forgotten(optimizer: Any) -> None:
        torch.optim.lr_scheduler.ConstantLR(optimizer)

    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.1)
    with pytest.raises(
        SettingError, match=r"^scheduler: forgotten returns NoneType; must be a scheduler of torch, or "
    ):
        build_scheduler(compose("scheduler=forgotten").scheduler, optimizer, 100)


@pytest.mark.parametrize(
    ("kind", "group", "old"),
    [("scheduler", "scheduler", "warmup"), ("optimizer", "optimizer", "samples"), ("loss", "loss", "rubbish")],
)
def test_a_part_may_call_a_setting_as_we_once_did(kind: str, group: str, old: str, compose: Compose) -> None:
    """Assert that what a run records is read as it was written."""
    scope: dict[str, Any] = {}
    exec(f"def part(first, second=None, {old}: float = 0.5): ...", scope)
    register(kind, f"with_{old}")(scope["part"])
    settings = compose(f"{group}=with_{old}", f"{group}.{old}=0.25")
    assert getattr(getattr(settings, group), old) == 0.25
    recorded = validate(TrainSettings, completed(without_resume(settings)))
    assert getattr(recorded, group) == getattr(settings, group)
    assert upgraded_parameter(f"{group}.{old}") == (f"{group}.{old}", None)


def test_a_metric_that_does_not_fit_the_classes_is_named(compose: Compose) -> None:
    with pytest.raises(SettingError, match=r"^metrics: top_k cannot be built \(ValueError: .*top_k"):
        build_metrics(compose("metrics=[top_k]"), 2)


def test_an_error_of_a_transform_names_it(compose: Compose) -> None:
    register("transform", "flattened")(lambda batch: batch.flatten(1))
    (transform,) = build_transforms(compose("transforms=[flattened]"))
    with pytest.raises(SettingError, match=r"^transforms: flattened: the transform returned .* of shape \(2, 64\)"):
        transform(torch.zeros(2, 1, 8, 8), torch.Generator())


def test_a_schedule_that_takes_the_number_of_steps_has_a_fixed_length(compose: Compose) -> None:
    register("scheduler", "planned")(lambda optimizer, steps: None)
    register("scheduler", "open_ended")(lambda optimizer: None)
    fixed = {"planned": True, "open_ended": False, "cosine": True, "onecycle": True, "plateau": False, "step": False}
    fixed |= {"polynomial": True, "linear": True, "cosine_restarts": False, "multistep": False}
    assert {name: has_fixed_length(compose(f"scheduler={name}")) for name in fixed} == fixed


class Net(nn.Module):
    def __init__(self, in_channels: int, num_classes: int, width: int = 4, names: str = "x") -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 256, width), nn.Linear(width, num_classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(images)  # type: ignore[no-any-return]


class NetSettings(Settings):
    width: Annotated[int, Field(ge=2, le=64)] = 4
    """Neurons of the hidden layer."""


def test_a_settings_class_adds_ranges_and_defaults(compose: Compose) -> None:
    register("model", "net", settings=NetSettings)(Net)
    settings = compose("model=net", "model.image_size=16", "model.width=8")
    assert settings.model.model_dump() == {"architecture": "net", "name": "net", "image_size": 16, "width": 8}
    assert build_model(settings.model, 3, 5)(torch.zeros(2, 3, 16, 16)).shape == (2, 5)
    assert validate(TrainSettings, settings.model_dump()) == settings
    assert used_plugins(settings) == [__name__]
    with pytest.raises(SettingError, match=r"^model\.width: got 1; must be greater than or equal to 2$"):
        compose("model=net", "model.width=1")


def test_keyword_arguments_are_checked_and_unknown_ones_refused(compose: Compose) -> None:
    register("model", "net")(Net)
    with pytest.raises(SettingError, match=r"^model\.width: got 'wide'; must be an integer"):
        compose("model=net", "model.width=wide")
    values = compose("model=net").model_dump()
    values["model"]["widht"] = 3
    with pytest.raises(SettingError, match=r"^model\.widht: unknown setting; did you mean model\.width\?"):
        validate(TrainSettings, values)


def test_a_network_that_does_not_fit_is_one_line(compose: Compose) -> None:
    register("model", "net")(Net)
    settings = compose("model=net", "model.image_size=20")
    with pytest.raises(SettingError, match=r"^model: net fails on images of shape \(2, 1, 20, 20\) \(RuntimeError: "):
        build_model(settings.model, 1, 10)
    register("model", "flat")(lambda num_classes: nn.Flatten())
    with pytest.raises(SettingError, match=r"^model: flat maps .* to \(2, 1024\); must be logits of shape \(2, 10\)"):
        build_model(compose("model=flat").model, 1, 10)


def test_a_loss_may_be_a_function_or_a_class(compose: Compose) -> None:
    @register("loss", "scaled")
    def scaled(logits: torch.Tensor, labels: torch.Tensor, factor: float = 2.0) -> torch.Tensor:
        return factor * nn.functional.cross_entropy(logits, labels)

    register("loss", "multi_margin")(nn.MultiMarginLoss)
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    by_function = build("loss", compose("loss=scaled", "loss.factor=3").loss, num_classes=3)
    assert by_function(logits, labels) == 3 * nn.functional.cross_entropy(logits, labels)
    by_class = build("loss", compose("loss=multi_margin", "loss.margin=0.5").loss, num_classes=3)
    assert by_class(logits, labels) == nn.functional.multi_margin_loss(logits, labels, margin=0.5)


def test_names_and_kinds_are_checked() -> None:
    with pytest.raises(SettingError, match=r"the kind 'modle'; must be one of model, .*did you mean model\?"):
        register("modle", "net")(Net)
    with pytest.raises(SettingError, match="the name 'a b' for a model"):
        register("model", "a b")(Net)
    with pytest.raises(SettingError, match="registers the optimizer adam, as does lenet_pl; must have another name"):
        register("optimizer", "adam")(torch.optim.Adam)
    register("model", "net")(Net)
    register("model", "net", settings=NetSettings)(Net)  # a cell of a notebook that is run again
    assert entries("model")["net"].settings is NetSettings


def test_a_settings_class_that_does_not_fit_its_object_is_one_line(compose: Compose) -> None:
    class Odd(Settings):
        depth: int = 1
        """Layers."""

    register("model", "net", settings=Odd)(Net)
    with pytest.raises(SettingError, match="the settings of the model net have depth, which its object does not take"):
        compose("model=net")


def test_the_choice_of_a_part_is_offered_without_a_file() -> None:
    register("metric", "own", settings=NetSettings)(lambda num_classes, width: None)
    assert offered_choices("metrics") == {"own": {"own": {"name": "own", "width": 4}}}


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if not kind.listed])
def test_every_own_part_is_found(kind: Any) -> None:
    assert entries(kind.name)
    for entry in entries(kind.name).values():
        assert entry.plugin == ""
        assert callable(entry.load())
