"""The weights that curation uses: where they come from, their sizes and licences, and whether they are here.

Everything is pinned: hub repositories to a commit, other files to their SHA-256. Sizes are those of the files that are
fetched. Nothing heavy is imported here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from magref.checkpoints.headers import read_headers
from magref.errors import CheckpointError, InputError

HEAD_FILE = "sac+logos+ava1-l14-linearMSE.pth"
MEAN_SHAPE_FILE = "meanshape_68.pkl"
MODELS_FOLDER = Path("models") / "curation"
"""Where weights are fetched to, below the current folder."""
INSIGHTFACE_FOLDER = Path("~/.insightface/models")
"""Where the insightface package keeps its packs."""

_INSIGHTFACE = "https://github.com/deepinsight/insightface/releases/download/v0.7"
_INSIGHTFACE_FILES = (
    "https://raw.githubusercontent.com/deepinsight/insightface/7fadd420c2351d0ffa8cac403421c1a3ed733365"
)
_AESTHETICS = (
    "https://raw.githubusercontent.com/christophschuhmann/improved-aesthetic-predictor/"
    "6934dd81792f086e613a121dbce43082cb8be85e"
)
_PACK_LICENCE = "InsightFace's, for non-commercial research only"


@dataclass(frozen=True)
class Address:
    """A file on the web; of a .zip, the .onnx files inside are taken."""

    url: str
    nbytes: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's own name."""
        return unquote(urlsplit(self.url).path.rsplit("/", 1)[-1])


@dataclass(frozen=True)
class Weights:
    """What one model needs on disk.

    Attributes:
        task: what the model does in curation.
        nbytes: of all its files, about.
        needs: the files without which the folder is not whole, beside the tensors of a hub model.
        repo: a repository on the Hugging Face hub, at `revision`, a commit.
        addresses: files elsewhere, where it has no repository.
    """

    name: str
    task: str
    licence: str
    nbytes: int
    needs: tuple[str, ...]
    repo: str | None = None
    revision: str | None = None
    addresses: tuple[Address, ...] = ()

    @property
    def patterns(self) -> tuple[str, ...]:
        """Of a repository's files, those that are fetched."""
        return ("*.json", "*.txt", "model*.safetensors")


def _hub(name: str, task: str, licence: str, nbytes: int, repo: str, revision: str, *needs: str) -> Weights:
    return Weights(name, task, licence, nbytes, ("config.json", *needs), repo, revision)


def _files(name: str, task: str, licence: str, needs: tuple[str, ...], *addresses: Address) -> Weights:
    return Weights(name, task, licence, sum(a.nbytes for a in addresses), needs, addresses=addresses)


CATALOGUE: dict[str, Weights] = {
    weights.name: weights
    for weights in (
        _hub(
            "qwen2.5-vl-7b",
            "captions",
            "apache-2.0",
            16_600_000_000,
            "Qwen/Qwen2.5-VL-7B-Instruct",
            "cc594898137f460bfe9f0759e9844b3ce807cfb5",
            "tokenizer.json",
            "tokenizer_config.json",
        ),
        _hub(
            "qwen2.5-vl-3b",
            "captions, smaller",
            "qwen-research, non-commercial",
            7_520_000_000,
            "Qwen/Qwen2.5-VL-3B-Instruct",
            "66285546d2b821cf421d4f5eb2576359d3770cd3",
            "tokenizer.json",
            "tokenizer_config.json",
        ),
        _hub(
            "grounding-dino-base",
            "boxes",
            "apache-2.0",
            933_000_000,
            "IDEA-Research/grounding-dino-base",
            "12bdfa3120f3e7ec7b434d90674b3396eccf88eb",
            "preprocessor_config.json",
            "tokenizer.json",
        ),
        _hub(
            "sam2.1-hiera-large",
            "masks",
            "apache-2.0",
            898_000_000,
            "facebook/sam2.1-hiera-large",
            "665f8e2ad61cf5f53d65644ff27c8ee525124610",
        ),
        _hub(
            "clip-vit-l14",
            "aesthetics",
            "mit",
            1_710_000_000,
            "openai/clip-vit-large-patch14",
            "32bd64288804d66eefd0ccbe215aa642df71cc41",
            "preprocessor_config.json",
        ),
        _files(
            "aesthetic-predictor",
            "aesthetics, its head",
            "apache-2.0",
            (HEAD_FILE,),
            Address(
                f"{_AESTHETICS}/{HEAD_FILE.replace('+', '%2B')}",
                3_714_759,
                "21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
            ),
        ),
        _files(
            "buffalo_l",
            "faces",
            _PACK_LICENCE,
            ("det_10g.onnx", "w600k_r50.onnx", "1k3d68.onnx"),
            Address(
                f"{_INSIGHTFACE}/buffalo_l.zip",
                288_621_354,
                "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f",
            ),
        ),
        _files(
            "antelopev2",
            "faces, larger",
            _PACK_LICENCE,
            ("scrfd_10g_bnkps.onnx", "glintr100.onnx", "1k3d68.onnx"),
            Address(
                f"{_INSIGHTFACE}/antelopev2.zip",
                360_662_982,
                "8e182f14fc6e80b3bfa375b33eb6cff7ee05d8ef7633e738d1c89021dcf0c5c5",
            ),
        ),
        _files(
            "meanshape_68",
            "faces, their pose",
            "mit",
            (MEAN_SHAPE_FILE,),
            Address(
                f"{_INSIGHTFACE_FILES}/python-package/insightface/data/objects/{MEAN_SHAPE_FILE}",
                974,
                "39ffecf84ba73f0d0d7e49380833ba88713c9fcdec51df4f7ac45a48b8f4cc51",
            ),
        ),
    )
}


def known(name: str) -> Weights:
    """The entry of this name; InputError where there is none."""
    if name not in CATALOGUE:
        raise InputError(f"the weights {name!r} are unknown; use {', '.join(CATALOGUE)}, or give a folder")
    return CATALOGUE[name]


def find(weights: Weights) -> Path | None:
    """The folder of weights that are here and whole: fetched by this package, by the hub's tools, or by insightface."""
    return next((folder for folder in places(weights) if not lacking(weights, folder)), None)


def places(weights: Weights) -> list[Path]:
    """The folders that are looked into."""
    folders = [MODELS_FOLDER / weights.name]
    if weights.repo is not None:
        from huggingface_hub import constants, try_to_load_from_cache

        cached = try_to_load_from_cache(
            weights.repo, "config.json", cache_dir=constants.HF_HUB_CACHE, revision=weights.revision
        )
        folders += [Path(cached).parent] if isinstance(cached, str) else []
    elif weights.licence == _PACK_LICENCE:
        folders.append(Path(os.path.expanduser(INSIGHTFACE_FOLDER)) / weights.name)
    return folders


def lacking(weights: Weights, folder: Path) -> str | None:
    """The first thing that a folder lacks to be these weights, as one sentence; None where it is whole."""
    if not folder.is_dir():
        return f"{folder} does not exist; run magref download {weights.name}, or give a whole folder"
    for name in weights.needs:
        if not (folder / name).is_file():
            return f"{folder / name} is missing; run magref download {weights.name}, or give a whole folder"
    if weights.repo is not None:
        try:
            read_headers(folder, "model")
        except CheckpointError as error:
            return str(error)
    return None


def locate(
    name: str, folder: str | Path | None = None, *, fetch: Callable[[Weights, Path], object] | None = None
) -> Path:
    """The folder of weights that are to be used, fetched first where they are not here.

    Args:
        name: an entry of the catalogue.
        folder: the user's own, which is never fetched into; it may hold another model of the same kind, so that only
            the model's own loading says whether it fits.
        fetch: brings the weights into a folder, as `fetching.fetch` does; None where nothing may be fetched.

    Raises:
        InputError: there is no such entry.
        CheckpointError: the folder does not exist; or the weights are not here, and may not or could not be fetched.
    """
    weights = known(name)
    if folder is not None:
        path = Path(os.path.expanduser(folder))
        if not path.is_dir():
            raise CheckpointError(f"the folder {path} for {weights.task} does not exist; check its path")
        return path
    found = find(weights)
    if found is None and fetch is not None:
        fetch(weights, MODELS_FOLDER / weights.name)
        found = find(weights)
    if found is None:
        raise CheckpointError(
            f"the weights {name} for {weights.task} are not here; run magref download {name}, or give their folder"
        )
    return found
