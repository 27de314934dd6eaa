"""diagnosis.html, diagnosis.json, the figures, and the verdicts on the terminal."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from rich.table import Table

from lenet_pl.artifacts.report import embed_picture, write_page
from lenet_pl.diagnose.check_learning_rate import LAST
from lenet_pl.diagnose.examination import Examination
from lenet_pl.diagnose.figures import draw_figures
from lenet_pl.diagnose.verdict import FAULTS, Verdict
from lenet_pl.display.console import Console
from lenet_pl.display.figure import save_figures
from lenet_pl.display.text import as_html, as_json, label
from lenet_pl.errors import display_path, printable
from lenet_pl.runtime.atomic_files import write_text
from lenet_pl.runtime.optional_work import optional


def collect(found: Examination, verdicts: Sequence[Verdict], checked: Sequence[str]) -> dict[str, Any]:
    """Collect everything as plain JSON values, with the keys that `lenet_pl.diagnose.diagnose` documents."""
    run, replay, lr_range = found.run, found.replay, found.lr_range
    stated = [one.as_plain() | {"figure": one.suspicion.figure} for one in verdicts]
    tested = None
    if lr_range:
        tested = {"lowest": lr_range.lowest, "suggestion": lr_range.suggestion, "highest": lr_range.highest}
    content = {
        "task": "diagnose",
        "run": str(run.folder),
        "model": run.settings.model.name,
        "data": run.data.source.name,
        "seed": run.settings.seed,
        "finished": run.finished,
        "verdicts": [one for one in stated if one["confidence"] > 0],
        "refuted": [one for one in stated if one["confidence"] == 0],
        "checked": list(checked),
        "notes": run.notes,
        "replay": {
            "steps": replay.steps,
            "first_loss": replay.losses[0] if replay.losses else None,
            "last_loss": mean(replay.losses[-LAST:]) if replay.losses else None,
            "train_accuracy": replay.train.accuracy,
            "validation_accuracy": replay.validation.accuracy,
            "diverged": replay.diverged,
        },
        "lr_range": tested,
        "layers": [
            {"name": one.name, "dead": one.dead, "saturated": one.saturated, "mean": one.mean, "std": one.std}
            for one in found.layers
        ],
    }
    plain: dict[str, Any] = _finite(content)
    return plain


def _finite(value: Any) -> Any:
    """Replace numbers that JSON does not have by None."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_report(folder: Path, results: dict[str, Any], found: Examination) -> None:
    """Write the figures, diagnosis.html and, last, diagnosis.json."""
    with optional("the figures", results["notes"]):
        save_figures(folder, draw_figures(found))
    title = f"Diagnosis of {results['model']} on {printable(results['data'])}, seed {results['seed']}"
    parts = [f"<p>{as_html(summary(results))}</p>"]
    for one in results["verdicts"]:
        parts.append(f"<h2>{as_html(FAULTS[one['fault']].capitalize())}</h2>{_section(one)}")
        if one["figure"] and (file := folder / f"{one['figure']}.png").exists():
            parts.append(f'<img alt="{one["figure"]}" src="{embed_picture(file)}">')
    if results["refuted"]:
        parts.append("<h2>Suspected, and not supported by a short training</h2>")
        parts += [f"<h3>{as_html(FAULTS[one['fault']].capitalize())}</h3>{_section(one)}" for one in results["refuted"]]
    parts += ["<h2>Checked</h2>", f"<p>{as_html(', '.join(results['checked']))}.</p>"]
    parts += [f"<p>{as_html(note)}.</p>" for note in results["notes"]]
    parts.append(f"<h2>Command</h2><pre>{as_html(results['command'])}</pre>\n")
    write_page(folder / "diagnosis.html", title, "\n".join(parts))
    write_text(folder / "diagnosis.json", as_json(results, allow_nan=False))


def _section(one: dict[str, Any]) -> str:
    rows = {"confidence": f"{one['confidence']:.0%}", "change": one["advice"], "short training": proof_line(one)}
    rows |= {name: _figure(value) for name, value in one["evidence"].items()}
    table = "".join(f"<tr><td>{as_html(name)}<td>{as_html(value)}" for name, value in rows.items())
    return f"<p>{as_html(one['finding'])}.</p><table>{table}</table>"


def _figure(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_figure, value))
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else f"{value:,}"


def proof_line(one: dict[str, Any]) -> str:
    """Describe the short trainings of a verdict, or why there are none, in one line."""
    proof = one["proof"]
    if proof is None:
        return f"none: {one['untested']}"
    pairs = " and ".join(f"{a:.3f} instead of {b:.3f}" for b, a in zip(proof["before"], proof["after"], strict=True))
    seeds = f"seed {', '.join(map(str, proof['seeds']))}"
    reached = "" if proof["recorded"] is None else f"; the run's best is {proof['recorded']:.3f}"
    return f"{proof['steps']:,} steps with {proof['change']}: validation accuracy {pairs} ({seeds}){reached}"


def summary(results: dict[str, Any]) -> str:
    """Say in one line what was found."""
    count = len(results["verdicts"])
    if not count:
        return f"no fault found; checked: {', '.join(results['checked'])}"
    return f"{count} fault{'s' if count > 1 else ''} found, the most certain first"


def print_diagnosis(folder: Path, results: dict[str, Any]) -> None:
    """Print the verdicts and the output folder."""
    console = Console()
    if results["verdicts"]:
        name = f"{results['model']} on {label(results['data'])}, seed {results['seed']}"
        table = Table(title=f"{name}: {summary(results)}", show_lines=True)
        table.add_column("fault")
        table.add_column("sure", justify="right")
        table.add_column("evidence, and what to change", overflow="fold")
        for one in results["verdicts"]:
            lines = [one["finding"], f"change: {one['advice']}", f"short training: {proof_line(one)}"]
            table.add_row(one["fault"], f"{one['confidence']:.0%}", "\n".join(lines))
        console.print(table)
    else:
        console.print(summary(results))
    for one in results["refuted"]:
        console.print(f"not supported: {one['fault']}; {proof_line(one)}")
    for note in results["notes"]:
        console.print(f"note: {note}")
    console.print(f"everything is in {display_path(folder)}; start with diagnosis.html")
