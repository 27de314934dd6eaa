"""Tables of the part `gpu`."""

from collections.abc import Callable, Sequence
from typing import Any

Row = Sequence[str]


def gpu_tables(found: dict[str, Any]) -> str:
    """Format the results of the part `gpu` as Markdown, with one line for each measurement that is missing."""
    if "not_measured" in found:
        return f"GPU: not measured, {found['not_measured']}."
    parts = [f"{found['device']}, CUDA {found['cuda']}, data {found['data']}; measured in {found['seconds']} s."]
    for name, table in TABLES.items():
        if (step := found.get(name)) is None:
            continue
        if reason := step.get("failed") or step.get("not_measured"):
            parts.append(f"{name}: {reason}.")
        try:
            parts += table(step)
        except (KeyError, TypeError, ValueError) as error:  # the results of a stopped step are incomplete
            parts.append(f"{name}: the results in benchmark.json are incomplete ({type(error).__name__}: {error}).")
    return "\n\n".join(parts)


def measured_rates(found: dict[str, Any]) -> list[dict[str, Any]]:
    """List the rows with a measured rate, for the plot."""
    return [row for row in found.get("rates", {}).get("rows", []) if "images_per_second" in row]


def _equality(found: dict[str, Any]) -> list[str]:
    head = ("losses, GPU to CPU", "steps", "difference in step 1", "first 50", "all", "accuracy on GPU", "on CPU")
    lines: list[Row] = [head]
    lost = []
    for name in ("losses, tf32 off", "losses, torch's defaults", "accuracy with dropout"):
        row = found.get(name, {})
        if "steps" not in row:
            lost.append(f"{name}: {row.get('failed', 'not reached')}.")
            continue
        apart = [f"{row[key]:.1e}" for key in ("first_step", "first_50", "all")]
        lines.append((name, str(row["steps"]), *apart, f"{row['device_accuracy']:.4f}", f"{row['cpu_accuracy']:.4f}"))
    texts = [_table(lines), *lost]
    runs = found.get("runs", {})
    texts += [
        f"{key.replace('_', ' ')}: {'different: ' + runs[key][0] if runs[key] else 'bit-identical'}."
        for key in ("deterministic_twice", "not_deterministic_twice", "resumed")
        if key in runs
    ]
    if "failed" in runs:
        texts.append(f"runs: {runs['failed']}.")
    if "tried" in (choices := found.get("choices", {})):
        texts.append(f"{len(choices['tried'])} choices tried, {len(choices['failures'])} failed.")
        texts += [f"{name}: {failure['failed']}." for name, failure in choices["failures"].items()]
    if commands := found.get("commands"):
        codes = (f"{name} {code}" for name, code in commands.items() if name != "traceback")
        texts.append(f"commands: {', '.join(codes)}")
    return texts


def _graph(found: dict[str, Any]) -> list[str]:
    if "equal" not in found:
        return []
    lines: list[Row] = [("with and without the CUDA graph", "steps", "bits", "largest difference of a weight")]
    for name, row in found["equal"].items():
        if "failed" in row:
            lines.append((name, "", row["failed"], ""))
            continue
        bits = f"different: {row['differences'][0]}" if row["differences"] else "equal"
        lines.append((name, str(row["steps"]), bits, f"{row['largest_weight_difference']:.1e}"))
    texts = [_table(lines)]
    texts += [f"{name}: {found[name]['failed']}." for name in ("repeated", "waits") if "failed" in found.get(name, {})]
    for name, places in found.get("repeated", {}).items():
        if isinstance(places, list):
            texts.append(f"{name.replace('_', ' ')}: {'different: ' + places[0] if places else 'bit-identical'}.")
    for name in ("waits", "waits without"):
        if "lines" in (waits := found.get(name, {})):
            graph = "in the graph" if name == "waits" else "one by one"
            texts.append(f"Steps {graph}: {waits['per_100_steps']:g} waits for the device in 100 steps.")
            head: Row = ("line that waits for the device", f"waits in {waits['steps']} steps and a validation")
            texts.append(_table([head, *((line, str(count)) for line, count in waits["lines"].items())]))
    return texts


def _rates(found: dict[str, Any]) -> list[str]:
    lines: list[Row] = [
        ("model", "augment", "batch", "loop", "images/s", "spread", "µs per step", "of tutorial", "of tuned")
    ]
    for row in found["rows"]:
        case = (row["model"], row["augment"], str(row["batch_size"]), row["loop"])
        if "images_per_second" not in row:
            lines.append((*case, row.get("failed") or f"not measured: {row['not_measured']}", "", "", "", ""))
            continue
        ratios = ["" if row[key] is None else f"{row[key]:.2f}" for key in ("to_tutorial", "to_tuned")]
        spread = f"{row['smallest']:,.0f}–{row['largest']:,.0f}"
        lines.append((*case, f"{row['images_per_second']:,.0f}", spread, f"{row['step_us']:,.0f}", *ratios))
    return [_table(lines)]


def _mnist(found: dict[str, Any]) -> list[str]:
    if "candidates" not in found:
        return []
    head = (
        "99% on MNIST",
        "steps",
        "seeds",
        "seconds",
        "slowest",
        "test accuracy",
        "lowest",
        "runs ≥ 99%",
        "validation",
    )
    lines: list[Row] = [head]
    for row in found["candidates"]:
        if "seconds" not in row:
            lines.append((row["name"], row.get("failed") or f"not measured: {row['not_measured']}", *[""] * 7))
            continue
        accuracy, share = f"{row['test_accuracy']:.4f} ± {row['sd']:.4f}", f"{row['share_of_runs_at_99']:.0%}"
        times = (f"{row['seconds']:.4f}", f"{row['slowest']:.4f}")
        rest = (accuracy, f"{row['lowest']:.4f}", share, f"{row['validation_accuracy']:.4f}")
        lines.append((row["name"], str(row["steps"]), str(row["seeds"]), *times, *rest))
    own = found.get("lenet_pl", {})
    if "seconds" in own:
        accuracy = f"{own['test_accuracy']:.4f}"
        lines.append(
            ("lenet_pl, mnist_99_fast", "", str(len(own["runs"])), f"{own['seconds']:.3f}", "", accuracy, *[""] * 3)
        )
    texts = [_table(lines)]
    steps = found.get("step", [])
    for step in steps if isinstance(steps, list) else []:
        order = "last" if step["channels_last"] else "first"
        kernels: list[Row] = [(f"kernel, batch {step['batch_size']}, channels {order}", "per step", "µs per step")]
        kernels += [(r["kernel"].replace("|", "¦"), f"{r['per_step']:g}", f"{r['us']:.2f}") for r in step["rows"]]
        kernels.append(("all", f"{step['kernels']:g}", f"{step['kernel_us']} of {step['wall_us']}"))
        texts.append(_table(kernels))
    return texts


def _memory(found: dict[str, Any]) -> list[str]:
    head = ("loop", "batch", "allocated before, MB", "peak, MB", "reserved, MB", "dataset, MB")
    keys = ("before_mb", "peak_mb", "reserved_mb", "set_mb")
    rows = [(r["loop"], str(r["batch_size"]), *(f"{r[key]:,.0f}" for key in keys)) for r in found.get("rows", [])]
    return [_table([head, *rows])] if rows else []


def _ddp(found: dict[str, Any]) -> list[str]:
    rates = (f"{found[f'images_per_second_{name}']:,.0f}" for name in ("ddp", "without"))
    return [
        "DistributedDataParallel in one process, {}: {} images/s; without it: {} images/s; ratio {}.".format(
            found["backend"], *rates, found["ratio"]
        )
    ]


def _seeds(found: dict[str, Any]) -> list[str]:
    head = (
        "networks",
        "batch size of each",
        "images/s of a single one",
        "images/s stacked",
        "ratio",
        "images/s stacked in a CUDA graph",
        "ratio",
    )
    lines: list[Row] = [head]
    for row in found["rows"]:
        graph, alone = row["graph"], row["alone"]
        captured = isinstance(graph, float)
        more = (f"{graph:,.0f}", f"{graph / alone:.1f}") if captured else (graph.get("failed", "not measured"), "")
        rates = (f"{alone:,.0f}", f"{row['at_once']:,.0f}", f"{row['at_once'] / alone:.1f}")
        lines.append((str(row["networks"]), str(row["batch_size"]), *rates, *more))
    return [_table(lines)]


TABLES: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "equality": _equality,
    "cuda_graph": _graph,
    "rates": _rates,
    "mnist_99": _mnist,
    "memory": _memory,
    "ddp": _ddp,
    "seeds": _seeds,
}


def _table(lines: Sequence[Row]) -> str:
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([rows[0], "|" + "---|" * len(lines[0]), *rows[1:]])
