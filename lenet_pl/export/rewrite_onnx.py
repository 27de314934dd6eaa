"""Changes of ONNX graphs before and after the quantization."""

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper


def simplify(graph: Any) -> None:
    """Rewrite what quantizes badly: average pooling becomes a convolution, ReLU goes before max pooling.

    The average is then an integer sum, with a range of its own. ReLU becomes part of the layer before it, whose range
    begins at 0 instead of being wasted on negative values.
    """
    shapes = {info.name: info.type.tensor_type.shape.dim for info in graph.value_info}
    for node in list(graph.node):
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        users = [other for other in graph.node if node.output[0] in other.input]
        if node.op_type == "AveragePool" and not any(attributes.get("pads", ())) and not attributes.get("ceil_mode"):
            channels, window = shapes[node.input[0]][1].dim_value, attributes["kernel_shape"]
            weights = np.full((channels, 1, *window), 1 / np.prod(window), np.float32)
            graph.initializer.append(numpy_helper.from_array(weights, f"{node.name}.weight"))
            conv = onnx.helper.make_node("Conv", [node.input[0], f"{node.name}.weight"], node.output, node.name,
                kernel_shape=window, strides=attributes.get("strides", window), group=channels)  # fmt: skip
            node.CopyFrom(conv)
        elif node.op_type == "MaxPool" and [user.op_type for user in users] == ["Relu"]:
            relu = users[0]
            relu.op_type, node.op_type = "MaxPool", "Relu"
            relu.attribute.extend(node.attribute)
            del node.attribute[:], node.output[1:]
    del graph.value_info[:]  # the shapes between the two have changed


def preprocessing_nodes(graph: Any) -> list[str]:
    """List the names of the nodes up to the normalization, which stay float."""
    names = [node.name for node in graph.node]
    last = next(k for k, node in enumerate(graph.node) if "preprocess.factor" in node.input)
    return names[: last + 1]


def keep_float_logits(graph: Any) -> None:
    """Remove the quantization of the logits: 256 levels would give two classes the same logit now and then."""
    produced = {node.output[0]: node for node in graph.node}
    dequantize = produced["logits"]
    quantize = produced.get(dequantize.input[0])
    if dequantize.op_type != "DequantizeLinear" or quantize is None:
        return
    produced[quantize.input[0]].output[0] = "logits"
    for node in (dequantize, quantize):
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
