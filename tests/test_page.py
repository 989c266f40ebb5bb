"""The pages in a real browser: opened from disk, they run their script and report nothing."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_render import complete, entry
from test_render_diagnosis import diagnosed

from mai_harness.records import Evaluation, Failure, Results
from mai_harness.render import render
from mai_harness.storage import SCHEMA_VERSION, write_bytes

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--dump-dom",
)  # fmt: skip

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on PATH")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    hostile = '"><script>console.error(1)</script><img src=x onerror=console.error(2)>'
    rows = [entry("plain", 30.0, 50.0), entry("bare"), diagnosed("found"), diagnosed("hostile", hostile)]
    failed = Evaluation(
        name=hostile, title=hostile, kind="torch", failure=Failure(stage="export", kind="error", reason=hostile)
    )
    results = Results(
        schema_version=SCHEMA_VERSION, harness_version="0", created="2026-01-01T00:00:00+00:00", machine=hostile,
        versions={}, dataset=hostile, formula="mai2021",
        submissions=(*rows, failed, complete("complete", hostile)),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("site")
    for relative, text in render(results).items():
        write_bytes(folder / relative, text.encode())
    return folder


def opened(page: Path, profile: Path) -> subprocess.CompletedProcess[str]:
    command = [CHROMIUM or "", *FLAGS, f"--user-data-dir={profile}", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)


def test_every_page_opens_without_a_word_on_the_console(site, tmp_path):
    pages = sorted(site.rglob("*.html"))
    assert {site / "index.html", site / "failure-modes.html"} < set(pages)
    assert len(pages) == 2 + 6
    for page in pages:
        done = opened(page, tmp_path / page.stem)
        assert "CONSOLE" not in done.stderr, page
        assert not re.search(r"ERR_|Refused to|violates", done.stderr), page


def test_the_script_runs_and_makes_tables_sortable(site, tmp_path):
    dom = opened(site / "index.html", tmp_path).stdout
    assert dom.count('<button type="button">') >= 10
    assert "<script>console" not in dom
    assert "<img" not in dom
