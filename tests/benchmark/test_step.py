import time

import pytest

from lenet_pl.benchmark.compare_loops import train_settings
from lenet_pl.benchmark.step import step_table, timed_pieces
from lenet_pl.benchmark.step_clock import StepClock
from lenet_pl.benchmark.steps_per_hook import limit_batches
from lenet_pl.settings import compose as composition
from lenet_pl.settings.benchmark import BenchmarkSettings


class Work:
    def inner(self) -> None:
        time.sleep(0.02)

    def outer(self) -> int:
        time.sleep(0.01)
        self.inner()
        return 3


def test_pieces_do_not_count_those_within_them() -> None:
    work, clock = Work(), StepClock("rest")
    with clock.timing(work, "outer", "outer"), clock.timing(Work, "inner", "inner"):
        assert work.outer() == 3
        clock.stop()
        work.outer()
        clock.start()
    assert vars(work) == {}
    assert clock.seconds["inner"] >= 0.02
    assert clock.seconds["outer"] >= 0.01
    assert sum(clock.seconds.values()) < 0.06  # the second call does not count
    clock.reset()
    work.outer()
    clock.stop()
    assert set(clock.seconds) == {"rest"}


def test_the_pieces_of_a_step_are_measured() -> None:
    settings = composition.compose("benchmark", BenchmarkSettings, ["output_dir=unused", "num_threads=1"])
    given = limit_batches(train_settings(settings, "digits", "lenet5", "affine", 64), 6)
    pieces, rate = timed_pieces(given.model_copy(update={"report": "none"}))
    assert {"gather", "resize", "augment", "normalize", "optimizer", "metrics", "checkpoint"} <= set(pieces)
    layers = ("conv1", "conv2", "pooling", "activations", "linear layers", "loss")
    assert {f"{layer}{way}" for layer in layers for way in (" forward", " backward")} <= set(pieces)
    assert sum(seconds for seconds, _ in pieces.values()) == pytest.approx(64 / rate, rel=0.2)
    # Multiply-adds count twice; the first convolution has no gradient of its input
    first, second = 64 * 2 * 6 * 28 * 28 * 25, 64 * 2 * 16 * 10 * 10 * 150
    counted = {"conv1 forward": first, "conv1 backward": first, "conv2 forward": second, "conv2 backward": 2 * second}
    assert {name: pieces[name][1] for name in counted} == counted
    assert pieces["pooling forward"][1] == 0


def test_the_table_has_the_rates_of_convolutions() -> None:
    pieces = [
        {"piece": "conv1 forward", "us": 500.0, "share": 0.5, "gflops": 50.0},
        {"piece": "gather", "us": 500.0, "share": 0.5},
    ]
    row = {"model": "lenet5", "augment": "none", "batch_size": 64, "precision": "bf16-mixed", "step_us": 800.0}
    lines = step_table([row | {"timed_us": 1000.0, "multiply_gflops": 1000.0, "pieces": pieces}])
    assert lines[1][4] == "80,000 images/s"
    assert lines[2] == ("conv1 forward", "500", "50.0%", "50", "5.0%")
    assert lines[3] == ("gather", "500", "50.0%", "", "")
