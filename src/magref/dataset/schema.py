"""The columns of a manifest's Parquet files, which are the fields of `format.Sample`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow


def manifest_schema() -> pyarrow.Schema:
    """A column for each field of `Sample`."""
    import pyarrow as pa

    text, whole, number = pa.string(), pa.int32(), pa.float64()
    picture = pa.struct([("path", text), ("frame", whole), ("box", pa.list_(whole)), ("score", number)])
    subject = pa.struct(
        [
            ("key", text),
            ("role", text),
            ("pictures", pa.list_(picture)),
            ("label", text),
            ("span", pa.list_(whole)),
            ("identity", text),
        ]
    )
    clip = pa.struct(
        [
            ("path", text),
            ("fps", number),
            *((name, whole) for name in ("num_frames", "height", "width", "start", "stop")),
        ]
    )
    mask = pa.struct([("path", text), ("frame", whole), ("subject", text)])
    provenance = pa.struct(
        [("source", text), ("start_s", number), ("end_s", number), ("license", text), ("made_by", text)]
    )
    return pa.schema(
        [
            ("id", text),
            ("caption", text),
            ("clip", clip),
            ("subjects", pa.list_(subject)),
            ("masks", pa.list_(mask)),
            ("provenance", provenance),
        ]
    )
