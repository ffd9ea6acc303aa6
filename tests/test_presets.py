"""Presets: which one is chosen, what is refused, and that a placed pipeline makes the same video."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig

from magref import MagrefPipeline, costs, quantization
from magref import presets as presets_module
from magref.capacity import _IN_TILES, _WHOLE
from magref.checkpoints.architecture import magref_14b_config
from magref.denoiser import has_hooks
from magref.errors import InputError, ResourceError
from magref.fp8 import Fp8Linear
from magref.presets import AUTO, CARDS, CPU, PRESETS, choose_preset, place, with_quantization
from magref.quantization import check_quantization, quantize_transformer
from magref.settings import GenerationDefaults
from magref.sizes import published_sizes
from tiny import GOLDEN, tiny_components, tiny_transformer

HERE, CARD = torch.device("cpu"), torch.device("cuda:0")
GB = 10**9
SMALL = {"height": 32, "width": 48, "num_frames": 5, "num_inference_steps": 2, "seed": 7, "guidance_scale": 3.0}


def make_pipeline() -> MagrefPipeline:
    made = MagrefPipeline(**tiny_components())
    made.set_progress_bar_config(disable=True)
    return made


def video(pipeline) -> np.ndarray:
    return pipeline("a dog runs", [GOLDEN / "refs" / "0.png"], output_type="np", **SMALL).frames


def choose(name, device=CARD, **how):
    return choose_preset(name, device, published_sizes, GenerationDefaults(), element=2, **how)


@pytest.fixture
def card(monkeypatch):
    """Gives the machine a card with so much memory, and the package for int8; the 14B's needs are as once counted."""

    def has(gigabytes: float, beside: float = 64) -> None:
        monkeypatch.setattr(presets_module, "card_memory", lambda device: int(gigabytes * GB))
        monkeypatch.setattr(presets_module, "host_memory", lambda: int(beside * GB))
        monkeypatch.setattr(quantization, "find_spec", lambda name: object())

    def counted(sizes, shape, preset, **_):
        return (_IN_TILES if preset.tile_vae else _WHOLE), 0.0

    monkeypatch.setattr(costs, "count_working", counted)

    return has


# --- the choice ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gigabytes", "name"), [(141, "80gb"), (80, "80gb"), (48, "48gb"), (25.8, "24gb"), (16, "16gb"), (12, "16gb")]
)
def test_auto_takes_the_first_that_fits(card, gigabytes, name):
    card(gigabytes)
    assert choose(AUTO) == PRESETS[name]


def test_what_does_not_fit_names_what_does(card):
    card(25.8)
    with pytest.raises(ResourceError, match=r"preset 48gb this needs about 4\d\.\d GB of cuda:0.*use --preset 24gb"):
        choose("48gb")
    assert choose("24gb").name == "24gb"
    card(4)
    with pytest.raises(ResourceError, match=r"which has 4\.0 GB; use a smaller size or fewer frames"):
        choose(AUTO)


def test_what_lies_beside_the_card_must_fit_too(card):
    """As `magref doctor` counts it."""
    card(80, beside=8)
    assert choose(AUTO).name == "80gb"
    with pytest.raises(
        ResourceError, match=r"48gb this needs about 1\d\.\d GB of the CPU's memory, .* use --preset 80gb"
    ):
        choose("48gb")
    card(48, beside=8)
    with pytest.raises(ResourceError, match=r"of the CPU's memory, which has 8\.0 GB; use a machine with more"):
        choose(AUTO)


def test_larger_videos_need_more(monkeypatch):
    monkeypatch.setattr(presets_module, "card_memory", lambda device: 26 * GB)
    monkeypatch.setattr(presets_module, "host_memory", lambda: 64 * GB)
    shallow = replace(published_sizes(), config=magref_14b_config() | {"num_layers": 2})
    for size, name in (((832, 480), "80gb"), ((1280, 720), "48gb")):
        settings = GenerationDefaults(width=size[0], height=size[1])
        assert choose_preset(AUTO, CARD, lambda: shallow, settings, element=2).name == name


def test_without_a_name_all_is_put_on_the_device_and_nothing_is_predicted():
    assert (
        choose_preset(None, CARD, lambda: pytest.fail("sizes were asked for"), GenerationDefaults(), element=2)
        is (CARDS[0])
    )
    assert choose(None, HERE) is choose(AUTO, HERE) is choose("cpu", HERE) is CPU


def test_named_quantisation_takes_the_presets_place(card):
    card(48)
    assert choose("24gb", quantize="none") == PRESETS["24gb"].model_copy(update={"quantize": None})
    assert choose("48gb", quantize="int8").quantize == "int8"
    assert choose(AUTO, quantize="int8").name == "80gb"  # half of the transformer, and all fits
    assert choose("cpu", HERE, quantize="int8").quantize == "int8"


def test_mistakes():
    with pytest.raises(InputError, match="preset '12gb' is unknown; use auto, 80gb, 48gb, 24gb, 16gb, cpu"):
        choose("12gb")
    with pytest.raises(InputError, match="the preset 24gb is for a GPU, and this runs on the CPU; use --preset cpu"):
        choose("24gb", HERE)
    with pytest.raises(InputError, match="the preset cpu is for the CPU, not for cuda:0"):
        choose("cpu")
    with pytest.raises(InputError, match="quantisation 'int3' is unknown; use int8, int8-dynamic, fp8 or none"):
        with_quantization(CPU, "int3")


def test_int8_needs_a_package_and_fp8_a_card(monkeypatch):
    monkeypatch.setattr(quantization, "find_spec", lambda name: None)
    with pytest.raises(ResourceError, match=r"weights in int8 need an extra package; run pip install 'magref\[int8\]'"):
        check_quantization("int8", HERE)
    monkeypatch.setattr(quantization, "find_spec", lambda name: object())
    check_quantization("int8", HERE)
    with pytest.raises(ResourceError, match=r"cpu does not multiply fp8.*use int8"):
        check_quantization("fp8", HERE)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    with pytest.raises(ResourceError, match="cuda:0 does not multiply fp8"):
        check_quantization("fp8", CARD)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    check_quantization("fp8", CARD)
    check_quantization("fp8", CARD, torch.bfloat16)
    with pytest.raises(InputError, match="fp8 go with bfloat16 alone; leave out --dtype, or use --quantize int8"):
        check_quantization("fp8", CARD, torch.float32)


# --- placed ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return video(make_pipeline())


@pytest.mark.parametrize("name", ["80gb", "48gb", "16gb"])
def test_a_placed_pipeline_makes_the_same_video(expected, name):
    pipeline = make_pipeline()
    place(pipeline, with_quantization(PRESETS[name], "none"), HERE)
    assert has_hooks(pipeline.transformer) == (name == "16gb")
    assert pipeline.vae.use_tiling == (name == "16gb")
    for _ in range(2):  # the order in which layers come is learnt in the first
        assert np.abs(video(pipeline) - expected).max() < 1e-4


def test_the_pipeline_places_itself(tmp_path, expected):
    assert make_pipeline().place("cpu") is CPU
    make_pipeline().save_pretrained(tmp_path / "model")
    loaded = MagrefPipeline.from_pretrained(tmp_path / "model", preset="cpu")
    loaded.set_progress_bar_config(disable=True)
    assert np.array_equal(video(loaded), expected)
    with pytest.raises(InputError, match="preset '1gb' is unknown"):
        MagrefPipeline.from_pretrained(tmp_path / "model", preset="1gb")


# --- 8 bits ----------------------------------------------------------------------------------------------------------


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ResourceError, match=r"run pip install 'magref\[int8\]'"):
        quantize_transformer(tiny_transformer(), "int8", HERE, HERE)


@pytest.mark.parametrize("kind", ["int8", "int8-dynamic", "fp8"])
def test_weights_in_8_bits_change_the_video_a_little(expected, kind):
    if kind != "fp8":
        pytest.importorskip("torchao", reason="the extra magref[int8] is not installed")
    pipeline = make_pipeline()
    place(pipeline, with_quantization(CPU, kind), HERE)
    found = video(pipeline)
    assert 0 < np.abs(found - expected).mean() < 0.02


def test_streamed_weights_in_8_bits_give_what_they_give_on_the_device():
    """The preset 16gb's own way, but for the tiles."""
    pytest.importorskip("torchao", reason="the extra magref[int8] is not installed")
    streamed, whole = make_pipeline(), make_pipeline()
    place(streamed, PRESETS["16gb"].model_copy(update={"tile_vae": False}), HERE)
    place(whole, with_quantization(CPU, "int8"), HERE)
    assert has_hooks(streamed.transformer)
    for _ in range(2):
        assert np.abs(video(streamed) - video(whole)).max() < 1e-4


def test_the_package_warns_nobody_of_its_gpu_parts():
    """torchao 0.18 did at every start, on a CPU."""
    pytest.importorskip("torchao", reason="the extra magref[int8] is not installed")
    code = "from magref.models import quiet_libraries; quiet_libraries(); import magref.pipeline, torchao.quantization"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_adapters_stay_as_they_are():
    transformer = tiny_transformer()
    transformer.add_adapter(LoraConfig(r=2, target_modules=["to_q"]))
    quantize_transformer(transformer, "fp8", HERE, HERE)
    layers = {name: type(layer) for name, layer in transformer.blocks.named_modules()}
    assert all(kind is torch.nn.Linear for name, kind in layers.items() if name.endswith(".lora0") or "lora_A." in name)
    assert layers["0.attn1.to_q.base_layer"] is layers["0.ffn.net.2"] is Fp8Linear
