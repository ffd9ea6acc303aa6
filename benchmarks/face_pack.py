"""A face pack of random weights with about the arithmetic of buffalo_l, for timing where no weights are.

Inputs and outputs are those of InsightFace's packs: a detector of about 13 GFLOP for 640 x 640 pixels (SCRFD-10G), and
a recogniser of about 6 for 112 x 112 (ResNet-50). What they find means nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS, LAYERS = 64, 27
STRIDES = (8, 16, 32)
POINTS = np.array([[-0.7, -0.6], [0.7, -0.6], [0.0, 0.1], [-0.5, 0.8], [0.5, 0.8]])
"""Eyes, nose and corners of the mouth around an anchor, in strides."""
RARE = -1.62
"""Bias of the scores: a few anchors of thousands are faces."""


def save_pack(folder: Path) -> Path:
    """Write both networks; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, graph in (("det.onnx", _detector()), ("w.onnx", _recogniser())):
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        onnx.save(model, str(folder / name))
    return folder


class _Graph:
    """Nodes and weights of a network, layer after layer."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(seed)

    def weight(self, name: str, array: npt.NDArray[np.floating]) -> str:
        self.weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def conv(self, x: str, name: str, inputs: int, outputs: int, side: int, *, stride: int = 1) -> str:
        """A convolution and a ReLU, with weights that keep the variance."""
        kernel = self._rng.standard_normal((outputs, inputs, side, side)) * (2 / (inputs * side * side)) ** 0.5
        pads = [0] * 4 if stride > 1 else [side // 2] * 4
        names = [x, self.weight(f"{name}_w", kernel)]
        self.nodes.append(helper.make_node("Conv", names, [f"{name}_c"], strides=[stride] * 2, pads=pads))
        self.nodes.append(helper.make_node("Relu", [f"{name}_c"], [name]))
        return name

    def trunk(self, x: str, stem: int) -> str:
        """One convolution of large steps, then many of 3 x 3."""
        x = self.conv(x, "stem", 3, CHANNELS, stem, stride=stem)
        for layer in range(LAYERS):
            x = self.conv(x, f"layer_{layer}", CHANNELS, CHANNELS, 3)
        return x

    def head(self, x: str, name: str, bias: npt.NDArray[np.floating], spread: float) -> str:
        """A value for each of the anchors' numbers, (N, width), two anchors at each place."""
        kernel = self._rng.standard_normal((len(bias), CHANNELS, 1, 1)) * spread / CHANNELS**0.5
        shape = numpy_helper.from_array(np.array([-1, len(bias) // 2], np.int64), f"{name}_shape")
        self.weights.append(shape)
        inputs = [x, self.weight(f"{name}_w", kernel), self.weight(f"{name}_b", bias)]
        self.nodes += [
            helper.make_node("Conv", inputs, [f"{name}_c"]),
            helper.make_node("Transpose", [f"{name}_c"], [f"{name}_t"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", [f"{name}_t", f"{name}_shape"], [f"{name}_r"]),
        ]
        return f"{name}_r"


def _detector() -> onnx.GraphProto:
    graph = _Graph(0)
    x = graph.trunk("input", STRIDES[0])
    levels = {STRIDES[0]: x}
    for stride in STRIDES[1:]:
        graph.nodes.append(helper.make_node("MaxPool", [x], [f"pool_{stride}"], kernel_shape=[2, 2], strides=[2, 2]))
        x = levels[stride] = f"pool_{stride}"
    outputs = []
    biases = {
        "score": (np.full(2, RARE), 1.0),
        "box": (np.full(8, 2.0), 0.1),
        "points": (np.tile(POINTS.ravel(), 2), 0.05),
    }
    for kind, (bias, spread) in biases.items():
        for stride in STRIDES:
            raw, name = graph.head(levels[stride], f"{kind}_{stride}", bias, spread), f"{kind}_{stride}"
            graph.nodes.append(helper.make_node("Sigmoid" if kind == "score" else "Identity", [raw], [name]))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", len(bias) // 2]))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "h", "w"])
    return helper.make_graph(graph.nodes, "detector", [image], outputs, graph.weights)


def _recogniser() -> onnx.GraphProto:
    graph = _Graph(1)
    x = graph.trunk("data", 2)
    graph.nodes.append(helper.make_node("GlobalAveragePool", [x], ["mean"]))
    graph.nodes.append(helper.make_node("Flatten", ["mean"], ["out"]))
    image = helper.make_tensor_value_info("data", TensorProto.FLOAT, ["None", 3, 112, 112])
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["None", CHANNELS])
    return helper.make_graph(graph.nodes, "recogniser", [image], [output], graph.weights)
