"""A joint embedding behind an OpenAI-compatible server that takes chats at /embeddings, as vLLM does.

Checked against a small server that speaks this protocol; not run with a served model.

The server decides the positions of image tokens, which in vLLM are two-dimensional, and by its chat template the token
that is looked at. Scores may therefore lie beside those of the published code: do not mix them in one table.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image as Pictures

from magref.curation.interfaces import Image
from magref.curation.models.connection import KEY_VARIABLE, PATIENT, Connection, NoAnswerError, Patience
from magref.errors import ResourceError
from magref.evaluation.metrics.gme import IMAGE_INSTRUCTION, TEXT_INSTRUCTION, Embeddings


class GmeServer:
    """A `JointEmbedder`. A server that gave no answer to its first questions is not asked again.

    Args:
        url: the server's base address, for example http://localhost:8000/v1.
        model: the name that the server has for the model.
        concurrency: questions under way at once.
        patience, key_variable: see `Connection`.
    """

    ran = "a server that speaks the protocol; not with the published weights"

    def __init__(
        self,
        url: str,
        model: str,
        *,
        concurrency: int = 8,
        patience: Patience = PATIENT,
        key_variable: str = KEY_VARIABLE,
    ) -> None:
        self.model = model
        self.concurrency = concurrency
        self._answered = False
        self._dead: str | None = None
        self._server = Connection(url, "embeddings", model, patience=patience, key_variable=key_variable)

    def texts(self, texts: Sequence[str]) -> Embeddings:
        """See `JointEmbedder`.

        Raises:
            ResourceError: the server refuses, does not answer, or answers with something else.
        """
        return self._asked([(TEXT_INSTRUCTION, {"type": "text", "text": text}) for text in texts])

    def images(self, images: Sequence[Image]) -> Embeddings:
        """See `JointEmbedder`; errors as for `texts`."""
        return self._asked(
            [(IMAGE_INSTRUCTION, {"type": "image_url", "image_url": {"url": _data_url(image)}}) for image in images]
        )

    def _asked(self, questions: Sequence[tuple[str, dict[str, Any]]]) -> Embeddings:
        if self._dead is not None:
            raise ResourceError(self._dead)
        try:
            with ThreadPoolExecutor(self.concurrency) as pool:
                rows = np.stack(list(pool.map(self._embedding, questions)))
        except NoAnswerError as error:
            if not self._answered:  # every further case would wait as long
                self._dead = str(error)
            raise
        self._answered = True
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def _embedding(self, question: tuple[str, dict[str, Any]]) -> Embeddings:
        instruction, said = question
        messages = [
            {"role": "system", "content": [{"type": "text", "text": instruction}]},
            {"role": "user", "content": [said]},
        ]
        content = self._server.post({"model": self.model, "messages": messages, "encoding_format": "float"})
        try:
            row = np.array(json.loads(content)["data"][0]["embedding"], dtype=np.float32)
        except (ValueError, LookupError, TypeError):
            row = np.zeros(0, np.float32)
        if row.ndim != 1 or not row.size or not np.isfinite(row).all() or not row.any():
            raise ResourceError(f"{self._server.name} answers with something else than an embedding; check its address")
        return row


def _data_url(image: Image) -> str:
    """Without loss: what JPEG would lose changes the score."""
    file = io.BytesIO()
    Pictures.fromarray(image).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
