"""The synthetic world's own measures as metrics: who is seen, how they move, how many, before what.

They know drawn subjects alone, so that other cases have no value. Their networks come with the package and have been
checked on held-out identities; docs/measures.md says how far they can be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from magref.batch import Case
from magref.evaluation.decoding import DecodedVideo
from magref.evaluation.measures import score
from magref.evaluation.metrics.interface import About, Measure, Missing, Score, Value
from magref.evaluation.synthetic_bench.script import DATASET, scripted

_OF_SUBJECTS = {
    "world_seen": ("seen", "share of frames in which each subject is found"),
    "world_identity": ("identity", "mean cosine of each subject's look with its reference"),
    "world_nearest": ("nearest", "share of subjects whose reference is the nearest of 100"),
    "world_motion": ("motion_right", "share of subjects that move as the prompt says"),
}
_OF_VIDEO = {
    "world_count": ("count_right", "whether as many subjects are found as there should be"),
    "world_background": ("background", "similarity with the background's reference, or share of the named colour"),
}
_YES_NO = ("world_nearest", "world_motion", "world_count")


class World:
    """Identity, motion, number and background in videos of magref-bench-synthetic; the same in both profiles."""

    @property
    def about(self) -> About:
        """See `Metric`."""
        return About(
            source="magref.evaluation.measures",
            licence="Apache-2.0, as the package",
            ran="with its real weights, which the package ships",
        )

    @property
    def measures(self) -> tuple[Measure, ...]:
        """See `Metric`."""
        return tuple(
            Measure(name=name, meaning=meaning, yes_no=name in _YES_NO)
            for name, (_, meaning) in {**_OF_SUBJECTS, **_OF_VIDEO}.items()
        )

    def measure(self, video: DecodedVideo, case: Case) -> dict[str, Score]:
        """See `Metric`."""
        known = scripted().get(case.source.case_id or "") if case.source and case.source.dataset == DATASET else None
        if known is None:
            return self._unknown("these measures know the cases of magref-bench-synthetic alone")
        subjects = [ref for ref in case.refs if ref.role != "background"]
        if len(subjects) != len(known.parts):
            return self._unknown(f"the case has {len(subjects)} subjects, and as it was drawn {len(known.parts)}")
        places = [ref for ref in case.refs if ref.role == "background"]
        found = score.score_video(
            video.rgb(),
            score.Case(
                tuple(
                    score.CaseSubject(ref.reference(), part.motion)
                    for ref, part in zip(subjects, known.parts, strict=True)
                ),
                Image.open(places[0].uri) if places else known.colour,
            ),
        )
        names = [ref.key or ref.uri for ref in subjects]
        result = {
            name: _mean([getattr(subject, field) for subject in found.subjects], names, f"no subject has a {field}")
            for name, (field, _) in _OF_SUBJECTS.items()
        }
        for name, (field, _) in _OF_VIDEO.items():
            result[name] = _mean([getattr(found, field)], [field], f"{field} cannot be told")
        return result

    def _unknown(self, why: str) -> dict[str, Score]:
        return {measure.name: Missing(reason="not_synthetic", why=why) for measure in self.measures}


def _mean(values: Sequence[float | bool | None], names: Sequence[str], why: str) -> Score:
    """Over those that have a value."""
    numbers = [None if value is None else float(value) for value in values]
    kept = [value for value in numbers if value is not None]
    if not kept:
        return Missing(reason="not_seen", why=why)
    return Value(value=sum(kept) / len(kept), parts=dict(zip(names, numbers, strict=True)))
