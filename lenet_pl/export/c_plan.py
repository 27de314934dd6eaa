"""What a C file computes step by step, and where in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from lenet_pl.errors import SettingError
from lenet_pl.export.integer_layers import Layer, MaxPool, Table

Shape = tuple[int, int, int]  # channels, height, width
Operation = Layer | MaxPool | Table


@dataclass(frozen=True)
class Stage:
    """A layer, and the operations that follow it in each of its channels.

    Attributes:
        layer: The layer.
        shapes: The shape of the input, of the output of the layer, and of the output of each operation.
        operations: The operations. A `Layer` among them is a convolution of one channel by itself.
        input: The offset of the input in the arena, bytes.
        output: The offset of the output.
    """

    layer: Layer
    shapes: tuple[Shape, ...]
    operations: tuple[Operation, ...]
    input: int = 0
    output: int = 0

    @property
    def plane(self) -> int:
        """The bytes of one channel that is not yet pooled; 0 if it is not pooled."""
        return area(self.shapes[1]) if any(not isinstance(entry, Table) for entry in self.operations) else 0


def area(shape: Shape) -> int:
    """Return the number of values of a channel."""
    return shape[1] * shape[2]


def size(shape: Shape) -> int:
    """Return the number of values of all channels."""
    return shape[0] * area(shape)


def plan_stages(layers: Sequence[Layer], shape: Shape) -> tuple[list[Stage], int]:
    """Group layers into stages, and place their inputs and outputs in one arena.

    Only the input and the output of a stage are in memory at once, at the two ends of the arena in turn. A channel is
    pooled as soon as it is computed, so that the large maps before pooling are never there as a whole.

    Args:
        layers: The layers of `read_layers`.
        shape: The shape of the input.

    Returns:
        The stages, and the bytes of the arena.

    Raises:
        SettingError: The network does not end with a fully connected layer.
    """
    stages: list[Stage] = []
    for layer in layers:
        if stages and is_pooling(layer, stages[-1]):
            last = stages.pop()
            steps: tuple[Operation, ...] = (layer, *layer.channelwise)
            stages.append(Stage(last.layer, extend(last.shapes, steps), (*last.operations, *steps)))
        else:
            shapes = extend((shape, output_shape(layer, shape)), layer.channelwise)
            stages.append(Stage(layer, shapes, layer.channelwise))
        shape = stages[-1].shapes[-1]
    if layers[-1].weights.ndim != 2:
        raise SettingError("formats: c needs a fully connected layer at the end of the network; or leave c out")
    sizes = [(size(stage.shapes[0]), size(stage.shapes[-1])) for stage in stages[:-1]]
    arena = max([before + after for before, after in sizes] + [size(stages[-1].shapes[0])])
    placed, start, low = [], 0, False
    for stage in stages:
        end = 0 if low else arena - min(arena, size(stage.shapes[-1]))
        placed.append(Stage(stage.layer, stage.shapes, stage.operations, start, end))
        start, low = end, not low
    return placed, arena


def is_pooling(layer: Layer, stage: Stage) -> bool:
    """Return whether a layer is a convolution of each channel by itself, right after another convolution."""
    alone = layer.groups == len(layer.weights) == stage.shapes[-1][0] and layer.weights.shape[1] == 1
    return alone and layer.weights.ndim == stage.layer.weights.ndim == 4 and not any(layer.pads)


def extend(shapes: tuple[Shape, ...], operations: Sequence[Operation]) -> tuple[Shape, ...]:
    """Append the shape of the output of each operation."""
    for entry in operations:
        shapes = (*shapes, output_shape(entry, shapes[-1]))
    return shapes


def output_shape(entry: Operation, shape: Shape) -> Shape:
    """Return the shape of the output of an operation."""
    channels, height, width = shape
    if isinstance(entry, Table):
        return shape
    if isinstance(entry, MaxPool):
        window, pads = entry.window, (0, 0, 0, 0)
    elif entry.weights.ndim == 2:
        return (len(entry.weights), 1, 1)
    else:
        channels, window, pads = len(entry.weights), entry.weights.shape[2:], entry.pads
    above, left, below, right = pads
    rows = (height + above + below - window[0]) // entry.stride[0] + 1
    return (channels, rows, (width + left + right - window[1]) // entry.stride[1] + 1)
