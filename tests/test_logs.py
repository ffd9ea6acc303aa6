"""A run's figures on disk: what is noted can be read, and a full disk leaves nothing half written."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest
from PIL import Image

from magref.errors import OutputError
from magref.outputs import append
from magref.training.logs import open_loggers


def events(folder):
    """What TensorBoard reads: (step, name, value), pictures as their size."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    (path,) = (folder / "tensorboard").iterdir()
    found = []
    for event in loader.RawEventFileLoader(str(path)).Load():
        message = loader.event_pb2.Event.FromString(event)
        for value in message.summary.value:
            shown = (value.image.width, value.image.height) if value.HasField("image") else value.simple_value
            found.append((message.step, value.tag, shown))
    return found


def test_figures_and_pictures_can_be_read(tmp_path):
    for logger in open_loggers(["tensorboard"], tmp_path, {}):
        logger.figures(1, {"loss": 0.5, "rate": 2.0})
        logger.figures(2, {"loss": 0.25})
        logger.picture(2, "validation", Image.new("RGB", (30, 20), "red"))
        logger.close()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 0.5, "rate": 2.0}, {"step": 2, "loss": 0.25}]
    assert events(tmp_path) == [(1, "loss", 0.5), (1, "rate", 2.0), (2, "loss", 0.25), (2, "validation", (30, 20))]


CODE_UNDER_LIMIT = """
    import pathlib, resource, signal, sys
    from PIL import Image
    from magref.errors import OutputError
    from magref.training.logs import open_loggers
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing beyond the limit then fails with EFBIG, like a full disk
    loggers = open_loggers(["tensorboard"], pathlib.Path(sys.argv[1]), {})
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    failed = set()
    for step in range(200):
        for logger in loggers:
            try:
                logger.figures(step, {"a figure of some name": 1.0})
            except OutputError as error:
                assert "could not be written" in str(error), error
                failed.add(logger)
    assert failed == set(loggers)
"""


def test_a_full_disk_is_one_error_and_leaves_whole_lines_and_events(tmp_path):
    code = textwrap.dedent(CODE_UNDER_LIMIT)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    text = (tmp_path / "log.jsonl").read_text()
    steps = [json.loads(line)["step"] for line in text.splitlines()]
    assert text.endswith("\n")
    assert steps == list(range(len(steps)))
    assert len(steps) > 10
    found = [step for step, _, _ in events(tmp_path)]
    assert found == list(range(len(found)))
    assert len(found) > 10


def test_appending_where_a_file_stands_for_a_folder(tmp_path):
    append(tmp_path / "file", b"one\n")
    append(tmp_path / "file", b"two\n")
    assert (tmp_path / "file").read_bytes() == b"one\ntwo\n"
    with pytest.raises(OutputError, match="is not a folder"):
        append(tmp_path / "file" / "inner", b"three\n")
