"""Faces from an ONNX pack in InsightFace's layout: SCRFD finds them, ArcFace tells them apart, landmarks give the pose.

Checked with random networks of the same inputs and outputs only; not run with published weights.

onnxruntime is called directly. The insightface package would bring scikit-image, scipy, matplotlib and more for a few
lines of geometry (`face_geometry.py`), and prints. Published weights are for non-commercial research: the user names
the pack.

A pack is a folder of .onnx files, known by their inputs and outputs as InsightFace knows them: nine outputs or fifteen
detect, 112 x 112 pixels in recognise, 192 x 192 pixels in and 3309 numbers out are landmarks in space. With the help of
`meanshape_68.pkl` from the insightface package the landmarks give the pose.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from magref.curation.interfaces import Face, Image
from magref.curation.models.catalogue import MEAN_SHAPE_FILE
from magref.curation.models.face_geometry import (
    ARCFACE_POINTS,
    ARCFACE_PX,
    anchor_centres,
    boxes_from_distances,
    head_pose,
    points_from_offsets,
    similarity,
    square_crop,
    suppress,
)
from magref.curation.models.loading import batches, opened
from magref.curation.models.shelf import Shelf
from magref.errors import CheckpointError, ResourceError

DETECTION_PX = 640
SCORE = 0.5
OVERLAP = 0.4
"""InsightFace's own defaults: side of the detector's input, least score, overlap from which the less sure box goes."""

_LANDMARKS_PX = 192
_LANDMARKS = 68  # the last of the 1103 points that the network gives
_STRIDES = {9: ((8, 16, 32), 2), 15: ((8, 16, 32, 64, 128), 1)}
"""Outputs of a detector with five points -> its strides, and the anchors at each place."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Network:
    """One ONNX network, and how pixels become its input: less `mean`, divided by `std`."""

    session: Any
    mean: float
    std: float

    @property
    def side_px(self) -> tuple[Any, Any]:
        """Height and width of its input; words where any size goes."""
        height, width = self.session.get_inputs()[0].shape[2:4]
        return height, width

    def run(self, pictures: npt.NDArray[np.uint8]) -> list[Floats]:
        """All outputs for pictures (B, H, W, 3), RGB."""
        pixels = (pictures.astype(np.float32) - self.mean) / self.std
        name = self.session.get_inputs()[0].name
        return list(self.session.run(None, {name: np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))}))


@dataclass(frozen=True)
class Pack:
    """The networks of a folder; `landmarks` and `mean_shape` are None where it has none, and so are poses then."""

    detector: Network
    recogniser: Network
    landmarks: Network | None
    mean_shape: Floats | None


class FacePack:
    """A `FaceFinder`.

    The same image gives the same faces, whatever else is in the batch; boxes may reach over the image's edges.

    Args:
        folder: the pack, for example an unpacked buffalo_l.
        shelf: where its networks are kept while they are needed; for a GPU onnxruntime-gpu must be installed.
        mean_shape: the file that poses need; left out, the one in the folder.
        detection_px: side of the square that images are shrunk into for the detector, unless the network has its own.
        score: the least of a face.
        poses: whether faces get one; without, neither the landmarks nor their file are needed.
        batch: faces at a time in the recogniser.
    """

    def __init__(
        self,
        folder: Path,
        *,
        shelf: Shelf,
        mean_shape: Path | None = None,
        detection_px: int = DETECTION_PX,
        score: float = SCORE,
        poses: bool = True,
        batch: int = 32,
    ) -> None:
        self.folder = folder
        self.mean_shape = (mean_shape or folder / MEAN_SHAPE_FILE) if poses else None
        self.detection_px = detection_px
        self.score = score
        self.batch = batch
        self._shelf = shelf

    def find(self, images: Sequence[Image]) -> list[list[Face]]:
        """The faces in each image, surest first, with points, pose and embedding.

        Raises:
            CheckpointError: the folder is no pack.
            ResourceError: onnxruntime or OpenCV is not installed.
        """
        pack = self._shelf.take(self, self._load)
        found = [self._detect(pack.detector, image) for image in images]
        crops = [crop_face(image, face.points) for image, faces in zip(images, found, strict=True) for face in faces]
        embeddings = iter([row for some in batches(crops, self.batch) for row in embed(pack.recogniser, some)])
        return [
            [replace(face, pose=self._pose(pack, image, face), embedding=next(embeddings)) for face in faces]
            for image, faces in zip(images, found, strict=True)
        ]

    def _load(self) -> Pack:
        device = self._shelf.device
        return load_pack(self.folder, self.mean_shape, gpu=(device.index or 0) if device.type == "cuda" else None)

    def _detect(self, detector: Network, image: Image) -> list[Face]:
        height, width = detector.side_px
        if not isinstance(height, int) or not isinstance(width, int):
            height = width = self.detection_px
        picture, scale = fit_into(image, height, width)
        outputs = [output[0] if output.ndim == 3 else output for output in detector.run(picture[None])]
        scores, boxes, points = decode(outputs, (height, width))
        likely = np.flatnonzero(scores >= self.score)
        boxes, points, scores = boxes[likely] / scale, points[likely] / scale, scores[likely]
        return [
            Face((left, top, right, bottom), float(scores[n]), points[n].astype(np.float32))
            for n in suppress(boxes, scores, OVERLAP)
            for left, top, right, bottom in [boxes[n].tolist()]
        ]

    def _pose(self, pack: Pack, image: Image, face: Face) -> tuple[float, float, float] | None:
        if pack.landmarks is None or pack.mean_shape is None:
            return None
        return head_pose(find_landmarks(pack.landmarks, image, face), pack.mean_shape)


def load_pack(folder: Path, mean_shape: Path | None, *, gpu: int | None = None) -> Pack:
    """The networks of a pack.

    Args:
        mean_shape: see `FacePack`; not read where the pack has no landmarks in space. None leaves the landmarks out.
        gpu: the index of the GPU to run them on; None for the CPU.

    Raises:
        CheckpointError: the folder lacks a detector or a recogniser, or the file that the pose needs.
        ResourceError: onnxruntime, onnx or OpenCV is not installed.
    """
    try:
        import cv2  # noqa: F401
        import onnx
        import onnxruntime
    except ImportError as error:
        raise ResourceError(f"{error.name} is not installed; run pip install 'magref[curate]'") from None
    files = sorted(folder.glob("*.onnx")) if folder.is_dir() else []
    if not files:
        raise CheckpointError(
            f"{folder} holds no .onnx files; name the folder of a face pack such as buffalo_l, unpacked"
        )
    providers: list[Any] = ["CPUExecutionProvider"]
    if gpu is not None:
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise ResourceError("onnxruntime sees no GPU; run pip install onnxruntime-gpu, or find faces on the cpu")
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": gpu}))
    kinds: dict[str, Network] = {}
    for file in files:  # of two of a kind the first counts, as with InsightFace
        session = opened(file, partial(onnxruntime.InferenceSession, str(file), providers=providers))
        kind = kind_of(session)
        if kind is not None and kind not in kinds:
            graph = onnx.load(str(file), load_external_data=False).graph
            kinds[kind] = Network(session, *scaling(kind, [node.name for node in graph.node[:8]]))
    for kind in ("detector", "recogniser"):
        if kind not in kinds:
            raise CheckpointError(
                f"{folder} holds no {kind} among its {len(files)} .onnx files; give a whole face pack"
            )
    landmarks = None if mean_shape is None else kinds.get("landmarks")
    shape = None if mean_shape is None or landmarks is None else read_mean_shape(mean_shape)
    return Pack(kinds["detector"], kinds["recogniser"], landmarks, shape)


def kind_of(session: Any) -> str | None:
    """What a network is for, by its inputs and outputs; None for age, landmarks in the plane and the like."""
    outputs = session.get_outputs()
    height, width = session.get_inputs()[0].shape[2:4]
    if len(outputs) in _STRIDES:
        return "detector"
    if (height, width) == (ARCFACE_PX, ARCFACE_PX):
        return "recogniser"
    if (height, width) == (_LANDMARKS_PX, _LANDMARKS_PX) and outputs[0].shape[1] == 3309:
        return "landmarks"
    return None


def scaling(kind: str, first_nodes: Sequence[str]) -> tuple[float, float]:
    """Mean and divisor of the input's pixels; networks that came from MXNet do it themselves in their first nodes."""
    if kind == "detector":
        return 127.5, 128.0
    subtracts = any(name.startswith(("Sub", "_minus")) for name in first_nodes)
    multiplies = any(name.startswith(("Mul", "_mul")) for name in first_nodes)
    if (subtracts and multiplies) or (kind == "landmarks" and "bn_data" in first_nodes[:3]):
        return 0.0, 1.0
    return 127.5, 127.5 if kind == "recogniser" else 128.0


def read_mean_shape(path: Path) -> Floats:
    """The mean of 68 landmarks in space, (68, 3), from the insightface package's pickle; only an array is unpickled.

    Raises:
        CheckpointError: the file is missing, or holds anything else.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing, and with it the pose of faces; run magref download meanshape_68, or copy it from the "
            "insightface package (insightface/data/objects)"
        )
    try:
        with path.open("rb") as file:
            shape = _ArrayUnpickler(file).load()
    except (pickle.UnpicklingError, OSError, EOFError, ValueError, TypeError, AttributeError, IndexError):
        shape = None
    if not isinstance(shape, np.ndarray) or shape.shape != (_LANDMARKS, 3):
        raise CheckpointError(
            f"{path} is not a mean shape of {_LANDMARKS} points; copy it from the insightface package"
        )
    return shape.astype(np.float32)


class _ArrayUnpickler(pickle.Unpickler):
    """Knows numpy's arrays and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        raise pickle.UnpicklingError(f"{module}.{name} is refused")


def fit_into(image: Image, height: int, width: int) -> tuple[Image, float]:
    """The image in the upper left corner of a black one, as large as it fits, and how much it was scaled."""
    import cv2

    taller = image.shape[0] / image.shape[1] > height / width
    if taller:
        new_height, new_width = height, int(height / (image.shape[0] / image.shape[1]))
    else:
        new_height, new_width = int(width * (image.shape[0] / image.shape[1])), width
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:new_height, :new_width] = cv2.resize(image, (max(new_width, 1), max(new_height, 1)))[
        :new_height, :new_width
    ]
    return picture, new_height / image.shape[0]


def decode(outputs: Sequence[Floats], side_px: tuple[int, int]) -> tuple[Floats, Floats, Floats]:
    """Scores (N,), boxes (N, 4) and points (N, 5, 2) in pixels of the input, of all anchors.

    Args:
        outputs: scores of each stride, then distances to the edges, then offsets of the points, in units of the stride.
    """
    strides, per_place = _STRIDES[len(outputs)]
    levels = len(strides)
    scores, boxes, points = [], [], []
    for level, stride in enumerate(strides):
        centres = anchor_centres(side_px, stride, per_place)
        scores.append(outputs[level].reshape(-1))
        boxes.append(boxes_from_distances(centres, outputs[level + levels] * stride))
        points.append(points_from_offsets(centres, outputs[level + 2 * levels] * stride))
    return np.concatenate(scores), np.concatenate(boxes), np.concatenate(points)


def crop_face(image: Image, points: npt.NDArray[np.floating] | None) -> Image:
    """A face upright, 112 x 112 pixels, its five points where ArcFace expects them."""
    import cv2

    assert points is not None  # every detector here gives them
    matrix = similarity(points.astype(np.float64), ARCFACE_POINTS)
    return cv2.warpAffine(image, matrix, (ARCFACE_PX, ARCFACE_PX)).astype(np.uint8, copy=False)


def embed(recogniser: Network, crops: Sequence[Image]) -> Floats:
    """Embeddings of length 1, (B, D), of faces from `crop_face`."""
    (raw,) = recogniser.run(np.stack(crops))
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


def find_landmarks(network: Network, image: Image, face: Face) -> Floats:
    """68 landmarks in space, (68, 3): x and y in pixels of the image, z in the same unit."""
    import cv2

    matrix = square_crop(face.corners, _LANDMARKS_PX)
    picture = cv2.warpAffine(image, matrix, (_LANDMARKS_PX, _LANDMARKS_PX)).astype(np.uint8, copy=False)
    (raw,) = network.run(picture[None])  # one at a time: some of these networks have a batch of one built in
    points = raw.reshape(-1, 3)[-_LANDMARKS:] * (_LANDMARKS_PX // 2)
    points[:, :2] += _LANDMARKS_PX // 2
    scale, shift = matrix[0, 0], matrix[:, 2]
    return np.column_stack([(points[:, :2] - shift) / scale, points[:, 2] / scale]).astype(np.float32)
