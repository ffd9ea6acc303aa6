"""The two baselines as systems: what can be had without a model, at the size of the model they are held beside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from magref.batch import Case
from magref.evaluation.baselines import pasted_frames, still_frames
from magref.evaluation.systems.interface import Kind, own_model
from magref.geometry import VideoShape
from magref.models import find_model
from magref.settings import Record
from magref.video import Frames, write_video

Count = Annotated[int, Field(gt=0)]
UNTOLD = "right"
"""How subjects move where the case does not say it in a form that a rule can read."""


class BaselineSettings(Record):
    """Size, length and rate; those that are None are the videos' of `model` (None: the embedded one)."""

    model: Annotated[str | None, AfterValidator(own_model)] = None
    height: Count | None = None
    width: Count | None = None
    num_frames: Count | None = None
    fps: Annotated[float, Field(gt=0)] | None = None


class Baseline:
    """A `System`; the seed plays no part."""

    device = "cpu"

    def __init__(self, draw: Callable[[Case, VideoShape], Frames], settings: BaselineSettings) -> None:
        model = find_model(settings.model).defaults
        self._draw = draw
        self._fps = settings.fps or model.fps
        self._shape = VideoShape(
            settings.num_frames or model.num_frames - model.drop_frames,
            settings.height or model.height,
            settings.width or model.width,
        )

    def make(self, case: Case, seed: int, out: Path) -> dict[str, Any]:
        """See `System`."""
        shape = self._shape
        write_video(self._draw(case, shape), out, fps=self._fps)
        return {"num_frames": shape.frames, "height": shape.height, "width": shape.width, "fps": self._fps}


def _still(case: Case, shape: VideoShape) -> Frames:
    return still_frames(case.references(), shape)[1]


def _pasted(case: Case, shape: VideoShape) -> Frames:
    """Of magref-bench-synthetic it is told each subject's motion and the backdrop's colour; in other cases all subjects
    cross to the right, and the backdrop is white where there is no picture of it.
    """
    from magref.evaluation.synthetic_bench.script import DATASET, scripted

    subjects = [ref.reference() for ref in case.refs if ref.role != "background"]
    places = [ref.reference() for ref in case.refs if ref.role == "background"]
    known = scripted().get(case.source.case_id or "") if case.source and case.source.dataset == DATASET else None
    motions = [part.motion for part in known.parts] if known else [UNTOLD] * len(subjects)
    behind = places[0] if places else known.colour if known else None
    return pasted_frames(subjects, motions, behind, shape)


def _check(settings: BaselineSettings) -> dict[str, str]:
    find_model(settings.model)
    return {}


STILL = Kind(BaselineSettings, _check, lambda settings, device: Baseline(_still, settings))
PASTED = Kind(BaselineSettings, _check, lambda settings, device: Baseline(_pasted, settings))
