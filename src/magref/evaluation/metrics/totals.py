"""OpenS2V-Eval's total scores: weighted sums of a system's metrics, with the weights that were published.

Three sets of weights are in use. The file `aggregate_open_domain_v1.1.json` that OpenS2V published for one system
follows from the first; the public leaderboards follow from the other two (`tests/test_metrics.py`). Their metrics
beyond the four here (smoothness by Q-Align, subject similarity by YOLO-World, naturalness by a hosted model) must come
from OpenS2V's own code.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from magref.errors import InputError

Weights = Mapping[str, float]

AGGREGATE: Weights = MappingProxyType({
    "aesthetic": 0.12, "smoothness": 0.12, "face_similarity": 0.20, "gme": 0.12, "nexus": 0.20, "natural": 0.24,
})  # fmt: skip
"""Of OpenS2V's aggregate_open_domain_v1.1.json."""
OPEN_DOMAIN: Weights = MappingProxyType({
    "aesthetic": 0.16, "smoothness": 0.06, "motion": 0.02, "face_similarity": 0.20, "gme": 0.12, "nexus": 0.20,
    "natural": 0.24,
})  # fmt: skip
"""Of the public leaderboard's Open-Domain table."""
HUMAN_DOMAIN: Weights = MappingProxyType({
    "aesthetic": 0.18, "smoothness": 0.09, "motion": 0.03, "face_similarity": 0.25, "gme": 0.15, "natural": 0.30,
})  # fmt: skip
"""Of the public leaderboard's Human-Domain table."""


def total(metrics: Mapping[str, float], weights: Weights) -> float:
    """The weighted sum, from 0 to 1 where each metric is.

    Args:
        metrics: a system's means by name; those without a weight play no part. FaceSim is the CurricularFace variant
            in the published tables.

    Raises:
        InputError: one of them is missing; a sum over the rest would be another number.
    """
    missing = sorted(weights.keys() - metrics.keys())
    if missing:
        raise InputError(f"the total needs {', '.join(missing)} too; measure them, or report the metrics on their own")
    return sum(weight * metrics[name] for name, weight in weights.items())
