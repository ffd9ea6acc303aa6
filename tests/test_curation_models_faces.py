"""Faces from an ONNX pack: numbers of the insightface package over the same networks, and geometry worked out anew."""

import pickle
import shutil

import numpy as np
import onnxruntime
import pytest

from magref.curation.models.face_geometry import (
    ARCFACE_POINTS,
    anchor_centres,
    boxes_from_distances,
    head_pose,
    points_from_offsets,
    similarity,
    square_crop,
    suppress,
)
from magref.curation.models.faces import FacePack, crop_face, decode, fit_into, load_pack, read_mean_shape, scaling
from magref.curation.models.shelf import Shelf
from magref.errors import CheckpointError
from tiny import GOLDEN
from tiny_faces import EMBEDDING, mean_shape, picture, save_mean_shape, save_pack


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return save_pack(tmp_path_factory.mktemp("faces") / "pack")


@pytest.fixture(scope="module")
def finder(pack):
    return FacePack(pack, shelf=Shelf("cpu"), detection_px=320)


SIZES = ((300, 500), (480, 360))
"""Wider and taller than the detector's square."""


@pytest.fixture(scope="module")
def found(finder):
    return finder.find([picture(*size, seed=n) for n, size in enumerate(SIZES)])


# --- against insightface ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1])
def test_faces_are_those_of_insightface(found, n):
    """Stored numbers of insightface 1.0.1's FaceAnalysis over the same networks; see golden/README.md."""
    golden, faces = np.load(GOLDEN / "insightface.npz"), found[n]
    assert len(faces) == golden["numbers"][n]
    surest = faces[: len(golden[f"scores_{n}"])]
    np.testing.assert_allclose([face.corners for face in surest], golden[f"boxes_{n}"], atol=1e-3)
    np.testing.assert_allclose([face.score for face in surest], golden[f"scores_{n}"], atol=1e-5)
    np.testing.assert_allclose([face.points for face in surest], golden[f"points_{n}"], atol=1e-3)
    # OpenCV 4 and 5 interpolate crops differently. With the version that the numbers were made with, poses differ by at
    # most 0.02 degrees and cosines by 1e-7.
    np.testing.assert_allclose([face.pose for face in surest], golden[f"poses_{n}"], atol=0.3)
    assert (np.sum([face.embedding for face in surest] * golden[f"embeddings_{n}"], axis=1) > 0.999).all()


def test_faces_have_everything(found):
    for faces in found:
        assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)
        for face in faces:
            assert face.points.shape == (5, 2)
            assert face.embedding.shape == (EMBEDDING,)
            assert np.linalg.norm(face.embedding) == pytest.approx(1, abs=1e-5)
            assert len(face.pose) == 3


def test_a_batch_finds_what_single_images_show(finder, found, pack):
    small = FacePack(pack, shelf=Shelf("cpu"), detection_px=320, batch=5)
    for n, size in enumerate(SIZES):
        (alone,) = small.find([picture(*size, seed=n)])
        assert len(alone) == len(found[n])
        for face, same in zip(found[n], alone, strict=True):
            assert (face.corners, face.score, face.pose) == (same.corners, same.score, same.pose)
            np.testing.assert_allclose(face.embedding, same.embedding, atol=1e-5)


def test_no_faces(finder):
    assert finder.find([np.zeros((100, 80, 3), np.uint8)]) == [[]]
    assert finder.find([]) == []


def test_the_least_score(pack, found):
    strict = FacePack(pack, shelf=Shelf("cpu"), detection_px=320, score=0.9)
    (faces,) = strict.find([picture(*SIZES[0], seed=0)])
    assert 0 < len(faces) < len(found[0])
    assert all(face.score >= 0.9 for face in faces)


# --- anchors and boxes ------------------------------------------------------------------------------------------------


def test_anchors_stand_in_rows():
    centres = anchor_centres((16, 24), 8, 2)
    assert centres.tolist() == [[x, y] for y in (0, 8) for x in (0, 8, 16) for _ in range(2)]


def test_boxes_and_points_of_an_anchor():
    centre = np.array([[16.0, 8.0]])
    assert boxes_from_distances(centre, np.array([[8.0, 4.0, 16.0, 2.0]])).tolist() == [[8, 4, 32, 10]]
    offsets = np.array([[1.0, -2, 3, 4, 0, 0, -8, 8, 5, 5]])
    assert points_from_offsets(centre, offsets).tolist() == [[[17, 6], [19, 12], [16, 8], [8, 16], [21, 13]]]


def test_distances_are_in_strides():
    """One face in each of three levels, written down by hand."""
    side = (64, 64)
    scores = [np.zeros((2 * (64 // s) ** 2, 1), np.float32) for s in (8, 16, 32)]
    boxes = [np.ones((len(level), 4), np.float32) for level in scores]
    points = [np.zeros((len(level), 10), np.float32) for level in scores]
    place = (1 * 4 + 2) * 2 + 1  # stride 16: row 1, column 2, second anchor; its centre is (32, 16)
    scores[1][place], boxes[1][place] = 0.9, [0.5, 1.0, 1.5, 2.0]
    points[1][place] = np.arange(10) / 10
    found = decode([*scores, *boxes, *points], side)
    best = int(found[0].argmax())
    assert best == 2 * 64 + place
    np.testing.assert_allclose(found[1][best], [32 - 8, 16 - 16, 32 + 24, 16 + 32])
    np.testing.assert_allclose(
        found[2][best], [[32, 17.6], [35.2, 20.8], [38.4, 24], [41.6, 27.2], [44.8, 30.4]], rtol=1e-5
    )
    assert [len(part) for part in found] == [2 * (64 + 16 + 4)] * 3


@pytest.mark.parametrize(
    ("size", "inside", "scale"),
    [((300, 500), (192, 320), 0.64), ((480, 360), (320, 240), 2 / 3), ((100, 100), (320, 320), 3.2)],
)
def test_an_image_is_shrunk_into_the_corner(size, inside, scale):
    fitted, found = fit_into(np.full((*size, 3), 200, np.uint8), 320, 320)
    assert fitted.shape == (320, 320, 3)
    assert (fitted[: inside[0], : inside[1]] == 200).all()
    assert fitted.sum() == 200 * 3 * inside[0] * inside[1]
    assert found == pytest.approx(scale)


def test_overlapping_boxes():
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 14], [20, 0, 29, 9], [0, 8, 9, 17]], float)
    scores = np.array([0.8, 0.9, 0.7, 0.6])
    # Pixels counted to the edge: 100 of 150 shared by the first two; 7 rows of 10 shared by the second and the last.
    assert suppress(boxes, scores, 0.6) == [1, 2, 3]
    assert suppress(boxes, scores, 2 / 3) == [1, 0, 2, 3]
    assert suppress(boxes, scores, 0.3) == [1, 2]  # 70 of 180
    assert suppress(boxes, scores, 0.4) == [1, 2, 3]
    assert suppress(np.zeros((0, 4)), np.zeros(0), 0.4) == []


# --- alignment -------------------------------------------------------------------------------------------------------


def test_a_turned_face_is_brought_upright():
    angle, scale, shift = 0.4, 2.5, np.array([300.0, -40.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = ARCFACE_POINTS @ turn.T * scale + shift
    matrix = similarity(points, ARCFACE_POINTS)
    np.testing.assert_allclose(matrix[:, :2], turn.T / scale, atol=1e-12)
    np.testing.assert_allclose(points @ matrix[:, :2].T + matrix[:, 2], ARCFACE_POINTS, atol=1e-9)


def test_alignment_is_the_best_of_all_similarities():
    """As a linear problem: x' = a x - b y + c, y' = b x + a y + d."""
    rng = np.random.default_rng(3)
    for _ in range(5):
        points = ARCFACE_POINTS * 3 + rng.normal(0, 8, (5, 2)) + 50
        rows = np.zeros((10, 4))
        rows[::2] = np.column_stack([points[:, 0], -points[:, 1], np.ones(5), np.zeros(5)])
        rows[1::2] = np.column_stack([points[:, 1], points[:, 0], np.zeros(5), np.ones(5)])
        a, b, c, d = np.linalg.lstsq(rows, ARCFACE_POINTS.reshape(-1), rcond=None)[0]
        np.testing.assert_allclose(similarity(points, ARCFACE_POINTS), [[a, -b, c], [b, a, d]], atol=1e-9)


def test_a_face_is_never_mirrored():
    mirrored = ARCFACE_POINTS * [-1, 1] + [112, 0]
    matrix = similarity(mirrored, ARCFACE_POINTS)
    assert np.linalg.det(matrix[:, :2]) > 0


def test_the_crop_of_a_face():
    """A dot at each point of a face lands where ArcFace expects it."""
    points = ARCFACE_POINTS * 2 + [40, 25]
    image = np.zeros((300, 320, 3), np.uint8)
    for x, y in points.round().astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    crop = crop_face(image, points.astype(np.float32))
    assert crop.shape == (112, 112, 3)
    for x, y in ARCFACE_POINTS.round().astype(int):
        assert crop[y, x].min() > 200


def test_the_square_around_a_box():
    matrix = square_crop((100, 50, 180, 150), 192)
    to_square = lambda x, y: matrix @ [x, y, 1]  # noqa: E731
    np.testing.assert_allclose(to_square(140, 100), [96, 96])
    np.testing.assert_allclose(to_square(140, 50), [96, 96 - 50 * 192 / 150])  # the longer side has 2/3 of the square
    np.testing.assert_allclose(to_square(100, 100), [96 - 40 * 192 / 150, 96])


# --- pose ------------------------------------------------------------------------------------------------------------


def rotation(pitch, yaw, roll):
    """About x, then y, then z, in degrees."""
    x, y, z = np.radians([pitch, yaw, roll])
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


@pytest.mark.parametrize("angles", [(0, 0, 0), (20, 0, 0), (0, -35, 0), (0, 0, 50), (-15, 40, 10), (30, -60, -120)])
def test_the_pose_of_a_head_that_was_turned(angles):
    points = mean_shape() @ rotation(*angles).T * 80 + [200, 150, 3]
    np.testing.assert_allclose(head_pose(points, mean_shape()), angles, atol=1e-3)


def test_the_pose_of_a_head_that_looks_straight_to_a_side():
    pitch, yaw, roll = head_pose(mean_shape() @ rotation(0, 90, 0).T, mean_shape())
    assert (abs(pitch), yaw, roll) == (pytest.approx(0, abs=0.1), pytest.approx(90, abs=0.1), pytest.approx(0, abs=0.1))


# --- packs -----------------------------------------------------------------------------------------------------------


def test_a_pack_without_landmarks_has_no_pose(tmp_path):
    folder = save_pack(tmp_path / "pack", landmarks=False)
    (faces,) = FacePack(folder, shelf=Shelf("cpu"), detection_px=320).find([picture(*SIZES[0], seed=0)])
    assert faces
    assert all(face.pose is None and face.embedding is not None for face in faces)


def test_the_mean_shape_may_lie_elsewhere(tmp_path, pack, found):
    folder = shutil.copytree(pack, tmp_path / "pack")
    (folder / "meanshape_68.pkl").unlink()
    with pytest.raises(
        CheckpointError, match=r"meanshape_68\.pkl is missing.*run magref download meanshape_68, or copy"
    ):
        load_pack(folder, folder / "meanshape_68.pkl")
    save_mean_shape(tmp_path / "shape.pkl")
    finder = FacePack(folder, shelf=Shelf("cpu"), mean_shape=tmp_path / "shape.pkl", detection_px=320)
    (faces,) = finder.find([picture(*SIZES[0], seed=0)])
    assert [face.pose for face in faces] == [face.pose for face in found[0]]


class Bomb:
    def __reduce__(self):
        return print, ("this code ran",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Bomb()),
        pickle.dumps(np.zeros((5, 3))),
        pickle.dumps([1, 2]),
        b"",
        b"no pickle",
    ],
)
def test_only_a_mean_shape_is_unpickled(tmp_path, content, capsys):
    (tmp_path / "shape.pkl").write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a mean shape of 68 points"):
        read_mean_shape(tmp_path / "shape.pkl")
    assert "this code ran" not in capsys.readouterr().out


def test_the_mean_shape_is_read(tmp_path):
    save_mean_shape(tmp_path / "shape.pkl")
    np.testing.assert_array_equal(read_mean_shape(tmp_path / "shape.pkl"), mean_shape())


def test_folders_that_are_no_pack(tmp_path, pack):
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(CheckpointError, match=r"holds no \.onnx files; name the folder of a face pack"):
            load_pack(folder, folder)
    (tmp_path / "a").mkdir()
    shutil.copy(pack / "w_tiny.onnx", tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"holds no detector among its 1 \.onnx files; give a whole face pack"):
        load_pack(tmp_path / "a", tmp_path)
    shutil.copy(pack / "det_tiny.onnx", tmp_path / "a")
    load_pack(tmp_path / "a", tmp_path)
    (tmp_path / "a" / "w_tiny.onnx").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match=r"w_tiny\.onnx cannot be opened"):
        load_pack(tmp_path / "a", tmp_path)


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="onnxruntime has a GPU")
def test_a_gpu_that_onnxruntime_does_not_see(pack):
    from magref.errors import ResourceError

    with pytest.raises(ResourceError, match="run pip install onnxruntime-gpu, or find faces on the cpu"):
        load_pack(pack, pack / "meanshape_68.pkl", gpu=0)


@pytest.mark.parametrize(
    ("kind", "nodes", "expected"),
    [
        ("detector", ["Sub_1", "Mul_2"], (127.5, 128.0)),
        ("recogniser", ["Conv_0"], (127.5, 127.5)),
        ("recogniser", ["_minusscalar0", "_mulscalar0", "conv0"], (0.0, 1.0)),
        ("landmarks", ["id", "bn_data", "conv0"], (0.0, 1.0)),
        ("landmarks", ["Conv_0"], (127.5, 128.0)),
    ],
)
def test_how_pixels_go_in(kind, nodes, expected):
    """InsightFace's rules, by the names of the first nodes."""
    assert scaling(kind, nodes) == expected
