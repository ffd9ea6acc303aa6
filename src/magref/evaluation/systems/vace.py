"""VACE by diffusers' `WanVACEPipeline`, as a reference-to-video model: pictures and a prompt, no source video.

diffusers puts each picture whole on white at the video's size, makes it a latent frame before the video's, and drops
those frames before decoding. Steps, guidance, shift and negative prompt are the authors' defaults (Wan-Video/Wan2.1,
generate.py); the folders in diffusers' layout and diffusers' examples have shift 3 or 5 instead of 16.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from magref.batch import Case
from magref.evaluation.systems.diffusers_folder import check_folder, load_folder
from magref.evaluation.systems.interface import Dtype, Kind, Place, dtype_of, mark
from magref.geometry import VideoShape
from magref.models import stored_strides
from magref.references import open_references
from magref.settings import GenerationDefaults, Record
from magref.video import write_video

PIPELINE = "WanVACEPipeline"
WAN = GenerationDefaults()
"""VACE's size, length and rate are those of Wan2.1's image-to-video models, and so is its negative prompt."""
Count = Annotated[int, Field(gt=0)]


class VaceSettings(Record):
    """`model` is the folder, for example of Wan-AI/Wan2.1-VACE-14B-diffusers."""

    model: Place
    height: Count = WAN.height
    width: Count = WAN.width
    num_frames: Count = WAN.num_frames
    num_inference_steps: Count = 50
    guidance_scale: Annotated[float, Field(ge=0)] = 5.0
    flow_shift: Annotated[float, Field(gt=0)] = 16.0
    fps: Annotated[float, Field(gt=0)] = WAN.fps
    negative_prompt: str = WAN.negative_prompt.removeprefix("镜头晃动，")
    dtype: Dtype | None = None


class Vace:
    """A `System`."""

    def __init__(self, pipeline: Any, settings: VaceSettings) -> None:
        self.device = str(pipeline.device)
        self._pipeline, self._settings = pipeline, settings

    def make(self, case: Case, seed: int, out: Path) -> dict[str, Any]:
        """See `System`."""
        import torch

        settings = self._settings
        asked = settings.model_dump(exclude={"model", "flow_shift", "fps", "dtype"})
        frames = self._pipeline(
            prompt=case.prompt,
            reference_images=[opened.rgb for opened in open_references(case.references())],
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
            **asked,
        ).frames[0]
        write_video((frames * 255).round().astype("uint8"), out, fps=settings.fps, metadata=mark("VACE"))
        about = {"prompt": case.prompt, "seed": seed, "dtype": dtype_of(self._pipeline)}
        return asked | about | {"flow_shift": settings.flow_shift, "fps": settings.fps}


def _check(settings: VaceSettings) -> dict[str, str]:
    found = check_folder(settings.model, PIPELINE)
    VideoShape(settings.num_frames, settings.height, settings.width).check(stored_strides(Path(settings.model)))
    return found


def _open(settings: VaceSettings, device: str | None) -> Vace:
    import torch

    from magref.placement import choose_device, choose_dtype

    where = choose_device(device)
    dtypes = {"default": choose_dtype(where, settings.dtype), "vae": torch.float32}
    pipeline = load_folder(settings.model, PIPELINE, where, dtypes)
    scheduler = pipeline.scheduler
    pipeline.scheduler = type(scheduler).from_config(scheduler.config, flow_shift=settings.flow_shift)
    return Vace(pipeline, settings)


VACE = Kind(VaceSettings, _check, _open)
