"""A vision-language model behind an OpenAI-compatible server (vLLM, SGLang and the like), asked over HTTP.

Checked against a small server that speaks this protocol; not run with a served model.

Frames are sent as JPEG pictures, which every such server takes. vLLM must be told to allow them:
`vllm serve Qwen/Qwen2.5-VL-7B-Instruct --limit-mm-per-prompt '{"image": 16}'`.
"""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image

from magref.curation.models.asking import (
    NEW_TOKENS,
    REPETITION_PENALTY,
    TEMPERATURE,
    TOP_P,
    AskingCaptioner,
    Question,
)
from magref.curation.models.connection import KEY_VARIABLE, PATIENT, Connection, Patience
from magref.curation.models.qwen import PIXELS, fitting_size
from magref.errors import MagrefError, ResourceError
from magref.video import Frames

JPEG_QUALITY = 95

_LOG = logging.getLogger(__name__)


class ServerCaptioner(AskingCaptioner):
    """A `Captioner`.

    Args:
        url: the server's base address, for example http://localhost:8000/v1.
        model: the name that the server has for the model.
        fps: frames a second of the clips.
        concurrency: questions under way at once.
        patience, key_variable: see `Connection`.
        repetition_penalty: None for servers that do not know the setting, such as OpenAI's own.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        fps: float,
        concurrency: int = 8,
        patience: Patience = PATIENT,
        key_variable: str = KEY_VARIABLE,
        max_pixels: int = PIXELS[1],
        repetition_penalty: float | None = REPETITION_PENALTY,
    ) -> None:
        super().__init__(fps=fps)
        self._server = Connection(url, "chat/completions", model, patience=patience, key_variable=key_variable)
        self.model = model
        self.concurrency = concurrency
        self.max_pixels = max_pixels
        self.repetition_penalty = repetition_penalty

    def reply(self, questions: Sequence[Question]) -> list[str | MagrefError]:
        """The answers, `concurrency` questions at a time; see `AskingCaptioner`."""
        with ThreadPoolExecutor(self.concurrency) as pool:
            return list(pool.map(self._reply, questions))

    def _reply(self, question: Question) -> str | MagrefError:
        try:
            return self._answer(self._server.post(self._body(question)))
        except MagrefError as error:
            return error

    def _body(self, question: Question) -> dict[str, Any]:
        settings = {
            "model": self.model,
            "messages": _messages(question, self.max_pixels),
            "temperature": TEMPERATURE,
            "top_p": TOP_P,
            "max_tokens": NEW_TOKENS,
        }
        if self.repetition_penalty is not None:
            settings["repetition_penalty"] = self.repetition_penalty
        return settings

    def _answer(self, content: bytes) -> str:
        try:
            value = json.loads(content)
            text = value["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            text = None
        if not isinstance(text, str):
            raise ResourceError(
                f"{self._server.name} answers with something else than a chat completion; check its address"
            )
        usage = value.get("usage") or {}
        _LOG.info("%s tokens asked, %s answered", usage.get("prompt_tokens"), usage.get("completion_tokens"))
        return text


def _messages(question: Question, max_pixels: int) -> list[dict[str, Any]]:
    said = (
        f"These {len(question.frames)} pictures are frames of one video, in order, "
        f"{question.seconds_apart:.2f} seconds apart.\n\n{question.turns[0]}"
    )
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in _data_urls(question.frames, max_pixels)]
    roles = ("assistant", "user")
    return [
        {"role": "user", "content": [*pictures, {"type": "text", "text": said}]},
        *({"role": roles[n % 2], "content": text} for n, text in enumerate(question.turns[1:])),
    ]


def _data_urls(frames: Frames, max_pixels: int) -> list[str]:
    """The frames as JPEG, no larger than the model looks at them."""
    height, width = frames.shape[1:3]
    if height * width > max_pixels:
        height, width = fitting_size(height, width, factor=1, pixels=(1, max_pixels))
    urls = []
    for frame in frames:
        file = io.BytesIO()
        picture = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
        picture.save(file, "JPEG", quality=JPEG_QUALITY)
        urls.append(f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}")
    return urls
