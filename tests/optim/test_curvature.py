"""Second derivatives against two outside truths: whole Jacobians, and the paper's sums written as loops."""

import itertools

import pytest
import torch
from conftest import Compose
from torch import Tensor, nn
from torch.func import functional_call, hessian, jacrev, vmap

from lenet_pl.errors import SettingError
from lenet_pl.models.build import build_model
from lenet_pl.models.layers import RBFOutput, ScaledTanh, SparseConv2d, TrainableSubsampling
from lenet_pl.optim.curvature import diagonal_curvature
from lenet_pl.optim.losses import Loss

# torch.func compiles decompositions of its own on the first Jacobian
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
LOSSES = [Loss(), Loss("map", 1.5), Loss("mle")]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def filled(model: nn.Module) -> nn.Module:
    """Give every parameter a number of size 1, in double precision."""
    for parameter in model.double().parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def codes() -> Tensor:
    return torch.randn(4, 3, dtype=torch.double).sign()


def by_jacobians(model: nn.Module, images: Tensor, labels: Tensor, loss: Loss) -> dict[str, Tensor]:
    """Gauss-Newton, exactly: mean over images of the diagonal of Jᵀ H J, J of what the loss or the distance is of."""
    layers = list(model.children())
    head = layers[-1:] if isinstance(layers[-1], RBFOutput) else []
    body = nn.Sequential(*layers[: len(layers) - len(head)])
    weights = {name: p.detach() for name, p in body.named_parameters()}

    def outputs(weights: dict[str, Tensor], image: Tensor) -> Tensor:
        return functional_call(body, weights, (image[None],))[0]  # type: ignore[no-any-return]

    def of_outputs(values: Tensor, label: Tensor) -> Tensor:
        return loss(nn.Sequential(*head)(values[None]), label[None])

    jacobians = vmap(jacrev(outputs), in_dims=(None, 0))(weights, images)
    bend = torch.stack([hessian(of_outputs)(body(i[None])[0].detach(), k) for i, k in zip(images, labels, strict=True)])
    return {
        name: torch.einsum("nio,nij,njo->o", j.flatten(2), bend, j.flatten(2)).view(j.shape[2:]) / len(images)
        for name, j in jacobians.items()
    }


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize("output", ["linear", "distances"])
def test_the_last_layer_and_what_is_compared_with_codes_are_exact(loss: Loss, output: str) -> None:
    # One unit alone sees each of the outputs of the layer before, so that there are no cross terms
    last: list[nn.Module] = [nn.Linear(5, 4)] if output == "linear" else [nn.Linear(5, 3), RBFOutput(codes())]
    model = filled(nn.Sequential(*last))
    images, labels = torch.randn(6, 5, dtype=torch.double), torch.arange(6) % 4
    found = {name: diagonal_curvature(model, images, loss)[p] for name, p in model.named_parameters()}
    for name, expected in by_jacobians(model, images, labels, loss).items():
        torch.testing.assert_close(found[name], expected)
        assert (found[name] > 0).all() or (loss.name == "mle" and output == "linear")


def test_a_chain_without_cross_terms_is_exact() -> None:
    chain = [nn.Linear(1, 1), ScaledTanh(), nn.Linear(1, 1), nn.Tanh(), nn.Linear(1, 1), nn.Sigmoid()]
    model = filled(nn.Sequential(*chain, nn.Linear(1, 3), RBFOutput(codes())))
    images, labels = torch.randn(6, 1, dtype=torch.double), torch.arange(6) % 4
    found = {name: diagonal_curvature(model, images, Loss("mle"))[p] for name, p in model.named_parameters()}
    for name, expected in by_jacobians(model, images, labels, Loss("mle")).items():
        torch.testing.assert_close(found[name], expected)


def test_a_hidden_layer_is_the_papers_sum_over_what_it_feeds() -> None:
    model = filled(nn.Sequential(nn.Linear(4, 5), ScaledTanh(), nn.Linear(5, 3), RBFOutput(codes())))
    first, _, second, _ = model
    images = torch.randn(2, 4, dtype=torch.double)
    expected = torch.zeros(5, 4, dtype=torch.double)
    model.requires_grad_(False)
    for image in images:
        for i, j in itertools.product(range(5), range(4)):
            slope = 1.7159 * 2 / 3 * (1 - torch.tanh(2 / 3 * first(image)[i]) ** 2)
            bent = sum(2.0 * second.weight[k, i] ** 2 for k in range(3))  # a penalty has 2 for each number
            expected[i, j] += float(bent * slope**2 * image[j] ** 2) / len(images)  # type: ignore[operator]
    torch.testing.assert_close(diagonal_curvature(model, images, Loss("mle"))[first.weight], expected)


Place = tuple[int, ...]


def connections(layer: nn.Module, height: int, width: int) -> list[tuple[str, Place, Place, Place]]:
    """List each connection: name and place of its weight, the input number and the output number."""
    if isinstance(layer, TrainableSubsampling):
        return [
            ("coefficient", (c,), (c, y, x), (c, y // 2, x // 2))
            for c, y, x in itertools.product(range(len(layer.bias)), range(height), range(width))
        ]
    places = {}
    if isinstance(layer, SparseConv2d):
        for n, place in enumerate(layer.places.tolist()):
            places[divmod(place, layer.maps[1])] = (n,)
        size = layer.kernel_size
    else:
        assert isinstance(layer, nn.Conv2d)
        places = {(o, i): (o, i) for o in range(layer.out_channels) for i in range(layer.in_channels)}
        size = layer.kernel_size[0]
    rows, columns = range(height - size + 1), range(width - size + 1)
    return [
        ("weight", (*place, u, v), (i, y + u, x + v), (o, y, x))
        for (o, i), place in places.items()
        for y, x, u, v in itertools.product(rows, columns, range(size), range(size))
    ]


TABLE = [[True, False, True], [True, True, False]]


@pytest.mark.parametrize(
    ("make", "maps"),
    [(lambda: nn.Conv2d(2, 3, 3), 3), (lambda: SparseConv2d(TABLE, 3), 3), (lambda: TrainableSubsampling(2), 2)],
    ids=["convolution", "sparse convolution", "subsampling"],
)
def test_shared_weights_sum_what_each_connection_has(make: object, maps: int) -> None:
    layer = filled(make())  # type: ignore[operator]
    before = filled(nn.Conv2d(1, 2, 1))
    side = 2  # px, of what comes out of each of them
    last = filled(nn.Linear(maps * side**2, 3))
    model = nn.Sequential(before, layer, ScaledTanh(), nn.Flatten(), last, RBFOutput(codes()))
    images = torch.randn(2, 1, 4, 4, dtype=torch.double)
    expected = {name: torch.zeros_like(p) for name, p in layer.named_parameters()}
    model.requires_grad_(False)
    of_before = torch.zeros_like(before.bias)  # type: ignore[arg-type]
    for image in images:
        values = before(image)
        sums = layer(values[None])[0]
        slopes = 1.7159 * 2 / 3 * (1 - torch.tanh(2 / 3 * sums) ** 2)
        second = (2 * last.get_parameter("weight").square().sum(0)).view_as(sums) * slopes.square()
        for name, place, source, target in connections(layer, 4, 4):
            expected[name][place] += second[target] * values[source] ** 2 / len(images)
            of_before[source[0]] += second[target] * layer.get_parameter(name)[place] ** 2 / len(images)
        expected["bias"] += second.sum((1, 2)) / len(images)
    model.requires_grad_(True)
    found = diagonal_curvature(model, images, Loss("mle"))
    for name, value in expected.items():
        torch.testing.assert_close(found[layer.get_parameter(name)], value.detach())
    torch.testing.assert_close(found[before.bias], of_before.detach())  # type: ignore[index]


def test_an_average_pooling_counts_each_connection_and_a_maximum_only_the_largest() -> None:
    for pool in (nn.AvgPool2d(2), nn.MaxPool2d(2)):
        first = filled(nn.Conv2d(1, 1, 1))
        model = nn.Sequential(first, pool, nn.Flatten(), filled(nn.Linear(1, 3)), RBFOutput(codes()))
        image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], dtype=torch.double)
        weights = model[3].weight.square().sum()  # type: ignore[union-attr,operator]
        values = first.weight.item() * image  # type: ignore[operator,union-attr]
        taken = image.square().sum() / 16 if isinstance(pool, nn.AvgPool2d) else image.flatten()[values.argmax()] ** 2
        found = diagonal_curvature(model, image, Loss("mle"))[first.weight]  # type: ignore[index]
        torch.testing.assert_close(found.view(()), (2 * weights * taken).detach())


@pytest.mark.parametrize(
    "name", ["lenet5", "lenet_sigmoid_avg", "lenet_avg_dropout", "cnn_plain", "lenet1", "lenet5_1998"]
)
def test_every_network_without_batch_normalisation_has_it(name: str, compose: Compose) -> None:
    settings = compose(f"model={name}").model
    model = build_model(settings, 1, 10)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = diagonal_curvature(model, torch.randn(4, 1, settings.image_size, settings.image_size), Loss())
    assert {p: p.shape for p in model.parameters()} == {p: value.shape for p, value in found.items()}
    assert all(value.isfinite().all() and (value >= 0).all() and value.any() for value in found.values())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_what_it_does_not_know_is_refused(compose: Compose) -> None:
    model = build_model(compose("model=lenet_bn").model, 1, 10).eval()
    with pytest.raises(SettingError, match=r"^optimizer\.name: got sdlm, which has no .* BatchNorm1d; must be "):
        diagonal_curvature(model, torch.randn(4, 1, 32, 32), Loss())
