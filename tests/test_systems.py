"""Every system makes a case's video from a tiny random model of its architecture, saved to disk and loaded by path."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDPMScheduler,
    ConsisIDPipeline,
    ConsisIDTransformer3DModel,
    UniPCMultistepScheduler,
    WanTransformer3DModel,
    WanVACEPipeline,
    WanVACETransformer3DModel,
)
from PIL import Image
from safetensors.torch import load_file
from transformers import T5Config, T5EncoderModel

from magref.batch import Case, CaseReference, Source
from magref.canvas import compose_canvas
from magref.checkpoints.layout import TRANSFORMER as TRANSFORMER_FILE
from magref.errors import CheckpointError, InputError, ResourceError
from magref.evaluation.synthetic_bench.script import DATASET, scripted
from magref.evaluation.systems import consisid
from magref.evaluation.systems.command import substituted
from magref.evaluation.systems.consisid import ConsisId, FaceSeen
from magref.evaluation.systems.interface import CaseFailedError, System
from magref.evaluation.systems.registry import SYSTEMS, kind_of, read_settings
from magref.pipeline import MagrefPipeline
from magref.settings import GenerationDefaults
from magref.sidecar import read_sidecar
from magref.video import read_metadata, read_video
from tiny import (
    GOLDEN,
    TRANSFORMER,
    published_state,
    seeded,
    tiny_components,
    tiny_text_encoder,
    tiny_tokenizer,
    tiny_vae,
)

SMALL = ["height=32", "width=48", "num_frames=17", "num_inference_steps=2"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name, colour in (("ann", "pink"), ("bob", "navy"), ("ball", "orange"), ("park", "green")):
        Image.new("RGB", (40, 60), colour).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def case(pictures) -> Case:
    return case_of(pictures, ann="person", ball="object", park="background")


def case_of(pictures: Path, **roles) -> Case:
    refs = tuple(CaseReference(uri=str(pictures / f"{name}.png"), role=role) for name, role in roles.items())
    return Case(id="one", prompt="Ann plays with a ball.", refs=refs)


def opened(name: str, *changes: str, **given: str) -> System:
    """A system as the command line makes it."""
    settings = read_settings(name, changes, **given)
    assert isinstance(kind_of(name).check(settings), dict)
    return kind_of(name).open(settings, "cpu")


def made_twice(system: System, case: Case, folder: Path) -> tuple[np.ndarray, float, dict]:
    """Frames, rate and settings; a seed gives the same bytes, and another seed other frames."""
    first, again, other = (folder / f"{name}.mp4" for name in ("first", "again", "other"))
    settings = system.make(case, 5, first)
    assert system.make(case, 5, again) == settings
    system.make(case, 6, other)
    assert first.read_bytes() == again.read_bytes()
    frames, fps = read_video(first)
    assert not np.array_equal(frames, read_video(other)[0])
    json.dumps(settings)
    return frames, fps, settings


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "model"
    defaults = GenerationDefaults(
        height=32, width=48, num_frames=9, num_inference_steps=2, guidance_scale=2.0, drop_frames=1, fps=8.0,
        negative_prompt="", text_tokens=64,
    )  # fmt: skip
    components = tiny_components(image_encoder=False)
    MagrefPipeline(**components, generation_defaults=defaults.model_dump()).save_pretrained(folder)
    return folder


def test_a_model_of_this_package(own, case, tmp_path):
    system = opened("magref", "guidance_scale=3.0", "dtype=float32", model=str(own))
    frames, fps, settings = made_twice(system, case, tmp_path)
    assert frames.shape == (8, 32, 48, 3)
    assert fps == 8
    assert (settings["seed"], settings["guidance_scale"], settings["num_inference_steps"]) == (5, 3.0, 2)
    inside = read_sidecar(tmp_path / "first.mp4")  # what magref generate --replay takes
    assert inside.settings.model_dump(mode="json") | {"dtype": "float32"} == settings
    assert inside.model.name == str(own)


def test_the_embedded_model_is_the_one_without_a_name():
    assert read_settings("magref").model is None
    assert read_settings("magref", model="magref-nano").model is None
    assert set(kind_of("magref").check(read_settings("magref"))) == {"model"}


def test_skyreels_a2(case, tmp_path):
    folder = tmp_path / "a2"
    parts = tiny_components()
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    index = {name: ["diffusers", type(part).__name__] for name, part in parts.items()}
    index |= {name: ["transformers", type(parts[name]).__name__] for name in ("text_encoder", "tokenizer")}
    index["image_encoder"] = ["transformers", "CLIPVisionModel"]
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "A2Pipeline"} | index))
    frames, fps, settings = made_twice(opened("skyreels-a2", *SMALL, model=str(folder)), case, tmp_path)
    assert frames.shape == (17 - 12, 32, 48, 3)
    assert fps == 15
    assert (settings["flow_shift"], settings["mechanism"]) == (8.0, "vanilla")
    assert "SkyReels-A2" in read_metadata(tmp_path / "first.mp4")["comment"]


def test_phantom(case, tmp_path):
    folder = tmp_path / "wan"
    unused = shutil.ignore_patterns(f"{TRANSFORMER_FILE}*", "*clip*", "xlm*")
    shutil.copytree(GOLDEN / "checkpoint", folder, copy_function=os.symlink, ignore=unused)
    config = json.loads((folder / "config.json").read_text())
    heads = config["num_heads"]
    text_dim = load_file(GOLDEN / "checkpoint" / f"{TRANSFORMER_FILE}.safetensors")["text_embedding.0.weight"].shape[1]
    with seeded(9):
        transformer = WanTransformer3DModel(
            **TRANSFORMER | {"num_attention_heads": heads, "attention_head_dim": config["dim"] // heads,
                             "in_channels": 16, "text_dim": text_dim}
        )  # fmt: skip
    torch.save(published_state(transformer), tmp_path / "Phantom-Wan-1.3B.pth")
    weights = f"weights={tmp_path / 'Phantom-Wan-1.3B.pth'}"
    frames, fps, settings = made_twice(opened("phantom", weights, *SMALL, model=str(folder)), case, tmp_path)
    assert frames.shape == (17, 32, 48, 3)
    assert fps == 16
    assert (settings["guidance_scale"], settings["mechanism"]) == (7.5, "tokenwise")


@pytest.fixture(scope="module")
def vace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vace") / "model"
    with seeded(4):
        transformer = WanVACETransformer3DModel(
            **TRANSFORMER | {"in_channels": 16, "vace_layers": [0], "vace_in_channels": 96}
        )
    # diffusers takes the VAE's strides from its stages: three of them, as in Wan's own.
    vae = tiny_vae(
        patch_size=None, in_channels=3, out_channels=3, dim_mult=[1, 2, 4, 4], temperal_downsample=[False, True, True]
    )
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    WanVACEPipeline(tiny_tokenizer(), tiny_text_encoder(), vae, scheduler, transformer).save_pretrained(folder)
    return folder


def test_vace(vace, case, pictures, tmp_path):
    system = opened("vace", *SMALL, model=str(vace))
    frames, fps, settings = made_twice(system, case, tmp_path)
    assert frames.shape == (17, 32, 48, 3)
    assert fps == 16
    assert (settings["seed"], settings["flow_shift"], settings["guidance_scale"]) == (5, 16.0, 5.0)
    system.make(case_of(pictures, bob="person", ball="object", park="background"), 5, tmp_path / "bob.mp4")
    assert not np.array_equal(frames, read_video(tmp_path / "bob.mp4")[0])  # it looks at its references
    shifted = opened("vace", *SMALL, "flow_shift=3", model=str(vace))
    assert shifted.make(case, 5, tmp_path / "shifted.mp4")["flow_shift"] == 3.0
    assert not np.array_equal(frames, read_video(tmp_path / "shifted.mp4")[0])


def test_a_folder_of_another_pipeline_is_told_from_the_right_one(vace, own, tmp_path):
    with pytest.raises(CheckpointError, match="holds a MagrefPipeline, not a WanVACEPipeline"):
        opened("vace", model=str(own))
    with pytest.raises(CheckpointError, match="does not exist"):
        opened("vace", model=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="18 frames are not 4k\\+1; use 17 or 21"):
        opened("vace", "num_frames=18", model=str(vace))


@pytest.fixture(scope="module")
def face_model(tmp_path_factory) -> Path:
    """ConsisID's parts, its extractor of faces among them."""
    folder = tmp_path_factory.mktemp("consisid") / "model"
    with seeded(5):
        transformer = ConsisIDTransformer3DModel(
            num_attention_heads=3, attention_head_dim=16, in_channels=8, out_channels=4, time_embed_dim=8,
            text_embed_dim=16, num_layers=2, sample_width=6, sample_height=4, sample_frames=9, patch_size=2,
            max_text_seq_length=226, use_rotary_positional_embeddings=True, is_train_face=True, cross_attn_interval=1,
            cross_attn_dim_head=8, cross_attn_num_heads=2, LFE_id_dim=12, LFE_vit_dim=8, LFE_depth=5, LFE_dim_head=8,
            LFE_num_heads=2, LFE_num_id_token=2, LFE_num_querie=4, LFE_output_dim=32, LFE_ff_mult=1,
        )  # fmt: skip
        vae = AutoencoderKLCogVideoX(
            block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2,
            sample_height=32, sample_width=48,
        )  # fmt: skip
        text = T5EncoderModel(T5Config(vocab_size=259, d_model=16, d_kv=8, num_heads=2, d_ff=32, num_layers=1))
    ConsisIDPipeline(tiny_tokenizer(), text, vae, transformer, CogVideoXDPMScheduler()).save_pretrained(folder)
    return folder


class SmallFaces:
    """Random networks in the place of ConsisID's own, with the same outputs, for a model of these widths."""

    def __init__(self) -> None:
        with seeded(6):
            self.identity = torch.nn.Linear(3, 12)
            self.hidden = [torch.nn.Linear(3, 8) for _ in range(5)]

    @torch.no_grad()
    def __call__(self, picture: Image.Image) -> FaceSeen:
        pixels = torch.from_numpy(np.array(picture.resize((4, 4)))).float().div(255).reshape(1, 16, 3)
        hidden = [layer(pixels) for layer in self.hidden]
        points = np.full((5, 2), 8, dtype=np.float32)
        return FaceSeen(self.identity(pixels.mean(1)), hidden, picture.resize((32, 32)), points)


CONSISID_SMALL = ["height=32", "width=48", "num_frames=9", "num_inference_steps=2"]


def test_consisid(face_model, pictures, tmp_path):
    settings = read_settings("consisid", CONSISID_SMALL, model=str(face_model))
    assert set(kind_of("consisid").check(settings)) == {"model"}
    system = ConsisId(consisid.load_pipeline(settings, torch.device("cpu")), SmallFaces(), settings)
    frames, fps, resolved = made_twice(system, case_of(pictures, ann="person"), tmp_path)
    assert frames.shape == (9, 32, 48, 3)
    assert fps == 8
    assert (resolved["guidance_scale"], resolved["num_inference_steps"]) == (6.0, 2)
    system.make(case_of(pictures, bob="person"), 5, tmp_path / "bob.mp4")
    assert not np.array_equal(frames, read_video(tmp_path / "bob.mp4")[0])
    with pytest.raises(InputError, match="ConsisID takes the picture of one person, and this case has person, person"):
        system.make(case_of(pictures, ann="person", bob="person"), 5, tmp_path / "two.mp4")


def test_consisid_says_which_packages_its_faces_need(face_model, monkeypatch):
    monkeypatch.setitem(consisid.PACKAGES, "no_such_module", "some-package")
    settings = read_settings("consisid", CONSISID_SMALL, model=str(face_model))
    with pytest.raises(ResourceError, match=r"pip install .*some-package"):
        kind_of("consisid").open(settings, "cpu")


COPY = """
import argparse, os, pathlib, shutil, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--prompt"); parser.add_argument("--seed", type=int); parser.add_argument("--out")
parser.add_argument("--pictures", nargs="*"); parser.add_argument("--joined"); parser.add_argument("--do", default="")
given = parser.parse_args()
print("hello from the program")
if given.do == "sleep":
    pathlib.Path(given.joined).write_text(str(os.getpid()))
    time.sleep(60)
if given.do == "fail":
    sys.exit(3)
if given.do == "text":
    pathlib.Path(given.out).write_text("no video")
if not given.do:
    note = [given.prompt, given.seed, *map(os.path.basename, given.pictures), given.joined]
    pathlib.Path(sys.argv[0]).with_suffix(".note").write_text(repr(note))
    shutil.copy(pathlib.Path(sys.argv[0]).with_name("film.mp4"), given.out)
"""


@pytest.fixture
def program(own, case, tmp_path) -> Path:
    """Another program: it copies a film to where it is told."""
    opened("magref", model=str(own)).make(case, 1, tmp_path / "film.mp4")
    (tmp_path / "other.py").write_text(COPY)
    return tmp_path / "other.py"


def line(program: Path, rest: str) -> str:
    return f"{sys.executable} {program} --seed {{seed}} --out {{out}} --prompt {{prompt}} {rest}"


def test_another_program(program, case, tmp_path):
    quoted = case.model_copy(update={"prompt": """She says: "$HOME; `ls`" {seed} 'x' --out /nowhere"""})
    system = opened("command", command=line(program, "--pictures {references} --joined {persons:,}={id}"))
    settings = system.make(quoted, 7, tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "film.mp4").read_bytes()
    joined = f"{case.refs[0].uri}=one"
    note = [quoted.prompt, 7, "ann.png", "ball.png", "park.png", joined]
    assert (tmp_path / "other.note").read_text() == repr(note)
    assert settings["prompt"] == quoted.prompt


def test_a_cropped_picture_reaches_another_program_cropped(program, case, tmp_path):
    cut = case.model_copy(update={"refs": (case.refs[0].model_copy(update={"crop": (0, 0, 10, 20)}),)})
    keep = f"{sys.executable} -c \"import shutil, sys; shutil.copy(sys.argv[2], r'{tmp_path / 'seen.png'}'); "
    keep += f"shutil.copy(r'{tmp_path / 'film.mp4'}', sys.argv[1])\" {{out}} {{references}}"
    opened("command", command=keep).make(cut, 0, tmp_path / "out.mp4")
    assert Image.open(tmp_path / "seen.png").size == (10, 20)


def test_a_program_sees_the_gpu_of_its_process_alone(program, case, tmp_path, monkeypatch):
    line = f"sh -c 'echo $CUDA_VISIBLE_DEVICES > {tmp_path}/seen; cp {tmp_path}/film.mp4 $0' {{out}}"
    settings = read_settings("command", command=line)
    for number, (visible, device, seen) in enumerate(
        [(None, "cuda:1", "1"), ("4,6", "cuda:1", "6"), ("4,6", None, "4,6"), ("4,6", "cpu", "4,6")]
    ):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        kind_of("command").open(settings, device).make(case, 0, tmp_path / f"{number}.mp4")
        assert (tmp_path / "seen").read_text().strip() == seen
    with pytest.raises(ResourceError, match="cuda:2 was asked for, but CUDA_VISIBLE_DEVICES is '4,6'"):
        kind_of("command").open(settings, "cuda:2")


@pytest.mark.parametrize(("do", "reason"), [("fail", "exit_code"), ("text", "no_video"), ("nothing", "no_video")])
def test_a_program_that_fails_says_how(program, case, tmp_path, do, reason):
    system = opened("command", command=line(program, f"--do {do}"))
    with pytest.raises(CaseFailedError) as failed:
        system.make(case, 0, tmp_path / "out.mp4")
    assert failed.value.reason == reason
    if reason == "exit_code":
        assert "exit code 3" in str(failed.value)
        assert failed.value.evidence == "hello from the program\n"


def test_a_program_that_takes_too_long_is_ended(program, case, tmp_path):
    system = opened("command", "timeout_s=4", command=line(program, f"--do sleep --joined {tmp_path / 'pid'}"))
    start = time.monotonic()
    with pytest.raises(CaseFailedError, match="took more than 4 s") as failed:
        system.make(case, 0, tmp_path / "out.mp4")
    assert failed.value.reason == "timeout"
    assert time.monotonic() - start < 30
    if (tmp_path / "pid").exists():  # on a machine that is not too busy to start it in time
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)


def test_what_is_wrong_with_a_command_is_said_before_it_runs():
    for command, says in (
        (f"{sys.executable} x.py --prompt {{prompt}}", "does not say where the video goes"),
        (f"{sys.executable} x.py --out {{out}} {{promt}}", r"\{promt\} in the command is unknown; use \{id\}"),
        (f"{sys.executable} x.py --out {{out}} --refs={{references}}", r"or joined: \{references:,\}"),
        (f"{sys.executable} 'x.py --out {{out}}", "mend its quotes"),
        ("no-such-program {out}", "there is no program 'no-such-program' here"),
    ):
        with pytest.raises(InputError, match=says):
            opened("command", command=command)
    texts = dict.fromkeys(("id", "prompt", "out", "seed"), "x")
    lists = {"references": [], "persons": [], "objects": [], "backgrounds": []}
    assert substituted("p {references} '{\"a\": 1}' {out}", texts, lists) == ["p", '{"a": 1}', "x"]


def test_the_still_shows_the_canvas_at_the_size_of_the_model_beside_it(own, case, tmp_path):
    settings = opened("still", model=str(own)).make(case, 0, tmp_path / "still.mp4")
    frames, fps = read_video(tmp_path / "still.mp4")
    assert frames.shape == (8, 32, 48, 3)
    assert (fps, settings["num_frames"]) == (8, 8)
    canvas = np.asarray(compose_canvas(case.references(), height=32, width=48).image).astype(int)
    assert np.abs(frames - canvas).mean() < 12
    opened("still", "width=64", "num_frames=3", "fps=4").make(case, 0, tmp_path / "other.mp4")
    assert read_video(tmp_path / "other.mp4")[0].shape == (3, 64, 64, 3)


def columns_of(frames: np.ndarray, colour: tuple[int, int, int]) -> list[float]:
    """The middle of what has a colour, in each frame, in pixels from the left."""
    near = np.abs(frames.astype(int) - colour).sum(-1) < 60
    return [float(np.nonzero(frame)[1].mean()) for frame in near]


def test_what_is_pasted_crosses_before_the_background(case, pictures, tmp_path):
    system = opened("pasted")
    system.make(case, 0, tmp_path / "a.mp4")
    frames, _ = read_video(tmp_path / "a.mp4")
    steps = np.diff(columns_of(frames, (255, 165, 0)))
    assert (steps > 0).all()
    assert steps.std() < 1  # evenly
    assert np.abs(frames[:, 0, 0].astype(int) - (0, 128, 0)).max() < 12
    system.make(case_of(pictures, park="background"), 0, tmp_path / "b.mp4")
    assert np.abs(read_video(tmp_path / "b.mp4")[0].astype(int) - (0, 128, 0)).max() < 12


def test_what_is_pasted_knows_the_synthetic_cases_motions_and_colours(pictures, tmp_path):
    known = next(
        one for one in scripted().values() if one.colour == "yellow" and [p.motion for p in one.parts] == ["right"]
    )
    source = Source(dataset=DATASET, case_id=known.case.id)
    case = case_of(pictures, bob="person").model_copy(update={"source": source})
    opened("pasted").make(case, 0, tmp_path / "a.mp4")
    frames, _ = read_video(tmp_path / "a.mp4")
    assert (np.diff(columns_of(frames, (0, 0, 128))) > 0).all()
    red, green, blue = frames[0, 0, 0].astype(int)
    assert min(red, green) > 180
    assert blue < 90


def test_names_and_settings_that_do_not_exist():
    with pytest.raises(InputError, match="there is no system 'sora'; use magref, skyreels-a2"):
        read_settings("sora")
    with pytest.raises(InputError, match=r"steps is unknown; see docs/systems\.md"):
        read_settings("magref", ["steps=20"])
    with pytest.raises(InputError, match="vace cannot be set so: model is missing"):
        read_settings("vace")
    with pytest.raises(InputError, match="is not KEY=VALUE"):
        read_settings("magref", ["fast"])
    assert list(SYSTEMS) == ["magref", "skyreels-a2", "phantom", "vace", "consisid", "command", "still", "pasted"]
