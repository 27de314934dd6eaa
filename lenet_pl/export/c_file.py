"""C99 code of a quantized network: one file without dependencies, for microcontrollers."""

from typing import Any

from lenet_pl.export.c_input import input_code
from lenet_pl.export.c_pieces import CPieces
from lenet_pl.export.c_plan import plan_stages
from lenet_pl.export.c_stage import stage_code
from lenet_pl.export.c_text import comment_text, string_literal
from lenet_pl.export.read_int8 import read_layers

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
        stages, arena = plan_stages(layers, (description["channels"], image_size, image_size))
        plane = max(stage.plane for stage in stages)
        width = max(shape[2] for stage in stages for shape in stage.shapes[1:])
        self.pieces = CPieces()
        load = input_code(self.pieces, description, scale, zero)
        steps = "".join(stage_code(self.pieces, f"layer{number}", stage) for number, stage in enumerate(stages, 1))
        convolves = "convolution" in self.pieces.kernels
        self.ram = self.pieces.ram + arena + plane + 4 * width * convolves
        self.constants = self.pieces.constants
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
            + "\n".join(self.pieces.arrays)
            + "\n"
            + self.pieces.kernel_code()
            + "\n".join([*self.pieces.structs, self.body])
            + PREDICT.format(name=name, count=count)
            + MAIN.format(name=name, bytes=side * side * channels, size=f"{side}x{side}x{channels}")
        )
