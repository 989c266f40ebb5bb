"""The pages in a real browser, opened from disk: they say nothing, ask for nothing, and run what is ours."""

import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import evaluations
import msgspec
import pytest
from payloads import FEW, PIXEL, RUN, WRITTEN, hostile
from test_render import checked, complete, entry, results, stopped
from test_render_diagnosis import diagnosed

from mai_harness.history import Run, run_of
from mai_harness.latency_study import LATENCY_SCHEMA_VERSION, LatencyResults
from mai_harness.records import Evaluation, Failure, GalleryReport, Results, Window
from mai_harness.render import Beside, Pages, assets, render, render_studies
from mai_harness.render.latency import render_latencies
from mai_harness.site import write
from mai_harness.study import StudyResults

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium")
FLAGS = ("--no-sandbox", "--disable-quic", "--disable-background-networking")
HOSTILE = f'"><script>{RUN};console.error(1)</script><img src=x onerror={RUN}>'
PICTURES = {key: f"{key}.webp" for key in ("lr", "fp32", "raw", "dequantised", "mended", "hr")}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on PATH")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


class Watched:
    """A tab that notes whatever should not be: words on the console, errors, dialogs, other windows, requests."""

    def __init__(self, page: Any, folder: Path) -> None:
        self.page, self.root, self.heard = page, folder.as_uri() + "/", list[str]()
        page.on("console", lambda message: self.heard.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.heard.append(f"error: {error}"))
        page.on("dialog", self._dismiss)
        page.on("popup", lambda other: self.heard.append(f"a window: {other.url}"))
        page.on("download", lambda each: self.heard.append(f"a download: {each.url}"))
        page.on("requestfailed", lambda request: self.heard.append(f"failed: {request.url[:200]}"))
        page.on("request", self._request)

    def _dismiss(self, dialog: Any) -> None:
        self.heard.append(f"{dialog.type}: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.root, "data:")):
            self.heard.append(f"a request: {request.url[:200]}")

    def open(self, path: PurePosixPath, *, poke: bool = False) -> list[str]:
        """What is wrong with a page of the site.

        Args:
            poke: also use what can be used of it: search, choose, sort, and point at everything.
        """
        self.heard.clear()
        self.page.goto(self.root + str(path), wait_until="load")
        if poke:
            self.page.evaluate(POKE, HOSTILE)
            self.page.wait_for_timeout(100)
        assert self.page.url.split("#")[0].split("?")[0] == self.root + str(path)
        return self.heard + self.page.evaluate(FOUND, self.root)


# What of a page a browser would run or load, if it were made to.
FOUND = """(root) => {
  const found = [];
  if ("__pwned" in window || "polluted" in {}) found.push("it ran");
  const odd = ["applet", "audio", "base", "embed", "frame", "iframe", "marquee", "math", "object", "plaintext", "video",
    "xmp", "xss"];
  const addresses = new Set(["href", "src", "action", "formaction", "data", "poster", "background", "ping", "srcset"]);
  const inside = (of) => [...of.querySelectorAll("*")].flatMap((element) =>
    element.localName === "template" ? [element, ...inside(element.content)] : [element]);
  for (const element of inside(document)) {
    const tag = element.localName;
    if (odd.includes(tag)) found.push(`<${tag}>`);
    if (tag === "script" && element.type !== "application/json" && !(element.src.startsWith(root + "assets/")))
      found.push(`a script: ${element.outerHTML.slice(0, 200)}`);
    if (tag === "meta" && element.httpEquiv && element.httpEquiv !== "Content-Security-Policy") found.push("a meta");
    if (tag === "link" && !["icon", "stylesheet"].includes(element.rel)) found.push(`a link: ${element.rel}`);
    for (const { name, localName, value } of element.attributes) {
      if (/^on/i.test(name)) found.push(`<${tag} ${name}>`);
      if (name === "srcdoc") found.push(`<${tag} srcdoc>`);
      if (!addresses.has(localName) || value.startsWith("data:,") || value.startsWith("data:image/")) continue;
      const { href } = new URL(value, document.baseURI);
      if (!href.startsWith(root)) found.push(`<${tag} ${name}=${value.slice(0, 200)}>`);
    }
  }
  return found;
}"""

POKE = """(words) => {
  const say = (element, ...events) => {
    for (const name of events)
      element.dispatchEvent(new PointerEvent(name, { bubbles: true, clientX: 99, clientY: 99 }));
  };
  for (const box of document.querySelectorAll("input[type=search], input[type=text], input:not([type])")) {
    for (const value of ["a", words, ""]) { box.value = value; say(box, "input", "change"); }
  }
  for (const list of document.querySelectorAll("select")) {
    for (let place = Math.min(list.length, 12) - 1; place >= 0; place--) {
      list.selectedIndex = place;
      say(list, "input", "change");
    }
  }
  for (const box of document.querySelectorAll("input[type=checkbox]")) { box.click(); box.click(); }
  for (const head of [...document.querySelectorAll("thead th")].slice(0, 8)) say(head, "click");
  for (const each of document.querySelectorAll("summary")) each.parentElement.open = true;
  for (const each of [...document.querySelectorAll("svg *, figure *")].slice(0, 3000))
    say(each, "pointerenter", "pointerover", "pointermove", "mouseover", "mousemove", "pointerleave");
}"""


def watched(browser: Any, folder: Path, **context: Any) -> Watched:
    return Watched(browser.new_context(**context).new_page(), folder)


def pages_of(folder: Path) -> list[PurePosixPath]:
    return sorted(PurePosixPath(path.relative_to(folder)) for path in folder.rglob("*.html") if path.is_file())


# Made up, with every field set


def given(place: int) -> Evaluation:
    """All numbers of an entry; of three in a row one has a rank, one is against a rule and one stopped."""
    window = Window(
        image="a", top=1, left=2, height=3, width=4, found="image", pictures=PICTURES,
        psnr=dict.fromkeys(PICTURES, 30.0),
    )  # fmt: skip
    graph = evaluations.graph(*evaluations.steps(), evaluations.Step("", custom=True))
    return msgspec.structs.replace(
        complete("x", psnr=25 + place % 97 / 10),
        examine=msgspec.structs.replace(diagnosed().examine, graph=graph), appraise=diagnosed().appraise,
        gallery=GalleryReport(windows=(window, msgspec.structs.replace(window, found="gap"))),
        check=checked("pass", *(["warn", "fail", "skip"] if place % 3 == 1 else ["warn"])),
    )  # fmt: skip


def hostile_entry(place: int, words: str, turn: int = 0) -> Evaluation:
    base = results(given(place + turn)).submissions[0]
    made = hostile(Evaluation, words, base)
    failure = made.failure if (place + turn) % 3 == 2 else None
    challenge = msgspec.structs.replace(made.challenge, refusal="")
    return msgspec.structs.replace(made, name=words or "empty", failure=failure, challenge=challenge)


def hostile_results(turn: int = 0) -> Results:
    """One payload an entry, in all of its words. The words of the machine have all of them, one after another."""
    together, few = " ".join(WRITTEN), " ".join(FEW[:30])  # the few are on every page
    made = results(*(hostile_entry(place, words, turn) for place, words in enumerate(WRITTEN)))
    return msgspec.structs.replace(
        made, machine=together, dataset=together, harness_version=few, created=few,
        versions=dict(zip(WRITTEN, WRITTEN, strict=True)),
    )  # fmt: skip


def run_like(found: Results, factor: float) -> Run:
    """What is kept of the results, where all scores were others."""
    run = run_of(found)
    entries = (
        msgspec.structs.replace(each, score=each.score * factor if each.score else None, fingerprint="other")
        for each in run.entries
    )
    return msgspec.structs.replace(run, entries=tuple(entries), created=f"2021-06-0{round(factor)}T12:00:00+00:00")


def everything(found: Results, *more: Any, **beside: Any) -> Pages:
    """A whole site: the board, its history, studies and latencies, with their pictures."""
    studies = [hostile(StudyResults, HOSTILE)]
    latencies = hostile(LatencyResults, HOSTILE, more[0] if more else None)
    pages = render(found, studies, latencies=True, beside=Beside(**beside))
    pages |= render_studies(studies, board=True, latencies=True) | render_latencies(latencies, studies, board=True)
    return assets() | {PurePosixPath("pictures", name): PIXEL for name in PICTURES.values()} | pages


# Every page


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site").resolve()
    failed = Evaluation(
        name=HOSTILE, title=HOSTILE, kind="torch", failure=Failure(stage="export", kind="error", reason=HOSTILE)
    )
    found = results(
        entry("plain", 30.0, 50.0), entry("bare"), diagnosed("found"), diagnosed("hostile", HOSTILE), failed,
        complete("complete", HOSTILE), stopped("stopped"), *(hostile_entry(n, f"{HOSTILE}{n}") for n in range(3)),
    )  # fmt: skip
    write(everything(found, runs=[run_like(found, 1), run_like(found, 2)]), folder)
    return folder


def test_every_page_opens_without_a_word_and_asks_for_nothing(browser, site):
    tab = watched(browser, site)
    paths = pages_of(site)
    assert {PurePosixPath("index.html"), PurePosixPath("failure-modes.html")} < set(paths)
    assert len([path for path in paths if path.parts[0] == "entries"]) == 10
    wrong = {str(path): found for path in paths if (found := tab.open(path, poke=True))}
    assert wrong == {}


def test_every_page_reads_without_script(browser, site):
    tab = browser.new_context(java_script_enabled=False).new_page()
    for path in pages_of(site):
        tab.goto((site / path).as_uri())
        assert tab.locator("h1").is_visible(), path
        assert len(tab.locator("main").inner_text()) > 100, path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_page(browser, site, width, scheme):
    tab = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
    wide = []
    for path in pages_of(site):
        tab.goto((site / path).as_uri())
        if tab.evaluate("document.documentElement.scrollWidth") > width:
            wide.append(str(path))
    assert wide == []


# Injection


@pytest.mark.parametrize(
    "words",
    [
        f"<script>{RUN}</script>",
        f"<img src=x onerror={RUN}>",
        "<svg onload=alert(1)>",
        f"<a href=javascript:{RUN}>x</a>",
        "<iframe srcdoc=x></iframe>",
        "<img src=//evil.example/x.png>",
        "<link rel=preload as=script href=https://evil.example/x.js>",
        "<meta http-equiv=refresh content='999;url=//evil.example'>",
        "<script src=x.js></script>",
        "<b onclick=1>x</b>",
        "<script>console.error('pwned')</script>",
    ],
)
def test_what_is_looked_for_is_found(browser, tmp_path, words):
    (tmp_path / "a.html").write_text(f"<!doctype html><h1>x</h1>{words}")
    tab = watched(browser, tmp_path, bypass_csp=True)
    assert tab.open(PurePosixPath("a.html"))
    (tmp_path / "b.html").write_text("<!doctype html><h1>x</h1>")
    assert tab.open(PurePosixPath("b.html")) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("turn", range(3))
def test_no_payload_runs_anywhere(browser, tmp_path, turn):
    """All of them on one board, with the pages' policy off, so that what a browser could run it would.

    The turns differ in which entries rank, which are against the rules and which stopped; each opens a third of them.
    """
    assert len(WRITTEN) > 400
    folder = tmp_path.resolve()
    found = hostile_results(turn)
    latencies = msgspec.structs.replace(hostile(LatencyResults, ""), schema_version=LATENCY_SCHEMA_VERSION)
    write_fast(everything(found, latencies, runs=[run_like(found, 1), run_like(found, 2)]), folder)
    tab = watched(browser, folder, bypass_csp=True)
    paths = pages_of(folder)
    opened = [path for path in paths if path.parts[0] != "entries"]
    wrong = {str(path): words for path in opened if (words := tab.open(path, poke=True))}
    own = [path for path in paths if path.parts[0] == "entries"][turn::3]
    wrong |= {str(path): words for path in own if (words := tab.open(path))}
    assert wrong == {}


def write_fast(pages: Pages, folder: Path) -> None:
    """As ``write`` into an empty folder, without waiting for the disk after each file."""
    for path, content in pages.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        (folder / path).write_bytes(data.read_bytes() if isinstance(data, Path) else data)
