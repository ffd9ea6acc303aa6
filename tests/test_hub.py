"""Downloading: the hub's own client against a small server that speaks as the hub does, breaks off and lies."""

import hashlib
import json
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from magref import hub
from magref.checkpoints import layout
from magref.errors import CheckpointError, InputError, OutputError, ResourceError
from magref.hub import PUBLISHED_REPO, default_destination, download, plan_download

REPO, COMMIT = "someone/some-model", "c" * 40
SHARD = b"weights " * 40_000
FILES = {
    "config.json": b"{}",
    "diffusion_pytorch_model-00001-of-00002.safetensors": SHARD,
    "diffusion_pytorch_model-00002-of-00002.safetensors": SHARD[::-1],
    "diffusion_pytorch_model.safetensors.index.json": b"{}",
    layout.VAE: b"vae",
    layout.TEXT_ENCODER: b"text",
    layout.IMAGE_ENCODER: b"image",
    "google/umt5-xxl/tokenizer.json": b"{}",
    "README.md": b"card",
    "LICENSE.txt": b"Apache",
}
NOT_NEEDED = {"assets/teaser.mp4": b"x", "xlm-roberta-large/tokenizer.json": b"x", ".gitattributes": b"x", "a.py": b"x"}
BIG = ".safetensors"


class Hub(ThreadingHTTPServer):
    """What the hub answers for one repository; `breaks` is after how many bytes each answer breaks off."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {**FILES, **NOT_NEEDED}
        self.served = dict(self.files)
        self.status = 200
        self.error_code = None
        self.breaks = {}
        self.ranges = True
        self.requests = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def info(self):
        siblings = []
        for name, content in self.files.items():
            blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            sibling = {"rfilename": name, "size": len(content), "blobId": blob}
            if name.endswith((".safetensors", ".pth")):
                sha256 = hashlib.sha256(content).hexdigest()
                sibling |= {"lfs": {"size": len(content), "sha256": sha256, "pointerSize": 130}, "blobId": "0" * 40}
            siblings.append(sibling)
        return {"id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": siblings, "tags": ["license:apache-2.0"]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
        if server.status != 200:
            self.send_response(server.status)
            if server.error_code:
                self.send_header("X-Error-Code", server.error_code)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path.startswith(f"/api/models/{REPO}"):
            self._send(json.dumps(server.info()).encode(), 0, None)
            return
        name = self.path.removeprefix(f"/{REPO}/resolve/{COMMIT}/")
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if server.ranges else 0
        self._send(server.served[name], start, server.breaks.get(name))

    def _send(self, content, start, breaks):
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if breaks is None else body[:breaks])
        if breaks is not None:
            self.close_connection = True  # in the middle of the answer


@pytest.fixture
def server(monkeypatch):
    hub_server = Hub()
    thread = threading.Thread(target=hub_server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", hub_server.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub_server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(hub, "CHUNK_BYTES", 10_000)
    monkeypatch.setattr(hub, "PROGRESS_EVERY_S", 0.01)
    monkeypatch.setattr(hub, "ATTEMPTS", 1)
    monkeypatch.setattr(layout, "check_published", lambda folder: None)
    yield hub_server
    hub_server.shutdown()
    hub_server.server_close()


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_plan_says_everything_and_makes_nothing(server, tmp_path):
    plan = plan_download(REPO, tmp_path / "new" / "model")
    assert {file.name for file in plan.files} == set(FILES)
    assert plan.total_bytes == plan.missing_bytes == sum(map(len, FILES.values()))
    assert (plan.revision, plan.licence, plan.present_bytes) == (COMMIT, "apache-2.0", 0)
    assert plan.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.01)
    for part in (REPO, "apache-2.0", "10 files", "640.0 kB", "free"):
        assert part in str(plan)
    assert not list(tmp_path.iterdir())
    assert default_destination(PUBLISHED_REPO).as_posix() == "models/MAGREF"


def test_of_diffusers_layout_one_precision_is_taken(server, tmp_path):
    wanted = [
        "model_index.json",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "tokenizer/spiece.model",
    ]
    extra = ["vae/diffusion_pytorch_model.fp16.safetensors", "vae/diffusion_pytorch_model.bin", "assets/a.mp4", "a.py"]
    server.files = dict.fromkeys(wanted + extra, b"{}")
    assert {file.name for file in plan_download(REPO, tmp_path).files} == set(wanted)


def test_download(server, tmp_path):
    seen, asked = [], []
    folder = download(
        REPO,
        tmp_path / "model",
        progress=lambda done, total: seen.append((done, total)),
        confirm=lambda plan: asked.append(plan) or True,
    )
    assert contents(folder) == FILES
    assert seen[-1] == (asked[0].total_bytes, asked[0].total_bytes)
    assert seen == sorted(seen)
    server.requests.clear()
    assert download(REPO, folder) == folder  # nothing is fetched twice
    assert all(path.startswith("/api") for path, *_ in server.requests)


def test_no_means_no(server, tmp_path):
    assert download(REPO, tmp_path / "model", confirm=lambda plan: False) is None
    assert not list(tmp_path.iterdir())


def test_a_break_in_the_middle_is_continued(server, tmp_path):
    server.breaks = {name: 130_000 for name in FILES if name.endswith(BIG)}  # each answer brings so much
    assert contents(download(REPO, tmp_path)) == FILES
    starts = sorted(
        int(r.removeprefix("bytes=").rstrip("-")) for p, r, _ in server.requests if p.endswith(f"1-of-00002{BIG}")
    )
    assert starts[0] == 0
    assert starts[1] >= 100_000


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on_inside_the_file(server, tmp_path, ranges):
    server.breaks = {name: 130_000 for name in FILES if name.endswith(BIG)}

    def interrupt(done, total):
        if done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(REPO, tmp_path, progress=interrupt)
    parts = [name for name in contents(tmp_path) if name.endswith(".part")]
    assert parts
    assert not any(name.endswith(BIG) for name in contents(tmp_path))
    server.breaks, server.ranges = {}, ranges
    server.requests.clear()
    plan = plan_download(REPO, tmp_path)
    assert plan.present_bytes > 100_000
    assert "of it here already" in str(plan)
    assert contents(download(REPO, tmp_path)) == FILES
    assert any(r and r != "bytes=0-" for p, r, _ in server.requests)


def test_an_interrupt_does_not_wait_for_the_files(server, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "CHUNK_BYTES", 1000)
    real = hub.RemoteFile.part
    monkeypatch.setattr(hub.RemoteFile, "part", real)
    shards = [name for name in FILES if name.endswith(BIG)]
    server.breaks = dict.fromkeys(shards, 5000)  # 64 answers for each shard, with a pause after each

    def interrupt(done, total):
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        download(REPO, tmp_path, progress=interrupt)
    assert time.monotonic() - started < 3


def test_what_arrives_damaged_gets_no_name(server, tmp_path):
    shard = next(name for name in FILES if name.endswith(BIG))
    server.served[shard] = SHARD[:-1] + b"?"
    with pytest.raises(ResourceError, match=r"1-of-00002[.]safetensors arrived damaged; run magref download again"):
        download(REPO, tmp_path)
    assert shard not in contents(tmp_path)
    server.served = server.files
    assert contents(download(REPO, tmp_path)) == FILES


def test_a_small_file_is_verified_too(server, tmp_path):
    server.served["config.json"] = b"[]"
    with pytest.raises(ResourceError, match=r"config\.json arrived damaged"):
        download(REPO, tmp_path)


def test_a_part_of_another_version_is_not_continued(server, tmp_path):
    name = "diffusion_pytorch_model-00001-of-00002.safetensors"
    (tmp_path / f"{name}.deadbeef.part").write_bytes(b"old")
    assert contents(download(REPO, tmp_path)) == {**FILES, f"{name}.deadbeef.part": b"old"}


def test_nothing_is_overwritten(server, tmp_path):
    (tmp_path / "config.json").write_text("mine, of another size")
    for attempt in (plan_download, download):
        with pytest.raises(OutputError, match=r"config\.json is not the hub's file .*; move it away, or"):
            attempt(REPO, tmp_path)
    assert (tmp_path / "config.json").read_text() == "mine, of another size"


def test_a_disk_that_is_too_small(server, tmp_path, monkeypatch):
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda _: SimpleNamespace(free=600_000))
    with pytest.raises(ResourceError, match=r"needs 640\.0 kB more .* has 600\.0 kB free; free some space or choose"):
        download(REPO, tmp_path / "model", confirm=lambda plan: pytest.fail("asked in vain"))
    assert not list(tmp_path.iterdir())
    (tmp_path / "model").mkdir()
    first = next(
        file for file in plan_download(REPO, tmp_path / "model").files if file.name.endswith(f"1-of-00002{BIG}")
    )
    first.part(tmp_path / "model").write_bytes(SHARD[:100_000])  # what is there already needs no more room
    assert contents(download(REPO, tmp_path / "model")) == FILES


def test_a_disk_that_fills_up(server, tmp_path):
    (tmp_path / "google").write_text("a file where a folder is needed")
    with pytest.raises(OutputError, match=r"could not be written .*; mend that, or choose another folder"):
        download(REPO, tmp_path)


def test_what_comes_is_checked_as_a_model(server, tmp_path, monkeypatch):
    def broken(folder):
        raise CheckpointError(f"{folder} lacks something")

    monkeypatch.setattr(layout, "check_published", broken)
    with pytest.raises(CheckpointError, match="lacks something"):
        download(REPO, tmp_path)


def test_no_network(monkeypatch, server, tmp_path):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnop")
    for attempt in (plan_download, download):
        with pytest.raises(ResourceError, match=r"cannot be reached \(.*\); check the connection and the proxy"):
            attempt(REPO, tmp_path / "model")
    with pytest.raises(ResourceError, match="or copy the folder by hand and pass --model FOLDER"):
        download(REPO, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_the_network_goes_away_in_the_middle(server, tmp_path):
    def unplug(plan):
        server.status = 404
        return True

    with pytest.raises(ResourceError, match="run the same command again"):
        download(REPO, tmp_path, confirm=unplug)


def test_offline_is_said_to_be_so(monkeypatch, server, tmp_path):
    from huggingface_hub.errors import OfflineModeIsEnabled

    def offline(*_, **__):
        raise OfflineModeIsEnabled("offline")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", offline)
    with pytest.raises(ResourceError, match="HF_HUB_OFFLINE forbids to use the network; unset it"):
        plan_download(REPO, tmp_path)


@pytest.mark.parametrize(
    ("status", "code", "error", "says"),
    [
        (404, "RepoNotFound", InputError, "no model someone/some-model that you may see; check the name"),
        (401, None, InputError, "run hf auth login if it is private"),
        (403, "GatedRepo", ResourceError, "accept them at https://huggingface.co/someone/some-model"),
        (404, "RevisionNotFound", InputError, "has no revision v9; leave it out"),
        (400, None, ResourceError, "answers with an error"),
    ],
)
def test_what_the_hub_refuses(server, tmp_path, status, code, error, says):
    server.status, server.error_code = status, code
    with pytest.raises(error, match=says) as caught:
        plan_download(REPO, tmp_path, revision="v9")
    assert "\n" not in str(caught.value)


def test_what_is_no_model(server, tmp_path):
    server.files = {"README.md": b"x", "pytorch_model.bin": b"x"}
    with pytest.raises(InputError, match=r"no model for magref; give one .* for example MAGREF-Video/MAGREF"):
        plan_download(REPO, tmp_path)
    for name in ("MAGREF", "a/b/c", "https://huggingface.co/a/b", ""):
        with pytest.raises(InputError, match="is not a hub id; give owner/name"):
            plan_download(name, tmp_path)


def test_names_that_lead_out_of_the_folder(server, tmp_path):
    server.files = {**FILES, "google/umt5-xxl/../../../evil": b"x"}
    with pytest.raises(ResourceError):
        plan_download(REPO, tmp_path)


def test_no_secret_is_told(monkeypatch, server, tmp_path):
    token = "hf_" + "s3cret" * 5

    def refuse(*_, **__):
        raise ConnectionError(f"cannot use proxy http://me:s3cret@proxy:80 with Bearer {token} and {token}")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    with pytest.raises(ResourceError) as caught:
        plan_download(REPO, tmp_path)
    assert "proxy:80" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
