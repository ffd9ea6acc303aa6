"""`magref generate` as a person types it, with a tiny model: what it makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from PIL import Image

from command_line import DEFAULTS, magref, says
from magref.pipeline import MagrefPipeline
from magref.savings import FASTER
from magref.settings import Savings
from magref.sidecar import read_sidecar
from magref.video import read_metadata, read_video


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
