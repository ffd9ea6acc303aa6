"""The first stage, for which no model is needed: each frame of a video once (paper 3.1, cuts and motion)."""

from __future__ import annotations

import numpy as np

from magref.curation.motion import judge_motion, motion_of
from magref.curation.outcome import Failed, Kept, Outcome, Rejected, failure
from magref.curation.overlay import judge_overlay, overlay_share
from magref.curation.running.clips import FATAL, Clip, Reader, clip_of, scan_data
from magref.curation.running.rows import Row
from magref.curation.running.sources import Source, local_file
from magref.curation.running.work import Work
from magref.curation.scan import Scan, scan_video
from magref.curation.settings import CurationSettings, OverlaySettings
from magref.curation.windows import Window, cut_windows


def scan(source: Source, work: Work, settings: CurationSettings) -> list[Row]:
    """A video's own row, its shots and its clips; the video's row alone where it is rejected or fails."""
    about = {"address": source.address}
    try:
        path = local_file(source, work.copies)
        found = scan_video(path, settings, threads=1)
    except FATAL:
        raise
    except Exception as error:  # libraries raise whatever a damaged file provokes
        return [Row("source", source.id, failure("source", error), data=about)]
    if isinstance(found, Rejected):
        return [Row("source", source.id, found, data=about)]
    scores = {
        "height": found.height, "width": found.width, "fps": found.fps,
        "frames": len(found.times_s), "seconds": float(found.times_s[-1]),
    }  # fmt: skip
    rows = [Row("source", source.id, Kept(), scores, {**about, **scan_data(found)})]
    for n, shot in enumerate(found.shots):
        start_s, end_s = float(found.times_s[shot.start]), float(found.times_s[shot.stop - 1])
        rows.append(Row("shot", f"{source.id}-s{n}", shot.outcome, {"start_s": start_s, "seconds": end_s - start_s}))
    rows += _clips(source, found, settings)
    if settings.overlay.enabled:
        rows = _by_overlays(rows, Reader(source, found, work, settings), settings.overlay)
    return rows


def _clips(source: Source, found: Scan, settings: CurationSettings) -> list[Row]:
    rows: list[Row] = []
    number = 0
    for n, shot in enumerate(found.shots):
        if not isinstance(shot.outcome, Kept):
            continue
        for k, window in enumerate(cut_windows(n, shot, found.times_s, found.fps, settings.windows)):
            if isinstance(window, Window):
                motion = motion_of(window.frames, found.speeds)
                outcome: Outcome = judge_motion(motion, settings.motion) or Kept()
                clip = Clip(f"{source.id}-{window.frames[0]:06d}", number, window)
                rows.append(Row("clip", clip.name, outcome, {"motion": motion}, clip.row_data()))
                number += 1
            else:
                value = window.value if isinstance(window.value, (int, float)) else np.nan
                rows.append(Row("clip", f"{source.id}-s{n}-{k}", window, {window.reason: float(value)}))
    return rows


def _by_overlays(rows: list[Row], reader: Reader, settings: OverlaySettings) -> list[Row]:
    """The rows, those of kept clips judged by what stands still over the picture."""
    judged = []
    for row in rows:
        if row.level != "clip" or not row.is_kept:
            judged.append(row)
            continue
        ((_, frames),) = reader.clips("overlay", [clip_of(row)])
        if isinstance(frames, Failed):
            judged.append(Row("clip", row.item, frames, row.scores, row.data))
            continue
        share = overlay_share(frames, settings)
        scores = {**row.scores, **({} if share is None else {"overlay": share})}
        judged.append(Row("clip", row.item, judge_overlay(share, settings) or Kept(), scores, row.data))
    return judged
