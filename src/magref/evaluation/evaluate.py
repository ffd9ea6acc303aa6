"""Score a folder of videos: each is decoded once for all metrics; what cannot be measured is recorded with its reason.

Videos are `<case id>.mp4`, from whatever system. A second call goes on where the first one ended, and measures only
what is new: a video or a case that changed, a metric that was added, a value that was missing.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from magref.batch import Case, Line, read_lines
from magref.errors import InputError, MagrefError, OutputError
from magref.evaluation.cases import ENDING, case_sha256
from magref.evaluation.decoding import DecodedVideo, decode
from magref.evaluation.metrics.interface import Missing, Profile, Reason, Score, Value
from magref.evaluation.metrics.registry import Made, Weights, make_metrics
from magref.evaluation.scores import (
    NOT_RUN,
    CaseScores,
    MetricRun,
    Run,
    VideoFile,
    append_scores,
    checked,
    read_run,
    read_scores,
    write_run,
    write_scores,
)
from magref.evaluation.videos import read_failures, read_made_by
from magref.references import file_sha256
from magref.video import VideoInfo, probe_video

Progress = Callable[[int, int], None]
"""Called with the cases that are done and all cases."""


@dataclass(frozen=True)
class Request:
    """What is to be scored.

    Attributes:
        videos: a folder of `<case id>.mp4`.
        cases: the case file.
        output: the folder for the scores.
        mixed: score videos of other lengths and sizes than most of the folder's too.
    """

    videos: Path
    cases: Path
    output: Path
    metrics: tuple[str, ...]
    profile: Profile = "opens2v"
    weights: Weights = field(default_factory=Weights)
    mixed: bool = False


def evaluate(request: Request, *, progress: Progress | None = None) -> tuple[Run, list[CaseScores]]:
    """Score every case that has a video, and record why the others have no score.

    Raises:
        InputError: there is no such folder, case file or metric.
        OutputError: the output holds other scores.
    """
    if not request.videos.is_dir():
        raise InputError(f"the folder {request.videos} does not exist; give the folder of the videos")
    made = make_metrics(request.metrics, request.profile, request.weights)
    lines = list(read_lines(request.cases))
    run, earlier = _opened(request, made)
    usual = _usual([request.videos / f"{line.case.id}{ENDING}" for line in lines if line.case is not None])
    failed = {one.case: f"{one.reason}: {one.why}" for one in read_failures(request.videos) if one.case is not None}
    write_run(run, request.output)
    results = []
    for number, line in enumerate(lines, 1):
        result = _scored(line, request, run, made, usual, earlier.get(line.id or ""), failed)
        append_scores(result, request.output)
        results.append(result)
        if progress is not None:
            progress(number, len(lines))
    write_scores(results, request.output)
    return run, results


def check_request(request: Request) -> None:
    """Raise what `evaluate` would raise, as far as it can be known before there are videos; changes nothing."""
    _opened(request, make_metrics(request.metrics, request.profile, request.weights))


def _opened(request: Request, made: dict[str, Made]) -> tuple[Run, dict[str, CaseScores]]:
    """The run with the metrics of earlier calls, and what they scored, by case."""
    metrics = {
        name: MetricRun(about=one.metric.about, measures=one.metric.measures, weights=one.weights)
        for name, one in made.items()
    }
    run = Run(
        videos=os.path.abspath(request.videos), cases=os.path.abspath(request.cases), profile=request.profile,
        metrics=metrics, made_by=read_made_by(request.videos),
    )  # fmt: skip
    before = read_run(request.output)
    if before is None:
        return run, {}
    if before.profile != run.profile:
        raise OutputError(f"{request.output} holds scores of profile {before.profile}; choose another folder")
    for name, metric in metrics.items():
        other = before.metrics[name].weights if name in before.metrics else None
        if other is not None and metric.weights != other:
            raise OutputError(f"{request.output} holds {name} scores made with {other}; choose another folder")
    scores = {one.case: one for one in read_scores(request.output) if one.case and one.case_sha256}
    return run.model_copy(update={"metrics": before.metrics | metrics}), scores


def _scored(
    line: Line,
    request: Request,
    run: Run,
    made: dict[str, Made],
    usual: VideoInfo | None,
    before: CaseScores | None,
    failed: Mapping[str, str],
) -> CaseScores:
    known = CaseScores(line=line.number, case=line.id, scores={})
    if line.written is not None:  # what cannot be used still counts as missing in its part of the benchmark
        written = line.written
        known = known.model_copy(
            update={
                "group": written.group, "category": written.category, "references": len(written.refs),
                "dataset": written.source and written.source.dataset,
            }
        )  # fmt: skip
    case = line.case
    if case is None:
        reason: Reason = "bad_case" if line.first is None else "duplicate_id"
        return _all_missing(known, run, reason, line.problem or "")
    known = known.model_copy(update={"case_sha256": case_sha256(case)})
    path = request.videos / f"{case.id}{ENDING}"
    try:
        known = known.model_copy(update={"video": _described(path, failed)})
        if usual is not None and not request.mixed:
            _check_usual(known, usual)
        scores = _of_video(path, case, known, made, before)
    except _UnusableError as error:
        return _all_missing(known, run, error.reason, str(error))
    return known.model_copy(update={"scores": _filled(scores, run)})


class _UnusableError(Exception):
    """A video that no metric can look at."""

    def __init__(self, reason: Reason, why: str) -> None:
        super().__init__(why)
        self.reason = reason


def _of_video(
    path: Path, case: Case, known: CaseScores, made: dict[str, Made], before: CaseScores | None
) -> dict[str, Score]:
    wanted = {measure.name for one in made.values() for measure in one.metric.measures}
    scores = _kept(known, before, wanted)
    if wanted <= scores.keys():
        return scores
    try:
        video = decode(path)
    except InputError as error:
        raise _UnusableError("corrupt_video", str(error)) from None
    if known.video is not None and len(video) + video.cut != known.video.frames:
        why = f"of {known.video.frames} frames {len(video)} can be read; make the video again"
        raise _UnusableError("corrupt_video", why)
    for one in made.values():
        if any(measure.name not in scores for measure in one.metric.measures):
            scores |= _measured(one, video, case)
    return scores


def _measured(made: Made, video: DecodedVideo, case: Case) -> dict[str, Score]:
    try:
        scores = made.metric.measure(video, case)
    except MagrefError as error:
        missing = Missing(reason="unavailable", why=str(error))
    except Exception as error:  # of a library, about this video: the other cases shall have their scores
        why = f"{type(error).__name__}: {next(iter(str(error).splitlines()), 'no word of why')}"
        missing = Missing(reason="failed", why=why)
    else:
        return {name: checked(score) for name, score in scores.items()}
    return dict.fromkeys((measure.name for measure in made.metric.measures), missing)


def _kept(known: CaseScores, before: CaseScores | None, wanted: set[str]) -> dict[str, Score]:
    """The scores of an earlier call, where video and case are as they were; what is wanted and was missing is tried
    again.
    """
    if before is None or before.video != known.video or before.case_sha256 != known.case_sha256:
        return {}
    return {name: score for name, score in before.scores.items() if isinstance(score, Value) or name not in wanted}


def _filled(scores: dict[str, Score], run: Run) -> dict[str, Score]:
    """A score for each measure of the run; those of metrics that this call did not ask for may be missing."""
    return {name: scores.get(name, NOT_RUN) for name in run.measures}


def _all_missing(known: CaseScores, run: Run, reason: Reason, why: str) -> CaseScores:
    missing = Missing(reason=reason, why=why)
    return known.model_copy(update={"scores": dict.fromkeys(run.measures, missing)})


def _usual(paths: Sequence[Path]) -> VideoInfo | None:
    """Length and size of most of the videos; the first ones where it is a tie, None where there are none."""
    found = []
    for path in paths:
        try:
            found.append(replace(probe_video(path), fps=0.0))  # rates may differ
        except InputError:
            continue
    return Counter(found).most_common(1)[0][0] if found else None


def _described(path: Path, failed: Mapping[str, str]) -> VideoFile:
    if not path.is_file():
        why = failed.get(path.stem, "")
        raise _UnusableError("no_video", f"there is no {path.name} among the videos{why and f'; {why}'}")
    try:
        info = probe_video(path)
    except InputError as error:
        raise _UnusableError("corrupt_video", str(error)) from None
    return VideoFile(
        sha256=file_sha256(path), frames=info.num_frames, width=info.width, height=info.height, fps=info.fps
    )


def _check_usual(known: CaseScores, usual: VideoInfo) -> None:
    """Refuse a video that differs from most of the folder's."""
    video = known.video
    assert video is not None
    if (video.width, video.height) != (usual.width, usual.height):
        own, others = f"{video.width}x{video.height}", f"{usual.width}x{usual.height}"
        why = f"the video is {own}, and most of the others are {others}; --mixed scores it all the same"
        raise _UnusableError("other_size", why)
    if video.frames != usual.num_frames:
        why = f"the video has {video.frames} frames, and most of the others have {usual.num_frames}"
        raise _UnusableError("other_length", f"{why}; --mixed scores it all the same")
