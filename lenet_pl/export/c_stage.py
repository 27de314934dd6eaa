"""C99 code of one stage: a layer, and what follows it in each of its channels."""

from collections.abc import Sequence

from lenet_pl.export.c_pieces import CPieces
from lenet_pl.export.c_plan import Stage, area, size
from lenet_pl.export.integer_layers import Layer, MaxPool, Table


def stage_code(pieces: CPieces, name: str, stage: Stage) -> str:
    """Write the loop over the channels of a stage, and add its constants.

    Args:
        pieces: What receives the constants.
        name: The prefix of their names.
        stage: The stage.
    """
    constants = {"weights": stage.layer.weights, "bias": stage.layer.bias, "scale": stage.layer.scale}
    for key, values in constants.items():
        pieces.add(f"{name}_{key}", values)
    if stage.layer.weights.ndim == 2:
        return _linear(pieces, name, stage)
    return _convolution(pieces, name, stage)


def _linear(pieces: CPieces, name: str, stage: Stage) -> str:
    layer, count, inputs = stage.layer, len(stage.layer.weights), size(stage.shapes[0])
    pieces.kernels.add("linear")
    values = f"arena + {stage.input}, {inputs}, {layer.zero}"
    total = f"weighted_sum({name}_weights + c * {inputs}, {name}_bias[c], {values})"
    if layer.out_zero is None:
        result = f"logits[c] = (float){total} * {name}_scale[c];"
    else:
        result = (
            f"arena[{stage.output} + c] =\n            requantize({total},\n"
            f"                       {name}_scale[c], {layer.out_zero});"
        )
    code = f"    for (c = 0; c < {count}; ++c) {{\n        {result}\n    }}\n"
    for number, entry in enumerate(stage.operations, 1):
        assert isinstance(entry, Table)
        code += _table(pieces, f"{name}_table{number}", entry, f"arena + {stage.output}", 1, count)
    return code


def _table(pieces: CPieces, name: str, table: Table, where: str, per_row: int, count: int) -> str:
    """Write the call that applies a table to `count` values, in a loop over c if it has several rows."""
    pieces.add(name, table.values)
    pieces.kernels.add("look_up")
    if len(table.values) == 1:
        return f"    look_up({name}, {count}, {where});\n"
    call = f"look_up({name} + c * 256, {per_row}, {where} + c * {per_row});"
    return f"    for (c = 0; c < {len(table.values)}; ++c) {{\n        {call}\n    }}\n"


def _convolution(pieces: CPieces, name: str, stage: Stage) -> str:
    layer, shapes, out = stage.layer, stage.shapes, area(stage.shapes[-1])
    _struct(pieces, name, layer, shapes[0], shapes[1])
    per_group = len(layer.weights) // layer.groups
    offset = f" + c / {per_group} * {layer.weights.shape[1] * area(shapes[0])}" if layer.groups > 1 else ""
    where = "plane" if stage.plane else "out"
    lines = [f"uint8_t *out = arena + {stage.output} + c * {out};", ""]
    lines.append(f"convolve(&{name}, arena + {stage.input}{offset}, c, sums, {where});")
    for number, (entry, before, after) in enumerate(zip(stage.operations, shapes[1:-1], shapes[2:], strict=True), 1):
        if isinstance(entry, Table):
            pieces.add(f"{name}_table{number}", entry.values)
            pieces.kernels.add("look_up")
            row = f"{name}_table{number}" + (" + c * 256" if len(entry.values) > 1 else "")
            lines.append(f"look_up({row}, {area(before)}, {where});")
            continue
        if isinstance(entry, MaxPool):
            pieces.kernels.add("max_pool")
            sizes = (before[2], *entry.window, *entry.stride, *after[1:])
            lines.append(f"max_pool({where}, {', '.join(map(str, sizes))}, out);")
        else:
            own = f"{name}_pool{number}"
            for key in ("weights", "bias", "scale"):
                pieces.add(f"{own}_{key}", getattr(entry, key))
            _struct(pieces, own, entry, before, after)
            lines.append(f"convolve(&{own}, {where}, c, sums, out);")
        where = "out"
    code = "".join(f"        {line}\n" if line else "\n" for line in lines)
    return f"    for (c = 0; c < {len(layer.weights)}; ++c) {{\n{code}    }}\n"


def _struct(pieces: CPieces, name: str, layer: Layer, before: Sequence[int], after: Sequence[int]) -> None:
    pieces.kernels.add("convolution")
    depth, height, width = layer.weights.shape[1:]
    rows = [(depth, *before[1:]), (height, width), (*layer.stride, *layer.pads[:2]), tuple(after[1:])]
    rows.append((layer.zero, int(layer.out_zero or 0)))
    numbers = ",\n    ".join(", ".join(map(str, row)) for row in rows)
    pieces.structs.append(
        f"static const convolution {name} = {{\n    {numbers},\n    {name}_weights, {name}_bias, {name}_scale\n}};\n"
    )
