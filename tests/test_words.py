"""Words of the pages: all stand in the catalogue, and a page in another language has no English left."""

import importlib
import io
import re
from collections.abc import Iterator
from gettext import GNUTranslations
from pathlib import PurePosixPath
from typing import Any

import msgspec
import pytest
import test_latency_study
import test_study
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from evaluations import Constant, Step, convolution, evaluation, graph
from jinja2 import nodes
from site_checks import Node, parsed
from test_render import LAYERS, complete, entry, failed, latency, on, results, score
from test_render_compare import measured
from test_render_diagnosis import diagnosed, examined
from test_render_gallery import window
from test_render_history import varied

from mai_harness.records import (
    GalleryReport,
    LatencyReport,
    QatRecipe,
    QatReport,
    TrainRecipe,
    TrainReport,
    WeightsCard,
)
from mai_harness.render import Beside, Pages, render, render_studies
from mai_harness.render.latency import render_latencies
from mai_harness.render.words import CATALOGUE, catalogue
from mai_harness.study import Paper, RowFailure

PAGE = importlib.import_module("mai_harness.render.page")
ANY = "\N{BALLOT BOX} \N{BALLOT BOX}"  #: whatever an entrant or a machine tells
#: Attributes that bear words.
BORNE = {"alt", "aria-label", "data-all", "data-label", "data-pick", "data-psnr", "data-runtime", "data-some",
         "placeholder", "title"}  # fmt: skip
#: What needs no translation: units, symbols and names. Of what the records here tell, words in small letters, which
#: would hide forgotten ones if all such were left out.
KNOWN = re.compile(
    r"""\b(dB|ms|kB|MB|SHA|UTC|CSV|JSON|Markdown|LaTeX|INT8|FP32|mai_harness|mai-harness|numpy|torch|cpu|npu|DRAM
        |u?int(8|16|32)|[A-Z]+(_[A-Z0-9]+)+|ADD|MUL|QUANTIZE|ReLU|result.json|[0-9a-f]{64}|input|constant|batch|integer
        |dynamic|shape|anchor|noclip|broken|narrow|raw|simulated|float|clip|shift|rows
        |Anchor-based[ ]Plain[ ]Net[ ]for[ ]Mobile[ ]Image[ ]Super-Resolution,[ ]arXiv)\b""",
    re.VERBOSE,
)


def pseudo(text: str) -> str:
    return f"⟦{text}⟧"


@pytest.fixture(scope="module")
def language() -> GNUTranslations:
    """Every message of the catalogue in brackets, by the way that a translation takes."""
    found = read_po(io.BytesIO(catalogue().encode()), locale="de")
    for message in found:
        if message.id:
            message.string = tuple(map(pseudo, message.id)) if message.pluralizable else pseudo(message.id)
    compiled = io.BytesIO()
    write_mo(compiled, found)
    return GNUTranslations(io.BytesIO(compiled.getvalue()))


# Records in which as much as possible is told


def trained(kind: type, recipe: Any, **more: Any) -> Any:
    return kind(
        torch="2", images=2, images_sha256="0", validation_images=2, seconds=60.0, final_loss=1.0,
        validation_psnr_db=30.0, recipe=recipe, **more,
    )  # fmt: skip


CARD = WeightsCard(
    command=ANY, machine=ANY, training=trained(TrainReport, TrainRecipe(steps=9), weights_sha256="0"),
    qat=trained(QatReport, QatRecipe(steps=9), learned_sha256="0"),
)  # fmt: skip
WINDOWS = GalleryReport(windows=(window(), window("gap"), window("error", without=("hr",))))
ESTIMATE = LatencyReport(
    backend="npu", precision="int8", device=ANY, how=ANY, estimate_ms=5.0, layers=LAYERS, layers_how=ANY
)
NETWORK = graph(
    Step("QUANTIZE"), convolution(), Step("ADD", reads=(0, 1)),
    Step("MUL", constants=(Constant((1,), "int8", (1.0,)),)), Step("QUANTIZE", dtype="uint8"),
)  # fmt: skip
BOARDS = (
    results(
        complete("n1", ANY), complete("n2", ANY, 29.0), failed("n3", ANY, ANY, reason="☐ " * 200),
        entry("n4", ms=9.0, score=score(20.0, psnr_dequantised_db=31.0), training=CARD, gallery=WINDOWS),
        entry("n5", 28.0, runtime=(on(latency(20.0)), on(ESTIMATE))),
        entry("n6", 27.0, 5.0, score=msgspec.structs.replace(score(27.0), dataset=ANY, shave=3, exact=False)),
        evaluation(name="n7", title=ANY, graph=NETWORK), diagnosed("n8", ANY),
        diagnosed("n9", ANY, examine=examined(words=ANY, agreement=None)), measured("n10", 0.0, 1),
        measured("n11", 1.0, 2), machine=ANY,
    ),
    results(),
    results(failed("c", ANY, ANY, reason=ANY)),
    results(entry("a"), entry("b")),
    results(measured("a", 0.0, 1), measured("b", 0.0, 1)),
)  # fmt: skip
RUNS = varied()
STUDY = test_study.study(
    test_study.measured(
        "anchor", 30.0, 29.9, 29.95, paper=Paper(ptq_loss_db=0.1, qat_loss_db=0.1, note=ANY), remark=ANY,
        latency=latency(60, 61), training=test_study.TRAINED,
    ),
    test_study.row("noclip", ptq=score(19.0, psnr_fp32_db=30.0, psnr_dequantised_db=29.8), untrained=True),
    test_study.row(
        "broken",
        failures=[RowFailure(part=p, stage=ANY, kind=ANY, reason=ANY) for p in ("network", "ptq", "qat", "runtime")],
    ),
    name="a-study",
)  # fmt: skip
LATENCIES = test_latency_study.everything(ANY)


def sites() -> Iterator[Pages]:
    yield render(BOARDS[0], [STUDY], latencies=True, beside=Beside(runs=RUNS))
    yield render(BOARDS[1], beside=Beside(runs=RUNS[:1]))
    yield from map(render, BOARDS[2:])
    yield render_studies([STUDY], board=True)
    yield render_latencies(LATENCIES, board=True)


def told(record: Any) -> Iterator[str]:
    """All texts of a record but words in small letters, which are names of states and may have to be translated."""
    if isinstance(record, str):
        if not re.fullmatch("[a-z]*", record):
            yield record
    elif isinstance(record, dict):
        for each in record.values():
            yield from told(each)
    elif isinstance(record, list | tuple):
        for each in record:
            yield from told(each)


@pytest.fixture(scope="module")
def data() -> re.Pattern[str]:
    """What results hold stands on the pages as it was written."""
    kept = msgspec.to_builtins((BOARDS, RUNS, STUDY, LATENCIES))
    findings = [f for b in LATENCIES.backends for f in LATENCIES.findings(b)]
    texts = {*told(kept), *(text for f in findings for text in (f.states, f.test, f.measured))}
    texts |= {row.node.group.capitalize() for row in LATENCIES.nodes}
    ordered = sorted(texts - {""}, key=len, reverse=True)
    return re.compile(rf"(?<!\w)({'|'.join(map(re.escape, ordered))})(?!\w)")


# Pages in brackets


def written() -> dict[PurePosixPath, str]:
    """All pages, with the number of their site before their paths."""
    return {
        PurePosixPath(str(number), path): text
        for number, site in enumerate(sites())
        for path, text in site.items()
        if isinstance(text, str) and path.suffix == ".html"
    }


@pytest.fixture(scope="module")
def pages(language) -> dict[PurePosixPath, str]:
    """All pages in brackets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PAGE, "_LANGUAGE", language)
        PAGE._environment.cache_clear()
        found = written()
    PAGE._environment.cache_clear()
    return found


def texts(node: Node) -> Iterator[str]:
    """What is seen or heard: all text in order, as one; and each attribute that bears words."""
    for each in node.walk():
        yield from (each.attributes[name] for name in BORNE & set(each.attributes))
    yield "".join(_seen(node))


def _seen(node: Node) -> Iterator[str]:
    for child in node.children:
        if isinstance(child, str):
            yield child
        elif child.tag not in {"script", "style"}:
            yield "\n"
            yield from _seen(child)
            yield "\n"


def outside(text: str) -> str:
    """What stands outside all brackets."""
    depth, left = 0, []
    for character in text:
        depth += (character == "⟦") - (character == "⟧")
        left.append(character if depth == 0 and character != "⟧" else " ")
    assert depth == 0, text
    return "".join(left)


def test_no_words_were_forgotten(pages, data):
    forgotten = {
        (str(path), word)
        for path, page in pages.items()
        for text in texts(parsed(page))
        for word in re.findall(r"[^\W\d_]{2,}", KNOWN.sub(" ", data.sub(" ", outside(text))))
    }
    assert not forgotten


def test_every_kind_of_page_was_looked_at(pages):
    kinds = {path.name if len(path.parts) == 2 else path.parts[1] for path in pages}
    front = {"index.html", "compare.html", "history.html", "failure-modes.html", "metanodes.html"}
    assert kinds == {*front, "entries", "studies"}


def test_a_forgotten_word_would_be_found(data):
    (text,) = texts(parsed("<p>Forgotten ⟦not <b>this</b>⟧ 3 dB</p>"))
    assert KNOWN.sub(" ", data.sub(" ", outside(text))).split() == ["Forgotten", "3"]
    assert next(texts(parsed('<p title="Also"></p>'))) == "Also"


def test_in_english_nothing_is_in_brackets_and_per_cent_signs_are_single():
    for path, text in written().items():
        assert not re.search("[⟦⟧]|%%", text), path
        assert "%(" not in text, path


# The catalogue


def test_the_catalogue_is_up_to_date():
    """CONTRIBUTING.md has the command that writes it anew."""
    assert CATALOGUE.read_text("utf-8") == catalogue()


@pytest.mark.parametrize("path", sorted(CATALOGUE.parent.glob("*.html")), ids=lambda path: path.name)
def test_only_what_a_template_says_itself_is_taken_for_markup(path):
    """``_()`` escapes nothing; other texts go through the filters ``word`` and ``phrase``."""
    tree = PAGE._environment().parse(path.read_text("utf-8"))
    calls = [call for call in tree.find_all(nodes.Call) if isinstance(call.node, nodes.Name)]
    several = {"_": 1, "gettext": 1, "ngettext": 2}
    for call in calls:
        for argument in call.args[: several.get(call.node.name, 0)]:
            assert isinstance(argument, nodes.Const), (path.name, call.lineno)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("INT8", "⟦INT8⟧"),
        ("", ""),
        ("<b>&%s %(n)s", "&lt;b&gt;&amp;%s %(n)s"),
        ("half its 95 % confidence", "half its 95 % confidence"),
    ],
)
def test_words_of_tables_are_translated_and_escaped(language, monkeypatch, given, made):
    monkeypatch.setattr(PAGE, "_LANGUAGE", language)
    page = PAGE._environment().from_string("{{ text | word }}")
    assert page.render(text=given) == made


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("2 fail", "⟦2 fail⟧"),
        ("over 0.5 dB", "⟦over 0.5 dB⟧"),
        ("dequantised \N{MINUS SIGN}3.25", "⟦dequantised \N{MINUS SIGN}3.25⟧"),
        ("estimate", "⟦estimate⟧"),
        ("± 1.2 %", "± 1.2 %"),
        ("{} 3 {}", "{} 3 {}"),
    ],
)
def test_notes_keep_their_number(language, monkeypatch, given, made):
    monkeypatch.setattr(PAGE, "_LANGUAGE", language)
    assert PAGE._phrase(given) == made
