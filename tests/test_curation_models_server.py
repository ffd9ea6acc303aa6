"""Captions from an OpenAI-compatible server, against a small one that speaks its protocol, refuses, breaks and lies."""

import base64
import io
import json
import logging
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from magref.curation.models import connection
from magref.curation.models.asking import UnansweredError
from magref.curation.models.connection import Patience
from magref.curation.models.server import ServerCaptioner
from magref.curation.wording import CAPTION_PROMPT, objects_prompt
from magref.errors import InputError

KEY = "sk-s3cr3t-0123456789"
QUICK = Patience(timeout_s=5.0, attempts=3, pause_s=0.01)


def completion(text):
    usage = {"prompt_tokens": 1200, "completion_tokens": 60}
    return 200, {}, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage})


class Server(ThreadingHTTPServer):
    """Answers by `behave(body, attempt)`: status, headers, text; `attempt` counts this body's arrivals."""

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behave = lambda body, attempt: completion("A dog runs.")
        self.requests = []
        self.seen = {}
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        server = self.server
        content = self.rfile.read(int(self.headers["Content-Length"]))
        with server.lock:
            server.requests.append((self.path, dict(self.headers), json.loads(content)))
            attempt = server.seen[content] = server.seen.get(content, 0) + 1
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            status, headers, text = server.behave(json.loads(content), attempt)
        finally:
            with server.lock:
                server.at_once -= 1
        if status is None:  # hangs up without a word
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())


@pytest.fixture
def server(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    made = Server()
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def log():
    """The lines that the adapter logs."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("magref.curation.models")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def captioner(server, **changes):
    return ServerCaptioner(server.url, "qwen", **{"fps": 16.0, "patience": QUICK, **changes})


def clips(count, *, frames=3, height=24, width=40):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8) for _ in range(count)]


def text_of(body):
    return next(part["text"] for part in body["messages"][0]["content"] if part["type"] == "text")


def test_what_is_sent(server, log):
    (clip,) = clips(1, frames=32)
    clip[:] = clip[0, :1, :1]  # of one colour, which JPEG keeps
    assert captioner(server).caption([clip]) == ["A dog runs."]
    ((path, headers, body),) = server.requests
    assert path == "/v1/chat/completions"
    assert "Authorization" not in headers
    assert body["model"] == "qwen"
    settings = {"temperature": 0.1, "top_p": 0.001, "repetition_penalty": 1.05, "max_tokens": 512}
    assert {name: body[name] for name in settings} == settings
    *pictures, said = body["messages"][0]["content"]
    assert len(pictures) == 16
    assert said["text"].startswith("These 16 pictures are frames of one video, in order, 0.12 seconds apart.")
    assert said["text"].endswith(CAPTION_PROMPT)
    kind, _, data = pictures[0]["image_url"]["url"].partition(",")
    assert kind == "data:image/jpeg;base64"
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert shown.shape == (24, 40, 3)
    assert np.abs(shown.astype(int) - clip[0]).max() <= 3
    assert log == ["1200 tokens asked, 60 answered"]


def test_large_frames_are_made_smaller(server):
    captioner(server, max_pixels=2000, repetition_penalty=None).caption(clips(1, frames=1, height=100, width=200))
    ((_, _, body),) = server.requests
    data = body["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (63, 31)  # sqrt(20000 / 2000) = 3.162
    assert "repetition_penalty" not in body


def test_answers_come_in_order_and_at_once(server):
    together = threading.Barrier(4, timeout=10)

    def slow(body, attempt):
        together.wait()  # passes only where four are under way
        return completion(str(len(text_of(body))))

    server.behave = slow
    captions = ["x" * n for n in (5, 1, 9, 3)]
    replies = captioner(server, concurrency=4).reply(
        [captioner(server)._question(clip, caption) for clip, caption in zip(clips(4), captions, strict=True)]
    )
    lengths = [int(reply) for reply in replies]
    assert [length - lengths[1] for length in lengths] == [4, 0, 8, 2]
    assert server.most_at_once == 4


def test_objects_and_the_second_question(server):
    def behave(body, attempt):
        asked_again = len(body["messages"]) == 3
        return completion('["red hat"]' if asked_again else "A red hat, I think.")

    server.behave = behave
    assert captioner(server).name_objects(clips(1), ["A red hat."]) == [["red hat"]]
    first, second = (body for _, _, body in server.requests)
    assert text_of(first).endswith(objects_prompt("A red hat."))
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "user"]
    assert second["messages"][1]["content"] == "A red hat, I think."


# --- refusals and breaks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_tried_again(server, log, status):
    server.behave = lambda body, attempt: (status, {}, "busy") if attempt < 3 else completion("A dog runs.")
    assert captioner(server).caption(clips(2)) == ["A dog runs."] * 2
    assert len(server.requests) == 6
    assert sum(f"it answers {status} (busy); attempt 2" in line for line in log) == 2


def test_pauses_grow_and_the_servers_word_counts(server, monkeypatch):
    pauses = []
    monkeypatch.setattr(connection.time, "sleep", pauses.append)
    server.behave = lambda body, attempt: (503, {"Retry-After": "7"} if attempt == 2 else {}, "")
    with pytest.raises(UnansweredError, match="gave no answer in 5 attempts"):
        captioner(server, patience=Patience(attempts=5, pause_s=1.0)).caption(clips(1))
    assert pauses == [1.0, 7.0, 4.0, 8.0]


def test_a_server_that_never_recovers(server):
    server.behave = lambda body, attempt: (500, {}, json.dumps({"error": {"message": "CUDA out of memory"}}))
    with pytest.raises(UnansweredError, match=r"no answer in 3 attempts \(it answers 500 \(CUDA out of memory\)\)"):
        captioner(server).caption(clips(1))
    assert len(server.requests) == 3


def test_a_server_that_says_nothing(server):
    done = threading.Event()

    def hang(body, attempt):
        done.wait(20)
        return completion("too late")

    server.behave = hang
    started = time.monotonic()
    with pytest.raises(UnansweredError, match=r"no answer came within 0\.3 seconds"):
        captioner(server, patience=Patience(timeout_s=0.3, attempts=2, pause_s=0.01)).caption(clips(1))
    done.set()
    assert time.monotonic() - started < 10


def test_a_connection_that_breaks(server):
    server.behave = lambda body, attempt: (None, {}, "") if attempt == 1 else completion("A dog runs.")
    assert captioner(server).caption(clips(1)) == ["A dog runs."]


def test_nobody_there(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asking = ServerCaptioner(f"http://127.0.0.1:{port}/v1", "qwen", fps=16.0, patience=QUICK)
    with pytest.raises(
        UnansweredError, match=rf"127\.0\.0\.1:{port} gave no answer .*connection failed.*check the server"
    ):
        asking.caption(clips(1))


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (400, "check its settings"),
        (401, "put its key into OPENAI_API_KEY"),
        (404, "check its address and that it has the model qwen"),
    ],
)
def test_a_refusal_is_not_tried_again(server, status, remedy):
    server.behave = lambda body, attempt: (status, {}, json.dumps({"object": "error", "message": "no,\nnever"}))
    with pytest.raises(UnansweredError, match=rf"refuses: it answers {status} \(no, never\); {remedy}") as caught:
        captioner(server).caption(clips(1))
    assert len(server.requests) == 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["<html>", "[]", "{}", '{"choices": []}', '{"choices": [{"message": {"content": null}}]}']
)
def test_an_answer_that_is_none(server, text):
    server.behave = lambda body, attempt: (200, {}, text)
    with pytest.raises(UnansweredError, match="something else than a chat completion; check its address"):
        captioner(server).caption(clips(1))


def test_one_failure_leaves_the_others(server):
    server.behave = lambda body, attempt: completion('["zebra"]') if "zebra" in text_of(body) else (400, {}, "no")
    with pytest.raises(UnansweredError, match=r"answers 400 \(no\).*the first of 2 of 3") as caught:
        captioner(server).name_objects(clips(3), ["A dog.", "A zebra.", "A tree."])
    assert caught.value.answers == [None, ["zebra"], None]
    assert sorted(caught.value.failures) == [0, 2]


# --- the key ---------------------------------------------------------------------------------------------------------


def test_the_key_goes_into_the_header_alone(server, log, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.behave = lambda body, attempt: (
        (500, {}, f"bad key {KEY}") if attempt == 1 else (401, {}, f"no {KEY} 'sk-s3cr***89'")
    )
    with pytest.raises(UnansweredError) as caught:
        captioner(server).caption(clips(1))
    assert server.requests[0][1]["Authorization"] == f"Bearer {KEY}"
    told = " ".join([str(caught.value), *log])
    assert "***" in told
    assert "s3cr" not in told
    assert KEY not in json.dumps(server.requests[0][2])


def test_the_key_of_another_variable(server, monkeypatch):
    monkeypatch.setenv("VLLM_KEY", KEY)
    captioner(server, key_variable="VLLM_KEY").caption(clips(1))
    assert server.requests[0][1]["Authorization"] == f"Bearer {KEY}"


def test_a_redirect_is_refused(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    elsewhere = Server()
    threading.Thread(target=elsewhere.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        for status in (302, 307, 308):
            server.behave = lambda body, attempt, status=status: (status, {"Location": elsewhere.url}, "")
            with pytest.raises(UnansweredError, match=f"refuses: it answers {status}"):
                captioner(server).caption(clips(1))
        assert elsewhere.requests == []
    finally:
        elsewhere.shutdown()
        elsewhere.server_close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost:8000/v1", "give one like http://host:8000/v1"),
        ("ftp://host/v1", "give one like http://host:8000/v1"),
        ("http://me:s3cret@host:8000/v1", "holds a password; put the key into OPENAI_API_KEY instead"),
    ],
)
def test_addresses_that_are_none(url, says):
    with pytest.raises(InputError, match=says) as caught:
        ServerCaptioner(url, "qwen", fps=16.0)
    assert "s3cret" not in str(caught.value)
