"""Folders of diffusers' own pipelines: checked by their headers, loaded from here and from nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magref.checkpoints.headers import read_json
from magref.checkpoints.layout import MODEL_INDEX, check_diffusers, existing_folder
from magref.errors import CheckpointError, memory_errors
from magref.models import quiet_libraries
from magref.sidecar import weights_sha256

if TYPE_CHECKING:
    import torch


def check_folder(folder: str, kind: str) -> dict[str, str]:
    """The hash of a pipeline's weights.

    Raises:
        CheckpointError: the folder is incomplete, or of another pipeline than `kind`.
    """
    path = existing_folder(folder)
    check_diffusers(path)
    found = read_json(path / MODEL_INDEX).get("_class_name")
    if found != kind:
        raise CheckpointError(f"{path} holds a {found}, not a {kind}; give that system's folder with --model")
    return {"model": weights_sha256(path)}


def load_folder(folder: str, kind: str, where: torch.device, dtypes: Any) -> Any:
    """The pipeline on its device, silent; `dtypes` as diffusers' `torch_dtype`.

    Raises:
        CheckpointError: diffusers cannot load it.
    """
    import diffusers

    quiet_libraries()
    with memory_errors(f"{kind} on {where}", "use another device or dtype"):
        try:
            pipeline = getattr(diffusers, kind).from_pretrained(
                str(Path(folder)), torch_dtype=dtypes, local_files_only=True
            )
        except (OSError, ValueError, TypeError, AttributeError, ImportError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise CheckpointError(f"{folder} cannot be loaded as a {kind} ({reason}); fetch the model again") from None
        pipeline.to(where)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
