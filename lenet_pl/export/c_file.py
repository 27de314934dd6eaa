"""C99 code of a quantized network: one file without dependencies, for microcontrollers."""

from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from lenet_pl.export.c_input import input_code
from lenet_pl.export.c_plan import Stage, area, plan_stages, size
from lenet_pl.export.c_text import array, comment_text, string_literal
from lenet_pl.export.integer_layers import Layer, MaxPool, Table, read_layers

MAIN = """
#ifdef LENET_PL_MAIN
#include <stdio.h>
#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#endif

/* Classify images on the standard input: raw pixels, one image after the other. */
int main(void)
{{
    static uint8_t image[{bytes}];
    size_t got;
    long images = 0;

#ifdef _WIN32
    _setmode(_fileno(stdin), _O_BINARY);
#endif
    while ((got = fread(image, 1, sizeof image, stdin)) == sizeof image) {{
        const int number = {name}_predict(image);

        printf("%d\\t%s\\n", number, {name}_classes[number]);
        ++images;
    }}
    if (got != 0 || images == 0) {{
        fprintf(stderr, "expected raw images of %d bytes each: {size}\\n", {bytes});
        return 1;
    }}
    return 0;
}}
#endif
"""
PREDICT = """
int {name}_predict(const uint8_t *image)
{{
    float logits[{count}];
    int best = 0;
    int k;

    {name}_logits(image, logits);
    for (k = 1; k < {count}; ++k) {{
        if (logits[k] > logits[best]) {{
            best = k;
        }}
    }}
    return best;
}}
"""


class CFile:
    """The code of a quantized network.

    Args:
        model: The ONNX model of `write_int8`.
        description: The metadata of the file.
        name: The prefix of all names that are visible outside.
        origin: A line that says what was trained, for the comment at the top.

    Attributes:
        ram: The bytes of the static buffers.
        constants: The bytes of weights, biases, scales and tables.

    Raises:
        SettingError: The network has a layer that a C file cannot contain.
    """

    def __init__(self, model: Any, description: dict[str, Any], name: str, origin: str) -> None:
        self.description, self.name, self.origin = description, name, origin
        layers, scale, zero = read_layers(model)
        image_size = description["model"]["image_size"]
        self.stages, arena = plan_stages(layers, (description["channels"], image_size, image_size))
        plane = max(stage.plane for stage in self.stages)
        width = max(shape[2] for stage in self.stages for shape in stage.shapes[1:])
        self.constants = self.ram = 0
        self.arrays: list[str] = []
        self.structs: list[str] = []
        self.kernels = {"requantize"}
        load = input_code(self, description, scale, zero)
        steps = "".join(self._stage(f"layer{number}", stage) for number, stage in enumerate(self.stages, 1))
        convolves = "convolution" in self.kernels
        self.ram += arena + plane + 4 * width * convolves
        buffers = [f"    static uint8_t arena[{arena}];"] + [f"    static uint8_t plane[{plane}];"] * bool(plane)
        buffers += [f"    static int32_t sums[{width}];"] * convolves
        head = [*buffers, "    int32_t c;", "", "    load(image, arena);"]
        self.body = (
            f"{load}\nvoid {name}_logits(const uint8_t *image, float *logits)\n{{\n"
            + "\n".join(head)
            + f"\n{steps}}}\n"
        )

    def text(self, measured: str = "") -> str:
        """Return the whole file.

        Args:
            measured: The size of the compiled code, a line for the comment at the top.
        """
        classes, channels, side = (self.description[key] for key in ("classes", "channels", "side"))
        kind = "gray levels" if channels == 1 else "RGB pixels, the three values of a pixel together"
        name, count = self.name, len(classes)
        quoted = ",\n".join(f"    {string_literal(entry)}" for entry in classes)
        measured = f"\n * Compiled: {comment_text(measured)}." if measured else ""
        return (
            f"""/*
 * {comment_text(self.origin)}
 *
 * int {name}_predict(const uint8_t *image);
 *     The class of an image, 0 to {count - 1}.
 * void {name}_logits(const uint8_t *image, float *logits);
 *     Its {count} logits. The probability of class k is exp(logits[k]) divided by the sum of all exponentials.
 * extern const char *const {name}_classes[{count}];
 *     The names of the classes, UTF-8.
 *
 * An image is {side}x{side} {kind}, 0 to 255, row by row from the top left: {side * side * channels} bytes.
 *
 * RAM: {self.ram:,} bytes of static buffers, and {4 * count} bytes for the logits on the stack.
 * Flash: {self.constants:,} bytes of constants, and the code.{measured}
 * The buffers are static: one call at a time. There is no other state, no heap and no recursion.
 *
 * ISO C99 without libraries: cc -std=c99 -O2 -c model.c
 * A program that classifies raw pixels of its standard input: cc -std=c99 -O2 -DLENET_PL_MAIN model.c
 */
#include <stddef.h>
#include <stdint.h>

int {name}_predict(const uint8_t *image);
void {name}_logits(const uint8_t *image, float *logits);
extern const char *const {name}_classes[{count}];

const char *const {name}_classes[{count}] = {{
{quoted}
}};

"""
            + "\n".join(self.arrays)
            + "\n"
            + self._kernels()
            + "\n".join([*self.structs, self.body])
            + PREDICT.format(name=name, count=count)
            + MAIN.format(name=name, bytes=side * side * channels, size=f"{side}x{side}x{channels}")
        )

    def add(self, name: str, values: "np.ndarray[Any, Any]") -> None:
        """Add a constant array."""
        self.arrays.append(array(name, values))
        self.constants += values.nbytes

    def _kernels(self) -> str:
        sections = resources.files("lenet_pl.export").joinpath("kernels.c").read_text().split("//// ")[1:]
        return "".join(code for title, _, code in (part.partition("\n") for part in sections) if title in self.kernels)

    def _stage(self, name: str, stage: Stage) -> str:
        constants = {"weights": stage.layer.weights, "bias": stage.layer.bias, "scale": stage.layer.scale}
        for key, values in constants.items():
            self.add(f"{name}_{key}", values)
        if stage.layer.weights.ndim == 2:
            return self._linear(name, stage)
        return self._convolution(name, stage)

    def _linear(self, name: str, stage: Stage) -> str:
        layer, count, inputs = stage.layer, len(stage.layer.weights), size(stage.shapes[0])
        self.kernels.add("linear")
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
            code += self._table(f"{name}_table{number}", entry, f"arena + {stage.output}", 1, count)
        return code

    def _table(self, name: str, table: Table, where: str, per_row: int, count: int) -> str:
        """Write the call that applies a table to `count` values, in a loop over c if it has several rows."""
        self.add(name, table.values)
        self.kernels.add("look_up")
        if len(table.values) == 1:
            return f"    look_up({name}, {count}, {where});\n"
        call = f"look_up({name} + c * 256, {per_row}, {where} + c * {per_row});"
        return f"    for (c = 0; c < {len(table.values)}; ++c) {{\n        {call}\n    }}\n"

    def _convolution(self, name: str, stage: Stage) -> str:
        layer, shapes, out = stage.layer, stage.shapes, area(stage.shapes[-1])
        self._struct(name, layer, shapes[0], shapes[1])
        per_group = len(layer.weights) // layer.groups
        offset = f" + c / {per_group} * {layer.weights.shape[1] * area(shapes[0])}" if layer.groups > 1 else ""
        where = "plane" if stage.plane else "out"
        lines = [f"uint8_t *out = arena + {stage.output} + c * {out};", ""]
        lines.append(f"convolve(&{name}, arena + {stage.input}{offset}, c, sums, {where});")
        for number, (entry, before, after) in enumerate(
            zip(stage.operations, shapes[1:-1], shapes[2:], strict=True), 1
        ):
            if isinstance(entry, Table):
                self.add(f"{name}_table{number}", entry.values)
                self.kernels.add("look_up")
                row = f"{name}_table{number}" + (" + c * 256" if len(entry.values) > 1 else "")
                lines.append(f"look_up({row}, {area(before)}, {where});")
                continue
            if isinstance(entry, MaxPool):
                self.kernels.add("max_pool")
                sizes = (before[2], *entry.window, *entry.stride, *after[1:])
                lines.append(f"max_pool({where}, {', '.join(map(str, sizes))}, out);")
            else:
                own = f"{name}_pool{number}"
                for key in ("weights", "bias", "scale"):
                    self.add(f"{own}_{key}", getattr(entry, key))
                self._struct(own, entry, before, after)
                lines.append(f"convolve(&{own}, {where}, c, sums, out);")
            where = "out"
        code = "".join(f"        {line}\n" if line else "\n" for line in lines)
        return f"    for (c = 0; c < {len(layer.weights)}; ++c) {{\n{code}    }}\n"

    def _struct(self, name: str, layer: Layer, before: Sequence[int], after: Sequence[int]) -> None:
        self.kernels.add("convolution")
        depth, height, width = layer.weights.shape[1:]
        rows = [(depth, *before[1:]), (height, width), (*layer.stride, *layer.pads[:2]), tuple(after[1:])]
        rows.append((layer.zero, int(layer.out_zero or 0)))
        numbers = ",\n    ".join(", ".join(map(str, row)) for row in rows)
        self.structs.append(
            f"static const convolution {name} = {{\n    {numbers},\n    {name}_weights, {name}_bias, {name}_scale\n}};\n"
        )
