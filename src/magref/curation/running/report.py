"""What became of everything, on one page: `magref curate report`.

The page is one file without scripts and without anything from elsewhere. Pictures of clips are read from the videos, as
far as these are still there; references come from the samples.
"""

from __future__ import annotations

import html
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageDraw

from magref.curation.outcome import Failed, Kept, Rejected
from magref.curation.running import charts, contacts
from magref.curation.running.contacts import Contacts, image
from magref.curation.running.rows import Row
from magref.curation.running.work import STAGES, Work
from magref.curation.settings import CurationSettings
from magref.dataset.format import Sample, Subject
from magref.dataset.store import Dataset, read_picture
from magref.outputs import check_output, writing
from magref.pages import page
from magref.seeking import read_frames

_SAMPLES = 12
_PICTURES = 4
"""Pictures of each subject."""
_EXAMPLES = 12
"""Words of each sort of rejected labels."""
_AFTER: Final = (
    ("aesthetic", "clip", "pleasing"), ("captions", "clip", "captioned"), ("boxes", "clip", "with objects"),
    ("faces", "clip", "looked at for faces"), ("samples", "sample", "samples put together"),
    ("duplicates", "sample", "samples without duplicates"),
)  # fmt: skip
_BESIDE: Final = (
    ("objects", "object", "masks that are objects or places"), ("identities", "identity", "people with enough faces"),
    ("identities", "face", "faces that can be references"),
)  # fmt: skip
_PAPER = "In the paper, 22 M clips become 1.3 M samples (5.9%), and 0.5 M (2.3%) without duplicates."
_STYLE = """
.funnel{width:100%}.share{display:flex;align-items:center;gap:.5rem}.share small{min-width:3.2em;text-align:right}
.bar{background:var(--soft);height:1rem;flex:1;min-width:5rem}.bar div{background:var(--accent);height:100%}
.sample{display:flex;flex-wrap:wrap;gap:1rem;margin:1.4rem 0;align-items:flex-start}
.sample>div:last-child{flex:1 1 20rem}.sample p{margin-top:0}.refs{display:flex;flex-wrap:wrap;gap:.8rem 1.2rem}
.refs img{height:84px;margin-right:.2rem;background:repeating-conic-gradient(#c9d1da 0 25%,#eef1f5 0 50%) 0 0/12px 12px}
.scroll{overflow-x:auto}td.why{overflow-wrap:anywhere}
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
        f"<p>{len(work.sources())} videos, {_duration(seconds)} that could be read. {_changed(settings)}</p>",
        "<h2>Funnel</h2>", _funnel(rows), f"<p><small>{_PAPER}</small></p>",
        "<h2>Scores</h2>", charts.charts(rows, settings),
        "<h2>References over their clips</h2>", *_samples(work),
        "<h2>Labels</h2>", _labels(rows["captions"]),
        "<h2>Kept and rejected</h2>", *Contacts(work, settings).sheets(rows),
        "<h2>Failed</h2>", _failures(rows),
    ]  # fmt: skip
    name = work.folder.name.removesuffix("-work")
    with writing(path, overwrite=overwrite) as temporary:
        style = _STYLE + charts.STYLE + contacts.STYLE
        temporary.write_text(page(f"Curation of {name}", parts, style=style), encoding="utf-8")
    return path


def _read(work: Work, stage: str) -> list[Row]:
    if stage == "duplicates":
        return work.read(stage, "all")
    rows = (row for source in work.sources() for row in work.read(stage, source.id))
    return [row for row in rows if not row.data.get("neighbour")]


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def _changed(settings: CurationSettings) -> str:
    """The settings that are not the defaults."""
    own, usual = settings.model_dump(), CurationSettings().model_dump()
    changed = [f"{part}.{name} {value}" for part, values in own.items() for name, value in values.items()
               if value != usual[part][name]]  # fmt: skip
    return (
        f"Settings other than the defaults: {html.escape(', '.join(changed))}."
        if changed
        else "All settings are the defaults."
    )


def _funnel(rows: Mapping[str, Sequence[Row]]) -> str:
    """Videos and shots, then what is left of the clips that were cut, as in the paper; then what was found in them."""
    videos, shots, clips = ([row for row in rows["scan"] if row.level == level] for level in ("source", "shot", "clip"))
    cut = [row for row in clips if "frames" in row.data]
    short = [row for row in clips if "frames" not in row.data]
    lines = [
        "<tr><th>Stage<th class=n>Kept<th>Of the clips<th>Rejected<th class=n>Failed",
        _line("videos that can be used", videos), _line("shots", shots),
        f"<tr><td>clips that could be cut<td class=n>{len(cut):,}<td>{_bar(1) if cut else ''}<td>{_reasons(short)}<td>",
        _line("clips that move", cut, len(cut)),
    ]  # fmt: skip
    for stage, level, name in _AFTER:
        lines.append(_line(name, [row for row in rows[stage] if row.level == level], len(cut)))
    lines += [_line(name, [row for row in rows[stage] if row.level == level]) for stage, level, name in _BESIDE]
    return "\n".join(["<div class=scroll><table class=funnel>", *lines, "</table></div>"])


def _line(name: str, rows: Sequence[Row], clips: int = 0) -> str:
    kept = sum(row.is_kept for row in rows)
    failed = sum(isinstance(row.outcome, Failed) for row in rows)
    bar = _bar(kept / clips) if clips and rows else ""
    return f"<tr><td>{name}<td class=n>{kept:,}<td>{bar}<td>{_reasons(rows)}<td class='n bad'>{failed or ''}"


def _bar(share: float) -> str:
    return (
        f"<div class=share><div class=bar><div style='width:{100 * share:.1f}%'></div></div>"
        f"<small>{share:.1%}</small></div>"
    )


def _reasons(rows: Sequence[Row]) -> str:
    reasons = Counter(row.outcome.reason for row in rows if isinstance(row.outcome, Rejected))
    return ", ".join(f"{count:,} {html.escape(reason)}" for reason, count in reasons.most_common())


def _samples(work: Work) -> Iterator[str]:
    """Samples with their references: the first of each video, then the second."""
    folders = [work.drafts(source.id) for source in work.sources() if work.is_done("samples", source.id)]
    folders = [folder for folder in folders if folder.exists()]
    in_turn = chain.from_iterable(
        zip_longest(*([(folder, sample) for sample in Dataset(folder)] for folder in folders))
    )
    shown = [found for found in in_turn if found is not None][:_SAMPLES]
    yield from (_sample(folder, sample) for folder, sample in shown)
    if not shown:
        yield "<p>There are no samples yet.</p>"


def _sample(folder: Path, sample: Sample) -> str:
    """A sample: the frame that most of its references are from, where they are there, the caption, the references."""
    places = defaultdict(list)
    for subject in sample.subjects:
        for picture in subject.pictures:
            if picture.frame is not None and picture.box is not None:
                places[picture.frame].append(picture.box)
    number = max(places, key=lambda frame: len(places[frame]), default=sample.clip.num_frames // 2)
    (frame,) = read_frames(folder / sample.clip.path, [number])
    shown = Image.fromarray(frame)
    draw = ImageDraw.Draw(shown)
    for box in places[number]:
        draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline="white", width=max(1, shown.width // 160))
    references = "".join(_subject(folder, subject) for subject in sample.subjects)
    spans = sorted({subject.span for subject in sample.subjects if subject.span})
    about = f"{sample.provenance.source}, {sample.provenance.start_s:.1f} to {sample.provenance.end_s:.1f} s"
    return (
        f"<div class=sample><div>{image(shown)}</div><div><p>{_marked(sample.caption, spans)}"
        f"<br><small>{html.escape(about)}</small></p><div class=refs>{references}</div></div></div>"
    )


def _subject(folder: Path, subject: Subject) -> str:
    pictures = "".join(image(read_picture(folder / picture.path)) for picture in subject.pictures[:_PICTURES])
    count = len(subject.pictures)
    said = f"{subject.label or 'nothing in the caption'}: {subject.role}, {count} picture{'s' if count > 1 else ''}"
    return f"<figure>{pictures}<figcaption>{html.escape(said)}</figcaption></figure>"


def _marked(caption: str, spans: Sequence[tuple[int, int]]) -> str:
    text, at = "", 0
    for start, end in spans:
        if start >= at:
            text += f"{html.escape(caption[at:start])}<mark>{html.escape(caption[start:end])}</mark>"
            at = end
    return text + html.escape(caption[at:])


def _labels(rows: Sequence[Row]) -> str:
    """The words that captions name things by, and those that were rejected, by their reasons."""
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row.level == "label" and not isinstance(row.outcome, Failed):
            reason = "kept" if isinstance(row.outcome, Kept) else row.outcome.reason
            groups[reason][row.item.partition("/")[2]] += 1
    if not groups:
        return "<p>No caption has named anything yet.</p>"
    lines = [
        f"<tr><td>{html.escape(reason)}<td class=n>{words.total():,}<td>"
        + ", ".join(html.escape(word) for word, _ in words.most_common(_EXAMPLES))
        + (", ..." if len(words) > _EXAMPLES else "")
        for reason, words in sorted(groups.items(), key=lambda pair: (pair[0] != "kept", -pair[1].total()))
    ]
    return "\n".join(["<table><tr><th>Outcome<th class=n>Labels<th>Most often", *lines, "</table>"])


def _failures(rows: Mapping[str, Sequence[Row]]) -> str:
    failed: list[tuple[str, Row, Any]] = [
        (stage, row, row.outcome) for stage, items in rows.items() for row in items if isinstance(row.outcome, Failed)
    ]
    if not failed:
        return "<p>Nothing failed.</p>"
    lines = [
        f"<tr><td>{stage}<td class=why>{html.escape(str(row.data.get('address', row.item)))}"
        f"<td class=why>{html.escape(outcome.error)}"
        for stage, row, outcome in failed
    ]
    return "\n".join(["<table><tr><th>Stage<th>Item<th>Why", *lines, "</table>"])
