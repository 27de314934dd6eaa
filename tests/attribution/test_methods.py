import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import Compose
from torch import Tensor, nn
from torch.nn import functional

from lenet_pl.attribution import methods
from lenet_pl.data.transform import Preprocess
from lenet_pl.errors import SettingError
from lenet_pl.inference.trained_run import TrainedRun, load_run
from lenet_pl.models.build import build_model

pytest.importorskip("captum")


@pytest.fixture(scope="module")
def run(digits_run: Path) -> TrainedRun:
    return load_run(digits_run / "checkpoints" / "best.ckpt")


@pytest.fixture(scope="module")
def images(run: TrainedRun) -> Tensor:
    return run.load_data().test_set.images[:40]


class Plane(nn.Module):
    """Logits that are linear in the pixels, of which attributions are known exactly."""

    image_size, channels = 9, 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = images.flatten(1) @ self.weight.flatten(1).T
        return logits


@pytest.fixture
def plane(run: TrainedRun) -> TrainedRun:
    preprocess = Preprocess(9, "pad", (0.2, 0.3, 0.4), (0.5, 0.6, 0.7), background=51)
    return replace(run, model=Plane().eval(), preprocess=preprocess, classes=tuple("abcd"), side=9)  # type: ignore[arg-type]


def noise(count: int, channels: int, side: int) -> Tensor:
    return torch.randint(
        0, 256, (count, channels, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


def convolve(run: TrainedRun, values: Tensor, number: int) -> Tensor:
    state = run.model.state_dict()
    out = functional.conv2d(values, state[f"features.conv{number}.weight"], state[f"features.conv{number}.bias"])
    if f"features.norm{number}.weight" not in state:
        return out
    mean, var, weight, bias = (
        state[f"features.norm{number}.{name}"].view(1, -1, 1, 1)
        for name in ("running_mean", "running_var", "weight", "bias")
    )
    normalised: Tensor = (out - mean) / (var + 1e-5).sqrt() * weight + bias
    return normalised


def test_feature_maps_are_those_of_the_formulas(run: TrainedRun, images: Tensor) -> None:
    maps = methods.feature_maps(run, images)
    first = convolve(run, run.preprocess(images), 1).clamp(min=0)
    second = convolve(run, functional.max_pool2d(first, 2), 2).clamp(min=0)
    assert list(maps) == ["conv1", "conv2"]
    assert maps["conv1"].shape == (40, 6, 28, 28)
    torch.testing.assert_close(maps["conv1"], first)
    torch.testing.assert_close(maps["conv2"], second)


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_feature_maps_with_normalisation_and_two_convolutions_in_a_stage(
    run: TrainedRun, compose: Compose, pooling: str
) -> None:
    settings = compose(
        "model=lenet_bn",
        "model.channels=[[4,5],[6]]",
        "model.hidden_sizes=[8]",
        "model.activation=tanh",
        f"model.pooling={pooling}",
    )
    torch.manual_seed(0)
    model = build_model(settings.model, 3, 10)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as training would leave it
            for values in (layer.running_mean, layer.running_var, layer.weight, layer.bias):
                assert values is not None
                nn.init.uniform_(values, 0.2, 2)
    preprocess = Preprocess(32, "pad", (0.5,) * 3, (0.25,) * 3)
    colour = replace(run, settings=settings, model=model.eval(), preprocess=preprocess)
    some = noise(3, 3, 28)
    pool = functional.max_pool2d if pooling == "max" else functional.avg_pool2d
    first = convolve(colour, functional.pad((some / 255 - 0.5) / 0.25, (2, 2, 2, 2), value=-2), 1).tanh()
    second = convolve(colour, first, 2).tanh()
    third = convolve(colour, pool(second, 2), 3).tanh()
    maps = methods.feature_maps(colour, some)
    assert list(maps) == ["conv1", "conv2", "conv3"]
    for found, wanted in zip(maps.values(), (first, second, third), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert methods.grad_cam(colour, some).shape == (3, 32, 32)
    assert methods.occlusion(colour, some, stride=6).shape == (3, 32, 32)


def test_filters_are_a_copy_of_the_first_weights(run: TrainedRun) -> None:
    weights = methods.filters(run)
    assert weights.shape == (6, 1, 5, 5)
    assert torch.equal(weights, run.model.state_dict()["features.conv1.weight"])
    weights.zero_()
    assert run.model.state_dict()["features.conv1.weight"].any()


@pytest.mark.parametrize("asked", [None, 3])
def test_grad_cam_is_that_of_the_paper(run: TrainedRun, images: Tensor, asked: int | None) -> None:
    state = run.model.state_dict()
    first = functional.max_pool2d(convolve(run, run.preprocess(images), 1).clamp(min=0), 2)
    maps = convolve(run, first, 2).clamp(min=0).requires_grad_()
    values = functional.max_pool2d(maps, 2).flatten(1)
    for name in ("linear1", "linear2", "output"):
        values = values @ state[f"classifier.{name}.weight"].T + state[f"classifier.{name}.bias"]
        values = values if name == "output" else values.clamp(min=0)
    targets = values.argmax(1) if asked is None else torch.full((40,), asked)
    (slopes,) = torch.autograd.grad(values[torch.arange(40), targets].sum(), maps)
    heat = (slopes.mean((2, 3), keepdim=True) * maps.detach()).sum(1, keepdim=True).clamp(min=0)
    wanted = functional.interpolate(heat, (32, 32), mode="bilinear")[:, 0]
    largest = wanted.flatten(1).max(1).values
    wanted[largest > 0] /= largest[largest > 0].view(-1, 1, 1)
    found = methods.grad_cam(run, images, None if asked is None else targets)
    assert found.shape == (40, 32, 32)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    assert 0 <= float(found.min()) < float(found.max()) == 1


def test_hiding_the_strongest_place_of_grad_cam_costs_more_than_hiding_the_weakest(run: TrainedRun) -> None:
    test = run.load_data().test_set
    right = run.predict_logits(test.images).argmax(1) == test.labels
    some, labels = test.images[right][:100], test.labels[right][:100]
    means = functional.avg_pool2d(methods.grad_cam(run, some)[:, None], 12, stride=1)[:, 0]
    across = means.shape[2]
    left = {}
    for which, places in {"strong": means.flatten(1).argmax(1), "weak": means.flatten(1).argmin(1)}.items():
        inputs = run.preprocess(some).clone()
        for image, place in zip(inputs, places.tolist(), strict=True):
            y, x = divmod(place, across)
            image[:, y : y + 12, x : x + 12] = run.preprocess.normalize(torch.zeros(1, 1, 12, 12))[0]
        with torch.no_grad():
            left[which] = run.model(inputs).softmax(1)[torch.arange(len(labels)), labels].mean()
    assert left["strong"] < left["weak"] - 0.05


def test_integrated_gradients_add_up_to_the_difference_of_the_logits(run: TrainedRun, images: Tensor) -> None:
    maps, delta = methods.integrated_gradients(run, images, steps=256)
    logits, empty = run.predict_logits(images), run.predict_logits(torch.zeros_like(images))
    difference = (logits - empty).gather(1, logits.argmax(1, keepdim=True))[:, 0]
    assert maps.shape == (40, 32, 32)
    assert float(difference.mean()) > 5
    torch.testing.assert_close(maps.sum((1, 2)), difference, rtol=0.01, atol=0.02)
    torch.testing.assert_close(delta, maps.sum((1, 2)) - difference, rtol=0, atol=1e-4)
    coarse = methods.integrated_gradients(run, images, steps=2)[1]
    assert float(coarse.abs().mean()) > 5 * float(delta.abs().mean())


@pytest.mark.parametrize("steps", [1, 32])
def test_integrated_gradients_of_a_linear_network_are_exact(plane: TrainedRun, steps: int) -> None:
    some, targets = noise(5, 3, 9), torch.tensor([0, 1, 2, 3, 0])
    maps, delta = methods.integrated_gradients(plane, some, targets, steps)
    std = torch.tensor([0.5, 0.6, 0.7]).view(1, 3, 1, 1)
    weights: Tensor = plane.model.weight[targets].detach()  # type: ignore[index]
    wanted = ((some / 255 - 0.2) / std * weights).sum(1)  # 0.2 is the background, 51 of 255
    torch.testing.assert_close(maps, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(delta, torch.zeros(5), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("window", "stride"), [(6, 5), (8, 8), (5, 2)])
def test_occlusion_is_a_loop_over_places(run: TrainedRun, images: Tensor, window: int, stride: int) -> None:
    image = images[:1]
    inputs, logits = run.preprocess(image), run.predict_logits(image)
    background = run.preprocess(torch.zeros_like(image))
    target = 7
    total, covered = torch.zeros(32, 32), torch.zeros(32, 32)
    for y in range(0, 32 - window + stride, stride):  # the last may stand out over the edge
        for x in range(0, 32 - window + stride, stride):
            place = (slice(y, y + window), slice(x, x + window))
            hidden = inputs.clone()
            hidden[:, :, *place] = background[:, :, *place]
            with torch.no_grad():
                total[place] += logits[0, target] - run.model(hidden)[0, target]
            covered[place] += 1
    assert covered.min() > 0
    found = methods.occlusion(run, image, torch.tensor([target]), window, stride)
    torch.testing.assert_close(found[0], total / covered, rtol=1e-3, atol=1e-4)


def test_occlusion_of_many_images_is_that_of_each(plane: TrainedRun) -> None:
    some = noise(7, 3, 9)
    together = methods.occlusion(plane, some, window=3, stride=2)
    assert together.shape == (7, 9, 9)
    for number in range(7):
        alone = methods.occlusion(plane, some[number : number + 1], window=3, stride=2)
        torch.testing.assert_close(together[number : number + 1], alone, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("frozen", [False, True])
def test_the_network_is_the_same_afterwards(digits_run: Path, images: Tensor, frozen: bool) -> None:
    run = load_run(digits_run / "checkpoints" / "best.ckpt")
    run.model.requires_grad_(not frozen)
    before, weights = run.predict_logits(images), {k: v.clone() for k, v in run.model.state_dict().items()}
    methods.feature_maps(run, images)
    methods.grad_cam(run, images)
    methods.integrated_gradients(run, images, steps=4)
    methods.occlusion(run, images, stride=6)
    assert torch.equal(run.predict_logits(images), before)
    assert all(torch.equal(v, weights[k]) for k, v in run.model.state_dict().items())
    for module in run.model.modules():
        assert not module.training
        assert not {**module._forward_hooks, **module._forward_pre_hooks, **module._backward_hooks}
    assert all(p.grad is None and p.requires_grad is not frozen for p in run.model.parameters())
    assert type(run.model.features) is nn.Sequential


def test_maps_are_plain_tensors(run: TrainedRun, images: Tensor) -> None:
    maps = [
        *methods.feature_maps(run, images[:2]).values(),
        methods.grad_cam(run, images[:2]),
        *methods.integrated_gradients(run, images[:2], steps=2),
        methods.occlusion(run, images[:2], stride=6),
    ]
    assert not any(values.requires_grad or values.is_inference() for values in maps)


def test_without_captum_one_line_says_so_and_the_rest_works(
    run: TrainedRun, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    for method in (methods.grad_cam, methods.integrated_gradients, methods.occlusion):
        with pytest.raises(SettingError, match=r"^explain: needs captum; pip install 'lenet_pl\[explain\]'$"):
            method(run, images)
    assert methods.feature_maps(run, images)
    assert len(methods.filters(run)) == 6


def test_what_cannot_be_asked_is_refused(run: TrainedRun, images: Tensor) -> None:
    for method in (methods.grad_cam, methods.integrated_gradients, methods.occlusion):
        with pytest.raises(SettingError, match="targets: got 10; must be 0 to 9"):
            method(run, images[:2], torch.tensor([0, 10]))
    with pytest.raises(SettingError, match="window_size: got 33; must be 1 to 32 px"):
        methods.occlusion(run, images, window=33)
    with pytest.raises(SettingError, match="stride: got 5; must be 1 to 4 px"):
        methods.occlusion(run, images, window=4, stride=5)


def test_telling_images_are_right_ones_and_the_most_confident_mistakes() -> None:
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])
    taken = torch.tensor([0, 0, 0, 1, 2, 0, 1, 2])
    sure = torch.tensor([1.0, 2, 3, 1, 1, 5, 1, 4])
    logits = functional.one_hot(taken, 3) * sure[:, None]
    # right: 0 and 1 of class 0, 3 of class 1, 4 of class 2; wrong: 5 (surest), 7 before 2 of class 1, 6
    assert methods.select_examples(logits, labels, 10) == [0, 3, 4, 5, 7, 6]
    assert methods.select_examples(logits, labels, 4) == [0, 3, 5, 7]
    assert methods.select_examples(logits, labels, 1) == [0]
    nothing_right = methods.select_examples(logits[[2, 5, 7]], labels[[2, 5, 7]], 4)
    assert nothing_right == [1, 2]
