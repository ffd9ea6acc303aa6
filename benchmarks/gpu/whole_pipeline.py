"""The whole pipeline at the true sizes, random weights: every component's time and peak memory, four guided steps.

In bfloat16, and with the transformer's linear layers in fp8; text and image encoder come to the GPU when they are used
(the preset 48gb), the transformer stays. It runs once, so that each part's time includes what a first call takes; of
the steps the first is left out.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers import models as token_models
from transformers import CLIPVisionConfig, CLIPVisionModel, PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from magref import MagrefPipeline
from magref.flow import make_scheduler
from magref.settings import GenerationDefaults
from measuring import Bench, free, main
from models import transformer, vae

STEPS = 4
BF16_GB, FP8_GB = 50.0, 32.0
"""Aims of the peak memory."""
PROMPT = "The little dog moves to the right slowly on a sky blue background."
UMT5 = {"vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_heads": 64, "num_layers": 24}
TINY_UMT5 = {"vocab_size": 300, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_heads": 2, "num_layers": 2}
CLIP = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "patch_size": 14,
}
TINY_CLIP = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 32,
}


def work(bench: Bench) -> None:
    pipe = pipeline(bench)
    quantities: tuple[tuple[str, str | None, float], ...] = (("bfloat16", None, BF16_GB), ("fp8", "fp8", FP8_GB))
    for name, quantize, most_gb in quantities:
        if bench.device.type == "cuda":
            pipe.place("48gb", quantize=quantize)
        measure(bench, pipe, name, most_gb)
        if bench.device.type == "cuda" and quantize is None:
            del pipe
            free()
            pipe = pipeline(bench)


def measure(bench: Bench, pipe: MagrefPipeline, name: str, most_gb: float) -> None:
    """One video; a row for each component, and one for the most memory of all."""
    settings: dict[str, Any] = {"num_inference_steps": STEPS, "seed": 1}
    if bench.tiny:
        settings |= {"height": 32, "width": 48, "num_frames": 5}
    ends: list[float] = []
    peaks: list[float] = []

    def on_step(*_: Any) -> dict[str, torch.Tensor]:
        synchronize(bench)
        ends.append(time.perf_counter())
        return {}

    def timed(what: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def inside(*args: Any, **kwargs: Any) -> Any:
            with bench.part(what, name) as row:
                start = time.perf_counter()
                result = run(*args, **kwargs)
                synchronize(bench)
                row.ours_s = time.perf_counter() - start
            peaks.append(float(row.notes.get("peak_gb", 0.0)))
            if "failed" in row.notes:
                raise RuntimeError(row.notes["failed"])
            return result

        return inside

    for method, what in (
        ("_texts", "text"),
        ("_conditioning", "canvas: VAE, CLIP"),
        ("_denoise", f"{STEPS} guided steps"),
    ):
        setattr(pipe, method, timed(what, getattr(MagrefPipeline, method).__get__(pipe)))
    with bench.part("whole pipeline", name) as whole:
        start = time.perf_counter()
        out = pipe(PROMPT, [reference(0), reference(1)], output_type="latent", callback_on_step_end=on_step, **settings)
        frames = timed("decoding", lambda: sum(1 for _ in pipe.frames(out.frames, out.settings)))()
        whole.ours_s = time.perf_counter() - start
        whole.notes |= {
            "frames": frames,
            "step_s": median(b - a for a, b in itertools.pairwise(ends)),
            "most_gb": max(peaks),
        }
        bench.aim(whole, f"<= {most_gb} GB", met=max(peaks) <= most_gb)


def synchronize(bench: Bench) -> None:
    if bench.device.type == "cuda":
        torch.cuda.synchronize()


def pipeline(bench: Bench) -> MagrefPipeline:
    tiny, device, dtype = bench.tiny, bench.device, bench.dtype
    clip = CLIPVisionConfig(**(TINY_CLIP if tiny else CLIP), image_size=224, hidden_act="gelu")
    parts = {
        "text_encoder": made(lambda: UMT5EncoderModel(UMT5Config(**(TINY_UMT5 if tiny else UMT5))), device, dtype),
        "image_encoder": made(lambda: CLIPVisionModel(clip), device, dtype),
        "transformer": transformer(tiny, 2 if tiny else 40, device, dtype),
        "vae": vae(tiny, device),
    }
    pipe = MagrefPipeline(
        **parts,
        tokenizer=tokenizer(),
        scheduler=make_scheduler("unipc"),
        generation_defaults=GenerationDefaults().model_dump(),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def made(build: Callable[[], Any], device: torch.device, dtype: torch.dtype) -> Any:
    """A model with random weights, made where and as it is wanted."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return build().eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)


def tokenizer() -> PreTrainedTokenizerFast:
    """One token for each character it knows."""
    characters = {character: index for index, character in enumerate(["<unk>", *map(chr, range(32, 127))])}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(token_models.BPE(vocab=characters, merges=[], unk_token="<unk>")),  # noqa: S106
        unk_token="<unk>",  # noqa: S106
    )


def reference(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (512, 512, 3), dtype=np.uint8))


if __name__ == "__main__":
    main("pipeline", __doc__, work)
