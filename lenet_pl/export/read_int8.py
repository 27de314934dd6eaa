"""Read a quantized ONNX file as integer layers, which a program without onnxruntime can compute."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lenet_pl.errors import SettingError
from lenet_pl.export.integer_layers import Array, Layer, MaxPool, Table

# Operators that map each value by itself; anything from one quantized tensor to the next becomes a table
ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Neg", "Abs", "Exp", "Pow", "Sqrt", "Relu", "LeakyRelu", "PRelu", "Elu"}
ELEMENTWISE |= {"Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Erf", "Gelu", "Softplus", "Softsign"}
ELEMENTWISE |= {"Mish", "Clip", "Identity", "ThresholdedRelu"}
RESHAPES = {"Reshape", "Flatten"}  # the order of the values stays
HINTS = {
    "InstanceNormalization": "group, layer or instance normalization; use model.norm=batch_norm, which is folded",
    "GroupNormalization": "group or layer normalization; use model.norm=batch_norm, which is folded",
    "LayerNormalization": "layer normalization; use model.hidden_norm=batch_norm, which is folded",
}


@dataclass
class Graph:
    """A quantized ONNX model by tensor names."""

    model: Any
    nodes: Any = field(init=False)
    constants: dict[str, Array] = field(init=False)
    producer: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = self.model.graph.node
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.model.graph.initializer}
        self.producer = {name: node for node in self.nodes for name in node.output}

    def users(self, name: str) -> list[Any]:
        """List the nodes that use a tensor."""
        return [node for node in self.nodes if name in node.input]

    def quantized(self, name: str) -> tuple[Array, Array, Array]:
        """Return values, scale and zero point of a constant that a node uses after `DequantizeLinear`."""
        values, scale, zero = (self.constants.get(key) for key in self.producer[name].input)
        assert values is not None
        assert scale is not None
        assert zero is not None
        return values, scale, zero

    def parameters(self, node: Any) -> tuple[Array, int]:
        """Return scale and zero point of a `QuantizeLinear` or `DequantizeLinear` node."""
        return self.constants[node.input[1]], int(self.constants[node.input[2]])


def read_layers(model: Any) -> tuple[list[Layer], Array, int]:
    """Convert a file of `write_int8` to a list of layers.

    Args:
        model: The ONNX model.

    Returns:
        The layers, and the scale and the zero point of the input of the first.

    Raises:
        SettingError: The network is no chain of layers, or has a layer that a C file cannot contain.
    """
    graph = Graph(model)
    quantize = next(node for node in graph.nodes if node.op_type == "QuantizeLinear")
    scale, zero = graph.parameters(quantize)
    layers: list[Layer] = []
    while True:
        (dequantize,) = graph.users(quantize.output[0])
        users = graph.users(dequantize.output[0])
        if len(users) == 1 and users[0].op_type in ("Conv", "Gemm"):
            layers.append(read_layer(graph, users[0], quantize))
            if layers[-1].out_zero is None:
                return layers, scale, zero
            (quantize,) = graph.users(users[0].output[0])
        elif not layers:
            raise refuse(users[0], "is the first; must be a convolution or fully connected layer")
        else:
            functions, quantize = read_channelwise(graph, dequantize)
            layers[-1] = replace(layers[-1], channelwise=layers[-1].channelwise + functions)


def read_layer(graph: Graph, node: Any, quantize: Any) -> Layer:
    """Convert a `Conv` or `Gemm` node, whose input is quantized by `quantize`."""
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    scale, zero = graph.parameters(quantize)
    weights, weight_scale, weight_zero = graph.quantized(node.input[1])
    if weight_zero.any() or any(step != 1 for step in attributes.get("dilations", ())):
        raise refuse(node, "is dilated; use convolutions without dilation")
    if node.op_type == "Gemm" and not attributes.get("transB"):
        weights = weights.T
    bias = graph.quantized(node.input[2])[0] if len(node.input) > 2 else np.zeros(len(weights), np.int32)
    scales: Array = np.broadcast_to(scale * weight_scale, (len(weights),)).astype(np.float32)
    out_zero, after = None, graph.users(node.output[0])
    if node.output[0] != "logits":
        if [user.op_type for user in after] != ["QuantizeLinear"]:
            raise refuse(node, "has an output that is not quantized, or has several uses")
        out_scale, out_zero = graph.parameters(after[0])
        scales = scales / out_scale  # in the order of onnxruntime, in float32
    largest = np.abs(weights.astype(np.int64)).reshape(len(weights), -1).sum(1) * 255 + np.abs(bias.astype(np.int64))
    if largest.max() >= 2**31:
        raise refuse(node, "has too many inputs for sums of 32 bits; use fewer channels or a smaller hidden layer")
    row = {"name": node.name, "weights": weights, "bias": bias, "scale": scales, "zero": zero, "out_zero": out_zero}
    if node.op_type == "Conv":
        row["groups"] = attributes.get("group", 1)
        row["stride"] = tuple(attributes.get("strides", (1, 1)))
        row["pads"] = tuple(attributes.get("pads", (0, 0, 0, 0)))
    return Layer(**row)


def read_channelwise(graph: Graph, dequantize: Any) -> tuple[tuple[MaxPool | Table, ...], Any]:
    """Convert all nodes from a quantized tensor to the next.

    Quantization never decreases, so that the largest of quantized values is the quantized largest value: pooling may
    be on either side of the function.

    Returns:
        The functions, and the `QuantizeLinear` node at the end.
    """
    inside, known, end = [], {dequantize.output[0]}, None
    for node in graph.nodes:
        if not known & set(node.input):
            continue
        if node.op_type == "QuantizeLinear":
            end = node
            break
        if node.op_type not in ELEMENTWISE | RESHAPES | {"MaxPool"}:
            raise refuse(node, HINTS.get(node.op_type, "must be one of those in docs/howto/export.md"))
        if any(name and name not in known and name not in graph.constants for name in node.input):
            raise refuse(node, "joins two branches; must be a chain of layers")
        inside.append(node)
        known.add(node.output[0])
    if end is None:
        raise refuse(inside[-1], "ends the network; must be a fully connected layer")
    order = [node.op_type == "MaxPool" for node in inside if node.op_type not in RESHAPES]
    if order not in (sorted(order), sorted(order, reverse=True)):
        raise refuse(inside[order.index(True)], "is between two functions of single values; move it before or after")
    table = tabulate(graph, dequantize, inside, end)
    found: list[MaxPool | Table] = [read_pool(node) for node in inside if node.op_type == "MaxPool"]
    if not np.array_equal(table, np.arange(256)[None]):
        found.insert(len(found) if order[:1] == [True] else 0, Table(table))
    return tuple(found), end


def read_pool(node: Any) -> MaxPool:
    """Convert a `MaxPool` node."""
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    odd = any(attributes.get("pads", ())) or any(step != 1 for step in attributes.get("dilations", ()))
    if odd or attributes.get("ceil_mode"):
        raise refuse(node, "has padding, dilation or ceil_mode; use pooling without")
    window = tuple(attributes["kernel_shape"])
    return MaxPool(window, tuple(attributes.get("strides", (1, 1))))


def tabulate(graph: Graph, dequantize: Any, inside: list[Any], end: Any) -> Array:
    """Compute a function of single values with onnxruntime for all 256 values; uint8 (1 or C, 256)."""
    import onnxruntime  # type: ignore[import-untyped]

    renamed: dict[str, str] = {}
    nodes = []
    for node in [dequantize, *inside, end]:
        if node.op_type in RESHAPES | {"MaxPool"}:
            renamed[node.output[0]] = renamed.get(node.input[0], node.input[0])
            continue
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [renamed.get(name, name) for name in node.input]
        nodes.append(copy)
    used = {name for node in nodes for name in node.input}
    constants = [tensor for tensor in graph.model.graph.initializer if tensor.name in used]
    sizes = [size for name in used if (size := graph.constants.get(name)) is not None and size.size > 1]
    channels = max((array.size for array in sizes), default=1)
    maps = any(array.ndim >= 3 for array in sizes)
    levels = np.arange(256, dtype=np.uint8)
    x = np.broadcast_to(levels[None, None, :, None], (1, channels, 256, 1)) if maps else levels[:, None]
    x = np.ascontiguousarray(x if maps else np.broadcast_to(x, (256, channels)))
    shape = helper.make_tensor_value_info(dequantize.input[0], onnx.TensorProto.UINT8, x.shape)
    output = helper.make_tensor_value_info(end.output[0], onnx.TensorProto.UINT8, None)
    small = helper.make_model(
        helper.make_graph(nodes, "table", [shape], [output], constants),
        opset_imports=graph.model.opset_import,
        ir_version=graph.model.ir_version,
    )
    session = onnxruntime.InferenceSession(small.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {dequantize.input[0]: x})
    rows: Array = found[0, :, :, 0] if maps else found.T
    return rows[:1] if (rows == rows[:1]).all() else rows


def refuse(node: Any, why: str) -> SettingError:
    """Build the error for a node that the C file cannot contain."""
    return SettingError(f"formats: c does not support {node.op_type} here ({node.name}): {why}; or leave c out")
