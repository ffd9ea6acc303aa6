"""A fresh process from nothing to a finished mp4: `magref generate` with the embedded model, at its defaults.

The same command runs twice for each round: as a user runs it, for the wall time; and with a stopwatch around its
stages, for where the time goes. Memory is the largest resident size of the first kind.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageDraw

from pairs import describe_machine

AIM_S = 10
STAGES = ("import", "load", "text and canvas", "sample", "decode", "write")

STOPWATCH = """
import json, sys, time
clocks = (time.perf_counter, time.process_time)
start = [clock() for clock in clocks]
import magref.cli, magref.decoding as decoding, magref.pipeline as pipeline, magref.generation as generation
spent = {"import": [clock() - begin for clock, begin in zip(clocks, start)]}

def timed(stage, function):
    def run(*args, **kwargs):
        start = [clock() for clock in clocks]
        try:
            return function(*args, **kwargs)
        finally:
            before = spent.get(stage, [0, 0])
            spent[stage] = [b + clock() - s for b, clock, s in zip(before, clocks, start)]
    return run

def timed_pieces(function):  # made while the writer reads them
    def run(*args, **kwargs):
        pieces = function(*args, **kwargs)
        following = timed("decode", lambda: next(pieces, None))
        return iter(following, None)
    return run

generation.load_pipeline = timed("load", generation.load_pipeline)
generation.write_planned = timed("write", generation.write_planned)
for name in ("build_conditioning", "encode_text", "compose_canvas"):
    setattr(pipeline, name, timed("text and canvas", getattr(pipeline, name)))
decoding.decode_pieces = timed_pieces(decoding.decode_pieces)
pipeline.MagrefPipeline._denoise = timed("sample", pipeline.MagrefPipeline._denoise)
try:
    magref.cli.main(sys.argv[1:])
finally:
    if "write" in spent:
        spent["write"] = [both - decoding for both, decoding in zip(spent["write"], spent["decode"])]
    print(json.dumps(spent))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model folder; none: the embedded model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of PyTorch; none: its own choice")
    arguments = parser.parse_args()
    environment = dict(os.environ)
    if arguments.threads:
        environment |= {"OMP_NUM_THREADS": str(arguments.threads), "MKL_NUM_THREADS": str(arguments.threads)}

    walls: list[float] = []
    stages: list[dict[str, list[float]]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subject, background = reference_pictures(folder)
        command = [
            "generate",
            "The dog moves to the right.",
            str(subject),
            "--background",
            str(background),
            "--seed",
            "1",
        ]
        command += ["--model", arguments.model] if arguments.model else []
        command += ["--overwrite", "-o", str(folder / "out.mp4")]
        for _ in range(arguments.rounds):
            start = time.perf_counter()
            run([sys.executable, "-m", "magref", *command], environment)
            walls.append(time.perf_counter() - start)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(arguments.rounds):
            output = run([sys.executable, "-c", STOPWATCH, *command], environment)
            stages.append(json.loads(output.splitlines()[-1]))
        size = (folder / "out.mp4").stat().st_size

    print(describe_machine())
    print(f"{arguments.rounds} rounds, {size / 1000:.0f} kB of mp4")
    print(f"wall time, import to mp4: {median(walls):.1f} s ({min(walls):.1f} to {max(walls):.1f}; aim: < {AIM_S} s)")
    print(f"processor time of all threads: {(used.ru_utime + used.ru_stime) / arguments.rounds:.1f} s")
    print(f"peak memory: {used.ru_maxrss * (1 if sys.platform == 'darwin' else 1024) / 1e6:.0f} MB")
    print(f"{'stage':16} {'wall':>8} {'processor':>10}")
    for stage in STAGES:
        wall, processor = (median(times.get(stage, (0.0, 0.0))[clock] for times in stages) for clock in (0, 1))
        print(f"{stage:16} {wall:6.2f} s {processor:8.2f} s")


def reference_pictures(folder: Path) -> tuple[Path, Path]:
    """A round creature on transparency and a plain landscape, of the size of small photographs."""
    subject = Image.new("RGBA", (512, 512))
    draw = ImageDraw.Draw(subject)
    draw.ellipse((60, 60, 450, 450), fill=(190, 120, 60, 255))
    for x in (180, 330):
        draw.ellipse((x - 35, 170, x + 35, 240), fill=(255, 255, 255, 255))
        draw.ellipse((x - 15, 190, x + 15, 220), fill=(20, 20, 20, 255))
    rows = np.linspace(0, 1, 480)[:, None, None]
    sky, grass = np.array([120, 180, 230]), np.array([90, 150, 70])
    scene = np.broadcast_to(np.where(rows < 0.6, sky + 60 * rows, grass - 40 * rows), (480, 720, 3))
    paths = folder / "subject.png", folder / "background.png"
    subject.save(paths[0])
    Image.fromarray(scene.astype(np.uint8)).save(paths[1])
    return paths


def run(command: list[str], environment: dict[str, str]) -> str:
    """Run to the end; stop the benchmark with the command's own words where it fails."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(done.stderr.strip() or f"exit code {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
