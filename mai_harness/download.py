"""Fetch DIV2K from ETH Zurich, verify it and unpack it in the layout that ``datasets`` reads.

urllib and not pooch: pooch cannot resume a broken download, and the training set has 3.5 GB.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from urllib import request as web
from urllib.error import HTTPError
from urllib.parse import urlsplit

from mai_harness.errors import DataNotFound
from mai_harness.records import Record

BASE_URL = "http://data.vision.ee.ethz.ch/cvl/DIV2K/"
TIMEOUT_S = 60.0
CHUNK_BYTES = 1 << 20
MAX_ARCHIVE_BYTES = 8 << 30  # where no size is published
MAX_INFLATION = 4  # PNG files hardly deflate, so an archive of them that grows more than this is a bomb
Progress = Callable[[str, int, int | None], None]


class Archive(Record, frozen=True):
    """One archive of PNG images, numbered without gaps from ``first``."""

    name: str
    sha256: str | None  #: ``None``: none is published, so only size, names and CRC are verified
    size_bytes: int | None
    images: int
    folder: str  #: where the images are in the archive, and below the root once unpacked
    first: int
    suffix: str = ""  #: between number and ``.png``

    @property
    def members(self) -> tuple[str, ...]:
        """Names of all images in the archive, in sorted order."""
        numbers = range(self.first, self.first + self.images)
        return tuple(f"{self.folder}/{number:04d}{self.suffix}.png" for number in numbers)


class DownloadReport(Record, frozen=True):
    """What one call of :func:`download` did."""

    root: str
    unpacked: tuple[str, ...]  #: folders this call made
    present: tuple[str, ...]  #: folders that were complete before
    unverified: tuple[str, ...]  #: archives unpacked without a published SHA-256 to compare with
    fetched_bytes: int  #: over the network, without what an earlier call had left


# SHA-256 and sizes: github.com/tensorflow/datasets, tensorflow_datasets/datasets/div2k/checksums.tsv
# (commit 64fa5464e5cc); the two HR sets are the same in its older tensorflow_datasets/url_checksums/div2k.txt.
# LR comes before HR because `find_dataset` goes by HR: killed between the two, there is no set without its LR images.
ARCHIVES: Mapping[str, tuple[Archive, ...]] = MappingProxyType(
    {
        "valid": (
            Archive(
                name="DIV2K_valid_LR_bicubic_X3.zip",
                sha256="04b9a2ed3b4a0715d3924d3ae8514830c3328fac8d30512ce716d6f419e052a3",
                size_bytes=54_513_392,
                images=100,
                folder="DIV2K_valid_LR_bicubic/X3",
                first=801,
                suffix="x3",
            ),
            Archive(
                name="DIV2K_valid_HR.zip",
                sha256="20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc",
                size_bytes=448_993_893,
                images=100,
                folder="DIV2K_valid_HR",
                first=801,
            ),
        ),
        "train": (
            Archive(
                name="DIV2K_train_HR.zip",
                sha256="9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335",
                size_bytes=3_530_603_713,
                images=800,
                folder="DIV2K_train_HR",
                first=1,
            ),
        ),
    }
)


@dataclass(frozen=True)
class _Job:
    archive: Archive
    root: Path
    url: str
    opener: web.OpenerDirector
    progress: Progress

    @property
    def target(self) -> Path:
        return self.root / self.archive.folder

    @property
    def zip(self) -> Path:
        return self.root / self.archive.name

    @property
    def part(self) -> Path:
        return self.root / f"{self.archive.name}.part"

    @property
    def tag(self) -> Path:
        """Holds the server's validator (ETag or date) for the bytes in ``part``."""
        return self.root / f"{self.archive.name}.part.tag"

    @property
    def staging(self) -> Path:
        return self.root / f".{self.archive.name}.unpacking"

    @property
    def by_hand(self) -> str:
        return f"try again later, or fetch {self.url} by hand, put it at {self.zip} and run this again"


def download(
    parts: Sequence[str],
    root: Path,
    *,
    progress: Progress,
    base_url: str = BASE_URL,
    opener: web.OpenerDirector | None = None,
    archives: Mapping[str, tuple[Archive, ...]] = ARCHIVES,
    keep: bool = False,
) -> DownloadReport:
    """Fetch, verify and unpack the archives of ``parts`` below ``root``; what is complete there is left alone.

    An archive that already lies in ``root``, fetched by hand perhaps, is used in place of the network. Archives are
    deleted once unpacked unless ``keep``. A killed call is taken up where it stood by the next one.

    Args:
        progress: called with the archive's name, bytes so far, and bytes in all or ``None`` if unknown.
        opener: opens the URLs; by default over http and https only, with the proxies of the environment.

    Raises:
        DataNotFound: the URL, the archive or the disk is not fit for it; the message says which, and what to do.
    """
    if urlsplit(base_url).scheme not in ("http", "https"):
        raise DataNotFound(f"{base_url} is no http or https URL; give one that the archives' names can be added to")
    if unknown := sorted(set(parts) - set(archives)):
        raise DataNotFound(f"there is no part {', '.join(unknown)} of DIV2K; choose from {', '.join(archives)}")
    opener = opener or http_opener()
    wanted = [archive for part in dict.fromkeys(parts) for archive in archives[part]]
    jobs = [_Job(archive, root, f"{base_url.rstrip('/')}/{archive.name}", opener, progress) for archive in wanted]
    with _disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        with _lock(root):
            fetched = {job.archive: _provide(job, keep) for job in jobs}
    unpacked = [archive for archive, count in fetched.items() if count is not None]
    return DownloadReport(
        root=str(root),
        unpacked=tuple(archive.folder for archive in unpacked),
        present=tuple(archive.folder for archive, count in fetched.items() if count is None),
        unverified=tuple(archive.name for archive in unpacked if archive.sha256 is None),
        fetched_bytes=sum(filter(None, fetched.values())),
    )


def http_opener(proxies: dict[str, str] | None = None) -> web.OpenerDirector:
    """Open http and https URLs and nothing else, redirects included; ``proxies`` replace the environment's."""
    # build_opener() would add ftp:, file: and data:, to which a redirect may lead.
    opener = web.OpenerDirector()
    for handler in (web.UnknownHandler, web.HTTPHandler, web.HTTPSHandler):
        opener.add_handler(handler())
    for answer in (web.HTTPDefaultErrorHandler, web.HTTPRedirectHandler, web.HTTPErrorProcessor):
        opener.add_handler(answer())
    opener.add_handler(web.ProxyHandler(proxies))
    return opener


@contextmanager
def _disk_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataNotFound(f"the disk of {root} is full; free some space and run this again to go on") from None
        raise DataNotFound(f"{root} cannot hold the data: {error}") from None


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    """Keep a second download out of the same folder; the lock goes when the process does."""
    folder = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        raise DataNotFound(f"another download into {root} is under way; wait for its end") from None
    except OSError:
        pass  # some network file systems have no locks; the checksums still hold
    try:
        yield
    finally:
        os.close(folder)


def _provide(job: _Job, keep: bool) -> int | None:
    """Bytes fetched to make the archive's folder; ``None`` if it was complete."""
    if _complete(job):
        return None
    fetched = 0
    if job.zip.exists():
        _verify(job, job.zip)
    else:
        fetched = _fetch(job)
        _accept(job)
    _unpack(job)
    if not keep:
        job.zip.unlink()
    return fetched


def _complete(job: _Job) -> bool:
    missing = sum(not (job.root / member).is_file() for member in job.archive.members)
    if missing and job.target.exists() and any(job.target.iterdir()):
        # Not of our making: our folders appear whole. So it is not ours to fill or to delete.
        raise DataNotFound(f"{job.target} lacks {missing} of {job.archive.images} images; move it away and run again")
    return not missing


def _fetch(job: _Job) -> int:
    """Fill the part file and return the bytes fetched."""
    have = _resumable(job)
    _require_space(job, have)
    if have and have == job.archive.size_bytes:
        return 0
    response, offset = _open(job, have)
    with response:
        total = _total(job, response, offset)
        return _receive(job, response, offset, total)


def _resumable(job: _Job) -> int:
    """Bytes of the part file that can be built on; 0 without the validator that ties them to the server's file."""
    if not (job.part.exists() and job.tag.exists() and job.tag.read_text("latin-1")):
        return 0
    have = job.part.stat().st_size
    return have if have <= (job.archive.size_bytes or MAX_ARCHIVE_BYTES) else 0


def _require_space(job: _Job, have: int) -> None:
    needed = 2 * (job.archive.size_bytes or 0) - have  # the archive and, about as large, its images
    free = shutil.disk_usage(job.root).free
    if free < needed:
        raise DataNotFound(
            f"{job.archive.name} needs {needed / 1e9:.1f} GB on the disk of {job.root}, "
            f"but {free / 1e9:.1f} GB are free; free some space or choose another folder"
        )


def _open(job: _Job, have: int) -> tuple[HTTPResponse, int]:
    """The response and the offset in the file at which it starts."""
    response = _request(job, have)
    if response.status != 206:
        return response, 0
    if _continues(job, response.headers, have):
        return response, have
    response.close()
    return _request(job, 0), 0


def _request(job: _Job, offset: int) -> HTTPResponse:
    request = web.Request(job.url, headers={"User-Agent": "mai-harness"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
        request.add_header("If-Range", job.tag.read_text("latin-1"))
    try:
        response: HTTPResponse = job.opener.open(request, timeout=TIMEOUT_S)
        return response
    except HTTPError as error:
        error.close()
        if error.code == 416 and offset:  # the file has shrunk
            return _request(job, 0)
        raise DataNotFound(f"{job.url} answers {error.code} {error.reason}; {job.by_hand}") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise DataNotFound(f"{job.url} cannot be reached: {reason}; {job.by_hand}") from None


def _continues(job: _Job, headers: Message, have: int) -> bool:
    """Whether a 206 goes on where the part file ends; servers that ignore If-Range send their changed file."""
    same_file = _validator(headers) == job.tag.read_text("latin-1")
    return bool(have) and same_file and headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _validator(headers: Message) -> str:
    """What If-Range takes: a strong ETag or else the date."""
    etag: str = headers.get("ETag", "")
    date: str = headers.get("Last-Modified", "")
    return etag if etag.startswith('"') else date


def _total(job: _Job, response: HTTPResponse, offset: int) -> int | None:
    """Bytes of the whole archive, if published or announced."""
    published = job.archive.size_bytes
    announced = None if response.length is None else offset + response.length
    if published is None or announced is None:
        return published or announced
    if announced != published:
        raise DataNotFound(f"{job.url} has {announced} bytes, the published archive {published}; {job.by_hand}")
    return published


def _receive(job: _Job, response: HTTPResponse, offset: int, total: int | None) -> int:
    done = offset
    limit = total or MAX_ARCHIVE_BYTES
    with job.part.open("ab") as file:
        file.truncate(offset)
        if not offset:  # only after the truncation: old bytes must never lie beside a new validator
            job.tag.write_text(_validator(response.headers), "latin-1")
        while done <= limit and (chunk := _read(job, response, done)):
            file.write(chunk)
            done += len(chunk)
            job.progress(job.archive.name, done, total)
    if total is not None and done < total:
        raise _broken_off(job, done, f"the server sent {done} of {total} bytes")
    return done - offset


def _read(job: _Job, response: HTTPResponse, done: int) -> bytes:
    try:
        return response.read(CHUNK_BYTES)
    except (OSError, HTTPException) as error:
        raise _broken_off(job, done, str(error)) from None


def _broken_off(job: _Job, done: int, reason: str) -> DataNotFound:
    return DataNotFound(f"{job.url} broke off after {done} bytes: {reason}; run this again to go on, or {job.by_hand}")


def _accept(job: _Job) -> None:
    try:
        _verify(job, job.part)
    except DataNotFound:
        job.part.unlink()  # no later call may build on it
        raise
    job.part.replace(job.zip)
    job.tag.unlink(missing_ok=True)


def _verify(job: _Job, path: Path) -> None:
    size, published = path.stat().st_size, job.archive.size_bytes
    advice = f"delete it, then {job.by_hand}" if path == job.zip else job.by_hand
    if published is None and size > MAX_ARCHIVE_BYTES:
        raise DataNotFound(f"{path} has {size} bytes, more than the {MAX_ARCHIVE_BYTES} allowed; {advice}")
    if size != (published or size):
        raise DataNotFound(f"{path} has {size} bytes, the published archive {published}; {advice}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if job.archive.sha256 not in (None, found):
        raise DataNotFound(f"SHA-256 of {path} is {found}, published is {job.archive.sha256}; {advice}")


def _unpack(job: _Job) -> None:
    """Make the target folder in one step: fill another one, then rename it."""
    shutil.rmtree(job.staging, ignore_errors=True)  # a killed call leaves it
    job.staging.mkdir()
    try:
        with zipfile.ZipFile(job.zip) as source:
            for info in _images(job, source):
                _extract(source, info, job.staging / PurePosixPath(info.filename).name)
        job.target.parent.mkdir(parents=True, exist_ok=True)
        job.staging.replace(job.target)
    except (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, zlib.error, struct.error) as error:
        raise _unfit(job, f"is damaged ({error})") from None
    finally:
        shutil.rmtree(job.staging, ignore_errors=True)


def _images(job: _Job, source: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members to unpack; anything else than images, such as a desktop's index files, is left out."""
    for info in source.infolist():
        if reason := _danger(info):
            raise _unfit(job, f"has a member {info.filename!r} that {reason}")
    inside = [info for info in source.infolist() if info.filename.startswith(f"{job.archive.folder}/")]
    images = [info for info in inside if info.filename.endswith(".png")]
    wanted = job.archive.members
    if sorted(info.filename for info in images) != list(wanted):
        raise _unfit(job, f"has {len(images)} images, not the {len(wanted)} from {wanted[0]} to {wanted[-1]}")
    size = sum(info.file_size for info in images)
    if size > MAX_INFLATION * job.zip.stat().st_size:
        raise _unfit(job, f"would unpack to {size} bytes, more than {MAX_INFLATION} times its own size")
    return images


def _danger(info: zipfile.ZipInfo) -> str | None:
    path = PurePosixPath(info.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in info.filename:
        return "leaves the folder"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a symbolic link"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is packed by method {info.compress_type}"
    return None


def _extract(source: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    # zipfile stops at the declared size, which is within the limit, and compares the CRC there.
    with source.open(info) as packed, target.open("xb") as file:
        shutil.copyfileobj(packed, file, CHUNK_BYTES)
        file.flush()
        os.fsync(file.fileno())  # or a power cut after the rename could leave empty images


def _unfit(job: _Job, what: str) -> DataNotFound:
    return DataNotFound(f"{job.zip} {what}; nothing of it was unpacked: delete it, then {job.by_hand}")
