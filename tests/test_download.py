"""``download`` against a server on the loopback address that serves small made-up archives."""

import errno
import hashlib
import io
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from mai_harness import download as module
from mai_harness.datasets import find_dataset, load_pair, training_images
from mai_harness.download import ARCHIVES, Archive, DownloadReport, download, http_opener
from mai_harness.errors import DataNotFound

Members = dict[str | zipfile.ZipInfo, bytes]
IMAGES = 3


class Server(ThreadingHTTPServer):
    """Serves ``files``; the log has (name, Range header or "", bytes sent)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.log: list[tuple[str, str, int]] = []
        self.ranges = True
        self.validators = True
        self.if_range = True
        self.shift = 0  #: a faulty server: 206 starts this many bytes late
        self.length = True
        self.cut: int | None = None  #: drop the connection after so many bytes
        self.redirect = ""
        self.stall_s = 0.0  #: wait so long before the connection is closed

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/DIV2K/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.removeprefix("/DIV2K/")
        if self.server.redirect:
            self._empty(302, "Location", self.server.redirect)
        elif name not in self.server.files:
            self._empty(404)
        else:
            self._send(name)

    def _send(self, name: str) -> None:
        body = self.server.files[name]
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        start = self._start(etag)
        if start >= len(body):
            self._empty(416, "Content-Range", f"bytes */{len(body)}")
            return
        self.send_response(206 if start else 200)
        if start:
            start += self.server.shift
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if self.server.validators:
            self.send_header("ETag", etag)
        if self.server.length:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        sent = body[start:][: self.server.cut]
        self.wfile.write(sent)
        time.sleep(self.server.stall_s)
        self.server.log.append((name, self.headers.get("Range", ""), len(sent)))

    def _start(self, etag: str) -> int:
        wanted = self.headers.get("Range")
        changed = self.server.if_range and self.headers.get("If-Range", etag) != etag
        if wanted is None or not self.server.ranges or changed:
            return 0
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    def _empty(self, status: int, name: str = "X-Nothing", value: str = "") -> None:
        self.send_response(status)
        self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.log.append((self.path, self.headers.get("Range", ""), 0))

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as instance:
        thread = threading.Thread(target=instance.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield instance
        instance.shutdown()
        thread.join()


def png(side: int, seed: int) -> bytes:
    data = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def pack(members: Members) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return data.getvalue()


def offer(server: Server, archive: Archive, members: Members) -> Archive:
    """Serve the members as the archive, whose checksum and size are then those of the bytes."""
    body = server.files[archive.name] = pack(members)
    return msgspec.structs.replace(
        archive, images=IMAGES, sha256=hashlib.sha256(body).hexdigest(), size_bytes=len(body)
    )


def images(archive: Archive, side: int) -> Members:
    return {name: png(side, seed) for seed, name in enumerate(archive.members[:IMAGES])}


@pytest.fixture
def table(server: Server) -> dict[str, tuple[Archive, ...]]:
    lr, hr = ARCHIVES["valid"]
    (train,) = ARCHIVES["train"]
    return {
        "valid": (offer(server, lr, images(lr, 8)), offer(server, hr, images(hr, 24))),
        "train": (offer(server, train, images(train, 24)),),
    }


@pytest.fixture
def train(table: dict[str, tuple[Archive, ...]]) -> Archive:
    return table["train"][0]


def silent(name: str, done: int, total: int | None) -> None:
    pass


def fetch(server: Server, archive: Archive, root: Path, **options: Any) -> DownloadReport:
    options = {"progress": silent, "base_url": server.url, "opener": http_opener({}), **options}
    return download(["one"], root, archives={"one": (archive,)}, **options)


def leave_part(server: Server, archive: Archive, root: Path, count: int) -> None:
    """Break a first download off after ``count`` bytes."""
    server.cut = count
    with pytest.raises(DataNotFound, match=f"sent {count} of .* run this again"):
        fetch(server, archive, root)
    server.cut = None
    assert (root / f"{archive.name}.part").stat().st_size == count
    server.log.clear()


def unpacked(archive: Archive, root: Path) -> bool:
    """Whether the folder is complete and nothing else lies in the root."""
    names = [str(path.relative_to(root)) for path in sorted(root.rglob("*")) if path.is_file()]
    return names == list(archive.members)


def test_table_names_the_published_layout() -> None:
    lr, hr = ARCHIVES["valid"]
    assert (hr.members[0], hr.members[-1]) == ("DIV2K_valid_HR/0801.png", "DIV2K_valid_HR/0900.png")
    assert (lr.members[0], lr.members[-1]) == (
        "DIV2K_valid_LR_bicubic/X3/0801x3.png",
        "DIV2K_valid_LR_bicubic/X3/0900x3.png",
    )
    (train,) = ARCHIVES["train"]
    assert (train.members[0], train.members[-1]) == ("DIV2K_train_HR/0001.png", "DIV2K_train_HR/0800.png")
    assert all(len(archive.sha256 or "") == 64 for archive in (lr, hr, train))


def test_download_unpacks_what_find_dataset_reads(
    server: Server, table: dict[str, tuple[Archive, ...]], tmp_path: Path
) -> None:
    root = tmp_path / "not" / "yet"
    calls: list[tuple[str, int, int | None]] = []
    report = download(
        ["valid", "train", "valid"],
        root,
        progress=lambda *call: calls.append(call),
        base_url=server.url.rstrip("/"),
        opener=http_opener({}),
        archives=table,
    )
    assert report.unpacked == ("DIV2K_valid_LR_bicubic/X3", "DIV2K_valid_HR", "DIV2K_train_HR")
    assert (report.present, report.unverified) == ((), ())
    assert report.fetched_bytes == sum(map(len, server.files.values()))
    dataset = find_dataset(root)
    assert [pair.name for pair in dataset.pairs] == ["0801", "0802", "0803"]
    assert all(pair.lr and load_pair(pair)[1].shape == (24, 24, 3) for pair in dataset.pairs)
    assert len(training_images(root)) == IMAGES
    assert sorted(path.name for path in root.iterdir()) == [
        "DIV2K_train_HR",
        "DIV2K_valid_HR",
        "DIV2K_valid_LR_bicubic",
    ]
    size = table["valid"][1].size_bytes
    assert ("DIV2K_valid_HR.zip", size, size) in calls


def test_complete_folder_needs_no_request(server: Server, train: Archive, tmp_path: Path) -> None:
    fetch(server, train, tmp_path)
    server.log.clear()
    report = fetch(server, train, tmp_path)
    assert (report.unpacked, report.present, report.fetched_bytes) == ((), ("DIV2K_train_HR",), 0)
    assert server.log == []


def test_resume_fetches_only_the_rest(server: Server, train: Archive, tmp_path: Path) -> None:
    leave_part(server, train, tmp_path, 1000)
    rest = len(server.files[train.name]) - 1000
    assert fetch(server, train, tmp_path).fetched_bytes == rest
    assert server.log == [(train.name, "bytes=1000-", rest)]
    assert unpacked(train, tmp_path)


def test_whole_part_file_needs_no_request(server: Server, train: Archive, tmp_path: Path) -> None:
    leave_part(server, train, tmp_path, 1000)
    (tmp_path / f"{train.name}.part").write_bytes(server.files[train.name])
    assert fetch(server, train, tmp_path).fetched_bytes == 0
    assert server.log == []
    assert unpacked(train, tmp_path)


@pytest.mark.parametrize("attribute", ["ranges", "validators"])
def test_server_without_range_or_validator_starts_again(
    server: Server, train: Archive, tmp_path: Path, attribute: str
) -> None:
    setattr(server, attribute, False)
    leave_part(server, train, tmp_path, 1000)
    assert fetch(server, train, tmp_path).fetched_bytes == len(server.files[train.name])
    assert unpacked(train, tmp_path)


@pytest.mark.parametrize("if_range", [True, False])
def test_changed_file_starts_again(server: Server, train: Archive, tmp_path: Path, if_range: bool) -> None:
    server.if_range = if_range
    leave_part(server, train, tmp_path, 1000)
    archive = offer(server, train, {name: png(24, 9) for name in train.members})
    assert fetch(server, archive, tmp_path).fetched_bytes == archive.size_bytes
    assert len(server.log) == (1 if if_range else 2)
    assert unpacked(archive, tmp_path)


def test_shrunk_file_starts_again(server: Server, train: Archive, tmp_path: Path) -> None:
    leave_part(server, train, tmp_path, 1500)
    server.if_range = False
    small = offer(server, train, {name: png(2, 0) for name in train.members})
    assert (small.size_bytes or 0) < 1500
    unknown = msgspec.structs.replace(small, size_bytes=None)
    assert fetch(server, unknown, tmp_path).fetched_bytes == small.size_bytes
    assert unpacked(small, tmp_path)


def test_answer_from_another_offset_starts_again(server: Server, train: Archive, tmp_path: Path) -> None:
    leave_part(server, train, tmp_path, 1000)
    server.shift = 10
    assert fetch(server, train, tmp_path).fetched_bytes == train.size_bytes
    assert unpacked(train, tmp_path)


def test_server_that_falls_silent(
    server: Server, train: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.1)
    monkeypatch.setattr(module, "CHUNK_BYTES", 100)
    server.cut, server.stall_s = 1000, 0.4
    with pytest.raises(DataNotFound, match="broke off after 1000 bytes: timed out; run this again"):
        fetch(server, train, tmp_path)
    server.cut, server.stall_s = None, 0.0
    assert fetch(server, train, tmp_path).fetched_bytes == len(server.files[train.name]) - 1000


def test_no_content_length(server: Server, train: Archive, tmp_path: Path) -> None:
    server.length = False
    fetch(server, train, tmp_path)
    assert unpacked(train, tmp_path)


def test_archive_without_published_values_is_reported(server: Server, train: Archive, tmp_path: Path) -> None:
    server.length = False
    archive = msgspec.structs.replace(train, sha256=None, size_bytes=None)
    assert fetch(server, archive, tmp_path).unverified == (train.name,)
    assert unpacked(train, tmp_path)


def test_checksum_mismatch_names_both_values_and_keeps_nothing(server: Server, train: Archive, tmp_path: Path) -> None:
    archive = msgspec.structs.replace(train, sha256="0" * 64)
    with pytest.raises(DataNotFound) as caught:
        fetch(server, archive, tmp_path)
    assert "0" * 64 in str(caught.value)
    assert str(train.sha256) in str(caught.value)
    assert not (tmp_path / f"{train.name}.part").exists()
    assert not (tmp_path / "DIV2K_train_HR").exists()
    assert fetch(server, train, tmp_path).unpacked == ("DIV2K_train_HR",)


@pytest.mark.parametrize("length", [True, False])
def test_size_mismatch(server: Server, train: Archive, tmp_path: Path, length: bool) -> None:
    server.length = length
    size = len(server.files[train.name])
    archive = msgspec.structs.replace(train, size_bytes=size - 1)
    with pytest.raises(DataNotFound, match=f"has {size} bytes, the published archive {size - 1}"):
        fetch(server, archive, tmp_path)
    assert not (tmp_path / f"{train.name}.part").exists()


def test_endless_answer_is_cut_off(
    server: Server, train: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ARCHIVE_BYTES", 500)
    monkeypatch.setattr(module, "CHUNK_BYTES", 100)
    server.length = False
    with pytest.raises(DataNotFound, match="has 600 bytes, more than the 500 allowed"):
        fetch(server, msgspec.structs.replace(train, sha256=None, size_bytes=None), tmp_path)


def test_404_says_what_to_do(server: Server, train: Archive, tmp_path: Path) -> None:
    server.files.clear()
    with pytest.raises(DataNotFound, match=r"DIV2K_train_HR.zip answers 404 .*by hand") as caught:
        fetch(server, train, tmp_path)
    assert str(tmp_path / "DIV2K_train_HR.zip") in str(caught.value)


def test_unreachable_port(server: Server, train: Archive, tmp_path: Path) -> None:
    with Server() as closed:
        url = closed.url
    with pytest.raises(DataNotFound, match=r"cannot be reached: .*refused.*by hand") as caught:
        fetch(server, train, tmp_path, base_url=url)
    assert f"{url}{train.name}" in str(caught.value)


@pytest.mark.parametrize("url", ["file:///tmp/", "ftp://127.0.0.1/", "/tmp"])
def test_only_http(server: Server, train: Archive, tmp_path: Path, url: str) -> None:
    with pytest.raises(DataNotFound, match="no http or https URL"):
        fetch(server, train, tmp_path, base_url=url)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1:1/x"])
def test_redirect_off_http_is_refused(server: Server, train: Archive, tmp_path: Path, url: str) -> None:
    server.redirect = url
    with pytest.raises(DataNotFound, match=r"answers 302|unknown url type"):
        fetch(server, train, tmp_path)


def test_unknown_part(tmp_path: Path) -> None:
    with pytest.raises(DataNotFound, match=r"no part test .*valid, train"):
        download(["test"], tmp_path, progress=silent)


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "DIV2K_train_HR/../../evil.png", "..\\evil.png"])
def test_member_that_leaves_the_folder(server: Server, train: Archive, tmp_path: Path, name: str) -> None:
    archive = offer(server, train, {**images(train, 24), name: b"evil"})
    root = tmp_path / "root"
    with pytest.raises(DataNotFound, match="leaves the folder"):
        fetch(server, archive, root)
    assert list(tmp_path.rglob("*evil*")) == []
    assert [path.name for path in root.iterdir()] == [archive.name]


def test_symbolic_link(server: Server, train: Archive, tmp_path: Path) -> None:
    link = zipfile.ZipInfo(train.members[0])
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = offer(server, train, {link: b"/etc/hostname", train.members[1]: b"", train.members[2]: b""})
    with pytest.raises(DataNotFound, match="is a symbolic link"):
        fetch(server, archive, tmp_path)
    assert not (tmp_path / "DIV2K_train_HR").exists()


def test_bomb(server: Server, train: Archive, tmp_path: Path) -> None:
    archive = offer(server, train, {**images(train, 24), train.members[0]: bytes(1 << 20)})
    with pytest.raises(DataNotFound, match="more than 4 times its own size"):
        fetch(server, archive, tmp_path)
    assert not (tmp_path / "DIV2K_train_HR").exists()


@pytest.mark.parametrize("name", ["DIV2K_train_HR/0004.png", "DIV2K_train_HR/deep/0001.png"])
def test_other_images_than_published(server: Server, train: Archive, tmp_path: Path, name: str) -> None:
    archive = offer(server, train, {**images(train, 24), name: png(24, 4)})
    with pytest.raises(DataNotFound, match=r"has 4 images, not the 3 from DIV2K_train_HR/0001.png"):
        fetch(server, archive, tmp_path)


def test_index_files_of_a_desktop_are_left_out(server: Server, train: Archive, tmp_path: Path) -> None:
    extra: Members = {"__MACOSX/DIV2K_train_HR/._0001.png": b"x", "DIV2K_train_HR/Thumbs.db": b"x", "empty/": b""}
    fetch(server, offer(server, train, {**images(train, 24), **extra}), tmp_path)
    assert unpacked(train, tmp_path)


def test_damaged_archive_leaves_no_folder(server: Server, train: Archive, tmp_path: Path) -> None:
    body = bytearray(server.files[train.name])
    body[body.rindex(b"IDAT") - 200] ^= 255  # the last image's bytes: those before it unpack well
    server.files[train.name] = bytes(body)
    with pytest.raises(DataNotFound, match=r"is damaged \(.*delete it"):
        fetch(server, msgspec.structs.replace(train, sha256=None), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [train.name]


def test_no_archive_at_all(server: Server, train: Archive, tmp_path: Path) -> None:
    server.files[train.name] = b"<html>"
    with pytest.raises(DataNotFound, match="is damaged"):
        fetch(server, msgspec.structs.replace(train, sha256=None, size_bytes=None), tmp_path)


CHILD = """
import os, shutil, signal, sys
from pathlib import Path
import msgspec
from mai_harness.download import Archive, download, http_opener
copies = []
def copy(*arguments, _copy=shutil.copyfileobj):
    _copy(*arguments)
    copies.append(1)
    if len(copies) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
shutil.copyfileobj = copy
archive = msgspec.json.decode(sys.argv[3], type=Archive)
download(["one"], Path(sys.argv[1]), base_url=sys.argv[2], progress=lambda *_: None, opener=http_opener({}),
         archives={"one": (archive,)})
"""


def test_killed_while_unpacking_leaves_no_folder(server: Server, train: Archive, tmp_path: Path) -> None:
    arguments = [str(tmp_path), server.url, msgspec.json.encode(train).decode()]
    path = os.pathsep.join([str(Path(module.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], env={**os.environ, "PYTHONPATH": path}, check=False
    )
    assert child.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".*/*.png"))) == 2
    assert not (tmp_path / "DIV2K_train_HR").exists()
    server.log.clear()
    assert fetch(server, train, tmp_path).fetched_bytes == 0
    assert server.log == []
    assert unpacked(train, tmp_path)


def test_archive_put_there_by_hand(server: Server, train: Archive, tmp_path: Path) -> None:
    (tmp_path / train.name).write_bytes(server.files[train.name])
    fetch(server, train, tmp_path, keep=True)
    assert server.log == []
    assert (tmp_path / train.name).exists()
    assert (tmp_path / train.members[0]).exists()


def test_wrong_archive_put_there_by_hand_stays(server: Server, train: Archive, tmp_path: Path) -> None:
    (tmp_path / train.name).write_bytes(b"mine")
    with pytest.raises(DataNotFound, match=r"has 4 bytes.* delete it"):
        fetch(server, train, tmp_path)
    assert (tmp_path / train.name).read_bytes() == b"mine"


def test_half_a_folder_of_somebody_is_left_alone(server: Server, train: Archive, tmp_path: Path) -> None:
    path = tmp_path / train.members[0]
    path.parent.mkdir()
    path.write_bytes(b"mine")
    with pytest.raises(DataNotFound, match="lacks 2 of 3 images; move it away"):
        fetch(server, train, tmp_path)
    assert (server.log, path.read_bytes()) == ([], b"mine")


def test_empty_folder_is_filled(server: Server, train: Archive, tmp_path: Path) -> None:
    (tmp_path / train.folder).mkdir()
    fetch(server, train, tmp_path)
    assert unpacked(train, tmp_path)


def test_too_little_space(server: Server, train: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DataNotFound, match=r"needs 0.0 GB .* but 0.0 GB are free"):
        fetch(server, train, tmp_path)
    assert server.log == []


def test_disk_full_while_unpacking(
    server: Server, train: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(DataNotFound, match="is full; free some space"):
            fetch(server, train, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [train.name]
    assert fetch(server, train, tmp_path).fetched_bytes == 0


def test_root_that_is_a_file(server: Server, train: Archive, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataNotFound, match="cannot hold the data"):
        fetch(server, train, tmp_path / "file")


def test_second_download_into_the_same_folder(server: Server, train: Archive, tmp_path: Path) -> None:
    def nested(*_: object) -> None:
        fetch(server, train, tmp_path)

    with pytest.raises(DataNotFound, match=r"another download into .* is under way"):
        fetch(server, train, tmp_path, progress=nested)
    assert fetch(server, train, tmp_path).unpacked == (train.folder,)
