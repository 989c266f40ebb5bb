"""A study of latencies: what follows from its figures, the stages that time them, and its page."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pytest
import tiny
from payloads import FEW
from site_checks import Node, harmless, html, parsed, self_contained, shown, skeleton, well_made
from test_cli import run
from test_meta_nodes import HOLD
from test_render import INDEX, entry, results
from test_study import STUDY

from mai_harness import decompose as decompose_module
from mai_harness import time_files as time_files_module
from mai_harness.backends import Choice
from mai_harness.decompose import DecomposeRequest, decompose
from mai_harness.errors import HarnessError, ResultsUnreadable
from mai_harness.latency_study import (
    LATENCY_SCHEMA_VERSION,
    Decomposition,
    FormRow,
    LatencyResults,
    NetworkRow,
    NodeRow,
    Outcome,
    latency_results_path,
    read_latency_results,
)
from mai_harness.meta_nodes import META_NODES, Figure
from mai_harness.records import BackendReport, Failure, Form, LatencyReport, Layer, Model, Ratio
from mai_harness.render import MISSING, render
from mai_harness.render.latency import VERDICTS, latency_tables, render_latencies, shares
from mai_harness.storage import SCHEMA_VERSION, write_results
from mai_harness.tflite_graph import read_graph, split
from mai_harness.time_files import TimeFilesRequest, time_files
from mai_harness.timing import TimingPlan

PAGE = PurePosixPath("metanodes.html")
NODES = {node.id: node for node in META_NODES}


def report(*samples_ms: float, **more: Any) -> LatencyReport:
    return LatencyReport(
        **{"backend": "cpu", "precision": "int8", "device": "made up", "how": "made up", "samples_ms": samples_ms}
        | more
    )


def layer(name: str, ms: float, rule: str = "") -> Layer:
    return Layer(name=name, place="somewhere", ms=ms, rule=rule)


# Figures


def test_a_prediction_is_the_sum_of_the_operators():
    found = Decomposition(whole=report(8.0, 9.0, 30.0), operators=(layer("CONV_2D 0", 2.0), layer("ADD 1", 4.0)))
    assert found.predicted_ms == 6.0
    assert found.quotient == pytest.approx(6 / 9)


@pytest.mark.parametrize(
    "found",
    [
        Decomposition(whole=report(9.0), operators=(layer("CONV_2D 0", 2.0),), refused=("ADD 1: no",)),
        Decomposition(whole=report(9.0)),
        Decomposition(refusal="no"),
        Decomposition(),
    ],
    ids=["one operator is missing", "no operators", "refused", "empty"],
)
def test_without_all_operators_nothing_is_predicted(found):
    assert (found.predicted_ms, found.quotient) == (None, None)


def test_without_the_whole_there_is_a_sum_and_no_quotient():
    found = Decomposition(operators=(layer("CONV_2D 0", 2.0),))
    assert (found.predicted_ms, found.quotient) == (2.0, None)


def study(**more: Any) -> LatencyResults:
    return LatencyResults(
        **{
            "schema_version": LATENCY_SCHEMA_VERSION, "harness_version": "0.1", "created": "2021-06-01T12:00:00+00:00",
            "machine": "two cores", "versions": {"numpy": "1.26.4"}, "dataset": "photographs",
            "command": "mai-harness metanodes", "backends": {"cpu": "two cores", "npu": "an NPU"},
        } | more
    )  # fmt: skip


def nodes(**backends: dict[str, float]) -> tuple[NodeRow, ...]:
    """Rows of all nodes with these latencies; one without is refused."""
    return tuple(
        NodeRow(
            node=node,
            outcomes={
                backend: Outcome(report=report(latencies[node.id]))
                if node.id in latencies
                else Outcome(refusal=f"{node.id} is too hard")
                for backend, latencies in backends.items()
            },
        )
        for node in META_NODES
    )


def without(*ids: str) -> dict[str, float]:
    return {id_: ms for id_, ms in HOLD.items() if id_ not in ids}


def test_findings_follow_from_the_latencies_of_a_backend():
    found = study(nodes=nodes(cpu=HOLD, npu=HOLD | {"add": 0.5}))
    assert {finding.id for finding in found.findings("cpu") if not finding.holds} == set()
    assert {finding.id for finding in found.findings("npu") if finding.holds is False} == {"add"}


def test_a_finding_about_a_refused_node_is_undecided():
    found = {finding.id: finding for finding in study(nodes=nodes(cpu=without("leaky-relu"))).findings("cpu")}
    assert {id_ for id_, finding in found.items() if finding.holds is None} == {"relu", "relu-fused", "resize"}
    assert found["relu"].measured == "not measured: leaky-relu"
    assert {finding.holds for id_, finding in found.items() if id_ not in ("relu", "relu-fused", "resize")} == {True}


def test_of_a_backend_that_timed_nothing_there_are_no_findings():
    found = study(nodes=nodes(cpu=HOLD, npu={}))
    assert found.findings("npu") == found.findings("adb") == study().findings("cpu") == ()


# The stages


class FakeBackend:
    """Gives each file what is told for it, by its path or its only operator; notes what it was asked."""

    def __init__(self, told: dict[str, LatencyReport | str], whole: LatencyReport | str = "not asked for") -> None:
        self.told, self.whole = told, whole
        self.compared: list[list[str]] = []
        self.measured: list[tuple[Choice, Model, TimingPlan]] = []

    def measure(self, choice: Choice, model: Model, plan: TimingPlan) -> BackendReport:
        self.measured.append((choice, model, plan))
        return BackendReport(backend="fake", reports=(self._found(self.whole),))

    def compare(self, _choice: Choice, paths: Sequence[str], _plan: TimingPlan) -> tuple[LatencyReport, ...]:
        names = [path if path in self.told else self._operator(Path(path)) for path in paths]
        self.compared.append(names)
        return tuple(self._found(self.told[name]) for name in names)

    @staticmethod
    def _operator(path: Path) -> str:
        (op,) = read_graph(path).ops
        return op.name

    @staticmethod
    def _found(told: LatencyReport | str) -> LatencyReport:
        if isinstance(told, str):
            raise HarnessError(told)
        return told


FILES = {"a": "/a.tflite", "b": "/b.tflite", "c": "/c.tflite"}


def timed(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, **against: str) -> dict[str, Outcome]:
    asked: list[str] = []
    monkeypatch.setattr(time_files_module, "find", lambda name: asked.append(name) or backend)
    request = TimeFilesRequest(
        files=FILES, against=against, choice=Choice(name="fake"), plan=TimingPlan(), device="made up"
    )
    outcomes = time_files(request, Path("/nowhere")).outcomes
    assert set(asked) == {"fake"}
    return outcomes


def test_files_take_turns_and_have_ratios(monkeypatch):
    told = {"/a.tflite": report(10.0, 20.0, 40.0), "/b.tflite": report(20.0, 40.0, 80.0), "/c.tflite": report(1.0)}
    backend = FakeBackend(told)
    found = timed(backend, monkeypatch, a="a", b="a")
    assert backend.compared == [list(FILES.values())]
    assert {id_: outcome.report for id_, outcome in found.items()} == {id_: told[path] for id_, path in FILES.items()}
    assert (found["b"].ratio.value, found["b"].ratio.rounds) == (2.0, 3)
    assert (found["a"].ratio, found["c"].ratio) == (None, None)  # the reference itself, and one that has none


def test_a_ratio_is_taken_round_by_round(monkeypatch):
    told = {"/a.tflite": report(10.0, 100.0, 10.0), "/b.tflite": report(30.0, 300.0, 20.0), "/c.tflite": report(1.0)}
    assert timed(FakeBackend(told), monkeypatch, b="a")["b"].ratio.value == 3.0  # and not 30 / 10


def test_one_refused_file_has_the_others_timed_by_themselves(monkeypatch):
    told = {"/a.tflite": report(10.0), "/b.tflite": "TRANSPOSE has six dimensions", "/c.tflite": report(30.0)}
    backend = FakeBackend(told)
    found = timed(backend, monkeypatch, b="a", c="a")
    assert backend.compared == [list(FILES.values()), *([path] for path in FILES.values())]
    assert found == {
        "a": Outcome(report=told["/a.tflite"]),
        "b": Outcome(refusal="TRANSPOSE has six dimensions"),
        "c": Outcome(report=told["/c.tflite"]),
    }


def test_estimates_have_ratios_of_no_rounds(monkeypatch):
    told = {path: report(estimate_ms=ms) for path, ms in zip(FILES.values(), (10.0, 25.0, 30.0), strict=True)}
    found = timed(FakeBackend(told), monkeypatch, b="a", c="a")
    assert [(found[id_].ratio.value, found[id_].ratio.rounds) for id_ in "bc"] == [(2.5, 0), (3.0, 0)]
    assert (found["b"].ratio.low, found["b"].ratio.high) == (2.5, 2.5)


def test_a_ratio_to_a_file_that_is_not_there_is_none(monkeypatch):
    told = dict.fromkeys(FILES.values(), report(1.0))
    assert timed(FakeBackend(told), monkeypatch, b="gone")["b"] == Outcome(report=report(1.0))


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("network") / "m.tflite", tiny.upscaler, (1, 12, 16, 3))


PLAN = TimingPlan(runs=7)


def apart(path: Path, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> Decomposition:
    monkeypatch.setattr(decompose_module, "find", {"fake": backend}.__getitem__)
    request = DecomposeRequest(path=str(path), choice=Choice(name="fake"), plan=PLAN, device="made up")
    return decompose(request, Path("/nowhere"))


def test_layers_that_were_timed_alone_are_the_operators(network, monkeypatch):
    whole = report(10.0, layers=(layer("CONV_2D 0", 4.0), layer("ADD 1", 5.0)), layers_alone=True)
    backend = FakeBackend({}, whole)
    found = apart(network, backend, monkeypatch)
    assert found == Decomposition(whole=whole, operators=whole.layers)
    assert backend.compared == []
    assert backend.measured == [(Choice(name="fake"), Model(static=str(network)), PLAN)]


def test_other_layers_are_left_and_each_operator_is_timed_alone(network, monkeypatch):
    names = [alone.name for alone in split(network)]
    kinds = [name.rpartition(" ")[0] for name in names]
    told = {kind: report(1.0, float(place), 90.0, backend="fake:1") for place, kind in enumerate(kinds, 2)}
    whole = report(20.0, layers=(layer("CONV_2D 1", 4.0),))
    backend = FakeBackend(told, whole)
    found = apart(network, backend, monkeypatch)
    assert found.whole == whole
    assert [each.name for each in found.operators] == names
    assert [each.ms for each in found.operators] == [told[kind].latency_ms for kind in kinds]
    assert {each.place for each in found.operators} == {"fake:1"}
    assert backend.compared == [[kind] for kind in kinds]
    assert found.refused == ()
    assert found.quotient == pytest.approx(sum(told[kind].latency_ms for kind in kinds) / 20)


def test_operators_that_are_refused_alone_are_listed(network, monkeypatch):
    kinds = {alone.name.rpartition(" ")[0]: alone.name for alone in split(network)}
    told: dict[str, Any] = dict.fromkeys(kinds, report(1.0)) | {"MIRROR_PAD": "it is too odd"}
    found = apart(network, FakeBackend(told, report(20.0)), monkeypatch)
    assert found.refused == (f"{kinds['MIRROR_PAD']}: it is too odd",)
    assert kinds["MIRROR_PAD"] not in {each.name for each in found.operators}
    assert len(found.operators) == len(list(split(network))) - 1
    assert found.predicted_ms is None


def test_a_refused_whole_is_an_error(network, monkeypatch):
    with pytest.raises(HarnessError, match="too large"):
        apart(network, FakeBackend({}, "too large"), monkeypatch)


# Made up, with every field set; every text that is not of this package is ``words``


def everything(words: str = "words", backends: tuple[str, str] = ("cpu", "npu")) -> LatencyResults:
    measured, estimated = backends
    slow, guess = report(50.0, 51.0, 52.0, device=words), report(
        estimate_ms=20.0, layers=(layer(f"{words} 0", 12.0), layer(f"{words} 1", 8.0, rule=words))
    )  # fmt: skip
    node = msgspec.structs.replace(
        NODES["add"], title=words, what=words, paper=words,
        elsewhere=(Figure(hardware="CPU", ms=1.5, source=words), Figure(hardware="GPU", ms=2.5, source=words)),
    )  # fmt: skip
    rows = list(nodes(**{measured: HOLD | {"relu": 40.0}, estimated: without("leaky-relu")}))
    rows[0] = NodeRow(node=node, outcomes={measured: Outcome(report=slow), estimated: Outcome(report=guess)})
    rows[1] = msgspec.structs.replace(rows[1], outcomes={measured: Outcome(refusal=words)})
    ratio = Ratio(value=1.25, low=1.2, high=1.3, rounds=30, outliers=1)
    exact = Ratio(value=0.75, low=0.75, high=0.75, rounds=0, outliers=0)

    def form(id_: str, group: str) -> Form:
        return Form(id=id_, group=group, title=words, what=words, factory="ABPN", arguments={}, paper=words)

    forms = (
        FormRow(
            form=form("shipped", "Residual"), reference="shipped", operators={"CONV_2D": 8, words: 1},
            outcomes={measured: Outcome(report=slow), estimated: Outcome(report=guess)},
        ),
        FormRow(
            form=form("other", "Residual"), reference="shipped", operators={"CONV_2D": 7},
            outcomes={
                measured: Outcome(report=report(100.0), ratio=ratio),
                estimated: Outcome(report=report(estimate_ms=15.0), ratio=exact),
            },
        ),
        FormRow(
            form=form("refused", "Clip"), reference="refused",
            outcomes={measured: Outcome(refusal=words), estimated: Outcome()},
        ),
        FormRow(
            form=form("failed", "Clip"), reference="refused",
            failure=Failure(stage="export", kind="error", reason=words),
        ),
    )  # fmt: skip

    def published(name: str, **more: Any) -> NetworkRow:
        return NetworkRow(
            name=name, title=words, paper=words, published_parameters_k=1592.0, source=words, parameters=1_234_567,
            note=words, **more,
        )  # fmt: skip

    kinds = [layer(f"{words} 0", 2.0), layer("ADD 1", 10.0), layer(f"{words} 2", 4.0)]
    networks = (
        published(
            "whole", macs=90_900_000_000, operators={"CONV_2D": 2},
            decompositions={
                measured: Decomposition(whole=report(20.0), operators=tuple(kinds)),
                estimated: Decomposition(whole=guess, operators=tuple(kinds[:1]), refused=(f"ADD 1: {words}",)),
            },
        ),
        published("refused", decompositions={measured: Decomposition(refusal=words)}),
        published("failed", failure=Failure(stage="quantise", kind="timeout", reason=words)),
    )  # fmt: skip
    return study(
        backends={measured: words, estimated: words}, nodes=tuple(rows), forms=forms, networks=networks,
        harness_version=words, created=words, versions={words: words}, command=words,
    )  # fmt: skip


# On disk


def test_results_survive_a_round_trip_and_another_version_is_refused(tmp_path):
    path = latency_results_path(tmp_path)
    write_results(everything(), path)
    assert read_latency_results(path) == everything()
    write_results(msgspec.structs.replace(everything(), schema_version=LATENCY_SCHEMA_VERSION + 1), path)
    with pytest.raises(ResultsUnreadable, match="update mai_harness"):
        read_latency_results(path)
    write_results(msgspec.structs.replace(everything(), schema_version=LATENCY_SCHEMA_VERSION - 1), path)
    with pytest.raises(ResultsUnreadable, match="run: mai-harness metanodes"):
        read_latency_results(path)


# The page


def page_of(found: LatencyResults, *, board: bool = True) -> Node:
    pages = render_latencies(found, board=board)
    assert list(html(pages)) == [PAGE]
    return parsed(pages[PAGE])


def body(page: Node, section: str) -> list[Node]:
    """Rows of a section's first table, without bands."""
    rows = [row for tbody in page.section(section).all("table")[0].all("tbody") for row in tbody.all("tr")]
    return [row for row in rows if "band" not in row.classes]


def texts(row: Node) -> list[str]:
    return [" ".join(td.text.split()) for td in row.all("td")]


def widths(node: Node) -> list[float]:
    return [float(re.fullmatch(r"width:([\d.]+)%", i.attributes["style"]).group(1)) for i in node.all("i")]


PARTS = {"nodes": {"findings", "nodes"}, "forms": {"forms"}, "networks": {"networks"}}


@pytest.mark.parametrize("parts", [(), *((part,) for part in PARTS), tuple(PARTS)], ids="-".join)
def test_sections_are_those_of_the_parts(parts):
    found = study(**{part: getattr(everything(), part) for part in parts})
    sections = {each.attributes["aria-labelledby"] for each in page_of(found).all("section")}
    assert sections == {"versions"}.union(*(PARTS[part] for part in parts))
    titles = [title for title, _, _ in latency_tables(found)]
    assert len(titles) == len(sections) - 1


@pytest.mark.parametrize("board", [True, False])
def test_the_page_is_well_made(board):
    pages = well_made(render_latencies(everything(), board=board), beside=render(results()) if board else None)
    self_contained(pages)
    assert board == any(a.attributes["href"] == "index.html" for a in pages[PAGE].all("a"))


def test_every_row_has_a_cell_for_every_heading():
    page = page_of(everything())
    for table in page.all("table"):
        heads = len(table.one("thead").all("th"))
        for row in (tr for tbody in table.all("tbody") for tr in tbody.all("tr")):
            cells = [child for child in row.children if isinstance(child, Node)]
            assert sum(int(cell.attributes.get("colspan", 1)) for cell in cells) == heads, row.text


def test_it_is_told_what_was_measured_where():
    found = study(**{part: getattr(everything(), part) for part in PARTS})
    head = " ".join(page_of(found).one("header", "masthead").text.split())
    for words in ("on 2 backends", "cputwo cores", "npuan NPU", "2021-06-01 12:00 UTC", "mai-harness metanodes"):
        assert words in head


def test_verdicts_have_words_and_symbols():
    latencies = {"holds": HOLD, "not": HOLD | {"leaky-relu": 3.0}, "open": without("leaky-relu"), "nothing": {}}
    found = study(backends=dict.fromkeys(latencies, "made up"), nodes=nodes(**latencies))
    (relu,) = (row for row in body(page_of(found), "findings") if texts(row)[0].startswith("ReLU alone"))
    _, *cells = relu.all("td")
    assert texts(relu)[1:] == [
        "✓ holds, 0.67relu 4 ms beside leaky-relu 6 ms",
        "✕ does not hold, 1.33relu 4 ms beside leaky-relu 3 ms",
        "· undecidednot measured: leaky-relu",
        MISSING,
    ]
    assert [cell.one("span", "status").classes for cell in cells[:3]] == [
        {"status", each} for each in ("pass", "fail", "skip")
    ]
    assert [cell.all("span")[1].attributes for cell in cells[:3]] == [{"aria-hidden": "true"}] * 3
    table = next(rows for title, _, rows in latency_tables(found) if title.startswith("Findings"))
    assert ["", "ReLU is faster than Leaky ReLU.", "holds", "does not hold", "undecided", MISSING] in table
    assert {words for row in table for words in row[2:]} <= {*VERDICTS.values(), MISSING}


def test_a_backend_that_timed_nothing_hides_no_findings_of_another():
    found = study(nodes=nodes(cpu={}, npu=HOLD))
    assert len(body(page_of(found), "findings")) == len(found.findings("npu"))
    none = study(nodes=nodes(cpu={}, npu={}))
    assert "findings" not in {each.attributes["aria-labelledby"] for each in page_of(none).all("section")}


def test_nodes_have_the_papers_figures_beside_those_of_the_backends():
    rows = dict(zip(NODES, body(page_of(everything()), "nodes"), strict=True))
    assert texts(rows["split"])[1:] == [MISSING, "10.00", "", "10.00", ""]
    assert texts(rows["leaky-relu"])[1:] == [MISSING, "6.00", "", "refused: leaky-relu is too hard"]
    first = rows["concat"]  # it has the words of add
    assert "Paper: words" in first.text
    assert "Elsewhere: CPU 1.5 ms, GPU 2.5 ms (words)" in first.text
    shapes, paper, cpu, _, npu, _ = texts(first)
    assert shapes == "360 × 640 × 28 + 360 × 640 × 28to 360 × 640 × 28ADD"
    assert (paper, cpu, npu) == ("5.2", "51.00", "20.008.00 by rule")


def test_refusals_and_failures_are_told_with_their_reasons():
    page = page_of(everything("no <data>"))
    assert texts(body(page, "nodes")[1])[2:] == ["refused: no <data>", MISSING, ""]
    _, _, refused, failed = body(page, "forms")
    assert texts(refused) == ["refused: no <data>", MISSING, "refused", MISSING]
    assert failed.one("span", "alert").text == "Stopped at export: no <data>"
    assert texts(failed) == [MISSING, "", MISSING] * 2
    _, refused, failed = body(page, "networks")
    assert texts(refused)[3:] == ["refused: no <data>", *[MISSING] * 3]
    assert failed.one("span", "alert").text == "Stopped at quantise: no <data>"
    assert texts(failed)[2:] == [MISSING] * 7


def test_a_form_has_its_ratio_with_the_interval():
    shipped, other, *_ = body(page_of(everything()), "forms")
    assert texts(shipped) == ["51.00", "", "1", "20.008.00 by rule", "", "1"]
    assert texts(other) == ["100.00", "", "1.2501.200 to 1.300", "15.00", "", "0.750"]  # an estimate has no interval
    assert "CONV_2D × 8, words" in shipped.text


def test_a_network_is_told_with_its_sum_and_what_share_is_by_rule():
    whole, *_ = body(page_of(everything()), "networks")
    assert texts(whole) == [
        "1,592", "1,234.6", "90.9", "20.0", "16.0", "0.800", "20.08.0 by rule", f"{MISSING}1 operator refused alone",
        MISSING,
    ]  # fmt: skip


def test_operators_that_are_refused_alone_are_told_with_their_reasons():
    details, *_ = page_of(everything("no <data>")).section("networks").all("details")
    assert "ADD 1: no <data>" in details.text


def test_kinds_of_operators_are_told_by_their_shares():
    kinds = shares(Decomposition(operators=(layer("CONV_2D 0", 2.0), layer("ADD 1", 10.0), layer("CONV_2D 2", 4.0))))
    assert [tuple(kind) for kind in kinds] == [("ADD", 1, 10.0, 0.625), ("CONV_2D", 2, 6.0, 0.375)]
    assert shares(Decomposition()) == []
    assert [kind.share for kind in shares(Decomposition(operators=(layer("ADD 1", 0.0),)))] == [0.0]
    details, *_ = page_of(everything()).section("networks").all("details")
    rows = [[cell.text for cell in row.walk() if cell.tag in ("th", "td")] for row in details.one("tbody").all("tr")]
    assert rows[:2] == [["cpu", "ADD", "1", "10.00", "62.5", ""], ["cpu", "words", "2", "6.00", "37.5", ""]]
    assert widths(details)[:2] == [62.5, 37.5]


def test_bars_are_shares_of_the_slowest_of_their_backend():
    page = page_of(everything())
    assert all(0 <= width <= 100 for width in widths(page))
    for section in ("nodes", "forms"):
        for place in (0, 1):  # of a backend, or at the end of a row
            bars = [row.all("td", "bar") for row in body(page, section)]
            found = [width for each in bars if len(each) == 2 for width in widths(each[place])]
            assert max(found) == 100
    shipped, other, *_ = body(page, "forms")
    assert (widths(shipped), widths(other)) == ([51.0, 100.0], [100.0, 75.0])
    assert ["paper" in i.classes for i in shipped.all("i")] == [False, True]  # an estimate's is open


def test_latencies_of_zero_have_bars():
    assert set(widths(page_of(study(nodes=nodes(cpu=dict.fromkeys(HOLD, 0.0)))).section("nodes"))) == {0.0}


@pytest.mark.parametrize("payload", FEW, ids=range(len(FEW)))
def test_no_text_becomes_anything_but_text(payload):
    hostile, plain = ((everything(words, ("cpu", words))) for words in (payload, harmless(payload)))
    page, reference = (render_latencies(found, board=True)[PAGE] for found in (hostile, plain))
    page.encode()
    assert skeleton(parsed(page)) == skeleton(parsed(reference))
    assert body(parsed(page), "nodes")[1].one("span", "alert").text == f"refused: {shown(payload)}"


# At the terminal


def test_the_terminal_has_a_table_for_each_part():
    tables = {title: (heads, rows) for title, heads, rows in latency_tables(everything())}
    assert len(tables) == 4
    for heads, rows in tables.values():
        assert {len(row) for row in rows} == {len(heads)}
    (_, nodes_), (heads, _), (_, forms), (_, networks) = tables.values()
    assert nodes_[0] == ["tensor", "words", "5.2", "51.00", "20.00"]
    assert nodes_[1][3:] == [MISSING, MISSING]
    assert heads == ["", "finding", "cpu", "npu"]
    assert [row[2:] for row in forms] == [
        ["51.00", MISSING, "20.00", MISSING], ["100.00", "1.250", "15.00", "0.750"], [MISSING] * 4, [MISSING] * 4,
    ]  # fmt: skip
    assert networks[0][2:] == ["1,592", "1,234.6", "20.0", "16.0", "0.800", "20.0", MISSING, MISSING]
    assert networks[1][4:] == networks[2][4:] == [MISSING] * 6


# Beside the board


def test_the_front_page_leads_there_if_there_are_latencies():
    board = results(entry("a", 30.0))
    links = parsed(render(board, latencies=True)[INDEX]).one("nav").all("a")
    assert [link.attributes["href"] for link in links].count(str(PAGE)) == 1
    for studies in ([], [STUDY]):
        assert "metanodes.html" not in render(board, studies)[INDEX]


def test_there_is_a_page_where_there_are_results(tmp_path):
    out = tmp_path / "leaderboard"
    index, page = out / "site" / "index.html", out / "site" / PAGE
    write_results(everything(), latency_results_path(out))
    assert run("render", cwd=tmp_path).returncode == 0
    assert "index.html" not in page.read_text()
    assert not index.exists()
    write_results(results(entry("a", 30.0), schema_version=SCHEMA_VERSION), out / "results.json")
    assert run("render", cwd=tmp_path).returncode == 0
    assert "index.html" in page.read_text()
    assert "metanodes.html" in index.read_text()


def test_there_is_no_page_and_no_link_where_there_are_none(tmp_path):
    out = tmp_path / "leaderboard"
    write_results(results(entry("a", 30.0), schema_version=SCHEMA_VERSION), out / "results.json")
    assert run("render", cwd=tmp_path).returncode == 0
    assert not (out / "site" / PAGE).exists()
    assert "metanodes.html" not in (out / "site" / "index.html").read_text()


def test_results_that_cannot_be_read_cost_their_own_page_only(tmp_path):
    out = tmp_path / "leaderboard"
    write_results(results(entry("a", 30.0), schema_version=SCHEMA_VERSION), out / "results.json")
    latency_results_path(out).write_text("{")
    done = run("render", cwd=tmp_path)
    assert (done.returncode, "run: mai-harness metanodes" in done.stderr) == (0, True)
    assert "metanodes.html" not in (out / "site" / "index.html").read_text()
