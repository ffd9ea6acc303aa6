"""Scoring videos: decoded once for all metrics and batched, against the four metrics one after the other.

The other side does what the published scripts do: each decodes every video for itself; faces are looked for frame by
frame, the prompt is embedded once for each frame, and frames that a short video gives twice are looked at twice. Both
sides have the same networks and must come to the same numbers, which are compared first. The published weights are not
part of this package: tiny random networks of the same architectures stand in, so that what is compared is everything
around them.

Then 120 cases of magref-bench-synthetic are scored with the metrics that need no download.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from magref.batch import Case, read_cases
from magref.curation.interfaces import AestheticScorer, FaceFinder
from magref.curation.models.aesthetics import ClipAesthetics
from magref.curation.models.faces import FacePack
from magref.curation.models.shelf import Shelf
from magref.evaluation.cases import write_cases
from magref.evaluation.decoding import decode, evenly
from magref.evaluation.evaluate import Request, evaluate
from magref.evaluation.metrics.aesthetic import HIGH, LOW, Aesthetic
from magref.evaluation.metrics.face_similarity import DETECTION_PX, FaceSimilarity
from magref.evaluation.metrics.gme import Gme, JointEmbedder
from magref.evaluation.metrics.gme_model import GmeModel
from magref.evaluation.metrics.interface import FRAMES, Metric, Value
from magref.evaluation.metrics.motion import Motion
from magref.evaluation.synthetic_bench.pictures import write_synthetic
from magref.synthetic.plans import WorldConfig
from magref.synthetic.world import render_scenes
from magref.video import Frames, write_video
from pairs import describe_machine, measure, print_table

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from tiny_faces import save_pack  # type: ignore[import-not-found]
from tiny_gme import save_gme, save_head  # type: ignore[import-not-found]
from tiny_models import save_clip  # type: ignore[import-not-found]

SHAPES = ((17, 64, 96), (33, 240, 416))
"""Frames, height and width of the videos that are compared."""

PlainMetric = Callable[[Path, Case], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--videos", type=int, default=4, help="of each size, for the comparison")
    parser.add_argument("--cases", type=int, default=120, help="of magref-bench-synthetic, for the second part")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch and OpenCV")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    print(describe_machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_synthetic(folder / "bench")
        cases = read_cases(folder / "bench" / "cases.jsonl")
        compare(folder, cases[: arguments.videos], arguments.pairs)
        score_all(folder, cases[: arguments.cases])


def compare(folder: Path, cases: list[Case], pairs: int) -> None:
    shelf = Shelf("cpu", keep=3)
    faces = FacePack(save_pack(folder / "faces"), shelf=shelf, detection_px=DETECTION_PX)
    scorer = ClipAesthetics(save_clip(folder / "clip"), save_head(folder / "head.pth"), shelf=shelf)
    embedder = GmeModel(save_gme(folder / "gme"), shelf=shelf)
    metrics: list[Metric] = [
        FaceSimilarity(faces, "opens2v"), Aesthetic(scorer, "opens2v"), Gme(embedder, "opens2v"), Motion("opens2v"),
    ]  # fmt: skip
    plain: dict[str, PlainMetric] = {
        "face_similarity": lambda path, case: plain_face(path, case, faces),
        "aesthetic": lambda path, case: plain_aesthetic(path, scorer),
        "gme": lambda path, case: plain_gme(path, case, embedder),
        "motion": lambda path, case: plain_motion(path),
    }
    rows = []
    for frames, height, width in SHAPES:
        videos = folder / f"{frames}x{height}x{width}"
        render(videos, cases, frames, height, width)
        paths = [videos / f"{case.id}.mp4" for case in cases]

        def ours(paths: list[Path] = paths) -> list[dict[str, float]]:
            return [scores_of(path, case, metrics) for path, case in zip(paths, cases, strict=True)]

        def theirs(paths: list[Path] = paths) -> dict[str, list[float]]:
            return {
                name: [run(path, case) for path, case in zip(paths, cases, strict=True)] for name, run in plain.items()
            }

        mine, other = ours(), theirs()
        worst = max(abs(one[name] - values[n]) for n, one in enumerate(mine) for name, values in other.items())
        size = f"{frames} frames of {width}x{height}"
        print(f"{len(cases)} videos, {size}: the scores of both sides differ by at most {worst:.1e}")
        rows.append((f"decoded once, {size}", "one after the other", *measure(ours, theirs, pairs), None))
    print_table("the four metrics, profile opens2v, tiny random networks", rows)


def scores_of(path: Path, case: Case, metrics: list[Metric]) -> dict[str, float]:
    video = decode(path)
    scores = {name: score for metric in metrics for name, score in metric.measure(video, case).items()}
    return {name: score.value for name, score in scores.items() if isinstance(score, Value)}


def plain_face(path: Path, case: Case, finder: FaceFinder) -> float:
    def largest(picture: Frames) -> npt.NDArray[np.float32] | None:
        (faces,) = finder.find([picture])
        if not faces:
            down, across = picture.shape[0] // 4, picture.shape[1] // 4
            (faces,) = finder.find([np.pad(picture, ((down,) * 2, (across,) * 2, (0, 0)), constant_values=128)])
        if not faces:
            return None
        return sorted(faces, key=lambda f: (f.corners[2] - f.corners[0]) * (f.corners[3] - f.corners[1]))[-1].embedding

    known = largest(np.asarray(Image.open(case.refs[0].uri).convert("RGB")))
    if known is None:
        raise SystemExit("the random networks find no face in a reference; nothing to compare")
    found = [largest(frame) for frame in sampled(path)]
    cosines = [max(float(face @ known), 0.0) for face in found if face is not None]
    return float(np.mean(cosines)) if cosines else 0.0


def plain_aesthetic(path: Path, scorer: AestheticScorer) -> float:
    points = float(np.mean(scorer.score(list(sampled(path)))))
    return (min(max(points, LOW), HIGH) - LOW) / (HIGH - LOW)


def plain_gme(path: Path, case: Case, embedder: JointEmbedder) -> float:
    frames = list(sampled(path))
    texts, images = embedder.texts([case.prompt] * len(frames)), embedder.images(frames)
    return float((texts * images).sum(axis=1).mean())


def plain_motion(path: Path) -> float:
    frames = frames_of(path)
    height, width = frames.shape[1:3]
    maps, before = [], cv2.cvtColor(frames[0], cv2.COLOR_BGR2GRAY)
    for frame in frames[1:]:
        after = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        flow = cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 3, 15, 3, 5, 1.2, 0)
        maps.append(cv2.resize(flow, (16, int(height * (16 / width))), interpolation=cv2.INTER_AREA))
        before = after
    return min(abs(float(np.mean(np.mean(np.array(maps), axis=0)))), 1.0)


def frames_of(path: Path) -> Frames:
    """All frames, by OpenCV."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    return np.stack(frames).astype(np.uint8, copy=False)


def sampled(path: Path) -> Frames:
    frames = frames_of(path)
    return frames[evenly(FRAMES, len(frames))]


def render(folder: Path, cases: list[Case], frames: int, height: int, width: int) -> None:
    """A clip of the world for each case: any will do where time is measured."""
    config = WorldConfig()
    for start in range(0, len(cases), 8):
        rows = range(start, min(start + 8, len(cases)))
        scenes = render_scenes(rows, frames=frames, height=height, width=width, split="held-out", config=config)
        for row, clip in zip(rows, scenes.frames, strict=True):
            write_video(clip.permute(0, 2, 3, 1).numpy(), folder / f"{cases[row].id}.mp4", fps=8)


def score_all(folder: Path, cases: list[Case]) -> None:
    """Wall and processor time of scoring the synthetic benchmark."""
    videos = folder / "all"
    render(videos, cases, 17, 64, 96)
    write_cases(cases, folder / "all.jsonl")
    for profile in ("opens2v", "strict"):
        wall, processor = time.perf_counter(), time.process_time()
        request = Request(
            videos=videos,
            cases=folder / "all.jsonl",
            output=folder / f"scores-{profile}",
            metrics=("motion", "world"),
            profile=profile,
        )
        evaluate(request)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        print(
            f"{len(cases)} synthetic cases, motion and world, profile {profile}: {wall:.0f} s "
            f"({processor:.0f} s of processor time; aim: 180 s for 120 on two cores)"
        )


if __name__ == "__main__":
    main()
