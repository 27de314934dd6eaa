import math

import pytest
import torch
from conftest import Compose, Run
from promise import case
from torch.nn import functional

from lenet_pl.errors import SettingError
from lenet_pl.losses import CROSS_ENTROPY, Loss
from lenet_pl.settings import TrainSettings

DISTANCES = torch.tensor([[1.0, 4.0, 2.5], [3.0, 0.5, 9.0]])
LABELS = torch.tensor([0, 2])


def test_penalty_is_the_mean_distance_of_the_own_class() -> None:
    assert float(Loss("penalty")(-DISTANCES, LABELS)) == pytest.approx((1.0 + 9.0) / 2)


def test_map_adds_the_logarithm_of_all_classes_and_of_rubbish() -> None:
    by_hand = [
        own + math.log(math.exp(-0.7) + sum(math.exp(-y) for y in row))
        for own, row in zip((1.0, 9.0), DISTANCES.tolist(), strict=True)
    ]
    assert float(Loss("map", 0.7)(-DISTANCES, LABELS)) == pytest.approx(sum(by_hand) / 2)


def test_cross_entropy_is_torchs() -> None:
    weight = torch.tensor([1.0, 2.0, 3.0])
    expected = functional.cross_entropy(-DISTANCES, LABELS, weight, label_smoothing=0.1)
    assert torch.equal(CROSS_ENTROPY(-DISTANCES, LABELS, weight, 0.1), expected)


@pytest.mark.parametrize("loss", [Loss(), Loss("map", 0.7), Loss("penalty")], ids=lambda loss: loss.name)
def test_shares_are_the_gradient_less_that_of_the_own_class(loss: Loss) -> None:
    logits = (-DISTANCES).requires_grad_()
    [gradient] = torch.autograd.grad(loss(logits, LABELS) * len(LABELS), logits)
    torch.testing.assert_close(loss.shares(-DISTANCES), gradient + functional.one_hot(LABELS, 3))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param(words, message, marks=case("settings", f"{' '.join(words)}: one line that names it, code not 0"))
        for words, message in [
            (["model=lenet5_1998", "loss.name=map", "loss.label_smoothing=0.1"],
             "loss.label_smoothing: got 0.1 beside loss.name=map; accepted is 0, or loss.name=cross_entropy"),
            (["model=lenet5_1998", "loss.name=penalty", "loss.class_weights=balanced"],
             "loss.class_weights: got balanced beside loss.name=penalty; accepted is null, or loss.name=cross_entropy"),
            (["loss.name=penalty"],
             "loss: got name=penalty, which has no smallest value where outputs are no distances; accepted is "
             "cross_entropy or map, or model=lenet5_1998"),
            (["loss.name=hinge"],
             "loss.name: got 'hinge'; accepted is 'cross_entropy', 'penalty' or 'map'"),
            (["loss.rubbish=-1"], "loss.rubbish: got -1; accepted is greater than or equal to 0"),
            (["optimizer=sdlm", "model=lenet_bn"],
             "optimizer: got sdlm, which cannot take batch normalisation; accepted is another, or model.norm=none"),
            (["optimizer=sdlm", "loss.class_weights=balanced"],
             "optimizer: got sdlm, which knows no class weights; accepted is another, or loss.class_weights=null"),
            (["optimizer=sdlm", "optimizer.mu=0"], "optimizer.mu: got 0; accepted is greater than 0"),
            (["scheduler=passes", "scheduler.epochs=[2]"],
             "scheduler.factors: got 5 beside 1 scheduler.epochs; accepted is one more, for the rest"),
            (["input_range=[0.5,0.5]"],
             "input_range: got [0.5, 0.5]; accepted is null, or two numbers that are 0.001 apart or more"),
            (["input_range=[1]"], "input_range: got [1]; accepted is a list of at least 2"),
            (["model=lenet5_1998", "model.image_size=28"], "model.image_size: got 28; accepted is 32"),
            (["model=lenet5_1998", "model.hidden=[3]"], "model.hidden: unknown setting"),
            (["model.architecture=lenet9"],
             "model.architecture: got 'lenet9'; accepted is 'convnet', 'lenet1' or 'lenet5_1998'; did you mean lenet"),
        ]
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(overrides: list[str], message: str, run: Run) -> None:
    code, lines = run("run=out", *(("+" * ("hidden" in word)) + word for word in overrides))
    assert code != 0
    assert len(lines) == 1
    assert message in lines[0]


def test_map_is_for_any_network(compose: Compose) -> None:
    assert isinstance(compose("loss.name=map", "loss.rubbish=2"), TrainSettings)
    with pytest.raises(SettingError):
        compose("loss.name=penalty")
