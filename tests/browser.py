"""A real browser for tests, what it hears of a page, a server, and a site that has everything for it to open.

A module starts its own browser: two of Playwright's drivers cannot run at once in one thread.
"""

import hashlib
import io
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import evaluations
import msgspec
import numpy as np
import pytest
from payloads import hostile
from PIL import Image
from test_render import LAYERS, checked, complete, entry, failed, finding, latency, on, results, score, stopped
from test_render_diagnosis import diagnosed, found

from mai_harness.history import Run, run_of
from mai_harness.latency_study import LatencyResults
from mai_harness.records import (
    BackendReport,
    GalleryReport,
    ImageScore,
    Ratio,
    Results,
    ScoreReport,
    Window,
)
from mai_harness.render import Beside, assets, render, render_studies
from mai_harness.render.latency import render_latencies
from mai_harness.site import write
from mai_harness.study import StudyResults

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--no-sandbox", "--disable-quic", "--disable-background-networking")
LONG = "x" * 80  #: a name without a place to break it

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or find_spec("playwright") is None, reason="needs Playwright, and chromium on PATH"
)


@contextmanager
def chromium() -> Iterator[Any]:
    """A running browser, which is closed at the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield running
        finally:
            running.close()


@contextmanager
def tab(browser: Any, **context: Any) -> Iterator[Any]:
    """A page of its own, which waits 5 s at most for whatever it is asked.

    Args:
        context: as of Playwright's ``new_context``.
    """
    made = browser.new_context(**context)
    page = made.new_page()
    page.set_default_timeout(5000)
    try:
        yield page
    finally:
        made.close()


def complaints(page: Any, *roots: str) -> list[str]:
    """What the page complains of from now on, in a list that grows.

    These are messages on the console, exceptions, failed requests, answers that are none, and requests to what does
    not begin with any of ``roots``.
    """
    heard: list[str] = []
    page.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: heard.append(f"exception: {error}"))
    page.on("requestfailed", lambda request: heard.append(f"failed: {request.url}"))
    page.on("response", lambda answer: answer.status >= 400 and heard.append(f"{answer.status}: {answer.url}"))
    page.on("request", lambda each: each.url.startswith((*roots, "data:")) or heard.append(f"asked for: {each.url}"))
    return heard


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing: a test's output is not for it."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address, with a slash at its end, of a server of these files on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def until(page: Any, is_so: Callable[[], bool]) -> None:
    """Wait; Playwright's own ``wait_for_function`` evaluates text, which the pages' policy forbids.

    Raises:
        AssertionError: it did not come about in 3 s.
    """
    for _ in range(100):
        if is_so():
            return
        page.wait_for_timeout(30)
    raise AssertionError("it did not come about in 3 s")


# A site that has everything


def scored(db: float, step: int = 3) -> ScoreReport:
    """Ten images around ``db``; entries of the same ``step``, which is odd and no multiple of 5, vary alike."""
    images = []
    for place in range(10):
        shift = ((place * step) % 10 - 4.5) / 10
        psnr = {"psnr_raw_db": db + shift, "psnr_dequantised_db": db + shift, "psnr_fp32_db": db + 0.3 + 1.1 * shift}
        ssim = {"ssim_raw": 0.85 + shift / 20, "ssim_dequantised": 0.85 + shift / 20, "ssim_fp32": 0.86 + shift / 20}
        images.append(ImageScore(name=f"{801 + place:04}", figures=psnr | ssim))
    return msgspec.structs.replace(score(), images=tuple(images))


def timed(ratio: float, npu_ms: float | None = None) -> tuple[BackendReport, ...]:
    """INT8 and FP32 on the CPU, and an estimate of the NPU if it has one."""
    cpu = msgspec.structs.replace(
        latency(49 * ratio, 50 * ratio, 52 * ratio), layers=LAYERS, layers_how="Timed one by one", layers_alone=True,
        reference_ms=(49.0, 50.0, 51.0),
        ratio=Ratio(value=ratio, low=0.99 * ratio, high=1.01 * ratio, rounds=9, outliers=1),
    )  # fmt: skip
    reports = (on(cpu, latency(120 * ratio, precision="fp32")),)
    if npu_ms is None:
        return reports
    npu = msgspec.structs.replace(latency(backend="npu"), how="estimated: made up", estimate_ms=npu_ms, layers=LAYERS)
    return (*reports, on(npu, refusals=("FP32: has no such unit",)))


def window(found: Any, image: str, keys: tuple[str, ...] = ("lr", "fp32", "raw", "hr"), side: int = 60) -> Window:
    """A window whose pictures are those of :func:`pictures`."""
    psnr = {key: db for key, db in {"raw": 29.0, "fp32": 31.5, "lr": 27.0}.items() if key in keys}
    return Window(
        image=image, top=30, left=60, height=side, width=side, found=found, psnr=psnr,
        pictures={key: _file(key, side) for key in keys},
    )  # fmt: skip


def _file(key: str, side: int) -> str:
    """A name of the form that the gallery gives, and without which a picture is not published."""
    return f"{hashlib.sha256(f'{key} {side}'.encode()).hexdigest()[:20]}.webp"


def pictures(folder: Path, *sides: int) -> Path:
    """The folder, with pictures of every kind in these sizes."""
    folder.mkdir()
    for side in sides:
        ramp = np.add.outer(np.arange(side), np.arange(side))[..., None] * (1, 1, 0)
        for place, key in enumerate(("lr", "fp32", "raw", "hr")):
            file = io.BytesIO()
            pixels = np.add(ramp, (0, 0, 10 * place)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(file, "WEBP", lossless=True)
            (folder / _file(key, side)).write_bytes(file.getvalue())
    return folder


WINDOWS = (window("gap", "0801"), window("error", "0803"), *(window("image", f"080{n}", side=96) for n in range(4)))


def hand_made() -> Results:
    """Twelve entries: ranked with a tie for the third place, without a rank, against a rule, and failed."""
    examined = evaluations.evaluation(name="abpn", title="ABPN")
    apart = complete(LONG, "Other words " * 12)
    return results(
        msgspec.structs.replace(
            examined, score=scored(30.5), runtime=timed(1.0, 14.0), authors=("Z. Du", "J. Liu"),
            gallery=GalleryReport(windows=WINDOWS), description="Anchor-based plain net.\nSeven convolutions.",
        ),
        entry("wide", kind="keras", score=scored(30.9, 7), runtime=timed(2.2, 40.0), check=checked("pass", "warn")),
        entry("twin-a", kind="onnx", score=scored(30.1, 9), runtime=timed(1.5, 18.0), title="Twins: the first"),
        entry("twin-b", kind="onnx", score=scored(30.1, 9), runtime=timed(1.5), title="Twins: the second"),
        diagnosed(
            "lossy", "some words", title="Lossy", score=scored(27.9), runtime=timed(0.8, 9.0),
            findings=tuple(found(grade, grade, title=f"One {grade}") for grade in ("error", "warning", "info")),
        ),
        entry("plain", 26.0, 20.0, kind="tflite", findings=(finding("info"),), title="العربية plain"),
        entry("untimed", score=scored(29.0, 7)),
        entry("unscored", ms=20.0),
        msgspec.structs.replace(apart, score=scored(31.5, 7), runtime=timed(1.1, 15.0)),
        entry(
            "float", kind="tflite", score=scored(32.0), runtime=timed(3.0), check=checked("pass", "fail"),
            gallery=GalleryReport(windows=WINDOWS[:1]), title="Float weights",
        ),
        stopped("broken", "words that stopped it"),
        failed("late", stage="upscale", kind="timeout", reason="line of a trace\n" * 60),
    )  # fmt: skip


def runs(newest: Results) -> list[Run]:
    """Three runs, the last of them that of the results: before, entries were fewer and others led."""
    last = run_of(newest)
    ranked = [each for each in last.entries if each.rank]
    swapped = [
        msgspec.structs.replace(each, rank=len(ranked) + 1 - each.rank, psnr_raw_db=each.psnr_raw_db - 0.05 * each.rank)
        for each in ranked
    ]
    return [
        msgspec.structs.replace(last, created="2021-05-01T12:00:00+00:00", entries=tuple(swapped[1:])),
        msgspec.structs.replace(last, created="2021-05-15T12:00:00+00:00", entries=tuple(swapped)),
        last,
    ]


def write_site(folder: Path) -> Path:
    """The whole site below ``folder``, with a study, latencies of operators, pictures and files to download."""
    made = hand_made()
    models = folder / "packages"
    models.mkdir()
    for name in ("model.tflite", "model.onnx"):
        (models / name).write_bytes(b"\x00" * 56_700)
    beside = Beside(
        runs=runs(made), models={"abpn": {path.name: path for path in models.iterdir()}},
        pictures=pictures(folder / "pictures", 60, 96),
    )  # fmt: skip
    study = msgspec.structs.replace(hostile(StudyResults, "some words"), created=made.created, name="residual")
    latencies = msgspec.structs.replace(hostile(LatencyResults, "some words"), created=made.created)
    pages = assets() | render(made, [study], latencies=True, beside=beside)
    pages |= render_studies([study], board=True, latencies=True) | render_latencies(latencies, [study], board=True)
    write(pages, folder / "site")
    return folder / "site"
