"""CLIP and the aesthetic head: the head's layers in a row, over an embedding of length 1."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPModel

from magref.curation.models.aesthetics import WIDTHS, ClipAesthetics, load_head
from magref.curation.models.shelf import Shelf
from magref.errors import CheckpointError
from tiny_models import save_clip, without_tensor

EMBEDDING = 12
MEAN, STD = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip") / "model", embedding=EMBEDDING)


def head_tensors(inputs=EMBEDDING):
    """As the published file has them: dropouts after the first three layers are counted."""
    generator = torch.Generator().manual_seed(0)
    widths = (inputs, *WIDTHS)
    tensors = {}
    for place, (before, after) in zip((0, 2, 4, 6, 7), itertools.pairwise(widths), strict=True):
        tensors[f"layers.{place}.weight"] = torch.randn(after, before, generator=generator) / before**0.5
        tensors[f"layers.{place}.bias"] = torch.randn(after, generator=generator)
    return tensors


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    path = tmp_path_factory.mktemp("head") / "head.pth"
    torch.save(head_tensors(), path)
    return path


def images(count=3):
    """Of several sizes, smooth, as large ones are made small."""
    rng = np.random.default_rng(0)
    sizes = [(40, 60), (90, 50), (28, 28)][:count]
    return [
        np.asarray(Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)).resize(size[::-1]))
        for size in sizes
    ]


def expected(image, clip):
    """Worked out step by step: resize, crop, normalise; embed; length 1; five products."""
    height, width = image.shape[:2]
    short = min(height, width)
    new = (int(28 * width / short), int(28 * height / short))
    small = np.asarray(Image.fromarray(image).resize(new, Image.Resampling.BICUBIC)).astype(np.float64)
    top, left = (small.shape[0] - 28) // 2, (small.shape[1] - 28) // 2
    pixels = (small[top : top + 28, left : left + 28] / 255 - MEAN) / STD
    model = CLIPModel.from_pretrained(clip).eval()
    with torch.no_grad():
        seen = model.vision_model(torch.from_numpy(pixels.transpose(2, 0, 1))[None].float()).pooler_output
        x = model.visual_projection(seen)[0].double().numpy()
    x = x / np.sqrt((x**2).sum())
    tensors = {name: tensor.double().numpy() for name, tensor in head_tensors().items()}
    for place in (0, 2, 4, 6, 7):
        x = tensors[f"layers.{place}.weight"] @ x + tensors[f"layers.{place}.bias"]
    return float(x[0])


def test_scores_are_those_worked_out_by_hand(clip, head):
    found = ClipAesthetics(clip, head, shelf=Shelf("cpu")).score(images())
    np.testing.assert_allclose(found, [expected(image, clip) for image in images()], rtol=1e-4)
    assert len({round(score, 3) for score in found}) == 3


def test_an_embedding_is_of_length_1_and_gives_the_score(clip, head):
    layers = load_head(head)
    for rated in ClipAesthetics(clip, head, shelf=Shelf("cpu")).rate(images()):
        assert np.linalg.norm(rated.embedding) == pytest.approx(1, abs=1e-5)
        assert layers(torch.from_numpy(rated.embedding)).item() == pytest.approx(rated.score, rel=1e-5)


def test_a_batch_scores_as_one_by_one(clip, head):
    together = ClipAesthetics(clip, head, shelf=Shelf("cpu"), batch=3).score(images())
    alone = ClipAesthetics(clip, head, shelf=Shelf("cpu"), batch=1).score(images())
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    assert ClipAesthetics(clip, head, shelf=Shelf("cpu")).score([]) == []


def test_the_head_as_safetensors(tmp_path, head):
    save_file(head_tensors(), tmp_path / "head.safetensors")
    for name, tensor in load_head(head).state_dict().items():
        assert torch.equal(tensor, load_head(tmp_path / "head.safetensors").state_dict()[name])


class Bomb:
    def __reduce__(self):
        return print, ("this code ran",)


def test_a_head_that_would_run_code(tmp_path, capsys):
    torch.save({"layers.0.weight": Bomb()}, tmp_path / "head.pth")
    with pytest.raises(CheckpointError, match="could run code, so it is refused"):
        load_head(tmp_path / "head.pth")
    assert "this code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["another layer", "a layer less", "another width", "nothing in it"])
def test_heads_of_something_else(tmp_path, damage):
    tensors = head_tensors()
    if damage == "another layer":
        tensors["layers.9.weight"] = torch.zeros(1, 1)
    elif damage == "a layer less":
        del tensors["layers.7.weight"], tensors["layers.7.bias"]
    elif damage == "another width":
        tensors["layers.2.weight"] = torch.zeros(100, 1024)
    else:
        tensors = {"other": torch.zeros(1)}
    torch.save(tensors, tmp_path / "head.pth")
    with pytest.raises(CheckpointError, match=r"is not the aesthetic head .*; download it again"):
        load_head(tmp_path / "head.pth")


def test_heads_that_are_missing(tmp_path):
    for name in ("head.pth", "head.safetensors"):
        with pytest.raises(CheckpointError, match=f"{name} is missing"):
            load_head(tmp_path / name)
    (tmp_path / "head.pth").write_bytes(b"PK\x03\x04cut off")
    with pytest.raises(CheckpointError, match="is truncated; download this file again"):
        load_head(tmp_path / "head.pth")


def test_a_head_for_another_clip(tmp_path, clip):
    torch.save(head_tensors(inputs=20), tmp_path / "head.pth")
    with pytest.raises(CheckpointError, match=r"gives 12 numbers for an image and the head .* takes 20; give the CLIP"):
        ClipAesthetics(clip, tmp_path / "head.pth", shelf=Shelf("cpu")).score(images())


def test_a_clip_that_is_not_whole(tmp_path, head):
    folder = save_clip(tmp_path / "model")
    without_tensor(folder, "visual_projection.weight")
    with pytest.raises(CheckpointError, match=r"lacks visual_projection\.weight of a CLIPVisionModelWithProjection"):
        ClipAesthetics(folder, head, shelf=Shelf("cpu")).score(images())
