"""The transformer over one video's sampling steps, with all that does not change from step to step computed once.

Per video: rotary angles, text and image keys and values of every block, and all steps' modulations. Per step: the first
block's self-attention is shared by the conditional and unconditional pass, whose inputs differ only from the first
cross-attention on. The many zero-padded text rows have identical keys and values, so one row weighted by their number
replaces them exactly. `PlainDenoiser` calls the transformer as diffusers does: it is what these savings are tested
against, and what runs where hooks (offloading, context parallelism) must see the transformer's own forward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_wan import WanAttnProcessor

from magref.conditioning import Conditioning
from magref.geometry import LatentShape

BATCHED_TOKENS = 4096
"""Up to this sequence length the passes of guidance run as one batch; above it one after the other, for memory."""

ASSUMED_TEXT_TOKENS = 512
"""Wan2.1's code and diffusers' tell image rows from text rows by assuming this many text rows at the end."""


class PlainDenoiser:
    """Velocities by the transformer's own forward, one pass for each text."""

    def __init__(
        self,
        transformer: Any,
        texts: Sequence[torch.Tensor],
        conditioning: Conditioning,
        timesteps: torch.Tensor,
        *,
        text_tokens: int,
    ) -> None:
        self._transformer = transformer
        self._texts = [F.pad(text, (0, 0, 0, text_tokens - text.shape[0]))[None] for text in texts]
        self._conditioning = conditioning
        self._timesteps = timesteps

    def __call__(self, latents: torch.Tensor, step: int) -> list[torch.Tensor]:
        """(1, C, T, h, w) latents at sampling step `step` -> one velocity of that shape for each text."""
        x = self._conditioning.join(latents)
        timestep = self._timesteps[step].expand(1).to(x.device)
        velocities = []
        for name, text in zip(("cond", "uncond"), self._texts, strict=False):
            with self._transformer.cache_context(name):  # step caches (`enable_cache`) keep one for each pass
                velocity = self._transformer(
                    hidden_states=x,
                    timestep=timestep,
                    encoder_hidden_states=text,
                    encoder_hidden_states_image=self._conditioning.image_embeds,
                    return_dict=False,
                )[0]
            velocities.append(self._conditioning.cut(velocity))
        return velocities


class Denoiser:
    """The same velocities as `PlainDenoiser`, to rounding, in less time.

    Args:
        transformer: a diffusers `WanTransformer3DModel`.
        texts: G feature tensors (n_i, D) without padding: the prompt's and, with guidance, the negative prompt's.
        conditioning: of one canvas, on the transformer's device and in its precision.
        timesteps: (steps,) of the whole schedule.
        text_tokens: how many rows the texts are padded to.
    """

    @torch.no_grad()
    def __init__(
        self,
        transformer: Any,
        texts: Sequence[torch.Tensor],
        conditioning: Conditioning,
        timesteps: torch.Tensor,
        *,
        text_tokens: int,
    ) -> None:
        self._transformer = transformer
        self._conditioning = conditioning
        guidance = conditioning.guidance
        self._shape = LatentShape(*guidance.shape[2:])
        embedder = transformer.condition_embedder
        rows, bias = fold_padding(texts, text_tokens)
        text = embedder.text_embedder(rows)  # (G, L, dim)
        image = None
        if conditioning.image_embeds is not None:
            image = embedder.image_embedder(conditioning.image_embeds)  # (1, N, dim)
            own = image_row_count(image.shape[1], text_tokens)
            image, spilt = image[:, :own], image[:, own:].expand(len(texts), -1, -1)
            text = torch.cat([spilt, text], dim=1)
            bias = F.pad(bias, (spilt.shape[1], 0))
        self._text_bias = bias.to(text.dtype)
        self._text_kv = [_text_keys_values(block.attn2, text) for block in transformer.blocks]
        self._image_kv = [
            None if image is None else _image_keys_values(block.attn2, image) for block in transformer.blocks
        ]
        self._rotary = _rotary(transformer, self._shape, guidance.device)
        dtype = text.dtype
        times = embedder.timesteps_proj(timesteps.to(guidance.device))
        self._temb = embedder.time_embedder(times.to(embedder.time_embedder.linear_1.weight.dtype)).to(dtype)
        self._modulation = embedder.time_proj(embedder.act_fn(self._temb)).unflatten(1, (6, -1)).float()
        tables = torch.cat([block.scale_shift_table for block in transformer.blocks]).float()  # (blocks, 6, dim)
        self._tables = tables + tables.new_tensor([0, 1, 0, 0, 1, 0])[:, None]  # scales are offsets from one
        count = len(texts)
        together = self._rotary.shape[1] <= BATCHED_TOKENS
        self._groups = [slice(0, count)] if together else [slice(g, g + 1) for g in range(count)]

    @torch.no_grad()
    def __call__(self, latents: torch.Tensor, step: int) -> list[torch.Tensor]:
        """(1, C, T, h, w) latents at sampling step `step` -> one velocity of that shape for each text."""
        model = self._transformer
        x = self._conditioning.join(latents)
        x = model.patch_embedding(x).flatten(2).transpose(1, 2).contiguous()  # (1, S, dim)
        modulation = self._tables + self._modulation[step]  # (blocks, 6, dim)
        x = self._self_attention(model.blocks[0], x, modulation[0])
        outputs: list[torch.Tensor] = []
        for group in self._groups:
            h = x.expand(group.stop - group.start, -1, -1)
            for index, block in enumerate(model.blocks):
                if index > 0:
                    h = self._self_attention(block, h, modulation[index])
                h = h + self._cross_attention(index, block, h, group)
                h = _feed_forward(block, h, modulation[index])
            outputs.extend(self._conditioning.cut(self._velocity(h, step)).split(1))
        return outputs

    def _self_attention(self, block: Any, x: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
        shift, scale, gate = modulation[:3].unbind(0)
        attn = block.attn1
        normed = _modulate(block.norm1, x, shift, scale)
        query = rotate(attn.norm_q(attn.to_q(normed)).unflatten(2, (attn.heads, -1)), self._rotary)
        key = rotate(attn.norm_k(attn.to_k(normed)).unflatten(2, (attn.heads, -1)), self._rotary)
        value = attn.to_v(normed).unflatten(2, (attn.heads, -1))
        attended = dispatch_attention_fn(query, key, value, backend=attn.processor._attention_backend)
        return _add_gated(x, attn.to_out[0](attended.flatten(2, 3)), gate)

    def _cross_attention(self, index: int, block: Any, x: torch.Tensor, group: slice) -> torch.Tensor:
        attn = block.attn2
        normed = block.norm2(x.float()).type_as(x)
        query = attn.norm_q(attn.to_q(normed)).unflatten(2, (attn.heads, -1)).transpose(1, 2)  # (G, heads, S, d)
        key, value = self._text_kv[index]
        attended = F.scaled_dot_product_attention(query, key[group], value[group], attn_mask=self._text_bias[group])
        image = self._image_kv[index]
        if image is not None:
            key, value = (part.expand(x.shape[0], -1, -1, -1) for part in image)
            attended = attended + F.scaled_dot_product_attention(query, key, value)
        return attn.to_out[0](attended.transpose(1, 2).flatten(2, 3))

    def _velocity(self, x: torch.Tensor, step: int) -> torch.Tensor:
        """Output norm, projection and the way back from patches: (G, S, dim) -> (G, C, T', h, w)."""
        model = self._transformer
        shift, scale = (model.scale_shift_table + self._temb[step]).chunk(2, dim=1)
        x = model.proj_out((model.norm_out(x.float()) * (1 + scale) + shift).type_as(x))
        _, patch_h, patch_w = model.config.patch_size
        frames, height, width = self._shape.frames, self._shape.height, self._shape.width
        x = x.reshape(x.shape[0], frames, height // patch_h, width // patch_w, patch_h, patch_w, -1)
        return x.permute(0, 6, 1, 2, 4, 3, 5).reshape(x.shape[0], -1, frames, height, width)


def has_hooks(transformer: Any) -> bool:
    """Whether something needs the transformer's or its blocks' own forward: offloading, parallelism, compilation, step
    caches, other attention processors.
    """
    if hasattr(transformer, "_orig_mod"):  # what `torch.compile(transformer)` returns
        return True
    for block in transformer.blocks:
        if any(type(attn.processor) is not WanAttnProcessor for attn in (block.attn1, block.attn2)):
            return True
    for module in (transformer, *transformer.blocks):
        if module._forward_hooks or module._forward_pre_hooks or module._compiled_call_impl is not None:
            return True
    for module in transformer.modules():
        registry = getattr(module, "_diffusers_hook", None)  # diffusers leaves empty registries behind
        if hasattr(module, "_hf_hook") or (registry is not None and registry.hooks):
            return True
    return False


def fold_padding(texts: Sequence[torch.Tensor], text_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """G texts (n_i, D) -> rows (G, L, D) and attention biases (G, 1, 1, L), equal to zero padding to `text_tokens`.

    m zero rows give m equal keys and values; softmax over them equals one such key with log(m) added to its logit.
    """
    length = max(text.shape[0] for text in texts) + 1
    rows = texts[0].new_zeros(len(texts), length, texts[0].shape[1])
    bias = torch.full((len(texts), 1, 1, length), -math.inf, device=rows.device)
    for g, text in enumerate(texts):
        count = text.shape[0]
        rows[g, :count] = text
        bias[g, ..., :count] = 0
        if count < text_tokens:
            bias[g, ..., count] = math.log(text_tokens - count)
    return rows, bias


def image_row_count(image_rows: int, text_tokens: int) -> int:
    """How many of the image rows attend as image rows, the rest as text: all of them with the usual 512 text tokens.

    Wan2.1's code cuts [image, text] at `total - 512`, a negative index where a small model has fewer rows than that.
    """
    total = image_rows + text_tokens
    cut = total - ASSUMED_TEXT_TOKENS
    return min(image_rows, cut if cut >= 0 else max(0, total + cut))


def _text_keys_values(attn: Any, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(G, L, dim) -> keys and values (G, heads, L, d)."""
    key, value = attn.norm_k(attn.to_k(text)), attn.to_v(text)
    return _heads(key, attn.heads), _heads(value, attn.heads)


def _image_keys_values(attn: Any, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, N, dim) -> keys and values (1, heads, N, d)."""
    key, value = attn.norm_added_k(attn.add_k_proj(image)), attn.add_v_proj(image)
    return _heads(key, attn.heads), _heads(value, attn.heads)


def _heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    return x.unflatten(2, (heads, -1)).transpose(1, 2).contiguous()


def _rotary(transformer: Any, shape: LatentShape, device: torch.device) -> torch.Tensor:
    """(1, S, 1, d / 2) complex rotations of all token positions."""
    like = torch.empty(1, 1, shape.frames, shape.height, shape.width, device=device)
    cos, sin = transformer.rope(like)  # each (1, S, 1, d), every angle twice in a row
    return torch.complex(cos[..., 0::2].float(), sin[..., 0::2].float())


def rotate(x: torch.Tensor, rotary: torch.Tensor) -> torch.Tensor:
    """Rotate the pairs of each head's channels: (B, S, heads, d)."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotary).flatten(-2).type_as(x)


def _feed_forward(block: Any, x: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
    shift, scale, gate = modulation[3:].unbind(0)
    expand, _, contract = block.ffn.net
    hidden = expand.proj(_modulate(block.norm3, x, shift, scale))
    return _add_gated(x, contract(gelu_(hidden)), gate)


def _modulate(norm: Any, x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """A block's norm, in float32, then scale and shift."""
    normed = F.layer_norm(x.float(), x.shape[-1:], norm.weight, norm.bias, norm.eps)
    return torch.addcmul(shift, normed, scale).type_as(x)


def _add_gated(x: torch.Tensor, update: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    return torch.addcmul(x.float(), update.float(), gate).type_as(x)


def gelu_(x: torch.Tensor) -> torch.Tensor:
    """The tanh approximation of GELU; overwrites `x` on a CPU.

    There torch's own kernel takes twice the time of this equal form: 0.5 x (1 + tanh(a)) = x sigmoid(2 a).
    """
    if x.device.type != "cpu":
        return F.gelu(x, approximate="tanh")
    slope = 2 * math.sqrt(2 / math.pi)
    argument = torch.addcmul(x.new_tensor(slope), x, x, value=slope * 0.044715).mul_(x)
    return x.mul_(argument.sigmoid_())
