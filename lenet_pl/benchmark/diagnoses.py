"""How many planted faults `lenet_pl.diagnose` names, and how many false alarms it raises."""

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet_pl.benchmark.compare_loops import first_available_dataset, log_progress
from lenet_pl.benchmark.planted_faults import FURTHER, HEALTHY, PLANTED, Case, prepare, set_biases
from lenet_pl.errors import DataError, DivergenceError
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.benchmark import BenchmarkSettings
from lenet_pl.settings.compose import compose
from lenet_pl.train import train

GROUPS = {"planted": PLANTED, "healthy": HEALTHY, "further": FURTHER}
QUIET = ("callbacks.progress_bar=false", "callbacks.model_summary=false", "logger=none", "report=none")


def measure_diagnoses(settings: BenchmarkSettings, folder: Path) -> dict[str, Any]:
    """Train all cases, diagnose each, and compare the verdicts with what was planted.

    Args:
        settings: The settings of the benchmark.
        folder: A folder for the runs. A case that it contains already is not repeated.

    Returns:
        By group a list of rows with `name`, `faults` (planted), `named` (verdicts in their order), `confidence`,
        `accuracy` (best of validation, None if the training diverged) and `seconds` (of the diagnosis).
    """
    found: dict[str, Any] = {}
    for group, cases in GROUPS.items():
        found[group] = []
        for case in cases:
            if case.needs and first_available_dataset(settings, [case.needs]) is None:
                continue
            log_progress(f"{group}: {case.name}")
            place = folder / group / "".join(c if c.isalnum() else "_" for c in case.name)
            found[group].append(diagnose_case(case, place, _shared(settings)))
    return found


def diagnose_case(case: Case, place: Path, shared: Sequence[str] = ()) -> dict[str, Any]:
    """Train and diagnose a case, unless its folder has the diagnosis.

    Args:
        case: The case.
        place: The folder of its data, run and diagnosis.
        shared: Further overrides of its training.

    Raises:
        DataError: If the diagnosis fails.
    """
    answer = place / "diagnosis" / "diagnosis.json"
    if not answer.exists():
        place.mkdir(parents=True, exist_ok=True)
        overrides = [*prepare(case, place), *shared]
        if case.bias is not None:
            _train(place / "before", [*case.settings, *shared, "trainer.max_epochs=1"])
            set_biases(place / "before" / "checkpoints" / "best.ckpt", place / "biased.ckpt", case.bias)
        _train(place / "run", overrides)
        # Enough time for all counter-runs, however busy the machine is
        words = [f"run={place / 'run'}", f"output_dir={answer.parent}", "time_budget=600"]
        _diagnose(words)
    results = json.loads(answer.read_text(encoding="utf-8"))
    history = place / "run" / "results.json"
    reached = json.loads(history.read_text(encoding="utf-8"))["metrics"] if history.exists() else {}
    return {
        "name": case.name,
        "faults": list(case.faults),
        "named": [one["fault"] for one in results["verdicts"]],
        "confidence": [one["confidence"] for one in results["verdicts"]],
        "accuracy": reached.get("best/val/accuracy"),
        "seconds": results["total_seconds"],
    }


def _diagnose(words: Sequence[str]) -> None:
    """Run the command in a subprocess.

    Raises:
        DataError: If it fails.
    """
    command = [sys.executable, "-m", "lenet_pl.diagnose", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"diagnose {' '.join(words)}: exit code {done.returncode}: {done.stderr.strip()}")


def _train(folder: Path, overrides: Sequence[str]) -> None:
    """Train into a folder; a training that diverges leaves it without results."""
    if (folder / "results.json").exists():
        return
    given = compose("train", TrainSettings, [f"run={folder}", *QUIET, *overrides])
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(DivergenceError):
        train(given, folder)


def _shared(settings: BenchmarkSettings) -> list[str]:
    threads = [f"trainer.num_threads={settings.num_threads}"] if settings.num_threads else []
    return ["trainer.accelerator=cpu", f"data_root={settings.data_root}", *threads]


def diagnosis_rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Write the rows of the table, and what they add up to."""
    lines: list[tuple[str, ...]] = [("training", "validation accuracy", "named, the most certain first", "right", "s")]
    for group, rows in found.items():
        for row in rows:
            named = ", ".join(f"{n} {c:.0%}" for n, c in zip(row["named"], row["confidence"], strict=True))
            accuracy = "–" if row["accuracy"] is None else f"{row['accuracy']:.3f}"
            lines.append((row["name"], accuracy, named or "nothing", _verdict(row), f"{row['seconds']:.0f}"))
        faulty, healthy = ([row for row in rows if bool(row["faults"]) == wrong] for wrong in (True, False))
        total = [f"{sum(map(_first, faulty))} of {len(faulty)} faults first"] if faulty else []
        total += [f"{sum(map(_named, faulty))} named"] if faulty else []
        total += [f"{sum(bool(row['named']) for row in healthy)} of {len(healthy)} false alarms"] if healthy else []
        lines.append((f"{group}: {', '.join(total)}", "", "", "", ""))
    return lines


def _first(row: dict[str, Any]) -> bool:
    return bool(row["named"]) and row["named"][0] in row["faults"]


def _named(row: dict[str, Any]) -> bool:
    return bool(set(row["named"]) & set(row["faults"]))


def _verdict(row: dict[str, Any]) -> str:
    if not row["faults"]:
        return "no" if row["named"] else "yes"
    return "yes, first" if _first(row) else "yes" if _named(row) else "no"
