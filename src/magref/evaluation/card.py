"""The figures of the embedded model's card: `python -m magref.evaluation.card FOLDER`.

Videos of held-out identities in held-out combinations are made, measured (docs/measures.md) and compared with two
baselines that need no model. Every video's scores are kept in the folder, and a second call goes on where the first one
ended.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from magref.evaluation.baselines import pasted, still_canvas
from magref.evaluation.measures.score import VideoScore, summarise
from magref.evaluation.stages import claim
from magref.evaluation.statistics import Mean, mean_of
from magref.evaluation.tasks import FREE, Group, System, Task, generator, load_scores, measure, paraphrases, tasks
from magref.geometry import VideoShape
from magref.models import find_model, quiet_libraries
from magref.outputs import writing
from magref.pipeline import MagrefPipeline
from magref.sidecar import weights_sha256

GROUPS: dict[str, tuple[Callable[[int], list[Task]], int]] = {
    "one subject": (partial(tasks, Group(1)), 120),
    "two subjects": (partial(tasks, Group(2)), 120),
    "three subjects": (partial(tasks, Group(3)), 80),
    "one subject and a background picture": (partial(tasks, Group(1, background=True)), 100),
    "one subject, free wording": (paraphrases, 100),
    "one subject, another picture of it": (partial(tasks, Group(1), world=FREE), 80),
}
"""Each with its number of videos: 600 in all. Prompts are of the staged world (docs/world.md), where training has no
third subject; the last group's are of the free one, where references show the subject in another pose and light."""
MEASURES = (
    "seen", "identity", "nearest", "motion_right", "count_right", "background", "layout_left", "constancy",
    "colour_drift",
)  # fmt: skip
ALL_MOTIONS = "all motions right"
"""The share of videos in which every subject moves as its own clause says."""
_SHOWN = 8


def systems(pipeline: MagrefPipeline) -> dict[str, System]:
    """The model and what it has to beat."""
    defaults = pipeline.defaults
    shape = VideoShape(defaults.num_frames, defaults.height, defaults.width)
    return {"model": generator(pipeline), "still canvas": still_canvas(shape), "pasted": pasted(shape)}


def measure_all(pipeline: MagrefPipeline, folder: Path, *, share: float, report: Callable[[str], None]) -> None:
    """Fill the folder with scores; `share` of the videos of each group, at least one."""
    for name, system in systems(pipeline).items():
        for group, (draw, count) in GROUPS.items():
            wanted = draw(max(1, round(share * count)))
            place = folder / _file(name) / _file(group)
            measure(system, wanted, place.with_suffix(".jsonl"), frames=place, shown=_SHOWN)
            report(f"{name}, {group}: {len(wanted)} videos")


def table(folder: Path) -> str:
    """The folder's scores as Markdown, a table for each group.

    Of the model, captions that have a word which training never has stand apart from the others.
    """
    parts = []
    for group, (draw, _) in GROUPS.items():
        rows = [["", *MEASURES, ALL_MOTIONS], ["---"] * (len(MEASURES) + 2)]
        count = 0
        for name in ("model", "still canvas", "pasted"):
            scores = load_scores((folder / _file(name) / _file(group)).with_suffix(".jsonl"))
            count = len(scores)
            rows.append(_row(name, scores))
            if name == "model":
                rows += _by_words(scores, draw(count))
        lines = "\n".join("| " + " | ".join(row) + " |" for row in rows)
        parts.append(f"### {group.capitalize()}, {count} videos\n\n{lines}")
    return "\n\n".join(parts) + "\n"


def _row(name: str, scores: Sequence[VideoScore]) -> list[str]:
    means = summarise(scores).means
    return [name, *(means[key].short() for key in MEASURES), all_motions(scores).short()]


def _by_words(scores: Sequence[VideoScore], asked: Sequence[Task]) -> list[list[str]]:
    """Rows for captions of known words and for captions with new ones, where there are both."""
    parts: dict[str, list[VideoScore]] = {"known words": [], "new words": []}
    for score, task in zip(scores, asked, strict=True):
        parts["new words" if "words" in task.new else "known words"].append(score)
    if not all(parts.values()):
        return []
    return [_row(f"&nbsp; {name} ({len(some)})", some) for name, some in parts.items()]


def all_motions(scores: Sequence[VideoScore]) -> Mean:
    """How often every subject of a video moves as asked; a subject whose motion cannot be told does not."""
    return mean_of([all(subject.motion_right is True for subject in video.subjects) for video in scores])


def _file(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")


def main() -> None:
    """Measure what is missing and write card.md."""
    parser = argparse.ArgumentParser(prog="python -m magref.evaluation.card", description=__doc__)
    parser.add_argument("folder", type=Path, help="for the scores, some frames, and card.md")
    parser.add_argument("--model", default=None, help="a model folder; the embedded model by default")
    parser.add_argument("--share", type=float, default=1.0, help="of the 600 videos, to look at something sooner")
    options = parser.parse_args()
    quiet_libraries()
    # Of another share, other paraphrases are asked.
    claim(options.folder, {"weights": weights_sha256(find_model(options.model).folder), "share": options.share})
    pipeline = MagrefPipeline.from_pretrained(options.model)
    pipeline.set_progress_bar_config(disable=True)
    measure_all(pipeline, options.folder, share=options.share, report=lambda line: print(line, flush=True))
    with writing(options.folder / "card.md", overwrite=True) as temporary:
        temporary.write_text(table(options.folder), encoding="utf-8")
    print(options.folder / "card.md")


if __name__ == "__main__":
    main()
