import pytest
import torch
from conftest import Compose
from torch import nn

from lenet_pl.models.build import build_model
from lenet_pl.optim.optimizers import build_optimizer
from lenet_pl.optim.parameter_groups import parameter_groups, scale_learning_rates
from lenet_pl.optim.schedulers import build_scheduler


def factors(model: nn.Module, decay: float | dict[str, float]) -> dict[str, float]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[p]: group["lr_scale"] for group in parameter_groups(model, decay) for p in group["params"]}


def test_layer_decay_is_timms(compose: Compose) -> None:
    model = build_model(compose("model=lenet_bn").model, 1, 10)
    found = factors(model, 0.5)
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in found if "norm" not in name))
    weights = [name for name, _ in model.named_parameters() if name.endswith(".weight") and "norm" not in name]
    assert [found[name] for name in weights] == [0.5**distance for distance in reversed(range(len(weights)))]
    assert found["features.norm1.weight"] == found["features.conv1.weight"]
    assert len(layers) == len(weights)


def test_the_last_matching_pattern_gives_the_factor(compose: Compose) -> None:
    model = build_model(compose("model=lenet5").model, 1, 10)
    found = factors(model, {"features": 0.1, "*.conv2": 0.3})
    assert found["features.conv1.bias"] == 0.1
    assert found["features.conv2.bias"] == 0.3
    assert found["classifier.output.weight"] == 1


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", "adamw"])
@pytest.mark.parametrize("scheduler", ["onecycle", "cosine", "step", "none"])
def test_every_scheduler_keeps_the_ratios(compose: Compose, optimizer: str, scheduler: str) -> None:
    settings = compose(f"optimizer={optimizer}", f"scheduler={scheduler}", "optimizer.lr=0.01")
    model = build_model(settings.model, 1, 10)
    built = build_optimizer(settings.optimizer, parameter_groups(model, {"features": 0.1}))  # type: ignore[arg-type]
    scale_learning_rates(built)
    assert [group["lr"] for group in built.param_groups] == pytest.approx([0.01, 0.001])
    schedule = build_scheduler(settings.scheduler, built, 20)
    for _ in range(15):
        built.step()
        if schedule:
            schedule["scheduler"].step()
        first, second = (group["lr"] for group in built.param_groups)
        assert second == pytest.approx(0.1 * first)


def test_a_factor_is_that_of_a_plain_optimizer(compose: Compose) -> None:
    ours, theirs = (build_model(compose().model, 1, 10) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    built = build_optimizer(compose().optimizer, parameter_groups(ours, {"features": 0.1}))  # type: ignore[arg-type]
    scale_learning_rates(built)
    slower = {"params": theirs.features.parameters(), "lr": 1e-3 * 0.1}
    plain = torch.optim.Adam([{"params": theirs.classifier.parameters()}, slower], 1e-3, fused=True)
    images = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    for model, optimizer in ((ours, built), (theirs, plain)):
        for _ in range(3):
            optimizer.zero_grad()
            model(images).square().mean().backward()
            optimizer.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)
