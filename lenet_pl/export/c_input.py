"""C99 code of the preprocessing: padding or resizing, and quantization of raw pixels."""

from typing import Any

import numpy as np

from lenet_pl.export.c_pieces import CPieces
from lenet_pl.export.formats import interpolation_matrix
from lenet_pl.export.integer_resize import ROW_BITS, WEIGHT_BITS, integer_weights

Array = np.ndarray[Any, Any]


def input_code(pieces: CPieces, description: dict[str, Any], scale: Array, zero: int) -> str:
    """Write the function `load`, which turns raw pixels into the input of the first layer.

    Args:
        pieces: What receives the constants.
        description: The metadata of the pieces.
        scale: The scale of the input, float32.
        zero: The zero point of the input.
    """
    side, channels = description["side"], description["channels"]
    wanted = description["model"]["image_size"]
    pieces.add("input_table", quantize_levels(description, scale, zero))
    if side != wanted and (description["resize_mode"] == "resize" or side > wanted):
        pieces.kernels.add("resize")
        first, weights = taps(side, wanted)
        pieces.add("tap_start", first)
        pieces.add("tap_weights", weights)
        pieces.ram += 2 * side
        return RESIZE.format(side=side, channels=channels, wanted=wanted, taps=weights.shape[1],
                             row_bits=WEIGHT_BITS - ROW_BITS, bits=WEIGHT_BITS + ROW_BITS)  # fmt: skip
    top = (wanted - side) // 2
    pixel = f"image[(y * {side} + x) * {channels} + c]"
    if side != wanted:
        inside = " && ".join(f"{axis} >= {top} && {axis} < {top + side}" for axis in "yx")
        pixel = f"image[((y - {top}) * {side} + (x - {top})) * {channels} + c]"
        pixel = f"{inside} ? {pixel} : {description['background']}"
    return PLAIN.format(channels=channels, wanted=wanted, pixel=pixel)


def quantize_levels(description: dict[str, Any], scale: Array, zero: int) -> Array:
    """Compute the quantized input for each gray level in the float32 steps of the ONNX file; uint8 (C, 256)."""
    levels = np.arange(256, dtype=np.float32) * np.float32(1 / 255)
    shift = np.array(description["mean"], np.float32)[:, None]
    factor = (np.float32(1) / np.array(description["std"], np.float32))[:, None]
    values = np.rint((levels - shift) * factor / scale) + zero
    table: Array = np.clip(values, 0, 255).astype(np.uint8)
    return table


def taps(side: int, wanted: int) -> tuple[Array, Array]:
    """Write an interpolation matrix as the same number of weights for every row.

    Returns:
        The first column of each row, int16 (wanted,), and the weights from there on, int16 (wanted, taps).
    """
    matrix = integer_weights(interpolation_matrix(side, wanted).numpy())
    used = [np.flatnonzero(row) for row in matrix]
    count = max(int(columns[-1] - columns[0]) + 1 for columns in used)
    first = np.array([min(int(columns[0]), side - count) for columns in used], np.int16)
    weights = np.stack([row[start : start + count] for row, start in zip(matrix, first, strict=True)])
    return first, weights.astype(np.int16)


PLAIN = """/* Quantize the pixels, channel by channel. */
static void load(const uint8_t *image, uint8_t *out)
{{
    int32_t c, y, x;

    for (c = 0; c < {channels}; ++c) {{
        for (y = 0; y < {wanted}; ++y) {{
            for (x = 0; x < {wanted}; ++x) {{
                *out++ = input_table[c * 256 + ({pixel})];
            }}
        }}
    }}
}}
"""
RESIZE = """/* Resize the image by antialiased bilinear interpolation, and quantize the pixels, channel by channel. */
static void load(const uint8_t *image, uint8_t *out)
{{
    static uint16_t row[{side}];
    int32_t c, y, x, k;

    for (c = 0; c < {channels}; ++c) {{
        for (y = 0; y < {wanted}; ++y) {{
            for (x = 0; x < {side}; ++x) {{
                int32_t sum = 0;

                for (k = 0; k < {taps}; ++k) {{
                    const int32_t pixel = ((tap_start[y] + k) * {side} + x) * {channels} + c;

                    sum += tap_weights[y * {taps} + k] * (int32_t)image[pixel];
                }}
                row[x] = (uint16_t)divide(sum, {row_bits});
            }}
            for (x = 0; x < {wanted}; ++x) {{
                int32_t sum = 0;

                for (k = 0; k < {taps}; ++k) {{
                    sum += tap_weights[x * {taps} + k] * (int32_t)row[tap_start[x] + k];
                }}
                *out++ = input_table[c * 256 + divide(sum, {bits})];
            }}
        }}
    }}
}}
"""
