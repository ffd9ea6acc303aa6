"""Two processes give the velocities and the video of one."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
import torch
import torch.distributed as dist

from magref import MagrefPipeline, Reference
from magref.denoiser import Denoiser, PlainDenoiser
from magref.errors import InputError
from magref.generation import Job, Request, plan, run
from magref.models import find_model
from magref.parallel import Spread, TokenShare, check_processes, shard_text_encoder
from magref.sidecar import read_sidecar
from magref.video import read_video, write_video
from test_denoiser import TIMESTEPS, random, relative
from tiny import GOLDEN, TEXT_DIM, tiny_components, tiny_text_encoder, tiny_transformer

REFS = [GOLDEN / "refs" / f"{i}.png" for i in range(2)]
SMALL = {"height": 32, "width": 48, "num_frames": 5, "num_inference_steps": 2, "seed": 7}
SIZES = {"even": (2, 4, 6), "odd": (1, 6, 6)}  # 12 and 9 tokens


def denoised(kind, size, share=None):
    """Velocities of two texts of a tiny transformer."""
    from magref.conditioning import Conditioning

    texts = [random(n, TEXT_DIM, seed=n) for n in (7, 12)]
    conditioning = Conditioning(random(1, 20, *size, seed=2), random(1, 50, 24, seed=1))
    how = {} if share is None else {"share": share}
    made = kind(tiny_transformer(), texts, conditioning, TIMESTEPS, text_tokens=512, **how)
    with torch.no_grad():
        return made(random(1, 16, *size, seed=3), 1)


def share_tokens(team, size):
    return denoised(Denoiser, size, TokenShare(None, team.rank, team.world))


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_tokens_that_are_shared_give_the_same_velocities(pair, size):
    expected = denoised(Denoiser, size)
    for found in pair.run(share_tokens, size):
        for ours, theirs in zip(found, expected, strict=True):
            assert relative(ours, theirs) < 1e-5


def parts(team):
    share = TokenShare(None, team.rank, team.world)
    x = torch.arange(10.0).view(1, 5, 2)
    own = share.own(x, 1)
    return own, share.whole(own, 5)


def test_each_process_holds_as_many_tokens(pair):
    (first, whole), (second, again) = pair.run(parts)
    assert first.flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert second.flatten().tolist() == [6, 7, 8, 9, 0, 0]
    assert torch.equal(whole, again)
    assert whole.flatten().tolist() == list(range(10))


def diffusers_parallel(team, size):
    from diffusers import ContextParallelConfig

    def whole(*arguments, **how):
        made = tiny_transformer()
        with patch("torch.accelerator.device_count", return_value=1):  # 0 on a CPU, which diffusers divides by
            made.enable_parallelism(config=ContextParallelConfig(ulysses_degree=team.world))
        return PlainDenoiser(made, *arguments[1:], **how)

    return denoised(whole, size)


def test_diffusers_own_context_parallelism_gives_the_same(pair):
    expected = denoised(PlainDenoiser, SIZES["even"])
    for found in pair.run(diffusers_parallel, SIZES["even"]):
        for ours, theirs in zip(found, expected, strict=True):
            assert relative(ours, theirs) < 1e-5


def video(kind=None, **changes):
    pipe = MagrefPipeline(**tiny_components())
    pipe.set_progress_bar_config(disable=True)
    if kind is not None:
        pipe.spread(kind)
    return pipe("a dog runs", REFS, output_type="latent", **SMALL | changes).frames


def spread_video(team, kind, changes):
    return video(kind, **changes)


@pytest.mark.parametrize("kind", ["ulysses", "guidance"])
@pytest.mark.parametrize("changes", [{}, {"guidance_scale": 1.0}], ids=["guided", "one pass"])
def test_two_processes_make_the_video_of_one(pair, kind, changes):
    expected = video(**changes)
    first, second = pair.run(spread_video, kind, changes)
    assert relative(first, expected) < 1e-5
    assert relative(second, expected) < 1e-5


def spread_without_a_seed(team):
    with patch("magref.settings.secrets.randbelow", return_value=100 + team.rank):
        return video("ulysses", seed=None)


def test_without_a_seed_the_first_process_draws_for_all(pair):
    expected = video(seed=100)
    for found in pair.run(spread_without_a_seed):
        assert relative(found, expected) < 1e-5


def passes_made(team):
    calls = []
    with patch("magref.denoiser.Denoiser", side_effect=lambda *a, **k: calls.append(len(a[1])) or Denoiser(*a, **k)):
        video("guidance")
    return calls


def test_each_half_makes_one_pass(pair):
    assert pair.run(passes_made) == [[1], [1]]


def test_a_number_of_processes_that_does_not_suit_is_refused():
    check_processes("ulysses", 3)
    with pytest.raises(InputError, match="two passes cannot be shared by 3 processes; use an even number, or ulysses"):
        check_processes("guidance", 3)


def written(team, folder, out, seed):
    model = find_model(str(folder))
    jobs = [Job(out, "a dog runs", [Reference(str(path)) for path in REFS], seed)]
    with patch("magref.settings.secrets.randbelow", return_value=100 + team.rank):
        request = Request(device="cpu", dtype="float32", parallel="ulysses", sheet=out.with_name("sheet.png"))
        run(model, plan(model, jobs, request), request)


@pytest.mark.parametrize("seed", [5, None], ids=["seed", "first one's seed"])
def test_the_first_process_decides_and_writes(pair, base, tmp_path, seed):
    out = tmp_path / "out.mp4"
    pair.run(written, base, out, seed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "out.mp4", "sheet.png"]
    record = read_sidecar(tmp_path / "out.json")
    assert record.settings.seed == (100 if seed is None else seed)
    pipe = MagrefPipeline.from_pretrained(base, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    frames = pipe("a dog runs", REFS, seed=record.settings.seed).frames
    alone = write_video(frames, tmp_path / "alone.mp4", fps=record.fps)
    assert np.abs(read_video(out)[0].astype(float) - read_video(alone)[0]).mean() < 1


def refused(team):
    said = []
    for kind, heads in (("ring", 2), ("ulysses", 3)):
        try:
            Spread.over(kind, heads)
        except InputError as error:
            said.append(str(error))
    return said


def test_what_cannot_be_shared_is_refused_in_every_process(pair):
    for said in pair.run(refused):
        assert said == [
            "parallel way 'ring' is unknown; use ulysses or guidance",
            "3 heads cannot be shared by 2 processes; use 3 processes",
        ]


def test_without_torchrun_there_is_nothing_to_spread_over():
    assert not dist.is_initialized()
    with pytest.raises(InputError, match=r"one process only.*torchrun --nproc-per-node 2"):
        MagrefPipeline(**tiny_components()).spread("ulysses")


def sharded_text(team):
    encoder = tiny_text_encoder()
    shard_text_encoder(encoder)
    ids = torch.tensor([[5, 6, 7, 1]])
    with torch.no_grad():
        features = encoder(ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    return features, sum(parameter.to_local().numel() for parameter in encoder.parameters())


def test_a_text_encoder_over_two_processes_says_the_same(pair):
    encoder = tiny_text_encoder()
    ids = torch.tensor([[5, 6, 7, 1]])
    with torch.no_grad():
        expected = encoder(ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    whole = sum(parameter.numel() for parameter in encoder.parameters())
    for found, held in pair.run(sharded_text):
        assert relative(found, expected) < 1e-5
        assert held < 0.6 * whole
