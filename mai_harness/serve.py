"""The site over HTTP on this machine; pages that are open load again when results change.

What is served is ``leaderboard/site/`` as ``site.publish`` writes it. Only on their way out pages get a script, which
asks for ``/version`` and loads the page again when it rises; the pages on disk stay free of it.
"""

import html
import ipaddress
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from mai_harness.errors import HarnessError, ResultsUnreadable
from mai_harness.latency_study import latency_results_path
from mai_harness.site import Tell, publish
from mai_harness.storage import read_results
from mai_harness.study import study_path

_POLL_S = 1.0
_TEXT = "text/plain; charset=utf-8"
_TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".json": "application/json", ".csv": "text/csv; charset=utf-8", ".md": "text/markdown; charset=utf-8",
    ".tex": _TEXT, ".txt": _TEXT, ".svg": "image/svg+xml", ".png": "image/png", ".webp": "image/webp",
}  # fmt: skip
_BYTES = "application/octet-stream"

_POLICY = b"content=\"default-src 'none';"  # how the policy of every page begins
_RELOAD = b"""\
"use strict";
const shown = document.currentScript.dataset.version;
const ask = async () => {
  try {
    const answer = await fetch("/version", { cache: "no-store" });
    if (answer.ok && (await answer.text()) !== shown) location.reload();
  } catch {
    // The server is away; it may come back.
  }
};
setInterval(ask, 2000);
"""
_WAITING = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'self'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>No leaderboard yet</title>
<style>body {{ font: 1rem/1.5 sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; }}</style>
</head>
<body>
<main>
<h1>No leaderboard yet</h1>
<p>{reason}</p>
<p>This page loads again by itself when there are results.</p>
<ul>{links}</ul>
</main>
</body>
</html>
"""


def serve(
    out: Path,
    host: str,
    port: int,
    tell: Tell,
    ready: Callable[[str], None],
    stop: threading.Event,
    poll_s: float = _POLL_S,
) -> None:
    """Serve the site until ``stop`` is set, and write it again when results change.

    Bound to a loopback address it answers only requests to a loopback name, so that no other site can read it through
    a name of its own that leads here.

    Args:
        out: folder of the results; ``out / "site"`` is what is served.
        port: 0 takes any that is free.
        tell: called with a line for a person, from this thread and from those that answer.
        ready: called once with the URL, when it answers.
        poll_s: seconds between looks at the results.

    Raises:
        HarnessError: it cannot listen there.
    """
    live = _Live(out, tell)
    with _listening(live, host, port) as server:
        if not server.is_private:
            tell(f"warning: {host} can be reached from other machines, and there is no password")
        live.render()
        with _answering(server):
            ready(server.url)
            while not stop.wait(poll_s):
                live.renew()


def _listening(live: "_Live", host: str, port: int) -> "_Server":
    try:
        return _Server(live, host, port)
    except OSError as error:
        advice = "choose another --port, or --port 0 for any that is free"
        raise HarnessError(f"cannot listen on {host}, port {port}: {error.strerror}; {advice}") from None


@contextmanager
def _answering(server: "_Server") -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


# The site as it stands


class _Live:
    """The site on disk, and a number that rises whenever it is written again."""

    def __init__(self, out: Path, tell: Tell) -> None:
        self.site = (out / "site").resolve()
        self.version = 0
        self.reason = ""  #: why there is no board
        self._out, self.tell = out, tell
        self._rendered: _Stamp = {}
        self._seen: _Stamp = {}
        self._told = ""

    def renew(self) -> None:
        """Write the site again if results changed, and did not go on changing since the last look."""
        stamp, before = _stamp(self._out), self._seen
        self._seen = stamp
        if stamp == before != self._rendered:
            self.render()

    def render(self) -> None:
        """Write the site; results that cannot be read are told, and leave it as it is."""
        stamp = _stamp(self._out)
        try:
            self.reason = self._publish()
        except OSError as error:  # a full disk, or a command that writes the site at the same time: tried again
            self._tell_once(f"the site could not be written: {error}")
            return
        self._tell_once(self.reason)
        self._rendered = self._seen = stamp
        # From the clock, so that a page sees the change too when the server was started anew.
        self.version = max(self.version + 1, time.time_ns() // 1_000_000)

    def _publish(self) -> str:
        """Why there is no board; empty if there is one."""
        path = self._out / "results.json"
        try:
            publish(read_results(path), self._out, self.tell)
        except ResultsUnreadable as error:
            if not path.exists() and any(other.is_file() for other in _other_results(self._out)):
                publish(None, self._out, self.tell)
            return str(error)
        return ""

    def _tell_once(self, line: str) -> None:
        if line and line != self._told:
            self.tell(line)
        self._told = line

    def waiting(self) -> bytes:
        """The page that stands for the board while there is none, with links to what there is."""
        pages = [path.relative_to(self.site).as_posix() for path in sorted(self.site.rglob("*.html"))]
        links = "".join(f'<li><a href="/{quote(page)}">{html.escape(page)}</a></li>' for page in pages)
        return _WAITING.format(reason=html.escape(self.reason or "There are no results."), links=links).encode()


_Stamp = dict[Path, tuple[int, int, int]]


def _other_results(out: Path) -> list[Path]:
    return [latency_results_path(out), *study_path(out, "x").parent.glob("*.json")]


def _stamp(out: Path) -> _Stamp:
    """What tells whether a file of results changed, by its path."""
    found = {}
    for path in [out / "results.json", *_other_results(out), *(out / "history").rglob("*")]:
        try:
            status = path.stat()
        except OSError:  # not there, or no longer
            continue
        found[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found


# Requests


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, live: _Live, host: str, port: int) -> None:
        self.address_family = AF_INET6 if ":" in host else AF_INET
        self.live, self.is_private = live, _is_loopback(host)
        super().__init__((host, port), _Handler)
        name = {"0.0.0.0": "localhost", "::": "localhost", "": "localhost"}.get(host, host)
        self.url = f"http://{f'[{name}]' if ':' in name else name}:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; the standard library would print it."""
        error = sys.exception()
        if not isinstance(error, OSError):
            self.live.tell(f"a request could not be answered: {error!r}")


class _Answer(NamedTuple):
    content: bytes
    type: str


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD of files of the site; the base class refuses other methods."""

    server: _Server
    timeout = 30  # seconds for a request to arrive

    def do_GET(self) -> None:
        answer = self._answer()
        if answer is not None:
            self.wfile.write(answer.content)

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> _Answer | None:
        """Send the head of the answer; ``None`` if the request was refused, which is then all there is to say."""
        if self.server.is_private and not _is_loopback(_name(self.headers.get("Host", ""))):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return None
        answer = _answer_to(self.path, self.server.live)
        if answer is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", answer.type)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        return answer

    def end_headers(self) -> None:
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Requests are not told."""


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """The name in a ``Host`` header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _answer_to(target: str, live: _Live) -> _Answer | None:
    """What is sent for the target of a request; ``None`` if there is no such file in the site."""
    path = _path(target)
    version = live.version  # before the page is read: one that is written meanwhile is loaded again
    if path == "/version":
        return _Answer(str(version).encode(), _TEXT)
    if path == "/reload.js":
        return _Answer(_RELOAD, _TYPES[".js"])
    file = _file(live.site, path)
    kind = _TYPES[".html"] if path == "/" else _TYPES.get(Path(path).suffix.lower(), _BYTES)
    try:
        content = file.read_bytes() if file else None
    except OSError:  # written anew or removed meanwhile
        content = None
    if content is None and path in ("/", "/index.html"):
        content = live.waiting()
    if content is None:
        return None
    return _Answer(reloading(content, version) if kind == _TYPES[".html"] else content, kind)


def _path(target: str) -> str:
    try:
        return unquote(urlsplit(target).path)
    except ValueError:
        return ""


def _file(site: Path, path: str) -> Path | None:
    """The file of the site, ``None`` if there is none or it is outside; hidden ones are still being written."""
    parts = [part for part in path.split("/") if part] or ["index.html"]
    if not path.startswith("/") or any(part.startswith(".") or "\0" in part for part in parts):
        return None
    real = Path(os.path.realpath(site.joinpath(*parts)))
    try:
        return real if real.is_relative_to(site) and real.is_file() else None
    except OSError:  # a name that is too long
        return None


def reloading(page: bytes, version: int) -> bytes:
    """A page of the site that loads again when the version is another, and may ask this server for it."""
    script = b'<script defer src="/reload.js" data-version="%d"></script>\n</head>' % version
    page = page.replace(_POLICY, _POLICY + b" connect-src 'self';", 1)
    return page.replace(b"</head>", script, 1)
