"""`magref generate` as a person types it, with a tiny model: what it makes, and what it says when it cannot."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from magref.cli import main
from magref.pipeline import MagrefPipeline
from magref.savings import FASTER
from magref.settings import GenerationDefaults, Savings
from magref.sidecar import read_sidecar
from magref.video import read_metadata, read_video
from tiny import tiny_components

DEFAULTS = GenerationDefaults(
    height=32,
    width=48,
    num_frames=5,
    num_inference_steps=2,
    guidance_scale=2.0,
    drop_frames=1,
    fps=8.0,
    negative_prompt="",
    text_tokens=64,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    MagrefPipeline(**tiny_components(image_encoder=False), generation_defaults=DEFAULTS.model_dump()).save_pretrained(
        folder
    )
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working folder with three pictures in it."""
    monkeypatch.chdir(tmp_path)
    for name, colour in (("dog.png", "brown"), ("cat.png", "grey"), ("park.png", "green")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / name)
    return tmp_path


def magref(*arguments: object) -> int:
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    return int(stop.value.code or 0)


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file."""
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def says(capsys, *arguments: object) -> str:
    """What a failing command line says: one line on stderr, after exit code 2."""
    assert magref(*arguments) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert said.startswith("magref: ")
    assert "Traceback" not in said
    return said


class TestGenerate:
    def test_makes_a_video_and_its_sidecar(self, here, model):
        assert magref("generate", "The dog runs.", "dog.png", "cat.png", "--model", model, "--seed", 3) == 0
        frames, fps = read_video("out.mp4")
        assert frames.shape == (4, 32, 48, 3)
        assert fps == 8
        sidecar = read_sidecar(here / "out.json")
        assert sidecar.settings.seed == 3
        assert [r.path for r in sidecar.references] == ["dog.png", "cat.png"]
        assert "AI-generated" in read_metadata("out.mp4")["comment"]
        assert read_sidecar(here / "out.mp4").settings == sidecar.settings

    def test_options_may_stand_anywhere(self, here, model):
        assert magref("generate", "--steps", 1, "The dog runs.", "-o", "a.gif", "dog.png", "--model", model) == 0
        assert (here / "a.gif").exists()

    def test_every_setting_reaches_the_sidecar(self, here, model):
        options = "--size 64x32 --frames 9 --fps 12 --steps 1 --guidance 1.5 --shift 4 --solver dpm++ --seed 5"
        options += " --order shuffled --mask alpha --dtype float32 --device cpu --negative-prompt blur --attention int8"
        options += " --step-cache 0.1 --guidance-interval 0:0.5 -o v.webm"
        arguments = ["generate", "The dog runs.", "dog.png", "--background", "park.png", "--model", model]
        assert magref(*arguments, *options.split()) == 0
        sidecar = read_sidecar(here / "v.json")
        assert sidecar.settings.model_dump() == DEFAULTS.model_dump() | {
            "width": 64, "height": 32, "num_frames": 9, "fps": 12.0, "num_inference_steps": 1, "guidance_scale": 1.5,
            "flow_shift": 4.0, "solver": "dpm++", "seed": 5, "order": "shuffled", "mask": "alpha",
            "negative_prompt": "blur", "prompt": "The dog runs.",
            "savings": {"step_cache": 0.1, "guidance_interval": (0.0, 0.5), "attention": "int8"},
        }  # fmt: skip
        assert [r.role for r in sidecar.references] == ["object", "background"]
        assert sidecar.model.dtype == "float32"
        assert (sidecar.model.preset, sidecar.model.quantize) == ("cpu", None)
        assert sidecar.device == "cpu"

    def test_savings_are_on_record(self, here, model):
        common = ["generate", "Go.", "dog.png", "--model", model, "--steps", 6, "--seed", 1]
        assert magref(*common, "--faster", "--step-cache", 0.3, "--preset", "auto", "-o", "fast.mp4") == 0
        assert read_sidecar("fast.json").settings.savings == FASTER.model_copy(update={"step_cache": 0.3})
        assert magref(*common, "--guidance-interval", "0.5:1", "-o", "half.mp4") == 0
        assert read_sidecar("half.json").settings.savings == Savings(guidance_interval=(0.5, 1.0))
        assert magref("generate", "--replay", "fast.json", "-o", "again.mp4") == 0
        assert Path("again.mp4").read_bytes() == Path("fast.mp4").read_bytes()

    def test_count_makes_videos_with_seeds_counting_up(self, here, model):
        assert magref("generate", "Go.", "dog.png", "--model", model, "--seed", 7, "--count", 2, "--steps", 1) == 0
        assert [read_sidecar(here / f"out-{k}.json").settings.seed for k in (1, 2)] == [7, 8]
        assert magref("generate", "Go.", "dog.png", "--model", model, "--seed", 8, "--steps", 1, "-o", "one.mp4") == 0
        assert (read_video("one.mp4")[0] == read_video("out-2.mp4")[0]).all()

    def test_preview_and_sheet(self, here, model):
        assert magref("generate", "Go.", "dog.png", "--model", model, "--preview", "c.png", "--sheet", "s.png") == 0
        assert Image.open("c.png").width >= 2 * 48
        assert Image.open("s.png").width > 4 * 48

    def test_lora_changes_the_video_and_is_on_record(self, here, model, monkeypatch, tmp_path_factory):
        from peft import LoraConfig

        pipeline = MagrefPipeline.from_pretrained(model)
        pipeline.transformer.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
        from diffusers.utils import convert_state_dict_to_diffusers
        from peft import get_peft_model_state_dict

        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipeline.transformer))
        MagrefPipeline.save_lora_weights(here, transformer_lora_layers=layers, weight_name="style.safetensors")
        common = ["generate", "Go.", "dog.png", "--model", model, "--seed", 1]
        assert magref(*common, "-o", "plain.mp4") == 0
        assert magref(*common, "-o", "styled.mp4", "--lora", "style.safetensors:0.5") == 0
        assert (read_video("plain.mp4")[0] != read_video("styled.mp4")[0]).any()
        assert read_sidecar(here / "styled.json").model.lora[0].scale == 0.5
        monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
        assert magref("generate", "--replay", here / "styled.json", "-o", "again.mp4") == 0
        assert Path("again.mp4").read_bytes() == (here / "styled.mp4").read_bytes()

    def test_single_file_transformer(self, here, model):
        weights = model / "transformer" / "diffusion_pytorch_model.safetensors"
        common = ["generate", "Go.", "dog.png", "--model", model, "--seed", 1]
        assert magref(*common, "-o", "own.mp4") == 0
        assert magref(*common, "-o", "file.mp4", "--transformer", weights) == 0
        assert (read_video("own.mp4")[0] == read_video("file.mp4")[0]).all()
        assert magref("generate", "--replay", "file.json", "-o", "again.mp4") == 0
        assert Path("again.mp4").read_bytes() == Path("file.mp4").read_bytes()


class TestReplay:
    def test_gives_the_same_bytes(self, here, model):
        assert magref("generate", "The dog runs.", "dog.png", "--model", model, "--order", "shuffled") == 0
        for record in ("out.json", "out.mp4"):
            assert magref("generate", "--replay", record, "-o", "again.mp4", "--overwrite") == 0
            assert Path("again.mp4").read_bytes() == Path("out.mp4").read_bytes()

    def test_gives_the_same_bytes_in_another_process(self, here, model):
        assert magref("generate", "The dog runs.", "dog.png", "--model", model) == 0
        command = [sys.executable, "-m", "magref", "generate", "--replay", "out.json", "-o", "again.mp4"]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())})
        assert Path("again.mp4").read_bytes() == Path("out.mp4").read_bytes()

    def test_refuses_changed_references_and_weights(self, here, model, capsys):
        assert magref("generate", "The dog runs.", "dog.png", "--model", model, "--steps", 1) == 0
        other = here / "other"
        MagrefPipeline.from_pretrained(model).save_pretrained(other)
        torch_file = other / "vae" / "diffusion_pytorch_model.safetensors"
        torch_file.write_bytes(torch_file.read_bytes()[:-4] + b"\x01\x02\x03\x04")
        capsys.readouterr()
        said = says(capsys, "generate", "--replay", "out.json", "-o", "again.mp4", "--model", other)
        assert "weights" in said
        Image.new("RGB", (40, 30), "black").save("dog.png")
        assert "dog.png has changed" in says(capsys, "generate", "--replay", "out.json", "-o", "again.mp4")

    def test_takes_no_settings(self, here, capsys):
        said = says(capsys, "generate", "--replay", "out.json", "--seed", 3, "--steps", 4)
        assert "--seed, --steps" in said


class TestBatch:
    def test_json_lines(self, here, model):
        case = {"prompt": "Go.", "refs": [{"uri": "dog.png"}, {"uri": "park.png", "role": "background"}]}
        lines = [json.dumps({"id": name, **case}) for name in ("a", "b")]
        Path("cases.jsonl").write_text("\n".join(lines))
        assert magref("generate", "--batch", "cases.jsonl", "-o", "made", "--model", model, "--steps", 1) == 0
        assert sorted(p.name for p in Path("made").iterdir()) == ["a.json", "a.mp4", "b.json", "b.mp4"]

    def test_count_makes_several_of_each_case(self, here, model):
        Path("cases.txt").write_text("a@@Go left.@@dog.png\n")
        options = ["--model", model, "--steps", 1, "--count", 2, "--seed", 4]
        assert magref("generate", "--batch", "cases.txt", *options) == 0
        assert [read_sidecar(f"outputs/a-{k}.json").settings.seed for k in (1, 2)] == [4, 5]

    def test_a_file_as_output_is_refused(self, here, capsys):
        Path("cases.txt").write_text("a@@Go left.@@dog.png\n")
        assert "is a folder" in says(capsys, "generate", "--batch", "cases.txt", "-o", "out.mp4")

    def test_finished_cases_are_kept_and_the_rest_is_made(self, here, model, capsys):
        Path("cases.txt").write_text("a@@Go left.@@dog.png\nb@@Go right.@@dog.png@@cat.png\n")
        common = ["generate", "--batch", "cases.txt", "-o", "made", "--model", model, "--steps", 1]
        assert magref(*common) == 0
        before = Path("made/a.mp4").stat().st_mtime_ns
        Path("made/b.mp4").unlink()
        Path("made/b.json").unlink()
        capsys.readouterr()
        assert magref(*common) == 0
        assert "1 video is there already" in capsys.readouterr().err
        assert Path("made/a.mp4").stat().st_mtime_ns == before
        assert Path("made/b.mp4").exists()

    def test_a_video_made_with_something_else_is_not_taken_for_finished(self, here, model, capsys):
        def asked(*options, line="a@@Go left.@@dog.png\n"):
            Path("cases.txt").write_text(line)
            return "generate", "--batch", "cases.txt", "-o", "made", "--model", model, "--steps", 1, *options

        assert magref(*asked("--seed", 1)) == 0
        capsys.readouterr()
        made = f"magref: {Path('made/a.mp4')} was made with"
        remedy = "use --overwrite or another folder"
        other = asked("--seed", 1, line="a@@Go right.@@dog.png\n")
        assert says(capsys, *other) == f"{made} another prompt; {remedy}"
        assert says(capsys, *asked("--seed", 2, "--frames", 9)) == f"{made} other settings (num frames, seed); {remedy}"
        other = asked("--seed", 1, line="a@@Go left.@@cat.png\n")
        assert says(capsys, *other) == f"{made} other references; {remedy}"
        assert magref(*asked()) == 0  # any seed will do
        capsys.readouterr()
        record = json.loads(Path("made/a.json").read_text())
        nothing = "0" * 64
        for change in (
            {"weights_sha256": nothing},
            {"lora": [{"path": "style.safetensors", "sha256": nothing, "scale": 1.0}]},
            {"transformer": {"path": "small.gguf", "weights_sha256": nothing}},
        ):
            changed = record | {"model": record["model"] | change}
            Path("made/a.json").write_text(json.dumps(changed))
            assert says(capsys, *asked()) == f"{made} another model, or another LoRA; {remedy}"
        for change, options, what in (
            ({"dtype": "bfloat16"}, ("--dtype", "float32"), "--dtype bfloat16"),
            ({"quantize": "int8"}, (), "--quantize int8"),
            ({"quantize": "int8"}, ("--quantize", "none", "--preset", "auto"), "--quantize int8"),
            ({"preset": "24gb"}, (), "--preset 24gb"),
        ):
            changed = record | {"model": record["model"] | change}
            Path("made/a.json").write_text(json.dumps(changed))
            assert says(capsys, *asked(*options)) == f"{made} {what}; {remedy}"
        Path("made/a.json").write_text(json.dumps(record | {"model": record["model"] | {"preset": "48gb"}}))
        assert magref(*asked()) == 0  # which gives the same video

    def test_a_preview_that_is_there_is_kept(self, here, model):
        Path("cases.txt").write_text("a@@Go left.@@dog.png\n")
        common = ["generate", "--batch", "cases.txt", "--model", model, "--steps", 1, "--preview", "p.png"]
        assert magref(*common) == 0
        before = Path("p.png").stat().st_mtime_ns
        assert magref(*common) == 0
        assert Path("p.png").stat().st_mtime_ns == before

    def test_files_that_are_no_finished_video_are_named(self, here, model, capsys):
        Path("cases.txt").write_text("a@@Go left.@@dog.png\n")
        common = ["generate", "--batch", "cases.txt", "-o", "made", "--model", model, "--steps", 1]
        assert magref(*common) == 0
        capsys.readouterr()
        Path("made/a.mp4").write_bytes(b"")
        assert "a.mp4 is not the video that" in says(capsys, *common)
        Path("made/a.json").write_bytes(b"")
        assert "a.json is not the record of" in says(capsys, *common)


class TestMistakes:
    """Exit code 2, one sentence that names the input and the remedy, and nothing heavy before it."""

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ("Go. missing.png", "missing.png does not exist"),
            ("Go. text.png", "not a picture"),
            ("Go. dot.png", "at least 8 pixels"),
            ("Go. line.png", "at least 8 pixels"),
            ("Go. bomb.png", "make it smaller"),
            ("Go.", "give 1 to 8"),
            ("Go. " + "dog.png " * 9, "give 1 to 8"),
            ("Go. dog.png --size 50x32", "use 48 or 64"),
            ("Go. dog.png --size big", "832x480"),
            ("Go. dog.png --frames 6", "use 5 or 9"),
            ("Go. dog.png --steps 0", "use 1 or more"),
            ("Go. dog.png --guidance -1", "use 0 or more"),
            ("Go. dog.png --shift 0", "is not positive"),
            ("Go. dog.png --fps 0", "use more than 0"),
            ("Go. dog.png --solver euler", "use unipc or dpm++"),
            ("Go. dog.png --order mixed", "use given or shuffled"),
            ("Go. dog.png --mask round", "use rectangle or alpha"),
            ("Go. dog.png --count 0", "use 1 or more"),
            ("Go. dog.png --seed -1", "seed -1 is out of range"),
            ("Go. dog.png --device cuda:77", "--device cpu"),
            ("Go. dog.png --device abacus", "use cpu"),
            ("Go. dog.png --dtype int3", "use float32"),
            ("Go. dog.png --preset 12gb", "use auto, 80gb, 48gb, 24gb, 16gb, cpu"),
            ("Go. dog.png --preset 24gb --device cpu", "is for a GPU, and this runs on the CPU; use --preset cpu"),
            ("Go. dog.png --quantize int3", "use int8, int8-dynamic, fp8 or none"),
            ("Go. dog.png --quantize fp8 --device cpu", "int8"),
            ("Go. dog.png --fast --faster", "choose one of them"),
            ("Go. dog.png --step-cache 2", "from 0 to below 1"),
            ("Go. dog.png --guidance-interval 5", "write FROM:TO"),
            ("Go. dog.png --lora nothing.safetensors", "nothing.safetensors does not exist"),
            ("Go. dog.png --lora dog.png", "dog.png"),
            ("Go. dog.png --lora dog.png:nan", "the scale nan of the LoRA dog.png"),
            ("Go. dog.png --size 160000x160000", "too large for this model"),
            ("Go. dog.png --frames 160001", "too many for this model"),
            ("Go. dog.png --fps 60 -o out.gif", "a GIF cannot show 60"),
            ("Go. dog.png --fps 5000", "5000 frames per second are not possible"),
            ("Go. dog.png --device meta", "use cpu"),
            ("Go. dog.png --preview p.png --sheet p.png", "two outputs would have the name"),
            ("Go. dog.png --sheet dog.png --overwrite", "is one of the references"),
            ("Go. dog.png --transformer nothing.gguf", "nothing.gguf does not exist"),
            ("Go. dog.png -o out.avi", ".mp4, .webm"),
            ("Go. dog.png -o there.mp4", "--overwrite"),
            ("Go. dog.png -o dog.png/out.mp4", "dog.png"),
            ("Go. dog.png --frame 5", "--frames"),
            ("Go. dog.png --frames many", "--frames"),
            ("--batch nothing.jsonl", "nothing.jsonl"),
            ("--replay nothing.json", "nothing.json does not exist"),
            ("--replay there.mp4", "there.mp4"),
        ],
    )
    def test_says_one_sentence(self, here, model, capsys, monkeypatch, arguments, expected):
        Path("text.png").write_text("no picture")
        Path("there.mp4").write_bytes(b"")
        Image.new("RGB", (1, 1)).save("dot.png")
        Image.new("RGB", (10_000, 3)).save("line.png")
        header = (50_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
        Path("bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")))
        monkeypatch.setattr("magref.generation.load_model", lambda *_, **__: pytest.fail("weights were loaded"))
        model_options = [] if "--replay" in arguments else ["--model", model]
        before = sorted(here.iterdir())
        assert expected in says(capsys, "generate", *arguments.split(), *model_options)
        assert sorted(here.iterdir()) == before

    def test_empty_prompt(self, here, model, capsys):
        assert "the prompt is empty" in says(capsys, "generate", " ", "dog.png", "--model", model)

    def test_overwrite_replaces_no_json_of_someone_else(self, here, model, capsys):
        common = ["generate", "Go.", "dog.png", "--model", model, "--steps", 1, "--overwrite"]
        for content in ("[1]", '{"format": "else"}', "", "[" * 100_000):
            Path("out.json").write_text(content)
            assert "out.json is no record of a video" in says(capsys, *common)
            assert Path("out.json").read_text() == content
        Path("out.json").unlink()
        assert magref(*common) == magref(*common) == 0

    def test_a_sheet_too_high_for_its_format(self, here, model, capsys, monkeypatch):
        monkeypatch.setattr("magref.generation.load_model", lambda *_, **__: pytest.fail("weights were loaded"))
        common = ["generate", "Go.", "dog.png", "--model", model, "--count", 100, "--sheet", "s.webp"]
        assert "a .webp sheet holds" in says(capsys, *common)

    def test_a_prompt_that_is_too_long_is_said_to_be_cut(self, here, model, caplog):
        common = ["generate", "--model", model, "--steps", 1, "--overwrite"]
        assert magref(*common, "Go left. " * 20, "dog.png") == 0
        (said,) = caplog.messages  # which Python shows on stderr
        assert "has 180 tokens, and the model reads the first 64; shorten it" in said
        caplog.clear()
        assert magref(*common, "Go.", "dog.png") == 0
        assert not caplog.messages

    @pytest.mark.parametrize("option", ["--workers 2", "--gpus 1", "--address here:1"])
    def test_what_is_for_a_cluster_needs_one(self, here, capsys, option):
        said = says(capsys, "generate", "Go.", "dog.png", *option.split())
        assert "for a Ray cluster; add --engine ray, or leave them out" in said

    def test_a_question_that_nobody_answers(self, here, capsys, monkeypatch):
        def ask(*_, confirm, **__):
            return confirm("82 GB")

        monkeypatch.setattr("magref.hub.download", ask)
        monkeypatch.setattr("sys.stdin", io.StringIO())
        assert magref("download", "someone/model") == 2
        assert "magref: nobody is here to answer; add --yes to fetch" in capsys.readouterr().err

    @pytest.mark.parametrize("command", ["plan --gpu rtx9999", "convert nope out"])
    def test_what_is_mistyped_is_said_before_torch_is_imported(self, here, command):
        code = f"import sys\nfrom magref.cli import main\ntry:\n    main({command.split()})\nfinally:\n"
        code += "    print('torch' in sys.modules, 'diffusers' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.strip()) == (2, "False False"), done.stderr

    def test_a_forgotten_prompt(self, here, model, capsys):
        said = says(capsys, "generate", "dog.png", "cat.png", "--model", model)
        assert "the prompt dog.png is a file; the sentence comes first" in said

    @pytest.mark.parametrize(
        "arguments",
        [
            "Go. dog.png -o LONG.mp4",
            "Go. LONG.png",
            "Go. dog.png --model LONG/x",
            "Go. dog.png --lora LONG",
            "Go. dog.png --transformer LONG",
            "--batch LONG.jsonl",
            "--batch long.txt",
            "--replay LONG.mp4",
            "--replay dog.png/a.mp4",
            "--replay loop.mp4",
            "Go. dog.png -o loop.mp4/out.mp4",
        ],
    )
    def test_a_path_that_the_system_refuses_is_one_sentence(self, here, model, capsys, arguments):
        Path("long.txt").write_text(f"a@@Go.@@{'x' * 300}.png")
        Path("loop.mp4").symlink_to("loop.mp4")
        options = [] if "--model" in arguments or "--replay" in arguments else ["--model", model]
        says(capsys, "generate", *arguments.replace("LONG", "x" * 300).split(), *options)

    @pytest.mark.parametrize("command", ["info LONG", "convert LONG out", "plan LONG"])
    def test_so_it_is_with_other_commands(self, here, capsys, command):
        says(capsys, *command.replace("LONG", "x" * 300).split())

    def test_a_path_without_permission_is_one_sentence(self, here, model, capsys, monkeypatch):
        def refused(*_):
            raise PermissionError(errno.EACCES, "Permission denied", "locked/out.json")

        monkeypatch.setattr("magref.generation.read_sidecar", refused)
        said = says(capsys, "generate", "--replay", "locked/out.json")
        assert said.endswith("locked/out.json cannot be used (Permission denied); check the path and its permissions")

    def test_no_arguments(self, here, capsys):
        assert "give a prompt and reference pictures" in says(capsys, "generate")

    def test_unknown_model(self, here, capsys):
        assert "neither a folder" in says(capsys, "generate", "Go.", "dog.png", "--model", "nowhere")

    @pytest.mark.parametrize("name", ["./nano", "../x", "a--b/c", "~nobody-here/x", "two words"])
    def test_a_name_that_is_no_model_is_one_sentence(self, here, capsys, monkeypatch, name):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert f"the model {name} is" in says(capsys, "generate", "Go.", "dog.png", "--model", name)

    def test_a_model_whose_parts_do_not_fit_is_one_sentence(self, here, model, capsys):
        shutil.copytree(model, "broken")
        config = Path("broken/transformer/config.json")
        config.write_text(config.read_text().replace('"ffn_dim": 64', '"ffn_dim": 96'))
        assert "where (96, 32) is needed" in says(capsys, "generate", "Go.", "dog.png", "--model", "broken")
        assert not Path("out.mp4").exists()

    def test_a_preview_is_written_only_once_all_is_checked(self, here, model, capsys):
        says(capsys, "generate", "Go.", "dog.png", "--model", model, "--preview", "p.png", "--device", "abacus")
        assert not Path("p.png").exists()

    def test_an_error_while_the_sidecar_is_written_leaves_no_video(self, here, model, capsys, monkeypatch):
        def full(_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("magref.generation.sidecar_bytes", full)
        said = says(capsys, "generate", "Go.", "dog.png", "--model", model, "--steps", 1)
        assert "the disk is full" in said
        assert sorted(path.name for path in here.iterdir()) == ["cat.png", "dog.png", "park.png"]

    def test_half_downloaded_model(self, here, model, capsys):
        import shutil

        shutil.copytree(model, "half")
        weights = Path("half/transformer/diffusion_pytorch_model.safetensors")
        weights.write_bytes(weights.read_bytes()[:-1000])
        assert "diffusion_pytorch_model.safetensors" in says(capsys, "generate", "Go.", "dog.png", "--model", "half")
        weights.unlink()
        assert "missing" in says(capsys, "generate", "Go.", "dog.png", "--model", "half")

    def test_folder_that_may_not_be_written(self, here, model, capsys):
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        Path("locked").mkdir(mode=0o500)
        assert "locked" in says(capsys, "generate", "Go.", "dog.png", "--model", model, "-o", "locked/out.mp4")

    def test_missing_output_folder_is_made(self, here, model):
        assert magref("generate", "Go.", "dog.png", "--model", model, "-o", "a/b/out.mp4", "--steps", 1) == 0
        assert Path("a/b/out.mp4").exists()

    def test_out_of_memory_is_one_sentence(self, here, model, capsys, monkeypatch):
        def full(*_, **__):
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr("magref.pipeline.build_conditioning", full)
        said = says(capsys, "generate", "Go.", "dog.png", "--model", model)
        assert "use a smaller size" in said

    def test_an_interrupt_leaves_nothing_half_written(self, here, model):
        arguments = ["generate", "Go.", "dog.png", "--model", str(model), "--steps", "100000"]
        process = subprocess.Popen([sys.executable, "-m", "magref", *arguments], stderr=subprocess.PIPE, text=True)
        time.sleep(1)
        for _ in range(200):  # until the model is loaded and the steps are running
            if (
                Path(f"/proc/{process.pid}/maps").exists()
                and "libtorch_cpu" in Path(f"/proc/{process.pid}/maps").read_text()
            ):
                break
            time.sleep(0.1)
        time.sleep(2)
        for _ in range(20):
            process.send_signal(signal.SIGINT)  # again, as a person would: a library being imported may swallow one
            try:
                _, said = process.communicate(timeout=5)
                break
            except subprocess.TimeoutExpired:
                continue
        assert process.returncode == 130, said
        assert "interrupted" in said
        assert "Traceback" not in said
        assert sorted(p.name for p in here.iterdir()) == ["cat.png", "dog.png", "park.png"]


def test_an_interrupt_while_something_is_imported_ends_in_the_same_code(tmp_path):
    """Python had ended by the signal where it struck in the midst of an exec, as dataclasses have it."""
    program = "import magref.cli as cli\ncli._run = lambda _: exec('raise KeyboardInterrupt')\ncli.main([])\n"
    (tmp_path / "interrupted.py").write_text(program)
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 130
    assert "interrupted" in done.stderr


def test_help_is_quick_and_names_the_commands():
    command = [sys.executable, "-X", "importtime", "-m", "magref", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "generate" in done.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "diffusers", "transformers"}
