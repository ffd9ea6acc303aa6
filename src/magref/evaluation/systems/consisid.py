"""ConsisID by diffusers' `ConsisIDPipeline`: one person's face and a prompt.

The pipeline takes what other networks see in the face. Those are the authors' own, which diffusers calls through
packages that this one does not need: insightface and its antelopev2 (embedding and five points), facexlib (an aligned
face of 512 x 512 whose background a parser makes white), consisid_eva_clip (EVA02-CLIP's features), torchvision and
OpenCV. Their weights lie in the model's folder under `face_encoder`. Without these packages ConsisID cannot run here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from magref.batch import Case
from magref.errors import InputError, ResourceError
from magref.evaluation.systems.diffusers_folder import check_folder, load_folder
from magref.evaluation.systems.interface import Dtype, Kind, Place, dtype_of, mark
from magref.geometry import Strides, VideoShape
from magref.references import open_reference
from magref.settings import Record
from magref.video import write_video

if TYPE_CHECKING:
    import torch

PIPELINE = "ConsisIDPipeline"
PACKAGES = {
    "insightface": "insightface", "facexlib": "facexlib", "consisid_eva_clip": "consisid_eva_clip",
    "torchvision": "torchvision", "cv2": "opencv-python-headless",
}  # fmt: skip
"""What diffusers' helpers import, and what pip calls it."""
Count = Annotated[int, Field(gt=0)]


class ConsisIdSettings(Record):
    """`model` is the folder of BestWishYsh/ConsisID-preview, `face_encoder` included."""

    model: Place
    height: Count = 480
    width: Count = 720
    num_frames: Count = 49
    num_inference_steps: Count = 50
    guidance_scale: Annotated[float, Field(ge=0)] = 6.0
    fps: Annotated[float, Field(gt=0)] = 8.0
    negative_prompt: str = ""
    dtype: Dtype | None = None


@dataclass(frozen=True)
class FaceSeen:
    """What ConsisID takes of a face.

    `identity` (1, 1280): ArcFace's embedding, then EVA-CLIP's; `hidden`: five of EVA-CLIP's layers, (1, 577, 1024)
    each; `picture`: the aligned face before white; `points` (5, 2): eyes, nose, corners of the mouth, in pixels of the
    whole picture.
    """

    identity: torch.Tensor
    hidden: list[torch.Tensor]
    picture: Image.Image
    points: npt.NDArray[np.float32]


ReadFace: TypeAlias = Callable[[Image.Image], FaceSeen]


class ConsisId:
    """A `System`."""

    def __init__(self, pipeline: Any, read_face: ReadFace, settings: ConsisIdSettings) -> None:
        self.device = str(pipeline.device)
        self._pipeline, self._read_face, self._settings = pipeline, read_face, settings

    def make(self, case: Case, seed: int, out: Path) -> dict[str, Any]:
        """See `System`."""
        import torch

        if [ref.role for ref in case.refs] != ["person"]:
            given = ", ".join(ref.role for ref in case.refs)
            raise InputError(f"ConsisID takes the picture of one person, and this case has {given}; leave the case out")
        seen = self._read_face(open_reference(case.refs[0].reference()).rgb)
        asked = self._settings.model_dump(exclude={"model", "fps", "dtype"})
        frames = self._pipeline(
            image=seen.picture,
            prompt=case.prompt,
            id_cond=seen.identity,
            id_vit_hidden=seen.hidden,
            kps_cond=seen.points,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
            **asked,
        ).frames[0]
        write_video((frames * 255).round().astype("uint8"), out, fps=self._settings.fps, metadata=mark("ConsisID"))
        about = {"prompt": case.prompt, "seed": seed, "dtype": dtype_of(self._pipeline)}
        return asked | about | {"fps": self._settings.fps}


def load_pipeline(settings: ConsisIdSettings, where: torch.device) -> Any:
    """Transformer, VAE and text encoder on a device, all in one precision as the authors run them."""
    from magref.placement import choose_dtype

    return load_folder(settings.model, PIPELINE, where, choose_dtype(where, settings.dtype))


def published_faces(folder: str, where: torch.device, dtype: torch.dtype) -> ReadFace:
    """The authors' networks for faces, from the model's folder.

    Raises:
        ResourceError: their packages are not installed.
    """
    from importlib.util import find_spec

    missing = " ".join(package for module, package in PACKAGES.items() if find_spec(module) is None)
    if missing:
        raise ResourceError(f"ConsisID's own networks for faces need other packages; run pip install {missing}")
    from diffusers.pipelines.consisid.consisid_utils import prepare_face_models, process_face_embeddings_infer

    aligner, embedder, clip, detector, mean, std = prepare_face_models(folder, device=str(where), dtype=dtype)

    def read(picture: Image.Image) -> FaceSeen:
        identity, hidden, face, points = process_face_embeddings_infer(
            aligner, clip, embedder, mean, std, detector, str(where), dtype, np.asarray(picture), is_align_face=True
        )
        return FaceSeen(identity, hidden, face, points)

    return read


def _check(settings: ConsisIdSettings) -> dict[str, str]:
    VideoShape(settings.num_frames, settings.height, settings.width).check(Strides())  # CogVideoX has Wan's
    return check_folder(settings.model, PIPELINE)


def _open(settings: ConsisIdSettings, device: str | None) -> ConsisId:
    from magref.placement import choose_device, choose_dtype

    where = choose_device(device)
    read_face = published_faces(settings.model, where, choose_dtype(where, settings.dtype))
    return ConsisId(load_pipeline(settings, where), read_face, settings)


CONSISID = Kind(ConsisIdSettings, _check, _open)
