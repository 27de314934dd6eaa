"""Where the time of a training step on the CPU goes, piece by piece."""

import contextlib
import io
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from lenet_pl.benchmark.compare_loops import log_progress, train_settings
from lenet_pl.benchmark.loops import LENET_PL
from lenet_pl.benchmark.step_probe import StepProbe
from lenet_pl.benchmark.steps_per_hook import limit_batches, limited_batches
from lenet_pl.benchmark.worker import Workers, last_rate, own_rate
from lenet_pl.engine.device import choose_precision
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.benchmark import BenchmarkSettings
from lenet_pl.train import train

Pieces = dict[str, tuple[float, float]]  # seconds and floating-point operations per step


def measure_step(settings: BenchmarkSettings, data: str, machine: dict[str, float]) -> list[dict[str, Any]]:
    """Measure the pieces of a step for every model, augmentation and batch size.

    In each round, one training is timed piece by piece, and one is not, which shows what the clock itself takes.

    Args:
        settings: The settings of the benchmark.
        data: The choice of the config group `data`.
        machine: The peak rates of the machine, of `describe_machine`.

    Returns:
        One row per combination: `step_us`, the time of a step without the clock, `timed_us`, with it, `multiply_gflops`
        of the machine in the precision of the training, and `pieces`: name, `us` (median of the rounds), `share` of
        `timed_us`, and of convolutions and linear layers `gflops`.
    """
    rows = []
    with Workers(settings.num_threads) as workers:
        for model in settings.models:
            for augment in settings.augments:
                for size in settings.batch_sizes:
                    log_progress(f"step: {model}, augment={augment}, batch {size}")
                    given = train_settings(settings, data, model, augment, size)
                    given = limit_batches(given, limited_batches(given, settings.seconds, workers))
                    rows.append(_measure(settings, given, workers, machine) | {"augment": augment})
    return rows


def _measure(
    settings: BenchmarkSettings, given: TrainSettings, workers: Workers, machine: dict[str, float]
) -> dict[str, Any]:
    size, precision = given.loader.batch_size, choose_precision(given.trainer)
    kind = "bf16" if precision == "bf16-mixed" else "fp32"
    plain: list[float] = []
    timed: list[float] = []
    rounds: list[Pieces] = []
    for _ in range(settings.rounds):
        plain.append(1e6 * size / workers.do(LENET_PL, own_rate, given))
        pieces, rate = workers.do(LENET_PL, timed_pieces, given)
        timed.append(1e6 * size / rate)
        rounds.append(pieces)
    us = {name: 1e6 * median(one[name][0] for one in rounds) for name in rounds[0]}
    whole = sum(us.values())
    operations = {name: amount for name, (_, amount) in rounds[0].items()}
    return {
        "model": given.model.name,
        "batch_size": size,
        "precision": precision,
        "step_us": round(median(plain), 1),
        "timed_us": round(median(timed), 1),
        "multiply_gflops": machine[f"{kind} multiplications, GFLOP/s"],
        "pieces": [
            {"piece": name, "us": round(time, 1), "share": time / whole}
            | ({"gflops": operations[name] / time / 1e3} if operations[name] else {})
            for name, time in sorted(us.items(), key=lambda item: -item[1])
        ],
    }


def timed_pieces(settings: TrainSettings) -> tuple[Pieces, float]:
    """Train in this worker, and return the pieces of a step of the last epoch, and its images per second."""
    probe = StepProbe()
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        train(settings, Path(place), [probe])
        rate = last_rate(Path(place))
    clock, steps = probe.clock, probe.steps
    return {name: (spent / steps, clock.operations[name] / steps) for name, spent in clock.seconds.items()}, rate


def step_table(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the lines of the table of `measure_step`, the heading first."""
    lines: list[tuple[str, ...]] = [("piece", "µs per step", "share", "GFLOP/s", "of machine")]
    for row in rows:
        name = f"{row['model']}, augment={row['augment']}, batch {row['batch_size']}, {row['precision']}"
        rate = row["batch_size"] / row["step_us"] * 1e6
        lines.append((f"**{name}**", f"{row['step_us']:,.0f}", "", "", f"{rate:,.0f} images/s"))
        for piece in row["pieces"]:
            flops = piece.get("gflops")
            rates = ("", "") if flops is None else (f"{flops:,.0f}", f"{flops / row['multiply_gflops']:.1%}")
            lines.append((piece["piece"], f"{piece['us']:,.0f}", f"{piece['share']:.1%}", *rates))
        lines.append(("with this clock", f"{row['timed_us']:,.0f}", "", "", ""))
    return lines
