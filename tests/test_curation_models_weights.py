"""Weights: what is known of them, finding and fetching them, and taking turns in memory."""

import gc
import hashlib
import io
import re
import threading
import weakref
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import torch
from huggingface_hub import constants
from typer.testing import CliRunner

from magref import doctor, hub
from magref.cli.app import app
from magref.curation.models import catalogue, fetching
from magref.curation.models.catalogue import CATALOGUE, Address, Weights, find, known, lacking, locate
from magref.curation.models.fetching import fetch
from magref.curation.models.loading import batches
from magref.curation.models.presets import preset
from magref.curation.models.shelf import Shelf
from magref.errors import CheckpointError, InputError, OutputError, ResourceError
from tiny_models import save_clip

# --- the catalogue ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", CATALOGUE.values(), ids=lambda weights: weights.name)
def test_everything_is_pinned(weights):
    assert weights.licence
    assert weights.needs
    if weights.repo:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", weights.repo)
        assert re.fullmatch(r"[0-9a-f]{40}", weights.revision)
        assert not weights.addresses
    else:
        assert weights.nbytes == sum(address.nbytes for address in weights.addresses) > 0
        for address in weights.addresses:
            assert re.fullmatch(r"[0-9a-f]{64}", address.sha256)
            assert urlsplit(address.url).scheme == "https"


def test_names_of_addresses():
    (head,) = CATALOGUE["aesthetic-predictor"].addresses
    assert head.name == catalogue.HEAD_FILE == "sac+logos+ava1-l14-linearMSE.pth"
    (pack,) = CATALOGUE["buffalo_l"].addresses
    assert pack.name == "buffalo_l.zip"


def test_an_unknown_name():
    with pytest.raises(InputError, match=r"the weights 'clip' are unknown; use qwen2\.5-vl-7b, .*, or give a folder"):
        known("clip")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, an empty hub cache and no insightface."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(catalogue, "INSIGHTFACE_FOLDER", tmp_path / "insightface")
    return tmp_path


def test_weights_are_found_where_they_are_fetched_to(here):
    clip = known("clip-vit-l14")
    assert find(clip) is None
    folder = save_clip(here / "models" / "curation" / "clip-vit-l14")
    assert find(clip).resolve() == folder
    assert locate("clip-vit-l14").resolve() == folder
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-10])
    assert find(clip) is None
    assert "truncated" in lacking(clip, folder)


def test_weights_are_found_in_the_hubs_cache(here):
    clip = known("clip-vit-l14")
    home = here / "cache" / "models--openai--clip-vit-large-patch14"
    save_clip(home / "snapshots" / clip.revision)
    (home / "refs").mkdir()
    assert find(clip) == home / "snapshots" / clip.revision
    assert find(replace(clip, revision="0" * 40)) is None


def test_packs_of_insightface_are_found(here):
    folder = here / "insightface" / "buffalo_l"
    folder.mkdir(parents=True)
    for name in known("buffalo_l").needs[1:]:
        (folder / name).touch()
    assert find(known("buffalo_l")) is None
    assert lacking(known("buffalo_l"), folder).startswith(f"{folder / 'det_10g.onnx'} is missing; run magref download")
    (folder / "det_10g.onnx").touch()
    assert find(known("buffalo_l")) == folder


def test_a_folder_of_the_users_own(here):
    (here / "mine").mkdir()
    assert locate("clip-vit-l14", here / "mine", fetch=lambda *_: pytest.fail("fetched")) == here / "mine"
    with pytest.raises(CheckpointError, match="nowhere for aesthetics does not exist; check its path"):
        locate("clip-vit-l14", here / "nowhere")


def test_what_is_not_here(here):
    says = "the weights buffalo_l for faces are not here; run magref download buffalo_l, or give their folder"
    with pytest.raises(CheckpointError, match=says):
        locate("buffalo_l")
    with pytest.raises(CheckpointError, match=says):
        locate("buffalo_l", fetch=lambda weights, folder: None)  # somebody said no


def test_what_is_not_here_is_fetched(here):
    def bring(weights, folder):
        folder.mkdir(parents=True)
        for name in weights.needs:
            (folder / name).touch()

    assert locate("buffalo_l", fetch=bring).as_posix() == "models/curation/buffalo_l"
    assert locate("buffalo_l", fetch=lambda *_: pytest.fail("fetched again")).as_posix() == "models/curation/buffalo_l"


# --- fetching ---------------------------------------------------------------------------------------------------------


class Files(ThreadingHTTPServer):
    """Serves files from memory; `breaks` is after how many bytes each answer breaks off."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {}
        self.breaks = None
        self.ranges = True
        self.status = 206
        self.requests = []

    def address(self, name, content):
        self.files[f"/{name}"] = content
        url = f"http://127.0.0.1:{self.server_address[1]}/{name}"
        return Address(url, len(content), hashlib.sha256(content).hexdigest())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        server.requests.append((self.path, start))
        content = server.files[self.path][start if server.ranges else 0 :]
        if server.status != 206:
            content = b""
        self.send_response(server.status if server.ranges else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: server.breaks])
        if server.breaks is not None:
            self.close_connection = True


@pytest.fixture
def files(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fetching, "PAUSE_S", 0.0)
    server = Files()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def weights_of(*addresses, name="things", needs=("a.bin",)):
    total = sum(address.nbytes for address in addresses)
    return Weights(name, "trying", "mit", total, needs, addresses=addresses)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


BIG = bytes(range(256)) * 3000


def test_files_are_fetched_with_their_licence_shown(files, tmp_path):
    seen, told = [], []
    weights = weights_of(files.address("a.bin", BIG), files.address("b.bin", b"small"))
    folder = fetch(
        weights,
        tmp_path / "new",
        confirm=lambda line: told.append(line) or True,
        progress=lambda *at: seen.append(at),
    )
    assert contents(folder) == {"a.bin": BIG, "b.bin": b"small"}
    assert seen[-1] == (len(BIG) + 5, len(BIG) + 5)
    assert seen == sorted(seen)
    (line,) = told
    assert line.startswith("things, for trying (licence: mit): 768.0 kB to fetch of 768.0 kB into ")
    assert "free" in line


def test_no_means_no(files, tmp_path):
    weights = weights_of(files.address("a.bin", BIG))
    assert fetch(weights, tmp_path / "new", confirm=lambda line: False) is None
    assert not list(tmp_path.iterdir())
    assert files.requests == []


def test_an_archive_gives_its_networks(files, tmp_path):
    """Wherever they lie in it, and nothing else, and nowhere else."""
    members = {"pack/det.onnx": b"d", "w.onnx": b"w", "../../evil.onnx": b"e", "pack/readme.txt": b"r"}
    weights = weights_of(files.address("pack.zip", zipped(**members)), needs=("det.onnx", "w.onnx"))
    folder = fetch(weights, tmp_path / "deep" / "pack")
    assert contents(folder) == {"det.onnx": b"d", "w.onnx": b"w", "evil.onnx": b"e"}
    assert lacking(weights, folder) is None
    assert not list(tmp_path.glob("*.onnx"))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on(files, tmp_path, ranges):
    address = files.address("a.bin", BIG)
    part = tmp_path / f"a.bin.{address.sha256[:8]}.part"
    part.write_bytes(BIG[:1000])  # of an earlier attempt
    files.breaks = 300_000 if ranges else None
    files.ranges = ranges
    told = []
    fetch(weights_of(address), tmp_path, confirm=lambda line: told.append(line) or True)
    assert contents(tmp_path) == {"a.bin": BIG}
    assert "767.0 kB to fetch of 768.0 kB" in told[0]
    starts = [start for _, start in files.requests]
    assert starts[0] == 1000
    assert (len(starts) > 2) == ranges


def test_what_arrives_damaged_gets_no_name(files, tmp_path):
    address = files.address("a.bin", BIG)
    files.files["/a.bin"] = BIG[:-1] + b"?"
    with pytest.raises(ResourceError, match=r"a\.bin arrived damaged; run the same command again"):
        fetch(weights_of(address), tmp_path)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (503, 5), (200, 5)])
def test_a_server_that_has_nothing(files, tmp_path, status, tries):
    files.status = status
    with pytest.raises(ResourceError, match=r"a\.bin cannot be fetched from 127.*check the connection and the proxy"):
        fetch(weights_of(files.address("a.bin", BIG)), tmp_path)
    assert len(files.requests) == tries


def test_nobody_there(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "PAUSE_S", 0.0)
    address = Address("http://127.0.0.1:9/a.bin", 5, "0" * 64)
    with pytest.raises(ResourceError, match="or copy the files by hand and name their folder"):
        fetch(weights_of(address), tmp_path)


def test_nothing_is_overwritten(files, tmp_path):
    (tmp_path / "a.bin").write_text("mine")
    with pytest.raises(OutputError, match=r"a\.bin is there already; move it away, or name its folder"):
        fetch(weights_of(files.address("a.bin", BIG)), tmp_path)
    assert contents(tmp_path) == {"a.bin": b"mine"}


def test_a_disk_that_is_too_small(files, tmp_path, monkeypatch):
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ResourceError, match=r"things needs 768\.0 kB more .* 1\.0 kB free; free some space"):
        fetch(weights_of(files.address("a.bin", BIG)), tmp_path, confirm=lambda _: pytest.fail("asked in vain"))


def test_a_repository_is_fetched_at_its_commit(tmp_path, monkeypatch):
    asked = {}

    def download(repo, folder, *, revision, patterns, progress, confirm):
        asked.update(repo=repo, folder=folder, revision=revision, patterns=patterns)
        plan = SimpleNamespace(missing_bytes=10**9, total_bytes=2 * 10**9, free_bytes=10**12)
        return folder if confirm(plan) else None

    monkeypatch.setattr(hub, "download", download)
    told = []
    sam = known("sam2.1-hiera-large")
    assert fetch(sam, tmp_path, confirm=lambda line: told.append(line) or True) == tmp_path
    assert (asked["repo"], asked["revision"]) == (sam.repo, sam.revision)
    assert "apache-2.0" in told[0]
    assert "1.0 GB to fetch of 2.0 GB" in told[0]
    assert fetch(sam, tmp_path, confirm=lambda line: False) is None


# --- commands ---------------------------------------------------------------------------------------------------------


def test_the_doctor_lists_them(here):
    folder = save_clip(here / "models" / "curation" / "clip-vit-l14")
    report = doctor.examine()
    found = {weights.name: weights for weights in report.weights}
    assert list(found) == list(CATALOGUE)
    assert found["clip-vit-l14"].path.resolve() == folder
    assert found["buffalo_l"].path is None
    assert "InsightFace" in found["buffalo_l"].licence
    from rich.console import Console

    console = Console(width=300, record=True, file=io.StringIO())
    console.print(doctor.render(report))
    shown = console.export_text()
    assert "here, in models/curation/clip-vit-l14" in shown
    assert re.search(
        r"buffalo_l .*288\.6 MB .*non-commercial research only .*not here; magref download buffalo_l", shown
    )


def test_a_name_of_the_catalogue_can_be_downloaded(here, files, monkeypatch):
    monkeypatch.setitem(CATALOGUE, "things", weights_of(files.address("a.bin", BIG)))
    run = CliRunner().invoke(app, ["download", "things"], input="n\n")
    assert "things, for trying (licence: mit): 768.0 kB" in run.output
    assert "nothing was fetched" in run.output
    run = CliRunner().invoke(app, ["download", "things", "--yes"])
    assert run.exit_code == 0, run.output
    assert contents(here / "models" / "curation" / "things") == {"a.bin": BIG}
    CliRunner().invoke(app, ["download", "things", str(here / "elsewhere"), "--yes"])
    assert contents(here / "elsewhere") == {"a.bin": BIG}


# --- memory -----------------------------------------------------------------------------------------------------------


class Network:
    pass


def test_one_model_at_a_time():
    shelf, first, second = Shelf("cpu"), object(), object()
    loads = []

    def load():
        loads.append(Network())
        return loads[-1]

    held = shelf.take(first, load)
    assert shelf.take(first, load) is held
    assert len(loads) == 1
    gone = weakref.ref(held)
    shelf.take(second, load)
    del held
    loads.clear()
    gc.collect()
    assert gone() is None
    shelf.take(first, load)  # again, since it had to go
    assert len(loads) == 1


def test_the_old_model_goes_before_the_new_one_comes():
    shelf, first, second = Shelf("cpu"), object(), object()
    gone = weakref.ref(shelf.take(first, Network))
    shelf.take(second, gone)  # None by then
    assert shelf.take(second, Network) is None


def test_room_for_more():
    shelf, owners = Shelf("cpu", keep=2), [object() for _ in range(3)]
    first, second = (shelf.take(owner, Network) for owner in owners[:2])
    shelf.take(owners[0], Network)
    shelf.take(owners[2], Network)  # in the place of the second, which was not used for longest
    assert shelf.take(owners[0], Network) is first
    assert shelf.take(owners[1], Network) is not second
    shelf.clear()
    assert shelf.take(owners[0], Network) is not first


def test_a_model_that_fails_to_load_takes_no_place():
    shelf, owner = Shelf("cpu"), object()

    def fail():
        raise CheckpointError("broken")

    with pytest.raises(CheckpointError):
        shelf.take(owner, fail)
    assert isinstance(shelf.take(owner, Network), Network)


def test_batches():
    assert [list(batch) for batch in batches(range(5), 2)] == [[0, 1], [2, 3], [4]]
    assert list(batches([], 2)) == []


@pytest.mark.parametrize(
    ("gb", "captioner", "clips"),
    [
        (80, "qwen2.5-vl-7b", 16),
        (48, "qwen2.5-vl-7b", 8),
        (24, "qwen2.5-vl-7b", 2),
        (12, "qwen2.5-vl-3b", 1),
        (8, None, 0),
    ],
)
def test_presets_fit_their_memory(gb, captioner, clips):
    """By the sizes that the presets are estimated from."""
    found = preset(torch.device("cuda"), gb * 1e9) if torch.cuda.is_available() else _without_cuda(gb * 1e9)
    assert (found.captioner, found.clips) == (captioner, clips)
    if captioner:
        activations = 0.6 * clips
        assert CATALOGUE[captioner].nbytes / 1e9 + activations < 0.9 * gb
    assert 0.9 + 1.5 * found.images < gb


def _without_cuda(memory_bytes):
    from unittest.mock import patch

    with patch("magref.curation.models.presets.choose_dtype", return_value=torch.bfloat16):
        return preset(torch.device("cuda"), memory_bytes)


def test_a_cpu_takes_one_at_a_time():
    found = preset(torch.device("cpu"))
    assert (found.captioner, found.clips, found.images) == ("qwen2.5-vl-7b", 1, 1)
