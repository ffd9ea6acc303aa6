"""What `magref generate` says when it cannot: exit code 2, one sentence with the remedy, nothing heavy before it."""

from __future__ import annotations

import errno
import io
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

from command_line import magref, says


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file."""
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


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
