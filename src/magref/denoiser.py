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

from magref.attention import asked_backend, attend, attention_kernel, diffusers_attention
from magref.attention_int8 import NO_INT8, Attend, attention_int8
from magref.conditioning import Conditioning
from magref.cross_attention import cross_attention_for
from magref.elementwise import arithmetic_for, linear_gelu
from magref.errors import InputError
from magref.geometry import LatentShape
from magref.parallel import TokenShare
from magref.settings import Attention

BATCHED_TOKENS = 4096
"""Up to this sequence length the passes of guidance run as one batch; above it one after the other, for memory.

On a CPU one batch took 0.95 of the time at 480 tokens, and as long from 1,920 on (benchmarks/guidance_passes.py).
"""

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
            # Step caches (`enable_cache`) keep one for each pass.
            with self._transformer.cache_context(name), diffusers_attention(self._transformer):
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
        share: the tokens that this process takes over, where several share the sequence.
        attention: self-attention in place of the best exact kernel.
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
        share: TokenShare | None = None,
        attention: Attend | None = None,
    ) -> None:
        self._transformer = transformer
        self._conditioning = conditioning
        self._attention = attention
        self._share = share
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
        self._tokens = len(self._rotary)
        if share is not None:
            self._rotary = torch.view_as_complex(share.own(torch.view_as_real(self._rotary), 0))
        dtype = text.dtype
        times = embedder.timesteps_proj(timesteps.to(guidance.device))
        self._temb = embedder.time_embedder(times.to(embedder.time_embedder.linear_1.weight.dtype)).to(dtype)
        self._modulation = embedder.time_proj(embedder.act_fn(self._temb)).unflatten(1, (6, -1)).float()
        tables = torch.cat([block.scale_shift_table for block in transformer.blocks]).float()  # (blocks, 6, dim)
        self._tables = tables + tables.new_tensor([0, 1, 0, 0, 1, 0])[:, None]  # scales are offsets from one
        self._cross_norms = [(block.norm2.weight.float(), block.norm2.bias.float()) for block in transformer.blocks]
        self._eps = transformer.config.eps
        self._math = arithmetic_for(guidance.device)
        self._cross = cross_attention_for(guidance.device, dtype, transformer.config.attention_head_dim)
        self._asked = asked_backend(transformer)
        self._kernel = attention_kernel(guidance.device, dtype, transformer.config.attention_head_dim)
        count = len(texts)
        together = len(self._rotary) <= BATCHED_TOKENS
        self._groups = [slice(0, count)] if together else [slice(g, g + 1) for g in range(count)]

    @torch.no_grad()
    def __call__(self, latents: torch.Tensor, step: int) -> list[torch.Tensor]:
        """(1, C, T, h, w) latents at sampling step `step` -> one velocity of that shape for each text."""
        model = self._transformer
        x = model.patch_embedding(self._conditioning.join(latents))
        x = x.flatten(2).transpose(1, 2).contiguous()  # (1, S, dim)
        if self._share is not None:
            x = self._share.own(x, 1)
        modulation = self._tables + self._modulation[step]  # (blocks, 6, dim)
        out_shift, out_scale = (model.scale_shift_table + self._temb[step]).float()[0]
        norms = [*zip(modulation[:, 1], modulation[:, 0], strict=True), (1 + out_scale, out_shift)]  # around all blocks
        x, query = self._before_text(0, x, self._math.normed(x, *norms[0], self._eps), modulation[0])
        outputs: list[torch.Tensor] = []
        for group in self._groups:
            h, normed = self._after_text(0, x, query, group, modulation[0], *norms[1])
            for index in range(1, len(model.blocks)):
                h, q = self._before_text(index, h, normed, modulation[index])
                h, normed = self._after_text(index, h, q, group, modulation[index], *norms[index + 1])
            outputs.extend(self._conditioning.cut(self._velocity(normed)).split(1))
        return outputs

    def _before_text(
        self, index: int, x: torch.Tensor, normed: torch.Tensor, modulation: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The part of a block that no text touches: the residual stream after self-attention, and the queries."""
        block = self._transformer.blocks[index]
        update = self._self_attention(block.attn1, normed)
        x, normed = self._math.added_normed(x, update, modulation[2], *self._cross_norms[index], self._eps)
        return x, block.attn2.norm_q(block.attn2.to_q(normed))

    def _after_text(
        self,
        index: int,
        x: torch.Tensor,
        query: torch.Tensor,
        group: slice,
        modulation: torch.Tensor,
        scale: torch.Tensor,
        shift: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The rest of a block: its residual stream, and that under the norm, scale and shift of what comes next."""
        block = self._transformer.blocks[index]
        key, value = self._text_kv[index]
        text = key[group], value[group]
        update = block.attn2.to_out[0](self._cross(query, text, self._text_bias[group], self._image_kv[index]))
        x, normed = self._math.added_normed(x, update, None, modulation[4], modulation[3], self._eps)
        expand, _, contract = block.ffn.net
        update = contract(linear_gelu(expand.proj, normed))
        return self._math.added_normed(x, update, modulation[5], scale, shift, self._eps)

    def _self_attention(self, attn: Any, x: torch.Tensor) -> torch.Tensor:
        query, key = (
            self._math.normed_rotated(project(x), norm.weight, self._rotary, self._eps)
            for project, norm in ((attn.to_q, attn.norm_q), (attn.to_k, attn.norm_k))
        )
        query, key, value = (part.unflatten(2, (attn.heads, -1)) for part in (query, key, attn.to_v(x)))
        if self._share is None:
            attended = self._attend(query, key, value)
        else:
            attended = self._share.attention(self._attend, query, key, value, self._tokens)
        return attn.to_out[0](attended.flatten(2, 3))

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        if self._attention is not None:
            return self._attention(query, key, value)
        if self._asked is None:
            return attend(query, key, value, self._kernel)
        return dispatch_attention_fn(query, key, value, backend=self._asked)

    def _velocity(self, x: torch.Tensor) -> torch.Tensor:
        """Output projection and the way back from patches: (G, S, dim) -> (G, C, T', h, w)."""
        model = self._transformer
        x = model.proj_out(x)
        if self._share is not None:
            x = self._share.whole(x, self._tokens)
        _, patch_h, patch_w = model.config.patch_size
        frames, height, width = self._shape.frames, self._shape.height, self._shape.width
        x = x.reshape(x.shape[0], frames, height // patch_h, width // patch_w, patch_h, patch_w, -1)
        return x.permute(0, 6, 1, 2, 4, 3, 5).reshape(x.shape[0], -1, frames, height, width)


def make_denoiser(
    transformer: Any,
    texts: Sequence[torch.Tensor],
    conditioning: Conditioning,
    timesteps: torch.Tensor,
    *,
    text_tokens: int,
    share: TokenShare | None = None,
    attention: Attention = "exact",
) -> Denoiser | PlainDenoiser:
    """`Denoiser` where the transformer allows it, else `PlainDenoiser`.

    Raises:
        InputError: something needs the transformer's own forward, which can neither share tokens nor attend in 8 bits.
        ResourceError: attention in 8 bits does not work here.
    """
    if has_hooks(transformer):
        if share is not None:
            raise InputError("an offloaded or compiled transformer cannot share its tokens; use guidance, or none")
        if attention != "exact":
            raise InputError(f"an offloaded or compiled transformer {NO_INT8}")
        return PlainDenoiser(transformer, texts, conditioning, timesteps, text_tokens=text_tokens)
    attend_so = None
    if attention == "int8":
        device, head_dim = conditioning.guidance.device, transformer.config.attention_head_dim
        attend_so = attention_int8(device, transformer.dtype, head_dim)
    return Denoiser(
        transformer, texts, conditioning, timesteps, text_tokens=text_tokens, share=share, attention=attend_so
    )


def has_hooks(transformer: Any) -> bool:
    """Whether something needs the transformer's or its blocks' own forward: offloading, parallelism, compilation, step
    caches, other attention processors, blocks without the usual norms.
    """
    if hasattr(transformer, "_orig_mod"):  # what `torch.compile(transformer)` returns
        return True
    if not transformer.config.cross_attn_norm:
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
    """(S, d / 2) complex rotations of all token positions."""
    like = torch.empty(1, 1, shape.frames, shape.height, shape.width, device=device)
    cos, sin = (part[0, :, 0, ::2].float() for part in transformer.rope(like))  # (1, S, 1, d), every angle twice
    return torch.complex(cos, sin)
