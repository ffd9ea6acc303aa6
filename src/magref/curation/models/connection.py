"""A model behind an OpenAI-compatible server: asked over HTTP, with patience, its key kept to itself."""

from __future__ import annotations

import json
import logging
import os
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from typing import IO
from urllib.parse import urlsplit

from magref.errors import InputError, ResourceError

KEY_VARIABLE = "OPENAI_API_KEY"
TIMEOUT_S = 120.0
ATTEMPTS = 5
LONGEST_PAUSE_S = 60.0

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


PATIENT = Patience()


class NoAnswerError(ResourceError):
    """A server that gave no answer, for all the patience there was."""


class Connection:
    """Where one kind of question is asked.

    Args:
        url: the server's base address, for example http://localhost:8000/v1.
        path: what follows it, for example chat/completions.
        model: the name that the server has for the model, for what is said when it has none.
        key_variable: the environment variable that holds the key, where the server wants one. The key goes into the
            request's header and nowhere else, and never to another address: redirects are refused.

    Raises:
        InputError: the address is none.
    """

    def __init__(
        self,
        url: str,
        path: str,
        model: str,
        *,
        patience: Patience = PATIENT,
        key_variable: str = KEY_VARIABLE,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"the server's address has the scheme {parts.scheme!r}; give one like http://host:8000/v1")
        if parts.username or parts.password:
            raise InputError(f"the server's address holds a password; put the key into {key_variable} instead")
        self.url = url.rstrip("/") + "/" + path
        self.model = model
        self.patience = patience
        self.key_variable = key_variable
        self._open = urllib.request.build_opener(_NoRedirects()).open

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"the server {urlsplit(self.url).netloc}"

    def post(self, question: object) -> bytes:
        """The server's answer to a question as JSON, after as many attempts as there is patience for.

        Raises:
            ResourceError: it refuses.
            NoAnswerError: it does not answer.
        """
        body = json.dumps(question).encode()
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
                    raise ResourceError(f"{self.name} refuses: {reason}; {self._remedy(error.code)}") from None
            except TimeoutError:
                reason = f"no answer came within {self.patience.timeout_s:g} seconds"
            except (urllib.error.URLError, HTTPException, OSError) as error:
                reason = _masked(f"the connection failed: {getattr(error, 'reason', error)}", key)
            if attempt < self.patience.attempts:
                wait = min(asked_pause if asked_pause is not None else pause, LONGEST_PAUSE_S)
                _LOG.warning("%s: %s; attempt %d in %.1f seconds", self.name, reason, attempt + 1, wait)
                time.sleep(wait)
                pause *= 2
        raise NoAnswerError(
            f"{self.name} gave no answer in {self.patience.attempts} attempts ({reason}); check the server, or ask "
            "it less at once"
        )

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
