"""What became of everything, on one page: `magref curate report`.

The page is one file without scripts and without anything from elsewhere. Pictures of clips are read from the videos, as
far as these are still there; references come from the samples.
"""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from magref.curation.outcome import Failed, Kept, Rejected
from magref.curation.running.clips import all_clips, reader_of
from magref.curation.running.rows import Level, Row
from magref.curation.running.work import STAGES, Work
from magref.curation.settings import CurationSettings
from magref.dataset.store import Dataset, read_picture
from magref.errors import MagrefError
from magref.outputs import check_output, writing
from magref.pages import page, picture_address
from magref.seeking import read_frames

_SHEET = 8
"""Pictures for each reason."""
_SAMPLES = 12
_THUMB_PX = 180
_FUNNEL: Final[tuple[tuple[str, Level, str], ...]] = (
    ("scan", "source", "videos that can be used"), ("scan", "shot", "shots"), ("scan", "clip", "clips that move"),
    ("aesthetic", "clip", "pleasing"), ("captions", "clip", "captioned"), ("boxes", "clip", "with objects"),
    ("faces", "clip", "looked at for faces"), ("samples", "sample", "samples put together"),
    ("duplicates", "sample", "samples without duplicates"),
)  # fmt: skip
_SHEETS: Final[tuple[tuple[str, Level], ...]] = (
    ("scan", "clip"), ("aesthetic", "clip"), ("captions", "clip"), ("boxes", "clip"), ("samples", "sample"),
    ("duplicates", "sample"),
)  # fmt: skip
_STYLE = """
table{width:100%}
.bar{background:var(--soft);height:1rem;min-width:8rem}.bar div{background:var(--accent);height:100%}
.charts{display:flex;flex-wrap:wrap;gap:1rem}
.charts svg{max-width:100%}.value{fill:var(--accent)}.axis{stroke:var(--faint)}
line.limit{stroke:var(--warn);stroke-width:2;stroke-dasharray:4 3}svg text.limit{fill:var(--warn)}
.sheet{display:flex;flex-wrap:wrap;gap:.5rem}
.sheet figure{width:180px}.sheet img{max-width:180px;display:block}
.sample{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0;align-items:flex-start}
.sample>div:last-child{flex:1 1 20rem}.refs{display:flex;flex-wrap:wrap;gap:.4rem}
.refs img{height:84px;background:repeating-conic-gradient(#dde3ea 0 25%,#fff 0 50%) 0 0/12px 12px}
"""


def write_report(work: Work, path: Path, *, overwrite: bool = False) -> Path:
    """Write the page of a work folder, finished or not.

    Raises:
        OutputError: the page cannot be written, or is there already.
    """
    path = check_output(path, overwrite, endings=(".html",))
    settings = work.settings()
    rows = {stage: _read(work, stage) for stage in (*STAGES, "duplicates")}
    seconds = sum(row.scores.get("seconds", 0.0) for row in rows["scan"] if row.level == "source")
    parts = [
        f"<p>{len(work.sources())} videos, {seconds / 3600:.2f} hours that could be read.</p>",
        "<h2>Funnel</h2>", _funnel(rows), "<h2>Scores</h2>", _charts(rows, settings),
        "<h2>References over their clips</h2>", *_samples(work),
        "<h2>Kept and rejected</h2>", *_sheets(work, rows, settings), "<h2>Failed</h2>", _failures(rows),
    ]  # fmt: skip
    with writing(path, overwrite=overwrite) as temporary:
        temporary.write_text(page(f"Curation {work.folder.name}", parts, style=_STYLE), encoding="utf-8")
    return path


def _read(work: Work, stage: str) -> list[Row]:
    if stage == "duplicates":
        return work.read(stage, "all")
    rows = (row for source in work.sources() for row in work.read(stage, source.id))
    return [row for row in rows if not row.data.get("neighbour")]


def _funnel(rows: dict[str, list[Row]]) -> str:
    counted = [(name, [row for row in rows[stage] if row.level == level]) for stage, level, name in _FUNNEL]
    most = max([1, *(sum(row.is_kept for row in items) for _, items in counted)])
    lines = ["<table><tr><th>Stage<th>Kept<th><th>Rejected<th>Failed"]
    for name, items in counted:
        kept = sum(row.is_kept for row in items)
        reasons: dict[str, int] = defaultdict(int)
        for row in items:
            if isinstance(row.outcome, Rejected):
                reasons[row.outcome.reason] += 1
        failed = sum(isinstance(row.outcome, Failed) for row in items)
        said = ", ".join(
            f"{n} {html.escape(reason)}" for reason, n in sorted(reasons.items(), key=lambda pair: -pair[1])
        )
        bar = f"<div class=bar><div style='width:{100 * kept / most:.1f}%'></div></div>"
        lines.append(f"<tr><td>{name}<td class=n>{kept}<td>{bar}<td>{said}<td class='n bad'>{failed or ''}")
    return "\n".join([*lines, "</table>"])


def _charts(rows: dict[str, list[Row]], settings: CurationSettings) -> str:
    figures = []
    for stage, level, score, limits, title in _limits(settings):
        values = [row.scores[score] for row in rows[stage] if row.level == level and score in row.scores]
        if values:
            figures.append(f"<figure>{histogram(values, limits)}<figcaption>{html.escape(title)}</figcaption></figure>")
    return f"<div class=charts>{''.join(figures)}</div>" if figures else "<p>Nothing was measured yet.</p>"


def _limits(settings: CurationSettings) -> list[tuple[str, Level, str, Sequence[float], str]]:
    """The scores that are drawn: where they stand, their limits, and what they are called."""
    usual, c = settings.objects.usual, settings.candidates
    on_a_face = "on a face" if settings.objects.face_measure == "mask" else "face box"
    return [
        ("scan", "clip", "motion", [settings.motion.least, settings.motion.most], "motion, % of the diagonal a second"),
        ("scan", "clip", "overlay", [settings.overlay.most], "overlays, share of the picture"),
        ("aesthetic", "clip", settings.aesthetic.over, [settings.aesthetic.least], "aesthetic score of a clip"),
        ("captions", "clip", "words", [settings.caption.least_words], "words of a caption"),
        ("captions", "clip", "labels", [], "labels of a caption"),
        ("boxes", "box", "score", [settings.boxes.least_score], "score of a box"),
        ("objects", "object", "area", usual.area, "area of a mask, share of the frame"),
        ("objects", "object", "fill", usual.fill, "mask over box"),
        ("objects", "object", "aspect", usual.aspect, "width over height of a box"),
        ("objects", "object", "parts", [usual.parts], "parts of a mask"),
        ("objects", "object", on_a_face, [settings.objects.face_overlap], "object on a face"),
        ("objects", "object", "human", [settings.objects.human_iou], "IoU with a person's mask"),
        ("identities", "identity", "faces", [settings.identities.least_faces], "faces of an identity"),
        ("identities", "face", "score", [settings.faces.least_score], "score of a face"),
        ("identities", "face", "side", [settings.faces.least_side_px], "shorter side of a face, pixels"),
        ("identities", "face", "yaw", [c.yaw], "yaw, degrees"),
        ("identities", "face", "pitch", [c.pitch], "pitch, degrees"),
        ("identities", "face", "roll", [c.roll], "roll, degrees"),
        ("samples", "sample", "objects", [settings.samples.least_objects], "objects of a sample"),
    ]  # fmt: skip


def histogram(values: Sequence[float], limits: Sequence[float]) -> str:
    """An SVG of how often each value comes, with a line at each limit that lies within reach of them."""
    width, height, foot = 320, 120, 18
    finite = np.array([value for value in values if np.isfinite(value)])
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    reach = max(high - low, 1e-6, 0.05 * abs(high))
    shown = [limit for limit in limits if low - reach <= limit <= high + reach]
    low, high = min([low, *shown]), max([high, *shown])
    high = high if high > low else low + reach
    counts, _ = np.histogram(finite, bins=32, range=(low, high))
    most = max(1, int(counts.max()))
    step = width / len(counts)
    bars = "".join(
        f"<rect x='{n * step:.1f}' y='{height - height * count / most:.1f}' width='{step - 1:.1f}' "
        f"height='{height * count / most:.1f}' class='value'/>"
        for n, count in enumerate(counts)
        if count
    )
    lines = "".join(
        f"<line x1='{x:.1f}' x2='{x:.1f}' y1='0' y2='{height}' class='limit'/>"
        f"<text x='{min(x + 4, width - 40):.1f}' y='11' font-size='11' class='limit'>{limit:g}</text>"
        for limit, x in ((limit, (limit - low) / (high - low) * width) for limit in shown)
    )
    axis = (
        f"<line x1='0' x2='{width}' y1='{height}' y2='{height}' class='axis'/>"
        f"<text x='0' y='{height + foot - 4}' font-size='11'>{low:.3g}</text>"
        f"<text x='{width}' y='{height + foot - 4}' font-size='11' text-anchor='end'>{high:.3g}</text>"
        f"<text x='{width / 2}' y='{height + foot - 4}' font-size='11' text-anchor='middle'>{len(values)} values</text>"
    )
    return (
        f"<svg width='{width}' height='{height + foot}' viewBox='0 0 {width} {height + foot}'>{bars}{lines}{axis}</svg>"
    )


def _samples(work: Work) -> Iterator[str]:
    shown = 0
    for source in work.sources():
        if not work.is_done("samples", source.id) or not work.drafts(source.id).exists():
            continue
        folder = work.drafts(source.id)
        for sample in Dataset(folder):
            if shown == _SAMPLES:
                return
            shown += 1
            (frame,) = read_frames(folder / sample.clip.path, [sample.clip.num_frames // 2])
            pictures = "".join(
                f"<figure>{_image(read_picture(folder / picture.path))}"
                f"<figcaption>{html.escape(subject.label or subject.key)}</figcaption></figure>"
                for subject in sample.subjects
                for picture in subject.pictures[:4]
            )
            spans = sorted({subject.span for subject in sample.subjects if subject.span})
            yield (
                f"<div class=sample><div>{_image(Image.fromarray(frame))}</div><div><p>{_marked(sample.caption, spans)}"
                f"<br><small>{html.escape(sample.id)}</small></p><div class=refs>{pictures}</div></div></div>"
            )
    if not shown:
        yield "<p>There are no samples yet.</p>"


def _marked(caption: str, spans: Sequence[tuple[int, int]]) -> str:
    text, at = "", 0
    for start, end in spans:
        if start >= at:
            text += f"{html.escape(caption[at:start])}<mark>{html.escape(caption[start:end])}</mark>"
            at = end
    return text + html.escape(caption[at:])


def _sheets(work: Work, rows: dict[str, list[Row]], settings: CurationSettings) -> Iterator[str]:
    for stage, level in _SHEETS:
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in rows[stage]:
            if row.level == level and not isinstance(row.outcome, Failed):
                groups["kept" if row.is_kept else row.outcome.reason].append(row)  # type: ignore[union-attr]
        for reason, items in sorted(groups.items(), key=lambda pair: (pair[0] != "kept", pair[0])):
            figures = "".join(
                f"<figure>{_middle(work, row.item, settings)}"
                f"<figcaption>{html.escape(_said(row))}</figcaption></figure>"
                for row in items[:_SHEET]
            )
            yield f"<h3>{stage}: {html.escape(reason)} ({len(items)})</h3><div class=sheet>{figures}</div>"


def _said(row: Row) -> str:
    scores = ", ".join(f"{name} {value:.3g}" for name, value in row.scores.items())
    return scores if isinstance(row.outcome, Kept) else f"{row.outcome}; {scores}"


def _middle(work: Work, name: str, settings: CurationSettings) -> str:
    """The middle frame of a clip; words where there is none, or the video is gone."""
    source = next((source for source in work.sources() if name.startswith(source.id)), None)
    clip = next((clip for clip in all_clips(work, source.id) if clip.name == name), None) if source else None
    if source is None or clip is None:
        return "<small>no picture: it was no clip</small>"
    try:
        (frame,) = reader_of(source, work, settings).frames(clip, [len(clip.window.frames) // 2])
    except MagrefError as error:
        return f"<small>no picture: {html.escape(str(error))}</small>"
    return _image(Image.fromarray(frame))


def _image(image: Image.Image) -> str:
    return f"<img alt='' src='{picture_address(image, _THUMB_PX)}'>"


def _failures(rows: dict[str, list[Row]]) -> str:
    failed = [(stage, row) for stage, items in rows.items() for row in items if isinstance(row.outcome, Failed)]
    if not failed:
        return "<p>Nothing failed.</p>"
    lines = [
        f"<tr><td>{stage}<td>{html.escape(str(row.data.get('address', row.item)))}<td>{html.escape(row.outcome.error)}"
        for stage, row in failed
        if isinstance(row.outcome, Failed)
    ]
    return "\n".join(["<table><tr><th>Stage<th>Item<th>Why", *lines, "</table>"])
