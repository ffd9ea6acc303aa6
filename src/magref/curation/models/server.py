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
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from typing import IO, Any
from urllib.parse import urlsplit

from PIL import Image

from magref.curation.models.asking import (
    NEW_TOKENS,
    REPETITION_PENALTY,
    TEMPERATURE,
    TOP_P,
    AskingCaptioner,
    Question,
)
from magref.curation.models.qwen import PIXELS, fitting_size
from magref.errors import InputError, MagrefError, ResourceError
from magref.video import Frames

KEY_VARIABLE = "OPENAI_API_KEY"
TIMEOUT_S = 120.0
ATTEMPTS = 5
LONGEST_PAUSE_S = 60.0
JPEG_QUALITY = 95

_WORTH_ANOTHER_TRY = {408, 409, 425, 429, 500, 502, 503, 504}
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Attributes:
        timeout_s: without a byte, before an attempt is given up.
        attempts: for each question.
        pause_s: before the second attempt; twice as long before each further one, or as long as the server asks for.
    """

    timeout_s: float = TIMEOUT_S
    attempts: int = ATTEMPTS
    pause_s: float = 1.0


class ServerCaptioner(AskingCaptioner):
    """A `Captioner`.

    Args:
        url: the server's base address, for example http://localhost:8000/v1.
        model: the name that the server has for the model.
        fps: frames a second of the clips.
        concurrency: questions under way at once.
        key_variable: the environment variable that holds the key, where the server wants one. The key goes into the
            request's header and nowhere else, and never to another address: redirects are refused.
        repetition_penalty: None for servers that do not know the setting, such as OpenAI's own.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        fps: float,
        concurrency: int = 8,
        patience: Patience = Patience(),
        key_variable: str = KEY_VARIABLE,
        max_pixels: int = PIXELS[1],
        repetition_penalty: float | None = REPETITION_PENALTY,
    ) -> None:
        super().__init__(fps=fps)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"the server's address has the scheme {parts.scheme!r}; give one like http://host:8000/v1")
        if parts.username or parts.password:
            raise InputError(f"the server's address holds a password; put the key into {key_variable} instead")
        self.url = url.rstrip("/") + "/chat/completions"
        self.model = model
        self.concurrency = concurrency
        self.patience = patience
        self.key_variable = key_variable
        self.max_pixels = max_pixels
        self.repetition_penalty = repetition_penalty
        self._open = urllib.request.build_opener(_NoRedirects()).open

    def reply(self, questions: Sequence[Question]) -> list[str | MagrefError]:
        """The answers, `concurrency` questions at a time; see `AskingCaptioner`."""
        with ThreadPoolExecutor(self.concurrency) as pool:
            return list(pool.map(self._reply, questions))

    def _reply(self, question: Question) -> str | MagrefError:
        try:
            return self._answer(self._post(json.dumps(self._body(question)).encode()))
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

    def _post(self, body: bytes) -> bytes:
        """The server's answer, after as many attempts as there is patience for."""
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self.key_variable)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        pause = self.patience.pause_s
        for attempt in range(1, self.patience.attempts + 1):
            # A new one each time: urllib changes what it is given. The address was checked to be http or https.
            request = urllib.request.Request(self.url, body, headers)  # noqa: S310
            asked_pause = None
            try:
                with self._open(request, timeout=self.patience.timeout_s) as response:
                    return bytes(response.read())
            except urllib.error.HTTPError as error:
                with error:
                    reason = f"it answers {error.code}{_said(error, key)}"
                    asked_pause = _retry_after(error.headers)
                if error.code not in _WORTH_ANOTHER_TRY:
                    raise ResourceError(f"{self._server} refuses: {reason}; {self._remedy(error.code)}") from None
            except TimeoutError:
                reason = f"no answer came within {self.patience.timeout_s:g} seconds"
            except (urllib.error.URLError, HTTPException, OSError) as error:
                reason = _masked(f"the connection failed: {getattr(error, 'reason', error)}", key)
            if attempt < self.patience.attempts:
                wait = min(asked_pause if asked_pause is not None else pause, LONGEST_PAUSE_S)
                _LOG.warning("%s: %s; attempt %d in %.1f seconds", self._server, reason, attempt + 1, wait)
                time.sleep(wait)
                pause *= 2
        raise ResourceError(
            f"{self._server} gave no answer in {self.patience.attempts} attempts ({reason}); check the server, or ask "
            "it less at once"
        )

    def _answer(self, content: bytes) -> str:
        try:
            value = json.loads(content)
            text = value["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            text = None
        if not isinstance(text, str):
            raise ResourceError(f"{self._server} answers with something else than a chat completion; check its address")
        usage = value.get("usage") or {}
        _LOG.info("%s tokens asked, %s answered", usage.get("prompt_tokens"), usage.get("completion_tokens"))
        return text

    @property
    def _server(self) -> str:
        return f"the server {urlsplit(self.url).netloc}"

    def _remedy(self, status: int) -> str:
        if status in (401, 403):
            return f"put its key into {self.key_variable}"
        if status == 404:
            return f"check its address and that it has the model {self.model}"
        return "check its settings"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """urllib would carry the key along to wherever it is sent."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """None: the redirect stays the answer, which is an error."""
        return None


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


def _said(error: urllib.error.HTTPError, key: str | None) -> str:
    """What the server says of its refusal, in one line."""
    try:
        text = error.read(10_000).decode("utf-8", "replace")
    except (OSError, HTTPException):
        return ""
    try:
        value = json.loads(text)
        text = value.get("message") or value["error"]["message"]
    except (ValueError, LookupError, TypeError, AttributeError):
        pass  # a proxy's page, or another form of error
    line = _masked(re.sub(r"\s+", " ", str(text)).strip(), key)[:200]
    return f" ({line})" if line else ""


def _masked(text: str, key: str | None) -> str:
    """Some servers repeat the key that they refuse, some of them in part."""
    if key:
        text = text.replace(key, "***")
    return re.sub(r"\bsk-[\w*-]+|(?<=Bearer )\S+", "***", text)


def _retry_after(headers: Message) -> float | None:
    """Seconds; a date, the header's other form, is passed over."""
    value = headers.get("Retry-After", "")
    return float(value) if re.fullmatch(r"\d+(\.\d+)?", value) else None
