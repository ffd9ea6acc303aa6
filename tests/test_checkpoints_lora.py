"""LoRA files: every naming gives what the plain one gives, and each misfit its sentence."""

import json
import logging
import subprocess
import sys

import pytest
import torch
from diffusers.loaders import WanLoraLoaderMixin
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

from magref.checkpoints.architecture import diffusers_key
from magref.checkpoints.lora import check_lora, read_lora
from magref.errors import CheckpointError
from magref.pipeline import MagrefPipeline
from tiny import published_names, tiny_components, tiny_transformer

RANK = 2
WAN = {
    "blocks.0.attn1.to_q": "blocks.0.self_attn.q",
    "blocks.1.attn1.to_out.0": "blocks.1.self_attn.o",
    "blocks.1.attn2.to_k": "blocks.1.cross_attn.k",
    "blocks.0.attn2.add_v_proj": "blocks.0.cross_attn.v_img",
    "blocks.0.ffn.net.0.proj": "blocks.0.ffn.0",
    "blocks.1.ffn.net.2": "blocks.1.ffn.2",
    "condition_embedder.time_proj": "time_projection.1",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.image_embedder.ff.net.0.proj": "img_emb.proj.1",
    "proj_out": "head.head",
}
"""Layers of every kind: diffusers' name -> Wan2.1's."""
ATTENTION = [name for name in WAN if "attn" in name]


@pytest.fixture(scope="module")
def transformer():
    return tiny_transformer()


@pytest.fixture(scope="module")
def shapes(transformer):
    return {name: tuple(tensor.shape) for name, tensor in transformer.state_dict().items()}


@pytest.fixture(scope="module")
def lora(shapes):
    """Module -> (down, up)."""
    generator = torch.Generator().manual_seed(1)

    def factor(*shape):
        return torch.randn(*shape, generator=generator) * 0.3

    sizes = {module: shapes[f"{module}.weight"] for module in WAN}
    return {module: (factor(RANK, inside), factor(out, RANK)) for module, (out, inside) in sizes.items()}


class Loader(WanLoraLoaderMixin):
    """What of a pipeline takes LoRA weights."""

    def __init__(self, transformer):
        self.transformer = transformer
        self.components = {"transformer": transformer}
        self.hf_device_map = None


def velocity(transformer, image: bool = True) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    config = transformer.config
    with torch.no_grad():
        return transformer(
            hidden_states=torch.randn(1, config.in_channels, 2, 4, 4, generator=generator),
            timestep=torch.tensor([500]),
            encoder_hidden_states=torch.randn(1, 7, config.text_dim, generator=generator),
            encoder_hidden_states_image=torch.randn(1, 50, config.image_dim, generator=generator) if image else None,
        ).sample


def with_lora(transformer, state) -> torch.Tensor:
    """The velocity with this LoRA, which is gone again afterwards."""
    assert all(name.startswith("transformer.") for name in state)
    Loader(transformer).load_lora_weights(state)
    try:
        assert not any(p.is_meta for p in transformer.parameters())
        changed = velocity(transformer)
    finally:
        transformer.unload_lora()
    assert not torch.allclose(changed, velocity(transformer), atol=1e-3)
    return changed


def with_weights(changes, biases=(), image=True) -> torch.Tensor:
    """The velocity of a transformer whose own weights are changed."""
    transformer = tiny_transformer(image)
    with torch.no_grad():
        for module, change in changes.items():
            transformer.get_submodule(module).weight += change
        for module, change in dict(biases).items():
            transformer.get_submodule(module).bias += change
    return velocity(transformer, image)


def assert_close(a, b):
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def saved(folder, state, name="lora.safetensors", **metadata):
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, folder / name, metadata or None)
    return folder / name


def plain(lora, modules=WAN):
    state = {f"transformer.{module}.lora_A.weight": lora[module][0] for module in modules}
    return state | {f"transformer.{module}.lora_B.weight": lora[module][1] for module in modules}


def written(lora, prefix="", names="wan", down="lora_A", up="lora_B", modules=WAN):
    state = {}
    for module in modules:
        name = WAN[module] if names == "wan" else module
        state |= {f"{prefix}{name}.{down}.weight": lora[module][0], f"{prefix}{name}.{up}.weight": lora[module][1]}
    return state


def kohya(lora, names="wan", modules=WAN):
    dotted = written(lora, names=names, down="lora_down", up="lora_up", modules=modules)
    state = {}
    for key, tensor in dotted.items():
        name, _, end = key.partition(".lora_")
        state[f"lora_unet_{name.replace('.', '_')}.lora_{end}"] = tensor
    return state


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor), name


class TestNamings:
    PREFIXES = (
        "",
        "transformer.",
        "diffusion_model.",
        "model.diffusion_model.",
        "base_model.model.",
        "base_model.model.diffusion_model.",
        "pipe.dit.",
        "unet.",
    )

    def test_the_plain_naming_changes_the_weights(self, tmp_path, transformer, shapes, lora):
        state = read_lora(saved(tmp_path, plain(lora)), shapes)
        assert_same(state, plain(lora))
        assert_close(with_lora(transformer, state), with_weights({m: up @ down for m, (down, up) in lora.items()}))

    @pytest.mark.parametrize("names", ["wan", "diffusers"])
    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_prefixes(self, tmp_path, shapes, lora, prefix, names):
        path = saved(tmp_path, written(lora, prefix, names))
        check_lora(path, shapes)
        assert_same(read_lora(path, shapes), plain(lora))

    @pytest.mark.parametrize("names", ["wan", "diffusers"])
    @pytest.mark.parametrize(
        ("down", "up"),
        [
            ("lora_down", "lora_up"),
            ("lora.down", "lora.up"),
            ("lora_A.default", "lora_B.default"),
            ("lora_A.my-style", "lora_B.my-style"),
        ],
    )
    def test_factors(self, tmp_path, shapes, lora, names, down, up):
        path = saved(tmp_path, written(lora, "diffusion_model.", names, down, up))
        assert_same(read_lora(path, shapes), plain(lora))

    @pytest.mark.parametrize("names", ["wan", "diffusers"])
    def test_kohya(self, tmp_path, shapes, lora, names):
        path = saved(tmp_path, kohya(lora, names))
        check_lora(path, shapes)
        assert_same(read_lora(path, shapes), plain(lora))

    @pytest.mark.parametrize("write", [written, kohya])
    @pytest.mark.parametrize("modules", [ATTENTION, [m for m in WAN if ".ffn." in m], ["proj_out"]])
    def test_a_part_of_the_layers(self, tmp_path, transformer, shapes, lora, write, modules):
        state = read_lora(saved(tmp_path, write(lora, modules=modules)), shapes)
        assert_same(state, plain(lora, modules))
        with_lora(transformer, state)

    @pytest.mark.parametrize("kohya", [False, True])
    def test_every_layer_has_both_names(self, tmp_path, shapes, kohya):
        for names in (list(shapes), published_names(num_layers=2)):
            state = {}
            for name in names:
                weight = shapes[name if name in shapes else diffusers_key(name)]
                if name.endswith(".weight") and len(weight) > 1:
                    layer = name.removesuffix(".weight")
                    layer = f"lora_unet_{layer.replace('.', '_')}" if kohya else layer
                    state[f"{layer}.lora_down.weight"] = torch.zeros(1, *weight[1:])
                    state[f"{layer}.lora_up.weight"] = torch.zeros(weight[0], 1, *[1] * (len(weight) - 2))
            loaded = read_lora(saved(tmp_path, state), shapes)
            assert len(state) == len(loaded) == 2 * (2 * 12 + 9)

    def test_the_patch_embedding(self, tmp_path, transformer, shapes):
        generator = torch.Generator().manual_seed(2)
        down = torch.randn(2, 36, 1, 2, 2, generator=generator)
        up = torch.randn(32, 2, 1, 1, 1, generator=generator)
        state = {"patch_embedding.lora_A.weight": down, "patch_embedding.lora_B.weight": up}
        state["blocks.0.self_attn.q.diff_b"] = bias = torch.ones(32)
        change = torch.einsum("or,rithw->oithw", up[..., 0, 0, 0], down)
        expected = with_weights({"patch_embedding": change}, {"blocks.0.attn1.to_q": bias})
        assert_close(with_lora(transformer, read_lora(saved(tmp_path, state), shapes)), expected)

    def test_as_peft_saves(self, tmp_path, transformer, shapes):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            config = LoraConfig(
                r=2,
                lora_alpha=5,
                rank_pattern={"to_k": 4},
                alpha_pattern={"to_k": 3},
                target_modules=["to_q", "to_k", "ffn.net.2"],
                init_lora_weights=False,
            )
            model = get_peft_model(tiny_transformer(), config)
        model.save_pretrained(tmp_path)
        state = read_lora(tmp_path / "adapter_model.safetensors", shapes)
        assert_close(with_lora(transformer, state), velocity(model.get_base_model()))

    def test_as_diffusers_saves(self, tmp_path, transformer, shapes):
        source = tiny_transformer()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            names = ["to_q", "proj_out"]
            config = LoraConfig(r=4, lora_alpha=3, use_rslora=True, target_modules=names, init_lora_weights=False)
            source.add_adapter(config, adapter_name="style")
        source.save_lora_adapter(tmp_path, adapter_name="style")
        state = read_lora(tmp_path / "pytorch_lora_weights.safetensors", shapes)
        assert_close(with_lora(transformer, state), velocity(source))

    def test_a_pipeline_takes_it(self, tmp_path, shapes, lora):
        pipe = MagrefPipeline(**tiny_components())
        pipe.load_lora_weights(read_lora(saved(tmp_path, kohya(lora)), shapes), adapter_name="style")
        pipe.set_adapters(["style"], [0.5])
        assert_close(velocity(pipe.transformer), with_weights({m: 0.5 * up @ down for m, (down, up) in lora.items()}))

    def test_a_text_to_video_lora(self, tmp_path, transformer, shapes, lora):
        """diffusers adds zeros for the image's keys and values, with biases where others have some."""
        module = "blocks.1.attn2.to_k"
        state = written(lora, "diffusion_model.", modules=[module])
        state["diffusion_model.blocks.1.self_attn.q.diff_b"] = bias = torch.ones(32)
        loaded = read_lora(saved(tmp_path, state), shapes)
        down, up = lora[module]
        expected = with_weights({module: up @ down}, {"blocks.1.attn1.to_q": bias})
        assert_close(with_lora(transformer, loaded), expected)

    def test_a_model_without_image_encoder(self, tmp_path, lora):
        transformer = tiny_transformer(image_encoder=False)
        shapes = {name: tuple(tensor.shape) for name, tensor in transformer.state_dict().items()}
        modules = [name for name in WAN if name + ".weight" in shapes]
        Loader(transformer).load_lora_weights(read_lora(saved(tmp_path, written(lora, modules=modules)), shapes))
        expected = with_weights({m: lora[m][1] @ lora[m][0] for m in modules}, image=False)
        assert_close(velocity(transformer, image=False), expected)
        with pytest.raises(
            CheckpointError,
            match=r"LoRA weights for blocks\.0\.cross_attn\.v_img and 1 more, which this model does not have; give a ",
        ):
            check_lora(saved(tmp_path, written(lora)), shapes)


class TestAlpha:
    def test_is_multiplied_in(self, tmp_path, transformer, shapes, lora):
        state = kohya(lora)
        names = {key.partition(".")[0] for key in state}
        state |= {f"{name}.alpha": torch.tensor(1.0 if "attn" in name else 8.0) for name in names}
        expected = {m: (0.5 if "attn" in m else 4.0) * up @ down for m, (down, up) in lora.items()}
        loaded = read_lora(saved(tmp_path, state), shapes)
        assert_close(with_lora(transformer, loaded), with_weights(expected))

    def test_is_computed_in_float32(self, tmp_path, shapes):
        up = torch.randn(32, 3).bfloat16()
        state = {"blocks.0.self_attn.q.lora_down.weight": torch.randn(3, 32).bfloat16()}
        state |= {"blocks.0.self_attn.q.lora_up.weight": up, "blocks.0.self_attn.q.alpha": torch.tensor([1])}
        loaded = read_lora(saved(tmp_path, state), shapes)["transformer.blocks.0.attn1.to_q.lora_B.weight"]
        assert torch.equal(loaded, (up.float() / 3).bfloat16())

    def test_in_settings_that_cannot_be_read(self, tmp_path, shapes, lora):
        settings = json.dumps({"transformer.lora_alpha": "high"})
        path = saved(tmp_path, plain(lora), lora_adapter_metadata=settings)
        with pytest.raises(CheckpointError, match="has LoRA settings that cannot be read; download this file again"):
            read_lora(path, shapes)

    def test_settings_of_a_folder_are_for_the_file_that_peft_writes(self, tmp_path, shapes, lora):
        (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 100}')
        assert_same(read_lora(saved(tmp_path, plain(lora)), shapes), plain(lora))


class TestOtherChanges:
    def test_biases_and_whole_weights(self, tmp_path, transformer, shapes, lora):
        generator = torch.Generator().manual_seed(2)
        state = written(lora, "diffusion_model.", modules=ATTENTION)
        weights = {module: lora[module][1] @ lora[module][0] for module in ATTENTION}
        biases = {}
        for module in ("blocks.0.attn1.to_q", "blocks.0.ffn.net.2", "condition_embedder.time_proj"):
            biases[module] = torch.randn(shapes[f"{module}.bias"], generator=generator) * 0.3
        for module in ("proj_out", "blocks.1.ffn.net.2", "blocks.1.ffn.net.0.proj"):
            weights[module] = torch.randn(shapes[f"{module}.weight"], generator=generator) * 0.1
        names = WAN | {"blocks.0.ffn.net.2": "blocks.0.ffn.2", "blocks.1.ffn.net.0.proj": "blocks.1.ffn.0"}
        state |= {f"diffusion_model.{names[module]}.diff_b": bias for module, bias in biases.items()}
        state |= {
            f"diffusion_model.{names[module]}.diff": weights[module] for module in weights if module not in ATTENTION
        }
        loaded = read_lora(saved(tmp_path, state), shapes)
        assert_close(with_lora(transformer, loaded), with_weights(weights, biases))

    def test_a_bias_under_its_name_in_peft_has_the_scale_of_its_lora(self, tmp_path, transformer, shapes, lora):
        module = "blocks.0.attn1.to_q"
        down, up = lora[module]
        state = plain(lora, [module]) | {f"transformer.{module}.lora_B.bias": torch.ones(32)}
        path = saved(tmp_path, state, lora_adapter_metadata=json.dumps({"transformer.lora_alpha": 1}))
        expected = with_weights({module: up @ down / 2}, {module: torch.full((32,), 0.5)})
        assert_close(with_lora(transformer, read_lora(path, shapes)), expected)

    def test_fp8(self, tmp_path, transformer, shapes, lora):
        fp8 = {key: tensor.to(torch.float8_e4m3fn) for key, tensor in written(lora).items()}
        state = read_lora(saved(tmp_path, fp8), shapes)
        rounded = {m: tuple(t.to(torch.float8_e4m3fn).float() for t in lora[m]) for m in WAN}
        assert_same(state, {key: tensor.bfloat16() for key, tensor in plain(rounded).items()})
        with_lora(transformer, state)

    def test_what_diffusers_cannot_apply_is_left_out_and_said(self, tmp_path, shapes, lora, caplog):
        state = written(lora) | {"blocks.0.norm3.diff": torch.ones(32), "blocks.0.norm3.diff_b": torch.zeros(32)}
        state |= {"blocks.0.diff_m": torch.ones(1, 6, 32), "patch_embedding.diff_b": torch.ones(32)}
        with caplog.at_level(logging.WARNING):
            assert_same(read_lora(saved(tmp_path, state), shapes), plain(lora))
        (record,) = caplog.records
        names = "blocks.0.diff_m, blocks.0.norm3.diff, patch_embedding.diff_b"
        assert record.getMessage().endswith(f"lora.safetensors: {names} left out, since diffusers cannot apply them")

    def test_zeros_are_left_out_in_silence(self, tmp_path, shapes, lora, caplog):
        state = written(lora) | {"blocks.0.norm3.diff": torch.zeros(32)}
        read_lora(saved(tmp_path, state), shapes)
        assert not caplog.records


class TestMistakes:
    Q = "diffusion_model.blocks.0.self_attn.q"

    def check(self, folder, state, shapes, sentence):
        path = saved(folder, state)
        for function in (check_lora, read_lora):
            with pytest.raises(CheckpointError) as error:
                function(path, shapes)
            assert str(error.value) == f"{path} {sentence}"

    def test_another_size(self, tmp_path, shapes):
        narrow = {f"{self.Q}.lora_A.weight": torch.zeros(2, 16), f"{self.Q}.lora_B.weight": torch.zeros(16, 2)}
        sentence = (
            "was made for another size of model, such as 1.3B: blocks.0.self_attn.q is {} there and {} here; "
            "give a LoRA made for Wan2.1 of this size"
        )
        self.check(tmp_path, narrow, shapes, sentence.format("16 x 16", "32 x 32"))
        self.check(tmp_path, {f"{self.Q}.diff_b": torch.zeros(16)}, shapes, sentence.format("16", "32"))
        self.check(tmp_path, {f"{self.Q}.diff": torch.zeros(32, 9)}, shapes, sentence.format("32 x 9", "32 x 32"))

    def test_more_blocks(self, tmp_path, shapes, lora):
        state = {key.replace("blocks.1", "blocks.39"): tensor for key, tensor in written(lora, "unet.").items()}
        self.check(
            tmp_path,
            state,
            shapes,
            "has LoRA weights for blocks.39.cross_attn.k and 2 more, which this model does not have; "
            "give a LoRA made for Wan2.1 of this size",
        )

    @pytest.mark.parametrize(
        ("key", "name"),
        [
            (
                "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight",
                "single_transformer_blocks.0.attn.to_q",
            ),
            ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", "lora_unet_double_blocks_0_img_attn_qkv"),
            ("blocks.0.norm3.lora_A.weight", "blocks.0.norm3"),
        ],
    )
    def test_another_model(self, tmp_path, shapes, key, name):
        self.check(
            tmp_path,
            {key: torch.zeros(2, 32)},
            shapes,
            f"has LoRA weights for {name}, which this model does not have; give a LoRA made for Wan2.1 of this size",
        )

    def test_half_of_a_pair(self, tmp_path, shapes):
        lost = "for blocks.0.self_attn.q; download this file again"
        for key, missing in (("lora_A.weight", "lora_B (lora_up)"), ("lora_up.weight", "lora_A (lora_down)")):
            self.check(tmp_path, {f"{self.Q}.{key}": torch.zeros(2, 32)}, shapes, f"has no {missing} {lost}")
        self.check(tmp_path, {f"{self.Q}.alpha": torch.tensor(1.0)}, shapes, f"has no lora_A (lora_down) {lost}")

    @pytest.mark.parametrize(("down", "up"), [((2, 32), (32, 3)), ((0, 32), (32, 0)), ((64,), (32, 2)), ((), ())])
    def test_factors_that_do_not_belong_together(self, tmp_path, shapes, down, up):
        state = {f"{self.Q}.lora_A.weight": torch.zeros(down), f"{self.Q}.lora_B.weight": torch.zeros(up)}
        self.check(
            tmp_path,
            state,
            shapes,
            f"has factors of shapes {down} and {up} for blocks.0.self_attn.q, which do not belong together; "
            "download this file again",
        )

    def test_two_for_one_layer(self, tmp_path, shapes, lora):
        state = written(lora) | {key: tensor.clone() for key, tensor in kohya(lora).items()}
        with pytest.raises(CheckpointError, match=r"has several LoRAs for .*; give a file with one$"):
            check_lora(saved(tmp_path, state), shapes)

    def test_not_a_plain_lora(self, tmp_path, shapes, lora):
        for end in ("lokr_w1", "lora_magnitude_vector", "weight"):
            sentence = f"has {self.Q}.{end}, which is no part of a plain LoRA; give another file"
            self.check(tmp_path, written(lora) | {f"{self.Q}.{end}": torch.ones(32)}, shapes, sentence)

    def test_quantised(self, tmp_path, shapes):
        state = {f"{self.Q}.lora_A.weight": torch.zeros(2, 32).char(), f"{self.Q}.lora_B.weight": torch.zeros(32, 2)}
        sentence = "stores blocks.0.self_attn.q as int8, a quantisation unknown here; give fp16 or bf16"
        self.check(tmp_path, state, shapes, sentence)

    def test_no_lora(self, tmp_path, transformer, shapes):
        sentence = "has no LoRA weights in it; give a LoRA made for Wan2.1"
        self.check(tmp_path, transformer.state_dict(), shapes, sentence)
        self.check(tmp_path, {"blocks.0.norm3.diff": torch.ones(32)}, shapes, sentence)
        self.check(tmp_path, {}, shapes, sentence)

    def test_no_file(self, tmp_path, shapes):
        with pytest.raises(CheckpointError, match=r"^the LoRA .*none\.safetensors does not exist; name one "):
            check_lora(tmp_path / "none.safetensors", shapes)
        (tmp_path / "text").write_text("just some text in a file")
        with pytest.raises(CheckpointError, match="not a safetensors file"):
            check_lora(tmp_path / "text", shapes)


def test_checking_needs_no_torch():
    code = "import sys, magref.checkpoints.lora; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
