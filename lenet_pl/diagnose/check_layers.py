"""Signs of layers that pass nothing on: dead units, saturation, vanishing gradients, batch statistics of few images."""

from torch import nn

from lenet_pl.diagnose.changes import Change
from lenet_pl.diagnose.examination import Examination
from lenet_pl.diagnose.layers import LayerStatistics
from lenet_pl.diagnose.verdict import Suspicion
from lenet_pl.settings import ConvNetSettings

DEAD = 0.5  # of the units of a layer; half of its width is then lost
ALL = 0.9  # of the units of a layer; the layers before it then learn next to nothing
SATURATED = 0.8  # of the outputs of a layer
VANISHED = 1e-3  # of the gradient of the last layer, as the gradient of the first; five sigmoids leave 1/4**5 = 1e-3
SMALL_BATCH = 8  # images; below, the error grows rapidly: Wu and He 2018, "Group normalization", figure 1


def check_dead_units(found: Examination) -> Suspicion | None:
    """Suspect ReLUs whose output is the same for all images: they have no gradient."""
    worst = max(found.layers, key=lambda one: one.dead, default=None)
    if worst is None or worst.dead < DEAD:
        return None
    start = next((one for one in found.layers_at_start if one.name == worst.name), None)
    at_start = start.dead if start else 0.0
    settings = found.run.settings
    change: Change = {"model.activation": "leaky_relu"} if _is_convnet(found) and worst.kind == "ReLU" else {}
    advice = "model.activation=leaky_relu, or a lower optimizer.lr" if change else "a lower optimizer.lr"
    when = "and was before the first step" if at_start >= DEAD else "and the training has made it so"
    if at_start >= DEAD and settings.init_from:
        change = {"init_from": None}
        advice = "init_from=null, or another source of weights"
    return Suspicion(
        "dead_units",
        f"{worst.dead:.0%} of the {worst.units} units of {worst.name} have the same output for all images, {when}",
        {f"dead units of {one.name}": round(one.dead, 4) for one in found.layers}
        | {f"dead units of {worst.name} at the start": round(at_start, 4)},
        advice,
        change,
        confidence=0.7 if worst.dead >= ALL else 0.4,
        remains=0.5 if worst.dead >= ALL else 0.0,
        figure="activations",
    )


def check_saturated_units(found: Examination) -> Suspicion | None:
    """Suspect sigmoids and tanh whose outputs are nearly all at their limits, where they have no slope."""
    worst = max(found.layers, key=lambda one: one.saturated, default=None)
    if worst is None or worst.saturated < SATURATED:
        return None
    change: Change = {"model.norm": "batch_norm"} if _norm(found) == "none" else {}
    return Suspicion(
        "saturated_units",
        f"{worst.saturated:.0%} of the outputs of {worst.name} are at the limits of its {worst.kind}, where it has no "
        "slope",
        {f"saturated outputs of {one.name}": round(one.saturated, 4) for one in found.layers if one.saturated},
        "model.norm=batch_norm" if change else "smaller initial weights or inputs",
        change,
        confidence=0.5,
        figure="activations",
    )


def check_vanishing_gradients(found: Examination) -> Suspicion | None:
    """Suspect vanishing gradients if that of the first layer is orders of magnitude less than that of the last."""
    gradients = found.replay.first_gradients
    if len(gradients) < 3:
        return None
    (first, small), *_, (last, large) = gradients.items()
    if not large > 0 or not small < VANISHED * large:
        return None
    if small == 0 and _dead_at_start(found.layers_at_start):
        return None  # dead units, which leave exactly nothing
    slow = _is_convnet(found) and getattr(found.run.settings.model, "activation", "") in ("sigmoid", "tanh")
    change: Change = {"model.activation": "relu"} if slow else {"model.norm": "batch_norm"}
    if not _is_convnet(found) or (not slow and _norm(found) != "none"):
        change = {}
    return Suspicion(
        "vanishing_gradients",
        f"in the first steps the gradient of {first} is {small / large:.1e} times that of {last}",
        {f"gradient norm of {name}": value for name, value in gradients.items()},
        " or ".join(["model.activation=relu"] * slow + ["model.norm=batch_norm"]),
        change,
        confidence=0.6,
        figure="gradients",
    )


def check_batch_norm_small_batch(found: Examination) -> Suspicion | None:
    """Suspect batch normalization whose statistics are those of a few images."""
    network, size = found.replay.network, found.run.settings.loader.batch_size
    if size >= SMALL_BATCH or not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in network.modules()):
        return None
    change: Change = {}
    if _norm(found) == "batch_norm":
        change["model.norm"] = "group_norm"
    if getattr(found.run.settings.model, "hidden_norm", "") == "batch_norm":
        change["model.hidden_norm"] = "layer_norm"
    return Suspicion(
        "batch_norm_small_batch",
        f"batch normalization computes mean and variance from batches of {size} images",
        {
            "batch size": size,
            "accuracy on training images with batch statistics": found.replay.train_mode,
            "accuracy on training images with running statistics": found.replay.train.accuracy,
        },
        "loader.batch_size=32, or model.norm=group_norm",
        change,
        confidence=0.7,
        remains=0.6,
    )


def _dead_at_start(layers: list[LayerStatistics]) -> bool:
    return any(one.dead >= DEAD for one in layers)


def _is_convnet(found: Examination) -> bool:
    return isinstance(found.run.settings.model, ConvNetSettings)


def _norm(found: Examination) -> str:
    return str(getattr(found.run.settings.model, "norm", ""))
