"""What `magref plan` predicts: counted without data, equal to what is measured with data where that can be."""

import json
from collections import deque
from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel

from magref import autoencoder
from magref.accounting import Use, measured_bytes, use_of
from magref.capacity import _IN_TILES, _WHOLE, GPUS
from magref.checkpoints.architecture import magref_14b_config
from magref.cli import main
from magref.conditioning import Conditioning, decode_pieces, encode_video
from magref.costs import (
    UTILISATION,
    Processor,
    costs_table,
    count_working,
    find_processor,
    measured_steps,
    predict,
)
from magref.denoiser import Denoiser, PlainDenoiser
from magref.errors import InputError
from magref.geometry import VideoShape
from magref.presets import CARDS, CPU, PRESETS, with_quantization
from magref.settings import GenerationDefaults
from magref.sizes import forward_flops, linear_flops, published_sizes
from tiny import IMAGE_DIM, TRANSFORMER, seeded

WIDE = TRANSFORMER | {"num_attention_heads": 4, "attention_head_dim": 32, "ffn_dim": 384, "num_layers": 3}
SHAPE = (9, 24, 40)
"""Of latents: 2,160 tokens, so that activations outweigh weights."""
VAE = {
    "base_dim": 8, "z_dim": 16, "dim_mult": [1, 2, 2], "num_res_blocks": 1, "temperal_downsample": [True, True],
    "patch_size": 2, "in_channels": 12, "out_channels": 12,
}  # fmt: skip
DEFAULTS = GenerationDefaults()
SHALLOW = replace(published_sizes(), config=magref_14b_config() | {"num_layers": 2})
"""The published model with two of its forty blocks, which are quicker to count."""


# --- counted against measured ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Denoiser, PlainDenoiser])
@pytest.mark.parametrize("image_encoder", [True, False])
def test_a_step_takes_what_is_counted(kind, image_encoder):
    config = WIDE | ({"image_dim": IMAGE_DIM, "added_kv_proj_dim": 128} if image_encoder else {})

    def step(device: str):
        with seeded(0), torch.device(device):
            transformer = WanTransformer3DModel(**config).eval()
            embeds = torch.randn(1, 50, IMAGE_DIM) if image_encoder else None
            conditioning = Conditioning(torch.randn(1, 20, *SHAPE), embeds)
            texts, latents = [torch.randn(30, 16)] * 2, torch.randn(1, 16, *SHAPE)
            timesteps = torch.zeros(1, dtype=torch.long)

        def compute():
            kind(transformer, texts, conditioning, timesteps, text_tokens=64)(latents, 0)

        return compute

    assert use_of(step("meta")).peak_bytes == pytest.approx(measured_bytes(step("cpu")), rel=0.1)


@pytest.mark.parametrize("work", ["encoding", "decoding"])
def test_coding_takes_what_is_counted(monkeypatch, work):
    monkeypatch.setattr(autoencoder, "PIECE_PIXELS", dict.fromkeys(("cpu", "meta"), 2**17))  # pieces of 4 frames

    def code(device: str):
        with seeded(0), torch.device(device):
            vae = AutoencoderKLWan(**VAE).eval()
            video, latents = torch.randn(1, 3, 17, 128, 192), torch.randn(1, 16, 5, 16, 24)
        if work == "encoding":
            return lambda: encode_video(vae, video)
        return lambda: deque(decode_pieces(vae, latents, torch.float32), maxlen=0)

    counted, measured = use_of(code("meta")).peak_bytes, measured_bytes(code("cpu"))
    assert counted == pytest.approx(measured, rel=0.1)


def test_views_count_once_and_what_is_freed_does_not_count():
    def compute():
        x = torch.empty(1000, device="meta")
        y = x.view(10, 100)[2:].transpose(0, 1)
        del x, y
        return torch.empty(500, device="meta") + 1

    assert use_of(compute).peak_bytes == 4 * 1000


def test_the_counted_work_is_that_of_the_formula():
    sizes = published_sizes()
    tokens, config = 2_160, WIDE | {"image_dim": None}
    with torch.device("meta"):
        transformer = WanTransformer3DModel(**config)
        conditioning = Conditioning(torch.empty(1, 20, *SHAPE), None)
        texts, latents = [torch.empty(64, 16)] * 2, torch.empty(1, 16, *SHAPE)
        timesteps = torch.zeros(1, dtype=torch.long)
    made = Denoiser(transformer, texts[:1], conditioning, timesteps, text_tokens=64)
    keys = 4 * 64 * 128**2 * WIDE["num_layers"]  # of the text, made once
    ends = 2 * tokens * 128 * 4 * (36 + 16)
    assert use_of(lambda: made(latents, 0)).flops == pytest.approx(linear_flops(config, tokens, 64) - keys + ends)
    assert linear_flops(sizes.config, 32_760, 512) < forward_flops(sizes.config, 32_760, 512)


def test_even_growth():
    assert Use(100, 10).extrapolated(Use(130, 14), 3) == Use(190, 22)


# --- predictions -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def costs():
    return {cost.preset.name: cost for cost in predict(published_sizes(), DEFAULTS, CARDS, GPUS["h200"])}


def test_the_14b_by_preset(costs):
    assert 50e9 < costs["80gb"].memory.peak < 60e9
    assert 38e9 < costs["48gb"].memory.peak < 46e9
    assert 20e9 < costs["24gb"].memory.peak < 24.4e9
    assert 3e9 < costs["16gb"].memory.peak < 8e9
    for name, gigabytes in (("80gb", 80), ("48gb", 48), ("24gb", 25.8), ("16gb", 16)):
        assert costs[name].fits(gigabytes * 1e9)


def test_the_doctors_estimate_is_the_count_rounded_up(costs):
    for name, estimate in (("80gb", _WHOLE), ("24gb", _IN_TILES)):
        counted = costs[name].memory.working
        for stage in ("encode", "step", "decode"):
            assert getattr(counted, stage) <= getattr(estimate, stage) <= 1.1 * getattr(counted, stage)


def test_time_is_work_over_rate(costs):
    step = 2 * forward_flops(published_sizes().config, 32_760, 512) / (989e12 * UTILISATION)
    assert costs["80gb"].step_s == pytest.approx(step)
    assert 40 * step < costs["80gb"].video_s < 40 * step + 10
    guided, alone = (
        predict(SHALLOW, DEFAULTS.model_copy(update={"guidance_scale": scale}), CARDS[:1], GPUS["h200"])[0]
        for scale in (5.0, 1.0)
    )
    assert alone.step_s == pytest.approx(guided.step_s / 2)
    (unknown,) = predict(SHALLOW, DEFAULTS, CARDS[:1])
    assert unknown.step_s is unknown.video_s is None


def test_fp8_halves_the_linear_layers_where_the_card_has_it():
    fp8 = [with_quantization(PRESETS["80gb"], "fp8")]
    sizes = SHALLOW
    linear = 2 * linear_flops(sizes.config, 32_760, 512)
    for gpu, saved in ((GPUS["h100"], linear / 2), (GPUS["a100"], 0)):
        (plain,) = predict(sizes, DEFAULTS, CARDS[:1], gpu)
        (quantised,) = predict(sizes, DEFAULTS, fp8, gpu)
        assert plain.step_s - quantised.step_s == pytest.approx(saved / (gpu.peak_flops * UTILISATION))


def test_a_small_video_waits_for_the_weights(costs):
    tiny = DEFAULTS.model_copy(update={"width": 64, "height": 64, "num_frames": 5})
    whole, streamed = predict(SHALLOW, tiny, [PRESETS["80gb"], PRESETS["16gb"]], GPUS["h200"])
    assert streamed.step_s > 5 * whole.step_s
    assert costs["16gb"].step_s == pytest.approx(costs["80gb"].step_s)


def test_memory_grows_with_the_tokens():
    shapes = [VideoShape(frames, 480, 832) for frames in (33, 81)]
    small, large = (count_working(SHALLOW, shape, CARDS[0], guided=True, element=2)[0] for shape in shapes)
    assert large.step == pytest.approx(21 / 9 * small.step, rel=0.05)
    assert small.encode < large.encode < 1.1 * small.encode
    assert small.decode == large.decode  # piece by piece


def test_token_wise_references_are_counted():
    tokenwise = DEFAULTS.model_copy(update={"mechanism": "tokenwise"})
    plain, longer = (predict(SHALLOW, settings, CARDS[:1], GPUS["h200"])[0] for settings in (DEFAULTS, tokenwise))
    assert longer.memory.working.step == pytest.approx(25 / 21 * plain.memory.working.step, rel=0.05)
    assert 25 / 21 < longer.step_s / plain.step_s < (25 / 21) ** 2
    assert longer.memory.working.decode == plain.memory.working.decode


def test_what_was_measured_on_a_card_is_told_for_that_card(tmp_path):
    row = {"what": "guided step", "ours": "ours", "ours_s": 4.9}
    rows = [row, {**row, "ours": "ours, fp8", "ours_s": None}, {**row, "what": "one block"}]
    records = [{"hardware": {"gpu": "NVIDIA H200"}, "rows": rows}, {"hardware": {}, "rows": [row]}]
    (tmp_path / "all-nvidia-h200.json").write_text(json.dumps(records))
    assert measured_steps(GPUS["h200"], tmp_path) == {None: 4.9}
    assert measured_steps(GPUS["h100"], tmp_path) == measured_steps(None, tmp_path) == {}
    assert measured_steps(GPUS["h200"], tmp_path / "nowhere") == {}
    (cost,) = predict(SHALLOW, DEFAULTS, CARDS[:1], GPUS["h200"])
    assert cost.measured_step_s is None  # another model
    table = costs_table([replace(cost, measured_step_s=4.9)], find_processor("h200"))
    assert "measured 4.9 s" in next(iter(table.columns[-3].cells))


# --- as people see it ------------------------------------------------------------------------------------------------


def test_the_processor():
    assert find_processor("h100") == Processor("H100 80 GB", 80 * 2**30, GPUS["h100"])
    assert find_processor("cpu").cpu
    with pytest.raises(InputError, match="the processor 'abacus' is unknown"):
        find_processor("abacus")


def test_a_card_that_is_not_known_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Abacus 3000")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr("magref.costs.card_memory", lambda device: 24 * 10**9)
    found = find_processor()
    assert (found.name, found.gpu, found.cpu) == ("Abacus 3000", None, False)
    (row,) = predict(SHALLOW, DEFAULTS, [CPU], found.gpu)
    table = costs_table([row], found)
    assert "unknown" in list(table.columns[-3].cells)


def test_the_command_says_what_was_asked_for(capsys):
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "plan",
                "magref-nano",
                "--gpu",
                "rtx4090",
                "--size",
                "64x64",
                "--frames",
                "5",
                "--steps",
                "4",
                "--guidance",
                "1",
            ]
        )
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "magref-nano: 64x64, 5 frames, 128 tokens, 4 steps, guidance 1" in said
    assert all(preset.name in said for preset in CARDS)
    assert "predicted" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--gpu", "abacus"], "the processor 'abacus' is unknown; use one of h100"),
        (["--gpu", "h100", "--frames", "6"], "6 frames are not 4k+1; use 5 or 9"),
        (["--gpu", "h100", "--quantize", "int3"], "use int8, int8-dynamic, fp8 or none"),
        (["nowhere", "--gpu", "h100"], "neither a folder here nor a hub id"),
    ],
)
def test_mistakes_are_one_sentence(capsys, arguments, sentence):
    with pytest.raises(SystemExit) as ended:
        main(["plan", *arguments])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
