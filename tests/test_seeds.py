import copy
import csv
import json
import signal
import statistics
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Compose
from promise import case
from torch import Tensor
from torch.nn import functional

from lenet_pl import composition
from lenet_pl.batch import Batch
from lenet_pl.build import build_datamodule
from lenet_pl.checkpoint import load_checkpoint
from lenet_pl.comparison.run_index import find_runs
from lenet_pl.errors import DivergenceError, SettingError
from lenet_pl.interruption import Interruptible, Interruption
from lenet_pl.model.convnet import ConvNet
from lenet_pl.random_numbers import keyed_seed
from lenet_pl.resume import begin_or_resume
from lenet_pl.search import build_space
from lenet_pl.seeds.choice import Choice, choose
from lenet_pl.seeds.lockstep import OneOfMany
from lenet_pl.seeds.session import train_seeds
from lenet_pl.seeds.stacked import StackedNetworks
from lenet_pl.settings.search import SearchSettings
from lenet_pl.task import ImageClassifier
from lenet_pl.train import train, train_one
from lenet_pl.trained import load_run
from lenet_pl.trainer import quiet_lightning

QUIET = (
    "callbacks.progress_bar=false",
    "callbacks.model_summary=false",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.precision=32-true",
    "logger=none",
)
SEEDS = (3, 0, 5)
AUGMENTED = (*QUIET, "augment=affine", "trainer.max_epochs=3", "loader.batch_size=100")
# Without these, two values that are nearly equal in a max-pooling window may change places by rounding, and a training
# goes another way, as one alone does whose weights were changed by 1e-7
SMOOTH = ("model.activation=tanh", "model.pooling=average")
MEASURED = ("seconds", "images/s")


def alone(compose: Compose, folder: Path, *overrides: str) -> None:
    for seed in SEEDS:
        place = folder / f"seed_{seed}"
        place.mkdir(parents=True)
        train(compose(*overrides, f"seed={seed}"), place)


def together(compose: Compose, folder: Path, *overrides: str, vectorise: str = "true") -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return train(compose(*overrides, f"seeds={list(SEEDS)}", f"vectorise={vectorise}"), folder)


def weights(folder: Path, seed: int, which: str = "last") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = load_checkpoint(folder / f"seed_{seed}" / "checkpoints" / f"{which}.ckpt")[
        "state_dict"
    ]
    return state


def figures(folder: Path, seed: int) -> list[dict[str, float]]:
    with (folder / f"seed_{seed}" / "metrics.csv").open() as stream:
        return [{k: float(v) for k, v in row.items() if k not in MEASURED} for row in csv.DictReader(stream)]


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


def assert_as_alone(folder: Path, single: Path, tolerance: float) -> None:
    for seed in SEEDS:
        got, expected = weights(folder, seed), weights(single, seed)
        assert got.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(got[name], value, rtol=tolerance, atol=tolerance)
        for row, other in zip(figures(folder, seed), figures(single, seed), strict=True):
            assert row == pytest.approx(other, rel=10 * tolerance, abs=2e-6)


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=lenet5", "scheduler=exponential"),
        ("optimizer=sgd", "scheduler=onecycle", "trainer.gradient_clip_norm=0.5", "loss.label_smoothing=0.1"),
        (
            "model=lenet_avg_dropout",
            *SMOOTH,
            "model.dropout=[0.2,0.5]",
            "optimizer=adamw",
            "loss.class_weights=balanced",
        ),
        (
            "model=lenet_bn",
            *SMOOTH,
            "model.channels=[[4],[8]]",
            "model.hidden=[32,16]",
            "optimizer=sgd",
            "trainer.ema_decay=0.8",
        ),
    ],
    ids=["adam", "clipped", "dropout", "batch-norm"],
)
def test_at_once_each_seed_is_as_if_alone(compose: Compose, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    few = (*AUGMENTED, "trainer.limit_train_batches=4", *overrides)  # rounding grows with the steps
    alone(compose, tmp_path / "alone", *few)
    found = together(compose, tmp_path / "all", *few)
    assert found["at_once"]
    assert_as_alone(tmp_path / "all", tmp_path / "alone", 1e-4)
    one, other = (weights(tmp_path / "all", seed)["model.classifier.output.weight"] for seed in SEEDS[:2])
    assert float((one - other).abs().max()) > 0.01


def test_over_many_steps_in_double_precision_nothing_but_rounding_differs(compose: Compose) -> None:
    settings = compose("model=lenet_bn", "model.channels=[[4],[8]]", "model.hidden=[32,16]", "model.dropout=0.5").model
    torch.manual_seed(0)
    own = [ConvNet(settings, 3, 10).double().train() for _ in range(4)]
    copies = copy.deepcopy(own)
    stack = StackedNetworks(copies)
    optimizers = [torch.optim.SGD(model.parameters(), 0.05, 0.9, fused=True) for model in own + copies]
    for step in range(40):
        images = torch.rand(4, 12, 3, 32, 32, dtype=torch.float64)
        labels = torch.randint(10, (4, 12))
        seeds = [keyed_seed("test", step, number) for number in range(4)]
        losses, logits = stack.backward(list(images), list(labels), seeds)
        for number, model in enumerate(own):
            torch.manual_seed(seeds[number])
            optimizers[number].zero_grad()
            guess = model(images[number])
            loss = functional.cross_entropy(guess, labels[number])
            loss.backward()  # type: ignore[no-untyped-call]
            torch.testing.assert_close(losses[number], loss.detach(), rtol=1e-8, atol=1e-10)
            torch.testing.assert_close(logits[number], guess.detach(), rtol=1e-7, atol=1e-9)
        for optimizer in optimizers:
            optimizer.step()
    for model, stacked in zip(own, copies, strict=True):
        for name, value in model.state_dict().items():
            torch.testing.assert_close(stacked.state_dict()[name], value, rtol=1e-7, atol=1e-9, msg=name)


def distance(parameter: torch.Tensor, wanted: torch.Tensor) -> float:
    """Of the gradient, as a share of that which is wanted."""
    assert parameter.grad is not None
    assert wanted.grad is not None
    return float((parameter.grad - wanted.grad).norm() / wanted.grad.norm())


def test_gradients_are_as_near_to_those_in_double_precision_as_alone(compose: Compose) -> None:
    torch.manual_seed(0)
    own = [ConvNet(compose().model, 1, 10).to(memory_format=torch.channels_last) for _ in range(5)]
    double, copies = [copy.deepcopy(model).double() for model in own], copy.deepcopy(own)
    images, labels = torch.rand(5, 32, 1, 32, 32), torch.randint(10, (5, 32))
    StackedNetworks(copies).backward(list(images), list(labels))
    for model, exact, some, their in zip(own, double, images, labels, strict=True):
        functional.cross_entropy(model(some), their).backward()  # type: ignore[no-untyped-call]
        functional.cross_entropy(exact(some.double()), their).backward()  # type: ignore[no-untyped-call]
    for exact, model, stacked in zip(double, own, copies, strict=True):
        for name, wanted in exact.named_parameters():
            away, stacked_away = (distance(net.get_parameter(name), wanted) for net in (model, stacked))
            assert stacked_away < 3 * away + 1e-6, name


@case("reproducibility", "one of several seeds in one process: the same bits as that seed alone")
def test_one_after_another_is_exactly_as_alone(compose: Compose, tmp_path: Path) -> None:
    overrides = (*AUGMENTED, "model=lenet_avg_dropout", "trainer.limit_train_batches=4")
    alone(compose, tmp_path / "alone", *overrides)
    found = together(compose, tmp_path / "all", *overrides, vectorise="false")
    assert not found["at_once"]
    assert_as_alone(tmp_path / "all", tmp_path / "alone", 0)
    for seed in SEEDS:
        assert (
            results(tmp_path / "all" / f"seed_{seed}")["metrics"]
            == results(tmp_path / "alone" / f"seed_{seed}")["metrics"]
        )
        one, other = ((tmp_path / place / f"seed_{seed}" / "config.yaml").read_text() for place in ("all", "alone"))
        changed = {line.partition(":")[0] for line in set(one.splitlines()) ^ set(other.splitlines())}
        assert changed == {"run", "vectorise"}


def test_seeds_that_stop_early_leave_the_others_as_they_were(compose: Compose, tmp_path: Path) -> None:
    overrides = (
        *AUGMENTED, "trainer.max_epochs=9", "trainer.limit_train_batches=1", "callbacks.early_stopping.patience=1",
        "callbacks.early_stopping.monitor=val/accuracy", "loader.batch_size=20", "optimizer.lr=0.01", "test=false",
    )  # fmt: skip
    alone(compose, tmp_path / "alone", *overrides)
    together(compose, tmp_path / "all", *overrides)
    assert len({len(figures(tmp_path / "alone", seed)) for seed in SEEDS}) > 1
    assert_as_alone(tmp_path / "all", tmp_path / "alone", 1e-4)
    for seed in SEEDS:
        for key in ("stopped_early", "epochs", "best_epoch"):
            one, other = (results(tmp_path / place / f"seed_{seed}")[key] for place in ("all", "alone"))
            assert one == other


def test_a_seed_is_a_run_for_every_verb_and_for_comparisons(compose: Compose, tmp_path: Path) -> None:
    found = together(compose, tmp_path, *AUGMENTED, "trainer.limit_train_batches=2", "trainer.max_epochs=1")
    index = find_runs([str(tmp_path)])
    assert [(run.value("seed"), run.problem) for run in index.runs] == [(seed, None) for seed in sorted(SEEDS)]
    accuracies = [run.results["metrics"]["test/accuracy"] for run in index.runs]
    assert found["metrics"]["test/accuracy"] == pytest.approx(statistics.fmean(accuracies), abs=1e-6)
    assert found["sd"]["test/accuracy"] == pytest.approx(statistics.stdev(accuracies), abs=1e-6)
    for seed in SEEDS:
        folder = tmp_path / f"seed_{seed}"
        assert {"curves.png", "report.html", "confusion_matrix.png"} <= {path.name for path in folder.iterdir()}
        best = folder / "checkpoints" / "best.ckpt"
        run = load_run(best)
        assert run.settings.seed == seed
        module = run.data()
        logits = run.logits(module.test_set.images)
        accuracy = float((logits.argmax(1) == module.test_set.labels).float().mean())
        assert results(folder)["metrics"]["test/accuracy"] == pytest.approx(accuracy, abs=1e-6)
        weights = sum(value.numel() * value.element_size() for value in load_checkpoint(best)["state_dict"].values())
        assert best.stat().st_size < 4.5 * weights  # with Adam's; not those of all seeds


class Interrupting(Interruptible):
    """Hears a signal after so many checks, as they fall between steps, epochs and trainings."""

    def __init__(self, checks: int) -> None:
        super().__init__()
        self.left = checks

    def check(self) -> None:
        self.left -= 1
        if self.left <= 0:
            raise Interruption(signal.SIGTERM, between_steps=True)


@pytest.mark.parametrize("checks", [2, 6, 13, 18])
def test_an_interrupted_command_goes_on_as_if_it_had_not_been(compose: Compose, tmp_path: Path, checks: int) -> None:
    overrides = (*AUGMENTED, "trainer.limit_train_batches=4", "trainer.max_epochs=2", "model.dropout=0.2", "test=false")
    given = compose(*overrides, f"seeds={list(SEEDS)}", "vectorise=true", f"run={tmp_path / 'all'}")
    (tmp_path / "all").mkdir()
    quiet_lightning()
    before = set(threading.enumerate())
    with pytest.raises(Interruption):
        train_seeds(given, tmp_path / "all", Interrupting(checks), train_one)
    assert not (tmp_path / "all" / "results.json").exists()
    assert set(threading.enumerate()) <= before
    (tmp_path / "whole").mkdir()
    train(given, tmp_path / "whole")
    again = begin_or_resume(given.model_copy(update={"resume": True}), tmp_path / "all", [], False)
    assert again is not None
    train(again, tmp_path / "all")
    assert_as_alone(tmp_path / "all", tmp_path / "whole", 1e-6)
    assert begin_or_resume(given.model_copy(update={"resume": "auto"}), tmp_path / "all", [], False) is None


@pytest.mark.parametrize("vectorise", ["true", "false"])
def test_a_seed_that_diverges_does_not_stop_the_others(
    compose: Compose, tmp_path: Path, vectorise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = ImageClassifier._score

    def diverges(task: ImageClassifier, part: str) -> None:
        if task.seed == 0 and part == "val":
            raise DivergenceError("val/loss: nan")
        score(task, part)

    monkeypatch.setattr(ImageClassifier, "_score", diverges)
    with pytest.raises(DivergenceError) as caught:
        together(compose, tmp_path, *AUGMENTED, "trainer.limit_train_batches=2", vectorise=vectorise)
    assert caught.value.__notes__ == ["seed 0"]
    assert [(tmp_path / f"seed_{seed}" / "results.json").exists() for seed in SEEDS] == [True, False, True]
    monkeypatch.setattr(ImageClassifier, "_score", score)
    given = compose(*AUGMENTED, "trainer.limit_train_batches=2", f"seeds={list(SEEDS)}", "resume=auto")
    assert train(given, tmp_path)["why"] == "one after another, as there is one seed to train"


def test_a_step_that_is_no_number_ends_its_seed_alone(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = (*AUGMENTED, *SMOOTH, "trainer.limit_train_batches=4")
    together(compose, tmp_path / "sound", *overrides)
    finish = OneOfMany.finish_step

    def poisoned(task: OneOfMany, loss: Tensor, logits: Tensor, batch: Batch) -> None:
        finish(task, loss * torch.nan if task.seed == 0 and task.steps_done == 2 else loss, logits, batch)

    monkeypatch.setattr(OneOfMany, "finish_step", poisoned)
    with pytest.raises(DivergenceError, match=r"^train/loss: nan in step 3 of epoch 1, ") as caught:
        together(compose, tmp_path / "poisoned", *overrides)
    assert caught.value.__notes__ == ["seed 0"]
    assert [(tmp_path / "poisoned" / f"seed_{seed}" / "results.json").exists() for seed in SEEDS] == [True, False, True]
    assert not list((tmp_path / "poisoned" / "seed_0" / "checkpoints").glob("*"))
    for seed in (3, 5):
        sound, other = (figures(tmp_path / name, seed) for name in ("sound", "poisoned"))
        assert all(row == pytest.approx(expected, rel=1e-4) for row, expected in zip(other, sound, strict=True))


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("trainer.compile=default", "networks compiled by torch.compile cannot be stacked"),
        ("trainer.precision=bf16-mixed", "precision bf16-mixed cannot be trained at once"),
        ("trainer.profiler=simple", "a profiler would take what all do for what one does"),
        ("train=false", "nothing is trained"),
    ],
)
def test_what_cannot_be_done_at_once_says_why(compose: Compose, override: str, reason: str) -> None:
    settings = compose(*AUGMENTED, "seeds=[0,1]", override)
    data = build_datamodule(settings)
    assert choose(settings, data, 2) == Choice(False, f"one after another, as {reason}")
    with pytest.raises(SettingError) as caught:
        choose(settings.model_copy(update={"vectorise": True}), data, 2)
    assert str(caught.value) == f"vectorise: got true, and {reason}; accepted is false or auto"


def test_what_is_faster_is_measured_and_uses_no_random_numbers(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = compose(*QUIET, "seeds=[0,1,2]", "loader.batch_size=4", "model=lenet_avg_dropout")
    data = build_datamodule(settings)
    before = torch.get_rng_state()
    found = choose(settings, data, 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert found.ratio
    assert found.together == (found.ratio >= 1.05)
    for ratio, line in (
        (0.6, "one after another; a step of all 3 at once is 0.60 times as fast"),
        (1.5, "3 at once; a step is 1.50 times as fast as one after another"),
    ):
        monkeypatch.setattr("lenet_pl.seeds.choice.measure", lambda *_, r=ratio: r)
        assert choose(settings, data, 3) == Choice(ratio > 1, line, ratio)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["seeds=[1,2,1]"], "seeds: got 1 twice; accepted is a list of different seeds"),
        (["seeds=[1,-2]"], "seeds.1: got -2; accepted is greater than or equal to 0"),
        (["seeds=[]"], "seeds: got []; accepted is a list of at least 1 or null"),
        (["seeds=[0,1]", "seed=3"], "seeds: got [0, 1] beside seed=3; accepted is one of the two"),
        (["seeds=3"], "seeds: got 3; accepted is a list or null"),
        (["seeds=[0,1]", "vectorise=often"], "vectorise: got 'often'; accepted is a boolean or 'auto'"),
        (
            ["seeds=[0,1]", "trainer.devices=2"],
            "trainer.devices: got 2 with seeds; accepted is 1, or seed= in place of seeds=",
        ),
        (
            ["seeds=[0,1]", "vectorise=true", "trainer.compile=default"],
            "vectorise: got true, and networks compiled by torch.compile cannot be stacked; accepted is false or auto",
        ),
    ],
)
def test_mistakes_are_one_line(
    overrides: list[str], line: str, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "lenet_pl.train", f"run={tmp_path / 'run'}", *overrides]
    done = subprocess.run(command, capture_output=True, text=True, env=command_environment)
    assert (done.returncode, done.stderr) == (2, f"error: {line}\n")
    assert not list((tmp_path / "run").glob("*"))


def test_a_search_takes_no_seeds(tmp_path: Path) -> None:
    settings = composition.compose("search", SearchSettings, [f"run={tmp_path}", "seeds=[0,1]"])
    with pytest.raises(SettingError, match=r"^seeds: got \[0, 1\]; accepted is null"):
        build_space(settings)
