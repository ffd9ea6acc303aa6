"""Contact sheets of a curation: kept and rejected clips, objects and faces, with the reasons; for `report.py`.

Pictures are read from the videos, as far as these are still there.
"""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

import numpy as np
from PIL import Image as Pictures

from magref.curation.interfaces import Image, MaskArray
from magref.curation.masks import bounds
from magref.curation.outcome import Failed, Kept, Rejected
from magref.curation.running.clips import Clip, Reader, all_clips, reader_of
from magref.curation.running.rows import Row, unpack_mask
from magref.curation.running.work import Work
from magref.curation.settings import CurationSettings
from magref.errors import MagrefError
from magref.pages import picture_address

THUMB_PX = 180
_SHEET: Final = 8
"""Pictures for each reason, evenly from all."""
_ID: Final = 16
"""Letters of a source's id, with which all names begin."""

STYLE = """
.sheet{display:flex;flex-wrap:wrap;gap:.6rem;align-items:flex-start}.sheet figure{width:180px}
.sheet img{max-width:180px;display:block}
.checks img{background:repeating-conic-gradient(#c9d1da 0 25%,#eef1f5 0 50%) 0 0/12px 12px}
"""
T = TypeVar("T")


class Contacts:
    """Reads pictures; what belongs to a video is read once."""

    def __init__(self, work: Work, settings: CurationSettings) -> None:
        self._work = work
        self._settings = settings
        self._sources = {source.id: source for source in work.sources()}
        self._reader = lru_cache(8)(self._open)
        self._found = lru_cache(8)(self._boxes)
        self._people = lru_cache(8)(self._identities)

    def sheets(self, rows: Mapping[str, Sequence[Row]]) -> Iterator[str]:
        """All sheets, stage by stage."""
        for stage in ("scan", "aesthetic", "captions", "boxes"):
            cut = [row for row in rows[stage] if row.level == "clip" and (stage != "scan" or "frames" in row.data)]
            yield from self._sheet(stage, cut, self._clip)
        things = [row for row in rows["objects"] if row.level == "object"]
        yield from self._sheet("objects", things, self._object, "checks")
        yield from self._sheet("faces", [row for row in rows["identities"] if row.level == "face"], self._face)
        for stage in ("samples", "duplicates"):
            yield from self._sheet(stage, [row for row in rows[stage] if row.level == "sample"], self._clip)

    def _sheet(
        self, title: str, rows: Sequence[Row], picture: Callable[[Row], Pictures.Image], style: str = ""
    ) -> Iterator[str]:
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if not isinstance(row.outcome, Failed):
                groups["kept" if isinstance(row.outcome, Kept) else row.outcome.reason].append(row)
        for reason, items in sorted(groups.items(), key=lambda pair: (pair[0] != "kept", pair[0])):
            figures = "".join(
                f"<figure>{self._shown(row, picture)}<figcaption>{html.escape(_said(row))}</figcaption></figure>"
                for row in evenly(items, _SHEET)
            )
            yield f"<h3>{title}: {html.escape(reason)} ({len(items)})</h3><div class='sheet {style}'>{figures}</div>"

    def _shown(self, row: Row, picture: Callable[[Row], Pictures.Image]) -> str:
        """The picture, or why there is none."""
        try:
            return image(picture(row))
        except MagrefError as error:
            return f"<small>no picture: {html.escape(str(error))}</small>"

    def _clip(self, row: Row) -> Pictures.Image:
        """A clip's middle frame."""
        reader, clips = self._reader(row.item[:_ID])
        clip = clips[row.item]
        return Pictures.fromarray(reader.frames(clip, [len(clip.window.frames) // 2])[0])

    def _object(self, row: Row) -> Pictures.Image:
        """What a mask cuts out, refined or not: as the segmenter gave it."""
        clip_name, frame, number = row.data["clip"], row.data["frame"], int(row.item.rsplit("/", 1)[1])
        mask = unpack_mask(self._found(row.item[:_ID])[clip_name, frame][number]["mask"])
        reader, clips = self._reader(row.item[:_ID])
        return _cut_out(reader.frames(clips[clip_name], [frame])[0], mask)

    def _face(self, row: Row) -> Pictures.Image:
        """A face's box."""
        identity, number, frame = row.item.split("/")
        left, top, right, bottom = self._people(row.item[:_ID])[identity, int(number), int(frame)]
        reader, clips = self._reader(row.item[:_ID])
        clip = next(clip for clip in clips.values() if clip.number == int(number))
        picture = reader.frames(clip, [int(frame)])[0]
        box = max(0, int(left)), max(0, int(top)), min(picture.shape[1], int(right)), min(picture.shape[0], int(bottom))
        return Pictures.fromarray(picture).crop(box)

    def _open(self, source: str) -> tuple[Reader, dict[str, Clip]]:
        reader = reader_of(self._sources[source], self._work, self._settings)
        return reader, {clip.name: clip for clip in all_clips(self._work, source)}

    def _boxes(self, source: str) -> dict[tuple[str, int], list[Mapping[str, Any]]]:
        clips = [row for row in self._work.read("boxes", source, "clip") if "frames" in row.data]
        return {(row.item, at["frame"]): at["found"] for row in clips for at in row.data["frames"]}

    def _identities(self, source: str) -> dict[tuple[str, int, int], tuple[float, ...]]:
        return {
            (row.item, place[0], place[1]): tuple(place[2:])
            for row in self._work.read("identities", source, "identity")
            for place in row.data["faces"]
        }


def image(picture: Pictures.Image) -> str:
    """A picture in the page, small."""
    return f"<img alt='' src='{picture_address(picture, THUMB_PX)}'>"


def evenly(items: Sequence[T], count: int) -> list[T]:
    """So many of them from first to last."""
    places = np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))
    return [items[place] for place in places]


def _said(row: Row) -> str:
    """What a row's label is, why it was rejected, and what else was measured, but for what is 0."""
    words = [str(row.data["label"])] if "label" in row.data else []
    against = None
    if isinstance(row.outcome, Rejected) and row.outcome.value is not None:
        words.append(str(row.outcome))
        against = row.outcome.value
    shown = {name: f"{value:.3g}" for name, value in row.scores.items() if value}
    known = f"{against:.3g}" if isinstance(against, (int, float)) else None
    words.append(", ".join(f"{name} {value}" for name, value in shown.items() if value != known))
    return "; ".join(word for word in words if word)


def _cut_out(picture: Image, mask: MaskArray) -> Pictures.Image:
    left, top, right, bottom = bounds(mask) or (0, 0, mask.shape[1], mask.shape[0])
    return Pictures.fromarray(np.dstack([picture, mask.astype(np.uint8) * 255])[top:bottom, left:right])
