"""The examples do what they say."""

from __future__ import annotations

import itertools
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from magref.cli.app import app
from magref.dataset.store import Dataset

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_films_become_a_dataset_and_two_steps_of_training(tmp_path) -> None:
    pytest.importorskip("scenedetect", reason="needs the curate extra")
    command = [sys.executable, str(EXAMPLES / "films_to_training.py"), str(tmp_path), "--films", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "trained for 2 steps" in done.stdout
    assert len(Dataset(tmp_path / "dataset")) >= 1
    assert {sample.clip.num_frames for sample in Dataset(tmp_path / "dataset")} == {17}
    assert "<h2>Funnel" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_job_for_kubernetes_calls_the_command_as_it_is() -> None:
    job = yaml.safe_load((EXAMPLES / "curate.kuberay.yaml").read_text())
    (script,) = shlex.split(job["spec"]["entrypoint"])[2:]
    command = script.partition("&& ")[2].split()
    assert command[:2] == ["magref", "curate"]
    known = {name for parameter in typer.main.get_command(app).commands["curate"].params for name in parameter.opts}
    given = {word for word in command if word.startswith("--")}
    assert given <= known
    options = dict(itertools.pairwise(command))
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    gpus = int(container["resources"]["limits"]["nvidia.com/gpu"]) * group["replicas"]
    assert gpus == int(options["--workers"]) * float(options["--gpus"])
    (mount,) = container["volumeMounts"]
    assert options["--output"].startswith(mount["mountPath"])


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
def test_the_job_for_slurm_parses_and_hands_its_cores_on() -> None:
    path = EXAMPLES / "train.slurm"
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert 'srun --cpus-per-task="$SLURM_CPUS_PER_TASK" torchrun' in path.read_text()
