"""Table 1 as it was published: the paper's own numbers, none of them measured here.

What is known of where they come from, and what is not, is in docs/benchmark.md.
"""

from __future__ import annotations

from magref.batch import Group
from magref.evaluation.metrics.interface import Measure

SOURCE = "Table 1 of arXiv 2505.23742v1"

COLUMNS = (
    Measure(name="face_similarity", meaning="similarity of the faces with the references'"),
    Measure(name="aesthetic", meaning="rating of the frames' looks"),
    Measure(name="gme", meaning="similarity of prompt and frames"),
    Measure(name="motion", meaning="motion", best=None),
)
"""Table 1's, in its order. Its authors mark no best value of motion."""
TITLES = {"face_similarity": "FaceSim", "aesthetic": "Aesthetics", "gme": "GmeScore", "motion": "Motion"}

_SINGLE_ID: dict[str, tuple[float, ...]] = {
    "EchoVideo": (0.455, 0.399, 0.684, 0.356),
    "FantasyID": (0.304, 0.456, 0.727, 0.234),
    "ConsisID": (0.406, 0.418, 0.720, 0.380),
    "Concat-ID": (0.417, 0.441, 0.737, 0.311),
    "HunyuanCustom": (0.534, 0.502, 0.728, 0.135),
    "SkyReels-A2": (0.514, 0.399, 0.636, 0.315),
    "Phantom": (0.434, 0.508, 0.722, 0.141),
    "VACE": (0.621, 0.528, 0.695, 0.118),
    "Hailuo": (0.537, 0.528, 0.714, 0.318),
    "Pika 2.1": (0.265, 0.524, 0.750, 0.288),
    "Vidu 2.0": (0.360, 0.473, 0.704, 0.145),
    "Kling 1.6": (0.373, 0.509, 0.678, 0.500),
    "MAGREF": (0.567, 0.514, 0.716, 0.270),
}
_MULTI_SUBJECT: dict[str, tuple[float, ...]] = {
    "SkyReels-A2": (0.275, 0.371, 0.668, 0.300),
    "Phantom": (0.554, 0.439, 0.693, 0.129),
    "VACE": (0.346, 0.467, 0.690, 0.106),
    "Pika 2.1": (0.242, 0.477, 0.684, 0.286),
    "Vidu 2.0": (0.312, 0.425, 0.688, 0.091),
    "Kling 1.6": (0.389, 0.458, 0.664, 0.311),
    "MAGREF": (0.581, 0.487, 0.691, 0.237),
}
TABLE_1: dict[Group, dict[str, tuple[float, ...]]] = {"single_id": _SINGLE_ID, "multi_subject": _MULTI_SUBJECT}
"""Each half's systems in the paper's order, with a value for each of `COLUMNS`."""
