"""Overhead of the jobs of a sweep: in one process, sequential, parallel, and on a SLURM cluster."""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

from lenet_pl.benchmark.compare_loops import log_progress
from lenet_pl.errors import DataError, SettingError
from lenet_pl.runtime.slurm import check_launcher
from lenet_pl.settings.benchmark import BenchmarkSettings

TRIVIAL = (
    "data=digits",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=1",
    "trainer.accelerator=cpu",
    "trainer.num_threads=1",
    "test=false",
    "logger=none",
    "callbacks.progress_bar=false",
    "callbacks.model_summary=false",
)
# The lower bound: one process that only creates the folders and trains
IN_PROCESS = """
import sys
from pathlib import Path
from lenet_pl.settings.compose import compose
from lenet_pl.settings import TrainSettings
from lenet_pl.train import train
place, jobs, *overrides = sys.argv[1:]
for seed in range(int(jobs)):
    folder = Path(place) / str(seed)
    folder.mkdir(parents=True)
    train(compose("train", TrainSettings, [f"run={folder}", f"seed={seed}", *overrides]), folder)
"""
SIDE_BY_SIDE = 2  # parallel jobs with joblib and on the cluster


def measure_jobs(settings: BenchmarkSettings, folder: Path) -> dict[str, Any]:
    """Run `settings.jobs` minimal trainings with each launcher that is available on this machine.

    Args:
        settings: The settings of the benchmark.
        folder: An existing folder for the runs.

    Returns:
        One row per launcher with the wall-clock time, the time per job, and the overhead per job beyond the training
        and beyond the whole run, in seconds. With parallel jobs, times per job count per worker. Launchers that are
        not available are listed with the reason.
    """
    ways: dict[str, tuple[int, list[str]]] = {
        "in one process": (1, [sys.executable, "-c", IN_PROCESS, str(folder / "in one process"), str(settings.jobs)]),
        "--multirun": (1, _sweep(folder / "--multirun", settings.jobs)),
        "joblib": (
            SIDE_BY_SIDE,
            _sweep(folder / "joblib", settings.jobs, "hydra/launcher=joblib", f"hydra.launcher.n_jobs={SIDE_BY_SIDE}"),
        ),
        "slurm": (
            SIDE_BY_SIDE,
            _sweep(
                folder / "slurm",
                settings.jobs,
                "hydra/launcher=slurm",
                "hydra.launcher.cpus_per_task=1",
                "hydra.launcher.mem_gb=1",
                f"hydra.launcher.array_parallelism={SIDE_BY_SIDE}",
            ),
        ),
    }
    rows, absent = [], {}
    for name, (at_once, command) in ways.items():
        log_progress(f"{settings.jobs} jobs, {name}")
        try:
            check_launcher(command, True)
            rows.append({"way": name} | _measure(folder / name, settings.jobs, at_once, [*command, *TRIVIAL]))
        except (SettingError, DataError) as error:
            absent[name] = str(error)
    return {"jobs": settings.jobs, "rows": rows, "not_measured": absent}


def _sweep(folder: Path, jobs: int, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "lenet_pl.train", "-m", f"run={folder}", f"seed=range({jobs})", *overrides]


def _measure(folder: Path, jobs: int, at_once: int, command: list[str]) -> dict[str, Any]:
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wall = time.perf_counter() - start
    results = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*/results.json")]
    if len(results) != jobs:
        said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        why = (said or done.stderr.splitlines() or ["no output"])[0]
        raise DataError(f"{folder.name}: {len(results)} of {jobs} jobs finished: {why}")
    files = [path for path in folder.rglob("*") if path.is_file()]
    each = wall * at_once / jobs
    return {
        "at_once": at_once,
        "wall_seconds": round(wall, 1),
        "seconds_per_job": round(each, 2),
        "beyond_training": round(each - fmean(result["training_seconds"] for result in results), 2),
        "beyond_run": round(each - fmean(result["total_seconds"] for result in results), 2),
        "files_per_job": round(len(files) / jobs, 1),
        "kilobytes_per_job": round(sum(path.stat().st_size for path in files) / jobs / 1000, 1),
    }
