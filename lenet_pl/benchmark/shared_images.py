"""Folds trained several at once by one command: wall time, and memory next to separate commands. Memory on Linux."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet_pl.benchmark.compare_loops import log_progress
from lenet_pl.benchmark.during_training import training
from lenet_pl.runtime.threads import SHORT_WAIT
from lenet_pl.settings.benchmark import BenchmarkSettings

FOLDS = 4
N_JOBS = (1, 2, 4)
EPOCHS = 2
POLL = 0.5  # s between two looks at the memory
MB = 1e6


def measure_shared_images(settings: BenchmarkSettings, folder: Path, data: str) -> dict[str, Any]:
    """Cross-validate with one, two and four processes, and train with four separate commands at once.

    Args:
        settings: The settings of the benchmark, of whose models the first is trained.
        folder: An existing folder for the runs.
        data: The choice of the config group `data`.

    Returns:
        A row for each way, with `n_jobs` (None for separate commands), `seconds` of wall time, and `processes` at the
        moment at which they together used most: `rss`, `pss`, and those of the mapped images, `images_rss` and
        `images_pss`, in MB. PSS divides a page of memory by the number of processes that map it.
    """
    given = [f"data={data}", f"data_root={settings.data_root}", f"model={settings.models[0]}", "logger=none"]
    given += [f"trainer.max_epochs={EPOCHS}", "trainer.accelerator=cpu"]
    ways: dict[int | None, list[list[str]]] = {n: [[*given, f"folds={FOLDS}", f"n_jobs={n}"]] for n in N_JOBS}
    ways[None] = [[*given, f"seed={seed}"] for seed in range(FOLDS)]
    rows = []
    for n_jobs, commands in ways.items():
        log_progress(f"{FOLDS} trainings, {f'n_jobs={n_jobs}' if n_jobs else 'separate commands'}")
        start = time.perf_counter()
        processes = _run(folder / str(n_jobs), commands)
        rows.append({"n_jobs": n_jobs, "seconds": round(time.perf_counter() - start, 1), "processes": processes})
    return {"folds": FOLDS, "epochs": EPOCHS, "model": settings.models[0], "rows": rows}


def shared_images_table(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Format the measurements as the rows of a table."""
    lines: list[tuple[str, ...]] = [
        (
            "trainings",
            "wall s",
            "processes",
            "RSS of each, MB",
            "PSS together, MB",
            "images mapped, RSS of each, MB",
            "PSS",
        )
    ]
    for row in found["rows"]:
        each = row["processes"]
        mapped = [one["images_rss"] for one in each if one["images_rss"]]
        lines.append(
            (
                f"{found['folds']} folds, n_jobs={row['n_jobs']}" if row["n_jobs"] else f"{found['folds']} commands",
                f"{row['seconds']:.0f}",
                str(len(each)),
                ", ".join(f"{one['rss']:.0f}" for one in each) or "-",
                f"{sum(one['pss'] for one in each):,.0f}",
                ", ".join(f"{value:.0f}" for value in mapped) or "-",
                f"{sum(one['images_pss'] for one in each):.0f}",
            )
        )
    return lines


def _run(folder: Path, commands: Sequence[Sequence[str]]) -> list[dict[str, float]]:
    """Run commands at once, and return the memory of their processes when it was largest."""
    largest: list[dict[str, float]] = []
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(training(folder / str(number), command, SHORT_WAIT))
            for number, command in enumerate(commands)
        ]
        while any(process.poll() is None for process in started):
            found = [memory_of(pid) for process in started for pid in _family(process.pid)]
            now = [one for one in found if one["rss"]]
            if sum(one["pss"] for one in now) > sum(one["pss"] for one in largest):
                largest = now
            time.sleep(POLL)
    return largest


def memory_of(pid: int) -> dict[str, float]:
    """Return the memory of a process in MB: `rss`, `pss`, and of the shared images `images_rss` and `images_pss`.

    All are 0 if the process has ended, and on other systems than Linux.
    """
    found = dict.fromkeys(("rss", "pss", "images_rss", "images_pss"), 0.0)
    with contextlib.suppress(OSError):
        prefix = ""
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            key, _, value = line.partition(":")
            if "-" in key.split(" ")[0]:  # the header of a mapping: addresses, rights, and its file
                prefix = "images_" if line.endswith(("tensors.pt", "tensors.pt (deleted)")) else ""
            elif key in ("Rss", "Pss"):
                size = int(value.split()[0]) * 1024 / MB
                found[key.lower()] += size
                if prefix:
                    found[prefix + key.lower()] += size
    return {key: round(value, 1) for key, value in found.items()}


def _family(pid: int) -> list[int]:
    """List a process and its descendants."""
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *(other for child in children for other in _family(int(child)))]
    return [pid]
