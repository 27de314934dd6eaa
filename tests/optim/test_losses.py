import math

import pytest
import torch
from conftest import Compose, Run
from promise import case
from torch.nn import functional

from lenet_pl.errors import SettingError
from lenet_pl.optim.losses import Loss
from lenet_pl.settings import TrainSettings

DISTANCES = torch.tensor([[1.0, 4.0, 2.5], [3.0, 0.5, 9.0]])
LABELS = torch.tensor([0, 2])


def test_penalty_is_the_mean_distance_of_the_own_class() -> None:
    assert float(Loss("mle")(-DISTANCES, LABELS)) == pytest.approx((1.0 + 9.0) / 2)


def test_map_adds_the_logarithm_of_all_classes_and_of_rubbish() -> None:
    by_hand = [
        own + math.log(math.exp(-0.7) + sum(math.exp(-y) for y in row))
        for own, row in zip((1.0, 9.0), DISTANCES.tolist(), strict=True)
    ]
    assert float(Loss("map", 0.7)(-DISTANCES, LABELS)) == pytest.approx(sum(by_hand) / 2)


def test_cross_entropy_is_torchs() -> None:
    weight = torch.tensor([1.0, 2.0, 3.0])
    expected = functional.cross_entropy(-DISTANCES, LABELS, weight, label_smoothing=0.1)
    assert torch.equal(Loss(class_weights=weight, label_smoothing=0.1)(-DISTANCES, LABELS), expected)


@pytest.mark.parametrize("loss", [Loss(), Loss("map", 0.7), Loss("mle")], ids=lambda loss: loss.name)
def test_shares_are_the_gradient_less_that_of_the_own_class(loss: Loss) -> None:
    logits = (-DISTANCES).requires_grad_()
    [gradient] = torch.autograd.grad(loss(logits, LABELS) * len(LABELS), logits)
    torch.testing.assert_close(loss.class_probabilities(-DISTANCES), gradient + functional.one_hot(LABELS, 3))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param(words, message, marks=case("settings", f"{' '.join(words)}: one error line, exit code not 0"))
        for words, message in [
            (["model=lenet5_1998", "loss.name=map", "loss.label_smoothing=0.1"],
             "loss.label_smoothing: got 0.1 with loss.name=map; must be 0, or loss.name=cross_entropy"),
            (["model=lenet5_1998", "loss.name=mle", "loss.class_weights=balanced"],
             "loss.class_weights: got balanced with loss.name=mle; must be null, or loss.name=cross_entropy"),
            (["loss.name=mle"],
             "loss: got name=mle, which is unbounded below unless the outputs are distances; must be "
             "cross_entropy or map, or model=lenet5_1998"),
            (["loss.name=hinge"],
             "loss.name: got 'hinge'; must be 'cross_entropy', 'mle' or 'map'"),
            (["loss.rubbish_penalty=-1"], "loss.rubbish_penalty: got -1; must be greater than or equal to 0"),
            (["optimizer=sdlm", "model=lenet_bn"],
             "optimizer: got sdlm, which does not support batch normalization; "
             "use another optimizer, or model.norm=none"),
            (["optimizer=sdlm", "loss.class_weights=balanced"],
             "optimizer: got sdlm, which does not support class weights; "
             "use another optimizer, or loss.class_weights=null"),
            (["optimizer=sdlm", "optimizer.mu=0"], "optimizer.mu: got 0; must be greater than 0"),
            (["scheduler=piecewise_constant", "scheduler.epochs=[2]"],
             "scheduler.factors: got 5 factors for 1 scheduler.epochs; must be one more, for the remaining epochs"),
            (["input_range=[0.5,0.5]"],
             "input_range: got [0.5, 0.5]; must be null, or two numbers that differ by at least 0.001"),
            (["input_range=[1]"], "input_range: got [1]; must be a list of at least 2"),
            (["input_range=[[0,1],[1]]"], "input_range.1: got [1]; must be a list of at least 2"),
            (["input_range=[[0,1],[1,1]]"],
             "input_range: got [[0.0, 1.0], [1.0, 1.0]]; must be null, or two numbers that differ by at least 0.001"),
            (["model=lenet5_1998", "model.image_size=28"], "model.image_size: got 28; must be 32"),
            (["model=lenet5_1998", "model.hidden_sizes=[3]"], "model.hidden_sizes: unknown setting"),
            (["model.architecture=lenet9"],
             "model.architecture: got 'lenet9'; must be 'convnet', 'lenet1' or 'lenet5_1998'; did you mean lenet"),
        ]
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(overrides: list[str], message: str, run: Run) -> None:
    code, lines = run("run=out", *(("+" * ("hidden" in word)) + word for word in overrides))
    assert code != 0
    assert len(lines) == 1
    assert message in lines[0]


def test_map_is_for_any_network(compose: Compose) -> None:
    assert isinstance(compose("loss.name=map", "loss.rubbish_penalty=2"), TrainSettings)
    with pytest.raises(SettingError):
        compose("loss.name=mle")
