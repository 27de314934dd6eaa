"""Layer table of a network: type, output shape and number of parameters of each layer."""

from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from lenet_pl.display.console import Console


def summarize(model: nn.Module, example: Tensor) -> list[tuple[str, str, str, int]]:
    """Run an example through the model and collect its layers in the order of execution.

    Args:
        model: Any network. Its mode is restored afterwards.
        example: An input, float (B, C, H, W).

    Returns:
        Name, type, output shape without the batch dimension (such as "6×28×28") and number of parameters of each layer
        without children.
    """
    rows: list[tuple[str, str, str, int]] = []
    names = {module: name for name, module in model.named_modules()}

    def note(module: nn.Module, _: Any, output: Tensor) -> None:
        shape = "×".join(str(side) for side in output.shape[1:])
        rows.append((names[module], type(module).__name__, shape, sum(p.numel() for p in module.parameters())))

    handles = [m.register_forward_hook(note) for m in model.modules() if not list(m.children())]
    training = model.training
    with torch.no_grad():
        model.eval()(example)
    model.train(training)
    for handle in handles:
        handle.remove()
    return rows


def print_summary(model: nn.Module, example: Tensor) -> None:
    """Print the layer table of a model for an example input, float (B, C, H, W)."""
    rows = summarize(model, example)
    table = Table(title=f"{type(model).__name__}, input {'×'.join(str(s) for s in example.shape[1:])}")
    for heading in ("layer", "type"):
        table.add_column(heading)
    for heading in ("output", "parameters"):
        table.add_column(heading, justify="right")
    for name, kind, shape, count in rows:
        table.add_row(name, kind, shape, f"{count:,}" if count else "")
    table.add_section()
    table.add_row("total", "", "", f"{sum(row[3] for row in rows):,}")
    Console().print(table)
