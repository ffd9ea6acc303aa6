"""GmeScore: the embedding is the published one, token by token, in this process; and what is asked of a server."""

from __future__ import annotations

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from magref.batch import Case, CaseReference
from magref.curation.models.connection import Patience
from magref.curation.models.shelf import Shelf
from magref.errors import CheckpointError, ResourceError
from magref.evaluation.decoding import decode, evenly
from magref.evaluation.metrics.gme import Gme
from magref.evaluation.metrics.gme_model import MAX_TOKENS, GmeModel
from magref.evaluation.metrics.gme_server import GmeServer
from magref.evaluation.metrics.interface import FRAMES
from magref.video import write_video
from tiny_faces import picture
from tiny_gme import save_gme
from tiny_models import without_tensor

pytestmark = pytest.mark.usefixtures("one_thread")


def image(seed: int = 0, height: int = 60, width: int = 100) -> np.ndarray:
    return picture(height, width, seed)


@pytest.fixture(scope="module")
def gme(tmp_path_factory) -> GmeModel:
    return GmeModel(save_gme(tmp_path_factory.mktemp("gme")), shelf=Shelf("cpu"), dtype=torch.float32, batch=2)


def said(instruction: str, text: str) -> str:
    return (
        f"<|im_start|>system\n{instruction}<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n"
        "<|im_start|>assistant\n<|endoftext|>"
    )


@torch.no_grad()
def test_gme_reads_the_last_token_of_each_text_whatever_else_is_in_the_batch(gme):
    texts = ["A dog.", "A much longer prompt, in which a dog walks to the left of the picture.", "Cats!"]
    model, tokenizer, _ = gme._shelf.take(gme, gme._load)
    together = gme.texts(texts)
    for text, row in zip(texts, together, strict=True):
        ids = tokenizer(said("Find an image that matches the given text.", text), return_tensors="pt")["input_ids"]
        assert tokenizer.decode(ids[0, -1]) == "<|endoftext|>"
        state = model.language_model(input_ids=ids).last_hidden_state[0, -1]
        assert row == pytest.approx((state / state.norm()).numpy(), abs=1e-5)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(3))


@torch.no_grad()
def test_gme_counts_image_tokens_one_after_the_other(gme):
    shown = image()
    model, tokenizer, processor = gme._shelf.take(gme, gme._load)
    sized = Image.fromarray(shown).resize((round(shown.shape[1] / 28) * 28, round(shown.shape[0] / 28) * 28))
    pixels = processor(images=[sized], return_tensors="pt")
    tokens = int(pixels["image_grid_thw"].prod()) // 4
    assert tokens >= 256  # small images are made larger
    text = said("You are a helpful assistant.", f"<|vision_start|>{'<|image_pad|>' * tokens}<|vision_end|>")
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    inputs = model.get_input_embeddings()(ids)
    place = ids == model.config.image_token_id
    inputs[place] = model.visual(pixels["pixel_values"], grid_thw=pixels["image_grid_thw"]).pooler_output
    state = model.language_model(inputs_embeds=inputs).last_hidden_state[0, -1]  # positions 0, 1, 2, ...
    sequential = (state / state.norm()).numpy()
    (row,) = gme.images([shown])
    assert row == pytest.approx(sequential, abs=1e-4)
    whole = model(input_ids=ids, mm_token_type_ids=place.int(), **pixels).last_hidden_state[0, -1]
    assert np.abs(row - (whole / whole.norm()).numpy()).max() > 1e-2  # M-RoPE would say something else


def test_gme_of_several_images_is_that_of_each(gme):
    images = [image(n, 60 + 20 * n) for n in range(3)]
    together = gme.images(images)
    for one, row in zip(images, together, strict=True):
        assert gme.images([one])[0] == pytest.approx(row, abs=1e-4)


def test_gme_loads_checkpoints_with_the_older_names_and_refuses_broken_ones(gme, tmp_path):
    from safetensors.torch import load_file, save_file

    old = save_gme(tmp_path / "old")
    tensors = load_file(old / "model.safetensors")
    renamed = {
        name.replace("model.visual.", "visual.").replace("model.language_model.", "model."): tensor
        for name, tensor in tensors.items()
    }
    assert renamed.keys() != tensors.keys() or any(name.startswith("visual.") for name in tensors)
    save_file(renamed, old / "model.safetensors", metadata={"format": "pt"})
    other = GmeModel(old, shelf=Shelf("cpu"), dtype=torch.float32)
    assert other.texts(["A dog."])[0] == pytest.approx(gme.texts(["A dog."])[0], abs=1e-5)
    without_tensor(old, next(name for name in renamed if "layers.1" in name))
    with pytest.raises(CheckpointError, match="lacks"):
        GmeModel(old, shelf=Shelf("cpu")).texts(["A dog."])


def test_gme_score_is_the_mean_cosine_over_the_sampled_frames(gme, tmp_path):
    write_video(np.stack([image(n) for n in range(3)]), tmp_path / "video.mp4", fps=8)
    made = decode(tmp_path / "video.mp4")
    case = Case(id="a", prompt="A dog.", refs=(CaseReference(uri="x.png"),))
    score = Gme(gme, "opens2v").measure(made, case)["gme"]
    text = gme.texts(["A dog."])[0]
    plain = [float(gme.images([made.rgb([n], published=True)[0]])[0] @ text) for n in range(3)]
    assert score.value == pytest.approx(np.mean([plain[n] for n in evenly(FRAMES, 3)]), abs=1e-5)
    assert len(set(np.round(plain, 6))) == 3


def test_gme_cuts_texts_at_the_published_length(gme):
    long = "word " * MAX_TOKENS
    assert np.array_equal(gme.texts([long]), gme.texts([long + "and more"]))


class Embedding(BaseHTTPRequestHandler):
    """Embeds a text by its length and a picture by its mean colours, unless `answer` is set."""

    seen: ClassVar[list] = []
    answer: ClassVar[str | None] = None

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, body))
        (said,) = body["messages"][1]["content"]
        if said["type"] == "text":
            row = [float(len(said["text"])), 3.0, 4.0]
        else:
            shown = Image.open(io.BytesIO(base64.b64decode(said["image_url"]["url"].partition(",")[2])))
            row = np.asarray(shown, dtype=float).mean(axis=(0, 1)).tolist()
        text = self.answer or json.dumps({"data": [{"embedding": row}]})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(Embedding, "answer", None)
    Embedding.seen.clear()
    made = ThreadingHTTPServer(("127.0.0.1", 0), Embedding)
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield GmeServer(f"http://127.0.0.1:{made.server_port}/v1", "gme", patience=Patience(attempts=1))
    made.shutdown()
    made.server_close()


def test_a_server_embeds_texts_and_pictures_without_loss(server):
    assert server.texts(["four", "twelve"]) == pytest.approx(
        np.array([[4, 3, 4], [6, 3, 4]]) / np.sqrt([[41], [61]]), abs=1e-6
    )
    shown = image()
    colour = shown.mean(axis=(0, 1))
    assert server.images([shown])[0] == pytest.approx(colour / np.linalg.norm(colour), abs=1e-6)
    paths, bodies = zip(*Embedding.seen, strict=True)
    assert set(paths) == {"/v1/embeddings"}
    assert {body["model"] for body in bodies} == {"gme"}
    told = [body["messages"][0]["content"][0]["text"] for body in bodies]
    assert told == ["Find an image that matches the given text."] * 2 + ["You are a helpful assistant."]


@pytest.mark.parametrize(
    "answer", ["no json", '{"data": []}', '{"data": [{"embedding": []}]}', '{"data": [{"embedding": [0, 0]}]}',
               '{"data": [{"embedding": [NaN, 1]}]}', '{"data": [{"embedding": "x"}]}']
)  # fmt: skip
def test_a_server_that_answers_with_something_else_is_named(server, monkeypatch, answer):
    monkeypatch.setattr(Embedding, "answer", answer)
    with pytest.raises(ResourceError, match="answers with something else than an embedding"):
        server.texts(["four"])


def test_a_server_that_never_answered_is_asked_once_for_all_cases(tmp_path, monkeypatch):
    write_video(np.stack([image(height=48, width=64)]), tmp_path / "a.mp4", fps=8)
    made = GmeServer("http://127.0.0.1:9/v1", "gme", patience=Patience(attempts=1))
    asked = []
    post = made._server.post
    monkeypatch.setattr(made._server, "post", lambda question: asked.append(question) or post(question))
    case = Case(id="a", prompt="She walks.", refs=(CaseReference(uri="x.png"),))
    for _ in range(3):
        with pytest.raises(ResourceError, match="gave no answer in 1 attempts"):
            Gme(made, "strict").measure(decode(tmp_path / "a.mp4"), case)
    assert len(asked) == 1
