"""The page that shows references, prompt and each system's video of every case, sorted by any score.

It works from the disk, without a server. Small benches are embedded whole; the videos of larger ones are linked where
they lie, relative to the page, and read when they come near the screen.
"""

from __future__ import annotations

import base64
import html
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from magref.batch import Case, Line, read_lines
from magref.errors import InputError
from magref.evaluation.cases import ENDING, case_sha256
from magref.evaluation.metrics.interface import Measure, Missing, Value
from magref.evaluation.report.contents import Contents, describe
from magref.evaluation.report.ranking import printed
from magref.evaluation.report.systems import Bench, System
from magref.evaluation.report.tables import GROUPS, categories, title_of, valued
from magref.evaluation.scores import NOT_RUN, CaseScores
from magref.pages import page, picture_address
from magref.references import file_sha256, open_reference

EMBEDDED_BYTES = 16 * 2**20
"""Videos are embedded where all of them together are at most so large."""
_REFERENCE_PX = 220

_TOOLS = """<div class=tools>
<label>Sort by <select id=measure><option value=''>the case file's order{measures}</select></label>
<label>of <select id=system><option value=mean>all, their mean<option value=apart>all, how far apart{systems}</select>
</label>
<label>from <select id=order><option value=up>low to high<option value=down>high to low</select></label>
<label>Show <select id=part><option value=''>all cases{parts}</select></label>
<label>with <input id=words type=search placeholder='words of the prompt'></label>
<small id=said role=status></small>
<small><kbd>j</kbd> <kbd>k</kbd> next, previous; <kbd>p</kbd> play all of a case; <kbd>/</kbd> search</small>
</div><noscript><p>Sorting needs scripts; all cases are below.</p></noscript>"""

Progress = Callable[[int, int], None]
"""Called with the cases that are done and all cases."""


@dataclass(frozen=True)
class Shown:
    """Where things for the page come from.

    Attributes:
        cases: the case file's lines by id; None where the file is not here.
        folder: of the page; links are relative to it.
        embed: whether videos become part of the page.
    """

    cases: dict[str, Line] | None
    folder: Path
    embed: bool


def case_lines(bench: Bench, path: Path | None) -> dict[str, Line] | None:
    """The lines of the case file by id: of `path`, or of the first file that a system was scored by and that is here.

    Raises:
        InputError: the given file is not there, or a case is not the one that was scored.
    """
    known = [Path(system.run.cases) for system in bench.systems]
    path = path or next((one for one in known if one.is_file()), None)
    if path is None:
        return None
    lines = {line.id: line for line in read_lines(path) if line.id is not None and line.first is None}
    for name, one in bench.cases.items():
        line = lines.get(name)
        if line is None or (line.case is not None and case_sha256(line.case) != one.case_sha256):
            raise InputError(
                f"the case {name} in {path} is not as it was scored; evaluate again, or name its case file by --cases"
            )
    return lines


def side_by_side(
    contents: Contents,
    lines: dict[str, Line] | None,
    folder: Path,
    *,
    report: str,
    progress: Progress | None = None,
) -> str:
    """The page.

    Args:
        lines: from `case_lines`.
        folder: where the page will lie.
        report: the address of the report, beside the page.
    """
    bench = contents.bench
    videos = [path for system in bench.systems for name in bench.cases if (path := _video(system, name)).is_file()]
    shown = Shown(lines, folder, sum(path.stat().st_size for path in videos) <= EMBEDDED_BYTES)
    columns = valued(bench)
    body = [*_head(contents, columns, shown, report), "<div id=cases>"]
    for number, (name, one) in enumerate(bench.cases.items(), 1):
        body.append(_card(bench, columns, name, one, shown))
        if progress is not None:
            progress(number, len(bench.cases))
    own = resources.files(__package__)
    return page(
        f"Videos: {contents.cases}", [*body, "</div>"],
        style=(own / "side_by_side.css").read_text(encoding="utf-8"),
        script=(own / "side_by_side.js").read_text(encoding="utf-8"),
    )  # fmt: skip


def _head(contents: Contents, columns: Sequence[Measure], shown: Shown, report: str) -> Iterator[str]:
    bench = contents.bench
    yield f"<p><a href='{report}'>The tables</a>. Measured with profile {bench.profile}."
    if bench.has_reconstruction:
        yield "<b>Reconstruction:</b> the authors of MAGREF never published their list of cases."
    if shown.cases is None:
        yield f"<span class=bad>The case file {html.escape(bench.systems[0].run.cases)} is not here, so that prompts "
        yield "and references are not shown; name it by --cases.</span>"
    if not shown.embed:
        yield "The videos are linked: keep them where they are, beside this folder."
    yield "</p>"
    measures = "".join(
        f"<option value={n} title='{html.escape(describe(one))}'>{html.escape(title_of(one))}"
        for n, one in enumerate(columns)
    )
    systems = "".join(f"<option value={n}>{html.escape(one.name)}" for n, one in enumerate(bench.systems))
    parts = "".join(f"<option value={group}>{title}" for group, title in GROUPS.items())
    parts += "".join(f"<option value={part.key}>{part.title}" for part in categories(bench))
    yield _TOOLS.format(measures=measures, systems=systems, parts=parts)


def _card(bench: Bench, columns: Sequence[Measure], name: str, one: CaseScores, shown: Shown) -> str:
    line = shown.cases.get(name) if shown.cases is not None else None
    case = line.case if line is not None else None
    prompt = case.prompt if case is not None else ""
    scores = [[_number(system, name, column) for column in columns] for system in bench.systems]
    parts = " ".join(filter(None, [one.group, one.category]))
    words = html.escape(f"{name} {prompt}".lower())
    kind = [
        (one.category or one.group or "").replace("_", " "),
        "" if one.references is None else f"{one.references} reference{'s' * (one.references > 1)}",
    ]
    return "\n".join(
        [
            f"<article tabindex=-1 data-scores='{json.dumps(scores)}' data-parts='{parts}' data-words='{words}'>",
            f"<header><h2>{html.escape(name)}</h2><small>{', '.join(filter(None, kind))}</small>",
            "<button type=button>Play all</button></header>",
            f"<div><p class=prompt>{html.escape(prompt)}</p>",
            f"<p class=bad>{html.escape(line.problem)}</p>" if line is not None and line.problem else "",
            f"<div class=refs>{''.join(_references(case)) if case is not None else ''}</div></div>",
            f"<div class=videos>{''.join(_system(system, columns, name, shown) for system in bench.systems)}</div>",
            "</article>",
        ]
    )


def _number(system: System, name: str, column: Measure) -> float | None:
    scores = system.cases.get(name)
    score = scores.scores.get(column.name) if scores is not None else None
    return score.value if isinstance(score, Value) else None


def _references(case: Case) -> Iterator[str]:
    for ref in case.refs:
        opened = open_reference(ref.reference())
        picture = opened.rgb.convert("RGBA" if opened.alpha is not None else "RGB")
        if opened.alpha is not None:
            picture.putalpha(opened.alpha)
        said = html.escape(f"{ref.role}: {ref.label}" if ref.label else ref.role, quote=True)
        source = picture_address(picture, _REFERENCE_PX)
        yield f"<figure><img alt='{said}' loading=lazy src='{source}'><figcaption>{said}</figcaption></figure>"


def _system(system: System, columns: Sequence[Measure], name: str, shown: Shown) -> str:
    scores = system.cases.get(name)
    found = {} if scores is None else scores.scores
    rows = []
    for n, column in enumerate(columns):
        score = found.get(column.name, NOT_RUN)
        if isinstance(score, Missing):
            why = html.escape(score.why, quote=True)
            cell = f"<td class=n title='{why}'><small>{score.reason.replace('_', ' ')}</small>"
        else:
            cell = f"<td class=n>{printed(score.value)}"
        rows.append(f"<tr data-measure={n}><th>{html.escape(title_of(column))}{cell}")
    picture = _player(system, name, scores, shown)
    return f"<section><h3>{html.escape(system.name)}</h3>{picture}<table>{''.join(rows)}</table></section>"


def _player(system: System, name: str, scores: CaseScores | None, shown: Shown) -> str:
    """The video, or why there is none; one that is no longer the file that was scored says so."""
    path = _video(system, name)
    if not path.is_file():
        return f"<div class=none>There is no video {html.escape(str(path))}.</div>"
    if shown.embed:
        address = f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
    else:
        address = quote(os.path.relpath(path.absolute(), shown.folder.absolute()))
    said = html.escape(f"{system.name}, {name}", quote=True)
    known = scores.video if scores is not None else None
    shape = "" if known is None else f" style='aspect-ratio:{known.width}/{known.height}'"
    video = f"<video controls loop muted playsinline preload=none{shape} aria-label='{said}' src='{address}'></video>"
    if known is not None and known.sha256 != file_sha256(path):
        video += "<small class=bad>This file has changed since it was scored.</small>"
    return video


def _video(system: System, name: str) -> Path:
    return Path(system.run.videos) / f"{name}{ENDING}"
