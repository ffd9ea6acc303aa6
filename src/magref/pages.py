"""Pages: one HTML file each that needs nothing from elsewhere, in light and in dark, shared by all reports."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable

from PIL import Image

_STYLE = """
:root{color-scheme:light dark;--page:#fff;--panel:#f4f6f9;--ink:#1c2430;--faint:#566273;--line:#d8dee6;
--accent:#2f66b0;--soft:#e3e9f2;--warn:#a5312a;--mark:#ffe9a8}
@media(prefers-color-scheme:dark){:root{--page:#12171d;--panel:#1b222b;--ink:#e3e8ef;--faint:#9ba8b8;--line:#343f4d;
--accent:#7db0f2;--soft:#2a3441;--warn:#f28b7f;--mark:#5c4a12}}
*{box-sizing:border-box}
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1080px;padding:0 1rem;
color:var(--ink);background:var(--page)}
h1{font-size:1.6rem}h2{margin-top:2.4rem;border-bottom:1px solid var(--line);font-size:1.2rem}h3{font-size:1rem}
a{color:var(--accent)}
table{border-collapse:collapse}td,th{padding:.25rem .6rem;text-align:left;vertical-align:top}
th{font-weight:600;color:var(--faint)}
tr+tr td,tr+tr th{border-top:1px solid var(--line)}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
figure{margin:0}figcaption{font-size:.85rem;color:var(--faint)}
small{color:var(--faint)}.bad{color:var(--warn)}mark{background:var(--mark);color:inherit}
svg text{fill:var(--ink)}
"""


def page(title: str, body: Iterable[str], *, style: str = "", script: str = "") -> str:
    """A whole page.

    Args:
        title: plain text, also the heading.
        body: HTML.
        style: rules beside those that all pages share; the colours are --page, --panel, --ink, --faint, --line,
            --accent, --soft, --warn and --mark.
    """
    name = html.escape(title)
    return "\n".join(
        [
            f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}</title>",
            "<meta name=viewport content='width=device-width,initial-scale=1'>",
            f"<style>{_STYLE}{style}</style><h1>{name}</h1>",
            *body,
            *([f"<script>{script}</script>"] if script else []),
            "</html>\n",
        ]
    )


def picture_address(image: Image.Image, side_px: int) -> str:
    """The picture itself as an address for `src`, as PNG where it has transparency, at most `side_px` on each side."""
    small = image.copy()
    small.thumbnail((side_px, side_px))
    kind = "PNG" if small.mode == "RGBA" else "JPEG"
    file = io.BytesIO()
    small.save(file, kind, quality=80)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
