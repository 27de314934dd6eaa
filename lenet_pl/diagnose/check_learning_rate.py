"""Signs of a wrong learning rate, of exploding gradients and of a start from bad weights."""

import math
from statistics import mean, median

from lenet_pl.diagnose.examination import Examination
from lenet_pl.diagnose.verdict import Suspicion
from lenet_pl.settings import LossSettings

TOO_LOW = 10.0  # times below the rate of the fastest fall; less is within the range of what works
FACTOR = 10.0  # between two learning rates that are worth a comparison
FLAT = 0.95  # of the first loss; the noise of batches is a third of the difference
CONFIDENT = 1.0  # nats above log K; the true class has a third of the probability that guessing gives
GROWTH = 100.0  # of the gradient norm; within a healthy training it varies by a factor of ten
LAST = 10  # steps whose mean loss is the loss at the end


def check_lr_too_high(found: Examination) -> Suspicion | None:
    """Suspect a learning rate beyond the range, and a training that diverged or whose loss did not fall."""
    lr, lr_range, replay = _lr(found), found.lr_range, found.replay
    if lr is None or not replay.losses:
        return None
    end = mean(replay.losses[-LAST:])
    beyond = lr_range is not None and lr > lr_range.highest / 2
    rose = not end < replay.losses[0]  # or is not a number
    if not (beyond or rose or replay.diverged):
        return None
    lower = lr / FACTOR if lr_range is None else min(lr_range.suggestion, lr / FACTOR)
    why = [f"the training diverges: {replay.diverged}"] if replay.diverged else []
    why += [f"{lr:g} is beyond what the range test allows, {lr_range.highest:.2g}"] if beyond and lr_range else []
    why += [f"the loss ends at {end:.3g} and began at {replay.losses[0]:.3g}"] if rose and not why else []
    sure = 0.3 + 0.2 * bool(beyond) + 0.3 * bool(replay.diverged)
    return Suspicion(
        "lr_too_high",
        f"the learning rate is too high: {' and '.join(why)}",
        _evidence(found) | {"loss at the start": replay.losses[0], "loss at the end": end},
        f"optimizer.lr={lower:.1g}",
        {"optimizer.lr": float(f"{lower:.1g}")},
        confidence=sure,
        remains=0.6 if replay.diverged else 0.0,
        figure="lr_range",
    )


def check_lr_too_low(found: Examination) -> Suspicion | None:
    """Suspect a learning rate far below the one at which the loss falls fastest."""
    lr, lr_range, replay = _lr(found), found.lr_range, found.replay
    if lr is None or replay.diverged or not replay.losses:
        return None
    if lr_range is None and mean(replay.losses[-LAST:]) > FLAT * replay.losses[0]:  # SGD may need longer than the test
        higher = float(f"{lr * FACTOR**2:.1g}")
        return Suspicion(
            "lr_too_low",
            f"the loss hardly moves with the learning rate {lr:g}, and the range test found none with which it does",
            _evidence(found) | {"loss at the start": replay.losses[0], "loss at the end": mean(replay.losses[-LAST:])},
            f"optimizer.lr={higher:g}",
            {"optimizer.lr": higher},
            confidence=0.2,
        )
    if lr_range is None or lr * TOO_LOW > lr_range.suggestion:
        return None
    higher = float(f"{lr_range.suggestion:.1g}")
    return Suspicion(
        "lr_too_low",
        f"the learning rate {lr:g} is {lr_range.suggestion / lr:,.0f} times less than that at which the loss falls "
        f"fastest, {lr_range.suggestion:.2g}",
        _evidence(found) | {"loss at the start": replay.losses[0], "loss at the end": mean(replay.losses[-LAST:])},
        f"optimizer.lr={higher:g}",
        {"optimizer.lr": higher},
        confidence=0.5 if lr < lr_range.lowest else 0.3,
        figure="lr_range",
    )


def check_initial_loss(found: Examination) -> Suspicion | None:
    """Suspect the initial weights or the inputs if the first loss is far above log K, that of guessing.

    Source: Karpathy 2019, "A recipe for training neural networks", "verify loss @ init".
    """
    loss = found.run.settings.loss
    if not found.replay.losses or not isinstance(loss, LossSettings) or loss.name != "cross_entropy":
        return None
    guessing = math.log(found.run.data.num_classes)
    first = found.replay.losses[0]
    if first < guessing + CONFIDENT:
        return None
    from_run = found.run.settings.init_from is not None
    return Suspicion(
        "initial_loss",
        f"the loss before the first step is {first:.3g}, where guessing gives log {found.run.data.num_classes} = "
        f"{guessing:.3g}: the network is confidently wrong",
        {"loss at the start": first, "loss of guessing": guessing},
        "init_from=null" if from_run else "normalize the inputs, or start from smaller weights",
        {"init_from": None} if from_run else {},
        confidence=0.5,
        remains=0.3,
    )


def check_exploding_gradients(found: Examination) -> Suspicion | None:
    """Suspect exploding gradients if their norm grows by orders of magnitude, or is not finite."""
    norms = found.replay.gradient_norms
    if len(norms) < LAST or found.run.settings.trainer.gradient_clip_val:
        return None
    start, largest = median(norms[:LAST]), max(n if math.isfinite(n) else math.inf for n in norms)
    if start <= 0 or largest < GROWTH * start:
        return None
    times = "without limit" if math.isinf(largest) else f"{largest / start:,.0f} times"
    return Suspicion(
        "exploding_gradients",
        f"the norm of the gradient grows {times}, from {start:.2g} to {largest:.2g}",
        {"gradient norm at the start": start, "largest gradient norm": largest if math.isfinite(largest) else None},
        "trainer.gradient_clip_val=1",
        {"trainer.gradient_clip_val": 1.0},
        confidence=0.4,
        figure="gradients",
    )


def _lr(found: Examination) -> float | None:
    lr = getattr(found.run.settings.optimizer, "lr", None)  # a plug-in may call it otherwise
    return lr if isinstance(lr, float) else None


def _evidence(found: Examination) -> dict[str, float | None]:
    lr_range = found.lr_range
    tested = {} if lr_range is None else {"loss falls from": lr_range.lowest, "loss is smallest at": lr_range.highest}
    return {"learning rate": _lr(found)} | tested
