"""The site over HTTP: what is answered, what is refused, and that a change on disk is seen."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from test_exports import entry, results

from mai_harness.errors import HarnessError
from mai_harness.serve import serve
from mai_harness.storage import write_results

WAIT_S = 20.0


@dataclass
class Site:
    """A server in a thread, and what it told."""

    out: Path
    told: list[str] = field(default_factory=list)
    port: int = 0

    def request(self, method: str, target: str, host: str | None = None) -> tuple[int, dict[str, str], bytes]:
        """The target goes out as it is given, dots and all."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        connection.putrequest(method, target, skip_host=True)
        connection.putheader("Host", f"127.0.0.1:{self.port}" if host is None else host)
        connection.endheaders()
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def get(self, target: str, host: str | None = None) -> tuple[int, dict[str, str], bytes]:
        return self.request("GET", target, host)

    def version(self) -> int:
        return int(self.get("/version")[2])


@contextlib.contextmanager
def served(out: Path, host: str = "127.0.0.1") -> Iterator[Site]:
    site, stop, up = Site(out), threading.Event(), threading.Event()

    def ready(url: str) -> None:
        site.port = int(url.rstrip("/").rpartition(":")[2])
        up.set()

    thread = threading.Thread(target=serve, args=(out, host, 0, site.told.append, ready, stop, 0.02))
    thread.start()
    try:
        assert up.wait(WAIT_S)
        yield site
    finally:
        stop.set()
        thread.join(WAIT_S)
    assert not thread.is_alive()
    with pytest.raises(OSError):  # noqa: PT011  # refused, as nothing listens any more
        site.get("/")


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def write_board(out: Path, *names: str) -> None:
    write_results(results(*map(entry, names)), out / "results.json")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    out = tmp_path_factory.mktemp("leaderboard")
    hostile = '"><script>x</script></head><meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
    board = results(entry("plain"), entry("hostile", title=hostile, description=hostile), dataset=hostile)
    write_results(board, out / "results.json")
    (out / "secret.html").write_text("secret")
    with served(out) as running:
        (out / "site" / "leads-out.html").symlink_to(out / "secret.html")
        (out / "site" / "folder-out").symlink_to(out)
        (out / "site" / "leads-in.html").symlink_to(out / "site" / "index.html")
        (out / "site" / ".hidden.html").write_text("secret")
        (out / "site" / "loop.html").symlink_to(out / "site" / "loop.html")
        yield running


@pytest.mark.parametrize("target", ["/", "/index.html", "/index.html?a=b", "//index.html", "/leads-in.html"])
def test_the_front_page_is_served(site, target):
    status, headers, content = site.get(target)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert headers["content-length"] == str(len(content))
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert b"plain" in content


def test_pages_differ_from_those_on_disk_only_by_their_script_and_its_leave_to_ask(site):
    pages = sorted(p for p in (site.out / "site").rglob("*.html") if not p.is_symlink() and p.name[0] != ".")
    assert len(pages) >= 4
    for page in pages:
        content = site.get("/" + page.relative_to(site.out / "site").as_posix())[2].decode()
        scripts = re.findall(r'<script defer src="/reload.js" data-version="\d+"></script>\n', content)
        assert len(scripts) == 1
        assert content.index(scripts[0]) < content.index("<body")
        leave = " connect-src 'self';"
        assert content.count(leave) == 1
        assert content.index(leave) < content.index("<title>")
        assert content.replace(scripts[0], "").replace(leave, "") == page.read_text()


def test_the_version_in_a_page_is_the_one_that_is_told(site):
    assert f'data-version="{site.version()}"'.encode() in site.get("/")[2]


@pytest.mark.parametrize(
    ("target", "kind"),
    [("/assets/style.css", "text/css; charset=utf-8"), ("/reload.js", "text/javascript; charset=utf-8")],
)
def test_kinds_of_files(site, target, kind):
    status, headers, content = site.get(target)
    assert (status, headers["content-type"]) == (200, kind)
    assert content


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.webp", "image/webp"), ("a.svg", "image/svg+xml"), ("a.json", "application/json"), ("a.png", "image/png"),
     ("a.csv", "text/csv; charset=utf-8"), ("a.tflite", "application/octet-stream"),
     ("LICENSE", "application/octet-stream")],
)  # fmt: skip
def test_other_kinds_of_files_are_served_as_they_are(site, name, kind):
    path = site.out / "site" / name
    path.write_bytes(b"</head>\0\xff")
    status, headers, content = site.get(f"/{name}")
    assert (status, headers["content-type"], content) == (200, kind, b"</head>\0\xff")


@pytest.mark.parametrize(
    "target",
    ["/missing.html", "/entries", "/entries/", "/assets/", "/../results.json", "/%2e%2e/results.json",
     "/..%2fresults.json", "/assets/../../results.json", "/assets/%2e%2e/%2E%2E/results.json", "/..\\results.json",
     "/%2fetc/passwd", "//etc/passwd", "/etc/passwd", "/%00", "/index.html%00", "/leads-out.html",
     "/folder-out/results.json", "/.hidden.html", "/loop.html", "/" + "x" * 5000, "/index.html/", "/index.html/x",
     "results.json", "http://[", "http://127.0.0.1/../results.json", "*", "/%ff%fe.html"],
)  # fmt: skip
def test_what_is_no_file_of_the_site_is_not_found(site, target):
    status, headers, content = site.get(target)
    if target == "/index.html/":  # the same file
        assert status == 200
        return
    assert status == 404
    assert headers["cache-control"] == "no-store"
    assert b"secret" not in content
    assert b"submissions" not in content


def test_head_is_a_get_without_content(site):
    status, headers, content = site.request("HEAD", "/index.html")
    assert (status, content) == (200, b"")
    assert headers["content-length"] == site.get("/index.html")[1]["content-length"]
    assert site.request("HEAD", "/missing.html")[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"])
def test_other_methods_are_refused(site, method):
    status, _, content = site.request(method, "/index.html")
    assert status == 501
    assert b"plain" not in content


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "LOCALHOST", "127.0.0.1", "127.1.2.3:1", "[::1]:80"])
def test_loopback_names_are_answered(site, host):
    assert site.get("/", host)[0] == 200


@pytest.mark.parametrize(
    "host",
    ["example.org", "example.org:8000", "localhost.example.org", "127.0.0.1.example.org", "192.168.1.2", "", "[",
     "[::1", "localhost@example.org", "0.0.0.0"],
)  # fmt: skip
def test_a_name_that_another_site_may_own_is_refused(site, host):
    for target in ("/", "/version", "/reload.js", "/missing.html"):
        status, _, content = site.get(target, host)
        assert status == 421
        assert b"plain" not in content


def test_a_request_without_a_host_is_refused(site):
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=WAIT_S)
    connection.putrequest("GET", "/", skip_host=True)
    connection.endheaders()
    assert connection.getresponse().status == 421
    connection.close()


def test_nothing_is_told_of_requests(site):
    site.get("/")
    site.get("/missing.html")
    assert site.told == []


def test_a_change_is_rendered_and_the_version_rises(tmp_path):
    write_board(tmp_path, "first")
    with served(tmp_path) as site:
        before = site.version()
        assert b"FIRST" in site.get("/")[2]
        assert site.get("/entries/first.html")[0] == 200
        time.sleep(0.2)
        assert site.version() == before
        write_board(tmp_path, "second")
        until(lambda: site.version() > before)
        assert b"SECOND" in site.get("/")[2]
        assert b"FIRST" not in site.get("/")[2]
        assert site.get("/entries/first.html")[0] == 404
        assert site.get("/entries/second.html")[0] == 200


def test_results_are_waited_for(tmp_path):
    with served(tmp_path / "out") as site:
        before = site.version()
        status, _, content = site.get("/")
        assert status == 200
        assert b"No leaderboard yet" in content
        assert b"mai-harness evaluate" in content
        assert b'src="/reload.js"' in content
        assert b"connect-src 'self'" in content
        assert len(site.told) == 1
        assert not (tmp_path / "out").exists()
        write_board(tmp_path / "out", "first")
        until(lambda: site.version() > before)
        assert b"FIRST" in site.get("/")[2]


def test_damaged_results_leave_the_site_as_it_is_and_are_told_once(tmp_path):
    write_board(tmp_path, "first")
    with served(tmp_path) as site:
        (tmp_path / "results.json").write_text("{")
        until(lambda: bool(site.told))
        time.sleep(0.2)
        assert b"FIRST" in site.get("/")[2]
        assert len(site.told) == 1
        assert "is damaged" in site.told[0]


def test_a_site_that_cannot_be_written_is_tried_again(tmp_path, monkeypatch):
    write_board(tmp_path, "first")
    failures = [OSError("disk full"), OSError("disk full")]

    def publish(board: object, out: Path, tell: object) -> None:
        if failures:
            raise failures.pop()

    monkeypatch.setattr("mai_harness.serve.publish", publish)
    with served(tmp_path) as site:
        until(lambda: site.version() > 0)
        assert site.told == ["the site could not be written: disk full"]


def test_another_address_is_told_and_answers_to_any_name(tmp_path):
    with served(tmp_path, "0.0.0.0") as site:
        assert any("other machines" in line for line in site.told)
        assert site.get("/", "example.org")[0] == 200


def test_a_port_that_is_taken_is_told(tmp_path):
    with served(tmp_path) as site, pytest.raises(HarnessError, match=r"cannot listen on 127\.0\.0\.1.*--port 0"):
        serve(tmp_path, "127.0.0.1", site.port, print, print, threading.Event())


def test_a_client_that_goes_away_is_no_news(tmp_path, capfd):
    with served(tmp_path) as site:
        for _ in range(3):
            connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=WAIT_S)
            connection.connect()
            connection.send(b"GET / HT")
            connection.close()
        assert site.get("/")[0] == 200
    assert capfd.readouterr() == ("", "")


def started(out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mai_harness", "serve", "--out", str(out), "--port", "0", *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_the_command_tells_its_url_and_ends_on_interrupt(tmp_path):
    write_board(tmp_path, "first")
    with started(tmp_path, "--json") as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            site = Site(tmp_path, port=int(url.rstrip("/").rpartition(":")[2]))
            assert b"FIRST" in site.get("/")[2]
            process.send_signal(signal.SIGINT)
            rest, words = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    assert (process.returncode, rest) == (0, "")
    assert url in words
    assert words.splitlines()[-1] == "no longer served"
    assert "Traceback" not in words


def test_the_command_refuses_a_port_that_is_taken(tmp_path):
    with served(tmp_path) as site:
        done = subprocess.run(
            [sys.executable, "-m", "mai_harness", "serve", "--out", str(tmp_path), "--port", str(site.port)],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: cannot listen on 127.0.0.1")
