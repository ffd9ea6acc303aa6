"""Examples as the transformer takes them: the clip's latents, the references' conditioning, the caption's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from magref.canvas import Canvas
from magref.conditioning import Conditioning, build_conditioning, encode_video
from magref.geometry import Strides, VideoShape
from magref.prompts import clean_prompt
from magref.settings import Mechanism
from magref.text import encode_text
from magref.training.examples import blank_canvas, clip_pixels
from magref.video import Frames


@dataclass(frozen=True)
class Encoders:
    """The frozen models before the transformer; `text_encoder` is None where it is trained, outside of here."""

    vae: Any
    text_encoder: Any | None
    tokenizer: Any
    image_encoder: Any | None
    strides: Strides
    text_tokens: int
    mechanism: Mechanism
    device: torch.device

    @torch.no_grad()
    def clip(self, frames: Frames) -> torch.Tensor:
        """uint8 (F, H, W, 3) -> (1, C, T, h, w)."""
        return encode_video(self.vae, clip_pixels(frames)[None].to(self.device))

    def canvas(self, canvas: Canvas, frames: int) -> Conditioning:
        """One canvas -> its conditioning, by the function that generation uses."""
        return build_conditioning(
            [canvas],
            frames,
            vae=self.vae,
            strides=self.strides,
            image_encoder=self.image_encoder,
            device=self.device,
            mechanism=self.mechanism,
        )

    def blank(self, shape: VideoShape) -> Conditioning | None:
        """The conditioning of no references; None for the rival mechanisms, which have no picture of that."""
        return self.canvas(blank_canvas(shape), shape.frames) if self.mechanism == "masked" else None

    def text(self, caption: str) -> torch.Tensor | str:
        """(n, D) features, or the caption itself where the text encoder is trained."""
        if self.text_encoder is None:
            return caption
        return encode_text(
            caption,
            tokenizer=self.tokenizer,
            text_encoder=self.text_encoder,
            text_tokens=self.text_tokens,
            device=self.device,
        )


def stack_conditioning(parts: Sequence[Conditioning]) -> Conditioning:
    """Conditionings of one shape, (1, ...) each, as a batch."""

    def stacked(tensors: list[torch.Tensor | None]) -> torch.Tensor | None:
        present = [tensor for tensor in tensors if tensor is not None]
        return torch.cat(present) if present else None

    guidance = torch.cat([part.guidance for part in parts])
    return Conditioning(guidance, stacked([p.image_embeds for p in parts]), stacked([p.tail for p in parts]))


def pad_texts(texts: Sequence[torch.Tensor], text_tokens: int) -> torch.Tensor:
    """(n_i, D) features -> (B, text_tokens, D), zeros beyond each text's end, as generation pads them."""
    return torch.stack([F.pad(text, (0, 0, 0, text_tokens - text.shape[0])) for text in texts])


def caption_features(captions: Sequence[str], tokenizer: Any, text_encoder: Any, text_tokens: int) -> torch.Tensor:
    """(B, text_tokens, D) of a text encoder that is being trained; the same cleaning and padding as in generation."""
    texts = [clean_prompt(caption) for caption in captions]
    tokens = tokenizer(texts, padding=True, max_length=text_tokens, truncation=True, return_tensors="pt")
    ids, mask = tokens.input_ids.to(text_encoder.device), tokens.attention_mask.to(text_encoder.device)
    features = text_encoder(ids, attention_mask=mask).last_hidden_state * mask[..., None]
    return F.pad(features, (0, 0, 0, text_tokens - features.shape[1]))
