"""What a stage has to say of one source: rows in a Parquet file, with everything that was measured.

Kept, rejected and failed items all have their row and their numbers, so that other limits can be tried on them later.
"""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from magref.curation.interfaces import Face, MaskArray
from magref.curation.outcome import Kept, Outcome
from magref.outputs import writing

Level: TypeAlias = Literal["source", "shot", "clip", "label", "box", "object", "identity", "face", "sample"]
_OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)
_TOOK = "took"


@dataclass(frozen=True, eq=False)
class Row:
    """One item of a stage.

    Attributes:
        level: what sort of thing it is.
        item: its name, unique within its level and stage.
        scores: what was measured, as far as it is single numbers.
        data: what later stages need to know, as JSON has it; arrays by `pack`.
    """

    level: Level
    item: str
    outcome: Outcome
    scores: Mapping[str, float] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_kept(self) -> bool:
        """Whether the item goes on."""
        return isinstance(self.outcome, Kept)


@dataclass(frozen=True)
class Took:
    """What a stage's file took to make, noted in the file's metadata.

    Attributes:
        seconds: of processors where no model was asked; of the clock, loading included, where one was.
        device: what the models ran on, as `Models.runs_on` says it; "" without models.
    """

    seconds: float
    device: str = ""


def write_rows(path: Path, rows: Sequence[Row], took: Took | None = None) -> None:
    """Write a stage's file, whole or not at all."""
    import pyarrow as pa
    from pyarrow import parquet

    text = pa.string()
    columns = ("level", "item", "state", "stage", "reason", "value", "limit", "error")
    schema = pa.schema([*((name, text) for name in columns), ("scores", pa.map_(text, pa.float64())), ("data", text)])
    if took is not None:
        schema = schema.with_metadata({_TOOK: json.dumps([took.seconds, took.device])})
    records = []
    for row in rows:
        said = row.outcome.model_dump(mode="json")
        for name in ("value", "limit"):
            said[name] = json.dumps(said[name]) if said.get(name) is not None else None
        scores = {name: float(value) for name, value in row.scores.items()}
        records.append({"level": row.level, "item": row.item, **said, "scores": scores, "data": json.dumps(row.data)})
    with writing(path, overwrite=True) as temporary:
        parquet.write_table(pa.Table.from_pylist(records, schema=schema), temporary)


def read_rows(path: Path, *levels: Level) -> list[Row]:
    """A stage's rows, of all levels or some."""
    from pyarrow import parquet

    rows = []
    for record in parquet.read_table(path).to_pylist():
        if levels and record["level"] not in levels:
            continue
        said = {name: record[name] for name in ("state", "stage", "reason", "error") if record[name] is not None}
        said |= {name: json.loads(record[name]) for name in ("value", "limit") if record[name] is not None}
        scores, data = dict(record["scores"]), json.loads(record["data"])
        rows.append(Row(record["level"], record["item"], _OUTCOME.validate_python(said), scores, data))
    return rows


def read_states(path: Path, level: Level) -> list[tuple[str, str | None]]:
    """Of each row of a level, its state and the stage of what spoke against it; nothing else is read."""
    from pyarrow import parquet

    table = parquet.read_table(path, columns=["level", "state", "stage"]).to_pylist()
    return [(record["state"], record["stage"]) for record in table if record["level"] == level]


def read_took(path: Path) -> Took | None:
    """What a stage's file took to make; None where that was not noted."""
    from pyarrow import parquet

    noted = (parquet.read_schema(path).metadata or {}).get(_TOOK.encode())
    return None if noted is None else Took(*json.loads(noted))


def pack(array: npt.NDArray[Any]) -> str:
    """An array as text, to the bit."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return base64.b64encode(zlib.compress(file.getvalue())).decode("ascii")


def unpack(text: str) -> npt.NDArray[Any]:
    """The array of `pack`."""
    return np.load(io.BytesIO(zlib.decompress(base64.b64decode(text))), allow_pickle=False)


def pack_mask(mask: MaskArray) -> dict[str, Any]:
    """A mask, (H, W), eight pixels in a byte."""
    return {"shape": list(mask.shape), "bits": pack(np.packbits(mask))}


def unpack_mask(packed: Mapping[str, Any]) -> MaskArray:
    """The mask of `pack_mask`."""
    height, width = packed["shape"]
    return np.unpackbits(unpack(packed["bits"]), count=height * width).reshape(height, width).astype(np.bool_)


def pack_face(face: Face) -> dict[str, Any]:
    """A face."""
    return {
        "corners": list(face.corners),
        "score": face.score,
        "points": None if face.points is None else face.points.tolist(),
        "pose": None if face.pose is None else list(face.pose),
        "embedding": None if face.embedding is None else pack(face.embedding),
    }


def unpack_face(packed: Mapping[str, Any]) -> Face:
    """The face of `pack_face`."""
    points, pose, embedding = packed["points"], packed["pose"], packed["embedding"]
    left, top, right, bottom = packed["corners"]
    return Face(
        corners=(left, top, right, bottom),
        score=packed["score"],
        points=None if points is None else np.array(points, np.float32),
        pose=None if pose is None else (pose[0], pose[1], pose[2]),
        embedding=None if embedding is None else unpack(embedding),
    )
