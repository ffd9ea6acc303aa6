"""A face pack of tiny random networks with the inputs and outputs of InsightFace's, as .onnx files."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
# Eyes, nose and corners of the mouth around an anchor, in strides.
_POINTS = np.array([[-0.7, -0.6], [0.7, -0.6], [0.0, 0.1], [-0.5, 0.8], [0.5, 0.8]])
EMBEDDING = 16


def save_pack(folder: Path, *, landmarks: bool = True) -> Path:
    """Detector, recogniser, landmarks in space, and two networks that curation has no use for."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(21)
    _save(folder / "det_tiny.onnx", _detector(rng))
    _save(folder / "w_tiny.onnx", _head("recognise", 112, EMBEDDING, rng))
    _save(folder / "genderage.onnx", _head("age", 96, 3, rng))
    _save(folder / "2d106det.onnx", _head("flat", 192, 212, rng))
    if landmarks:
        around = np.zeros(3309)  # a face that looks ahead, in the last 68 points
        around[-3 * 68 :] = mean_shape().reshape(-1) * 0.6
        _save(folder / "1k3d68.onnx", _head("bn_data", 192, 3309, rng, bias=around))
        save_mean_shape(folder / "meanshape_68.pkl")
    return folder


def mean_shape() -> np.ndarray:
    """68 points on a bowl, float32; wider than deep, as a face is."""
    angles = np.linspace(0, 4 * np.pi, 68)
    radii = np.linspace(0.2, 1.0, 68)
    points = [radii * np.cos(angles) * 0.6, radii * np.sin(angles) * 0.7, 0.6 - 0.5 * radii**2]
    return np.stack(points, axis=-1).astype(np.float32)


def save_mean_shape(path: Path) -> None:
    """As the insightface package has it: a pickled array of protocol 3."""
    path.write_bytes(pickle.dumps(mean_shape(), protocol=3))


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """Smooth colours, so that crops a fraction of a pixel apart look alike."""
    import cv2

    coarse = np.random.default_rng(seed).integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _save(path: Path, graph: onnx.GraphProto) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _weight(name: str, array: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(array.astype(np.float32), name)


def _detector(rng: np.random.Generator) -> onnx.GraphProto:
    """For each stride one convolution over its blocks; two anchors at each place, as SCRFD has."""
    nodes, weights, outputs = [], [], []
    biases = {
        "score": np.full(2, -3.0),
        "box": np.tile([1.6, 1.8, 1.6, 1.8], 2),
        "points": np.tile(_POINTS.reshape(-1), 2),
    }
    spread = {"score": 2.5, "box": 0.15, "points": 0.08}
    for kind, bias in biases.items():
        width = len(bias) // 2
        for stride in STRIDES:
            tag = f"{kind}_{stride}"
            kernel = rng.standard_normal((len(bias), 3, stride, stride)) * spread[kind] / stride
            kernel -= kernel.mean(axis=(1, 2, 3), keepdims=True)  # nothing is seen in black
            weights += [_weight(f"{tag}_w", kernel), _weight(f"{tag}_b", bias)]
            weights.append(numpy_helper.from_array(np.array([-1, width], np.int64), f"{tag}_shape"))
            nodes += [
                helper.make_node("Conv", ["input", f"{tag}_w", f"{tag}_b"], [f"{tag}_c"], strides=[stride, stride]),
                helper.make_node("Transpose", [f"{tag}_c"], [f"{tag}_t"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{tag}_t", f"{tag}_shape"], [tag if kind != "score" else f"{tag}_r"]),
            ]
            if kind == "score":
                nodes.append(helper.make_node("Sigmoid", [f"{tag}_r"], [tag]))
            outputs.append(helper.make_tensor_value_info(tag, TensorProto.FLOAT, ["n", width]))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "h", "w"])
    return helper.make_graph(nodes, "detector", [image], outputs, weights)


def _head(
    first_node: str, side: int, width: int, rng: np.random.Generator, *, bias: np.ndarray | float = 0.0
) -> onnx.GraphProto:
    """Blocks of 16 pixels to 4 numbers each, then one layer."""
    blocks = (side // 16) ** 2 * 4
    weights = [
        _weight("w", rng.standard_normal((4, 3, 16, 16)) / 300),
        _weight("m", rng.standard_normal((blocks, width)) / 100),
        _weight("b", np.broadcast_to(bias, width)),
    ]
    nodes = [
        helper.make_node("Conv", ["data", "w"], ["c"], name=first_node, strides=[16, 16]),
        helper.make_node("Tanh", ["c"], ["a"]),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("Gemm", ["f", "m", "b"], ["out"]),
    ]
    image = helper.make_tensor_value_info("data", TensorProto.FLOAT, ["None", 3, side, side])
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["None", width])
    return helper.make_graph(nodes, "head", [image], [output], weights)
