"""What the pages show of diagnoses, on hand-made records: findings, layers, trials, exhibits and failure modes."""

import io
import math
import re
from pathlib import PurePosixPath
from typing import Any

import msgspec
import pytest
from payloads import FEW
from PIL import Image
from site_checks import HREF, Node, harmless, html, parsed, self_contained, skeleton, target, well_made
from test_render import FAILURES, INDEX, entry, failed, index, page_of, results, stopped

from mai_harness.records import (
    AppraiseReport,
    Border,
    Evaluation,
    ExamineReport,
    Exhibit,
    Finding,
    Graph,
    HeldOut,
    Sample,
    TensorAnalysis,
    Trial,
    Tried,
    Undo,
)
from mai_harness.render import MISSING, diagnosis, render

INFINITE, NAN = math.inf, math.nan


def webp(width: int = 12, height: int = 9) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 60, 20)).save(file, "WEBP", lossless=True)
    return file.getvalue()


def exhibit(words: str = "0801", **changes: Any) -> Exhibit:
    return Exhibit(**{
        "image": words, "top": 30, "left": 60, "mended": words,
        "pictures": {key: webp() for key in ("error", "hr", "raw", "mended", "fp32")},
        "histogram": tuple(1000 if 20 <= i <= 200 else 0 for i in range(256)), "histogram_hr": (7,) * 256,
    } | changes)  # fmt: skip


def analysis(tensor: int, words: str = "", **changes: Any) -> TensorAnalysis:
    return TensorAnalysis(**{
        "tensor": tensor, "layer": words or f"CONV_2D {tensor}", "name": words or f"conv/{tensor}", "scale": 0.1,
        "zero_point": 0, "covered": (0.0, 10.0), "used": (1.0, 9.0), "saturated": 0.0125, "effective_bits": 7.25,
        "sqnr_db": 40.0 - tensor, "injected_sqnr_db": 45.0, "channels": 28, "dead_channels": 2, "widest_channel": 17,
        "channel_ratio": 3.5, "weight_scales": 28, "weight_ratio": 4.5,
    } | changes)  # fmt: skip


def examined(*tensors: TensorAnalysis, words: str = "words", **changes: Any) -> ExamineReport:
    trials = [Trial(id=id_, what=words, folder="f", reading="pixels") for id_ in ("raw", "simulated", "float", "clip")]
    trials += [Trial(id="held-out", what="other photographs", folder="f", reading="values")]
    trials += [
        Trial(id=f"restored-{each.tensor}", what=words, folder="f", reading="pixels", tensor=each.tensor)
        for each in tensors
    ]
    sample = Sample(image=0, name=words, top=1, left=2, height=3, width=4)
    return ExamineReport(**{
        "graph": Graph(tensors=(), ops=(), inputs=(), outputs=(), subgraphs=1, size_bytes=1), "layout": "NHWC",
        "factor": 3.0, "samples": (sample, msgspec.structs.replace(sample, name=words + "b")), "twin": "given",
        "agreement": 0.9987, "tensors": tensors, "trials": tuple(trials),
    } | changes)  # fmt: skip


def appraised(psnr: dict[str, float | None], words: str = "words", **changes: Any) -> AppraiseReport:
    undo = Undo(
        id="shift", what=words, carrier="float", before_db=20.0, after_db=29.0, share_better=0.75,
        details={words: 2.0, "rows": NAN},
    )  # fmt: skip
    return AppraiseReport(**{
        "psnr": {trial: (value, value) for trial, value in psnr.items()}, "undone": (undo,), "exhibit": exhibit(words),
        "border": Border(
            width=12, border_db=27.0, inside_db=30.0, bicubic_border_db=28.0, bicubic_inside_db=28.5, mirrored_db=29.5,
            whole_db=29.0,
        ),
        "held_out": HeldOut(
            images=(words,), scored_gain_db=0.5, gain_db=-0.25, bicubic_scored_db=-1.5, bicubic_db=-1.25
        ),
    } | changes)  # fmt: skip


def found(id_: str = "missing-clip", severity: Any = "error", words: str = "words", **changes: Any) -> Finding:
    return Finding(
        **{
            "id": id_, "severity": severity, "title": words, "evidence": words, "explanation": words, "remedy": words
        } | changes
    )  # fmt: skip


PSNR: dict[str, float | None] = {
    "raw": 20.0, "simulated": 20.0, "float": 30.0, "clip": 29.5, "restored-0": 20.5, "restored-1": 24.0,
    "restored-2": 19.75,
}  # fmt: skip


def diagnosed(name: str = "net", words: str = "words", **changes: Any) -> Evaluation:
    """Every field set that a diagnosis has."""
    layers = [analysis(i, words) for i in range(3)]
    tried = (Tried(what=words, before_db=18.2, after_db=27.34, how=words),)
    finding = found(words=words, layer=words, tensor=words, explained_db=9.14, cost_ms=1.5, tried=tried)
    return entry(name, 30.0, 50.0, **{
        "findings": (finding, found("narrow", "warning", words), found("fixed-size", "info", words)),
        "examine": examined(*layers, words=words), "appraise": appraised(PSNR, words),
    } | changes)  # fmt: skip


def failures(*evaluations: Evaluation) -> Node:
    return parsed(render(results(*evaluations))[FAILURES])


def said(node: Node) -> str:
    """Its words, with plain signs for those of the printer."""
    signs = {"\N{MINUS SIGN}": "-", "\N{RIGHT SINGLE QUOTATION MARK}": "'"}
    return " ".join(node.text.translate(str.maketrans(signs)).split())


def cells(row: Node) -> list[str]:
    return [said(each) for each in row.children if isinstance(each, Node)]


# Findings


def test_a_finding_tells_all_that_is_known_of_it():
    tried = (
        Tried(what="a clip", before_db=18.2, after_db=27.34, how="simulated on 6 samples"),
        Tried(what="none", before_db=NAN, after_db=-3.0, how="never"),
    )
    finding = found(
        words="The title", evidence="It is so.", explanation="Why.", remedy="Do.", layer="CONV_2D 3", tensor="conv/3",
        explained_db=9.136, cost_ms=2.0, tried=tried, explains=("drop",),
    )  # fmt: skip
    article = page_of(entry("a", findings=(finding,))).section("findings").one("article", "finding")
    assert article.one("h3").text == "The title"
    assert said(article.one("p", "about")) == "✕ error missing-clipCONV_2D 3costs 9.14 dB, 2.00 ms a frame"
    terms = [each.text for each in article.all("dt")]
    assert terms == ["Evidence", "Mend", "Tried", "Tensor", "Explains"]
    first, second = article.all("dd", "tried")
    assert said(first).startswith("with a clip: 27.34 dB instead of 18.20 (+9.14)")
    assert "simulated on 6 samples" in first.text
    assert [bar.attributes["style"] for bar in first.all("i")] == ["width:66.6%", "width:100.0%"]
    assert said(second).startswith("with none: -3.00 dB instead of – (–)")
    assert [bar.attributes["style"] for bar in second.all("i")] == ["width:0.0%", "width:0.0%"]
    assert "conv/3" in article.text
    assert "drop" in article.text


def test_on_the_front_page_a_finding_is_short_and_leads_on():
    (row,) = index(diagnosed()).section("troubles").one("tbody").all("tr")
    assert cells(row) == ["NETnet", "words✕ error missing-clipcosts 9.14 dB, 1.50 ms a frameand 1 more", "words"]
    assert [a.attributes["href"] for a in row.all("a")] == [
        "entries/net.html", "failure-modes.html#missing-clip", "entries/net.html#findings",
    ]  # fmt: skip


def test_the_front_page_leads_to_the_failure_modes_even_without_any():
    for page in (index(), index(entry("a", 30.0)), index(diagnosed())):
        links = [a.attributes["href"] for a in page.section("troubles").all("a")]
        assert "failure-modes.html" in links
    assert "No submission has an error or a warning." in index(entry("a", 30.0)).section("troubles").text


def test_information_leads_nowhere():
    article = page_of(entry("a", findings=(found("fixed-size", "info"),))).section("findings").one("article")
    assert article.all("a") == []


# Layer by layer


def layer_table(evaluation: Evaluation) -> list[Node]:
    return page_of(evaluation).section("quantisation").one("table", "analysis").one("tbody").all("tr")


def test_each_layer_has_its_row_in_order():
    rows = layer_table(diagnosed(words=""))
    assert [cells(row)[0] for row in rows] == ["1", "2", "3"]
    assert cells(rows[1]) == [
        "2", "CONV_2D 1conv/1", "1 to 9 of 0 to 10", "1.25", "7.2", "39.0", "45.0", "2/28", "3.5channel 17",
        "28 channelsranges 1 : 4.5", "+4.00most", "",
    ]  # fmt: skip
    assert [("greatest" in row.classes) for row in rows] == [False, True, False]
    assert [row.one("td", "gain").one("i").attributes["style"] for row in rows] == [
        "margin-left:5.9%;width:11.8%", "margin-left:5.9%;width:94.1%", "margin-left:0.0%;width:5.9%",
    ]  # fmt: skip


def test_the_used_range_is_drawn_against_the_covered_one():
    def bars(**changes: Any) -> list[tuple[float, float, bool]]:
        (row,) = diagnosis.layer_rows(examined(analysis(0, **changes)), None)
        return [(round(each.left, 3), round(each.width, 3), each.beyond) for each in row.used]

    assert bars() == [(22.0, 56.0, False)]
    assert bars(used=(0.0, 12.0)) == [(15.0, 70.0, False), (85.0, 14.0, True)]
    assert bars(used=(-1e9, 1e9)) == [(0.0, 15.0, True), (15.0, 70.0, False), (85.0, 15.0, True)]
    assert bars(used=(20.0, 30.0)) == []  # wholly beyond the cell; the figures tell
    assert bars(used=(5.0, 5.0)) == [(50.0, 0.0, False)]
    for nonsense in ((0.0, 0.0), (1.0, -1.0), (NAN, 1.0), (0.0, INFINITE)):
        assert bars(covered=nonsense) == []
    assert bars(used=(NAN, NAN)) == bars(used=(3.0, 2.0)) == []


DEGENERATE = analysis(
    0, covered=(0.0, 0.0), used=(0.0, 0.0), saturated=NAN, effective_bits=-INFINITE, sqnr_db=None,
    injected_sqnr_db=None, channels=0, dead_channels=0, widest_channel=0, channel_ratio=NAN, weight_scales=0,
    weight_ratio=None,
)  # fmt: skip


def test_what_is_not_known_of_a_layer_is_an_en_dash():
    section = page_of(entry("a", examine=examined(DEGENERATE))).section("quantisation")
    (row,) = section.one("tbody").all("tr")
    assert cells(row)[3:] == [MISSING] * 7
    assert section.all("svg") == []
    assert not re.search(r"\b(None|nan|inf)\b", section.text)


def test_infinite_figures_break_nothing():
    wild = analysis(1, sqnr_db=INFINITE, injected_sqnr_db=-INFINITE, channel_ratio=INFINITE, weight_ratio=INFINITE)
    report = appraised({"simulated": 20.0, "restored-0": INFINITE, "restored-1": NAN, "raw": None, "clip": -INFINITE})
    page = page_of(entry("a", examine=examined(DEGENERATE, wild), appraise=report))
    assert not re.search(r"\b(None|nan|inf)\b", page.section("quantisation").text + page.section("tried").text)


def test_without_a_comparison_there_are_layers_and_no_gains():
    section = page_of(entry("a", examine=examined(analysis(0), analysis(1)))).section("quantisation")
    assert len(section.all("svg")) == 1
    assert len(section.one("thead").all("th")) == 10
    assert all(len(cells(row)) == 10 for row in section.one("tbody").all("tr"))


def test_a_gain_too_small_to_be_written_is_not_the_greatest():
    report = appraised({"simulated": 20.0, "restored-0": 20.001, "restored-1": 19.0})
    section = page_of(entry("a", examine=examined(analysis(0), analysis(1)), appraise=report)).section("quantisation")
    assert section.all("tr", "greatest") == []
    assert "No layer stands out" in section.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "On 2 samples of 0801, 0801b: figures are of the samples, not of the whole data set."),
        (
            {},
            "INT8 arithmetic is simulated; 99.87 % of its output codes are within 1 of LiteRT's.",
        ),
        ({"agreement": None}, "INT8 arithmetic is simulated. The float form"),
        ({"twin": "given"}, "The float form has the weights of the float network."),
        ({"twin": "derived"}, "The float form has the file's own weights, dequantised."),
    ],
)
def test_it_is_told_how_the_analysis_was_made(changes, words):
    page = page_of(entry("a", examine=examined(analysis(0), words="0801", **changes)))
    assert words in said(page.section("quantisation"))


@pytest.mark.parametrize(
    ("examine", "words"),
    [
        (None, "Not examined."),
        (examined(obstacle="It has no input."), "None: It has no input."),
        (examined(unsimulated="LSTM is not simulated."), "None: LSTM is not simulated."),
        (examined(), "None: no tensor was analysed"),
    ],
)
def test_it_is_told_why_there_is_no_analysis(examine, words):
    section = page_of(entry("a", examine=examine)).section("quantisation")
    assert said(section.one("p", "empty")) == words
    assert section.all("table") == section.all("svg") == []


def numbers(path: str) -> list[float]:
    return [float(each) for each in re.findall(r"-?\d+\.\d+", path)]


@pytest.mark.parametrize("count", [1, 2, 12, 150])
def test_charts_hold_any_number_of_layers(count):
    layers = [analysis(i, sqnr_db=None if i % 5 == 1 else 50.0 - i) for i in range(count)]
    psnr = {"simulated": 20.0} | {f"restored-{i}": 20.0 + (i % 7) / 3 - 0.5 for i in range(0, count, 2)}
    page = page_of(entry("a", examine=examined(*layers), appraise=appraised(psnr)))
    section = page.section("quantisation")
    assert len(section.one("tbody").all("tr")) == count
    assert len(section.all("svg")) == 2
    for path in section.all("path"):
        assert all(-0.01 <= value <= 100.01 for value in numbers(path.attributes["d"])), path.attributes
    labels = [span.text for span in section.all("div", "places")[0].all("span")]
    assert 1 <= len(labels) <= 16
    assert labels[0] == {1: "1", 2: "1", 12: "1", 150: "10"}[count]


def test_a_line_is_broken_where_a_value_is_missing():
    layers = [analysis(i, sqnr_db=value, injected_sqnr_db=None) for i, value in enumerate((40.0, 30.0, None, 20.0))]
    chart = diagnosis.sqnr_chart(diagnosis.layer_rows(examined(*layers), None))
    assert chart is not None
    assert re.sub(r"[\d. ]", "", chart.line) == "MLM"
    assert chart.dots.count("h0") == 3
    assert chart.hollow == ""


# What was tried


def test_trials_are_told_with_their_gain_and_without_single_layers():
    rows = page_of(diagnosed()).section("tried").one("table", "trials").one("tbody").all("tr")
    assert [cells(row)[:4] for row in rows] == [
        ["raw", "words", "20.00", ""], ["simulated", "words", "20.00", "+0.00"], ["float", "words", "30.00", "+10.00"],
        ["clip", "words", "29.50", "+9.50"],
    ]  # fmt: skip
    assert [row.one("td", "track").one("i").attributes["style"] for row in rows] == [
        "left:8.3%", "left:8.3%", "left:91.7%", "left:87.5%",
    ]  # fmt: skip


def test_a_trial_without_a_psnr_is_an_en_dash():
    rows = page_of(diagnosed(appraise=appraised({"simulated": 20.0, "clip": None}))).section("tried").all("tr")[1:5]
    assert [cells(row)[2:4] for row in rows] == [
        [MISSING, MISSING], ["20.00", ""], [MISSING, MISSING], [MISSING, MISSING],
    ]  # fmt: skip
    bare = page_of(diagnosed(appraise=None)).section("tried")
    assert "Difference: to" not in bare.text
    assert len(bare.all("table")) == 1


def test_faults_undone_the_border_and_other_photographs_are_told():
    tried = page_of(diagnosed(words="x")).section("tried")
    undone, border, held = tried.all("table")[1:]
    assert cells(undone.one("tbody").one("tr")) == [
        f"xshift; x 2; rows {MISSING}", "float", "20.00", "29.00", "+9.00", "75",
    ]  # fmt: skip
    assert [cells(row) for row in border.one("tbody").all("tr")] == [
        ["this network, INT8", "27.00", "30.00", "-3.00"], ["bicubic", "28.00", "28.50", "-0.50"],
    ]  # fmt: skip
    assert "29.00 dB, and 29.50 dB if they are mirrored" in border.text
    assert [cells(row) for row in held.one("tbody").all("tr")] == [
        ["this network, FP32", "+0.50", "-0.25", "-0.75"], ["bicubic", "-1.50", "-1.25", "+0.25"],
    ]  # fmt: skip


def test_without_any_of_it_there_is_no_such_section():
    page = page_of(entry("a", 30.0))
    assert all(node.attributes.get("aria-labelledby") != "tried" for node in page.all("section"))


# Exhibits


def test_pictures_stand_in_order_at_their_true_size():
    pages = render(results(diagnosed(words="0801")))
    path = PurePosixPath("entries", "net.html")
    figure = parsed(pages[path]).section("findings").one("figure", "exhibit")
    images = figure.all("img")
    assert [image.attributes["alt"].partition(":")[0] for image in images] == [
        "As it came out", "As mended", "In float", "As it should be", "Where it is wrong",
    ]  # fmt: skip
    for image in images:
        assert (image.attributes["width"], image.attributes["height"]) == ("12", "9")
        there, _ = target(path, image.attributes["src"])
        assert pages[there] == webp()
        assert there.suffix == ".webp"
    assert "0801, from row 30, column 60 of HR" in figure.text


def test_a_picture_whose_size_is_not_known_is_shown_all_the_same():
    lossy = io.BytesIO()
    Image.new("RGB", (12, 9)).save(lossy, "WEBP")
    pictures = {"raw": b"RIFF", "hr": lossy.getvalue(), "odd": webp(300, 2), "fp32": b""}
    figure = page_of(diagnosed(appraise=appraised({}, exhibit=exhibit(pictures=pictures)))).one("figure", "exhibit")
    assert [image.attributes.get("width") for image in figure.all("img")] == [None, None, "300"]
    assert figure.all("img")[2].attributes["alt"].startswith("odd: crop of")


def test_the_histogram_tells_the_span_of_the_bytes():
    figure = page_of(diagnosed()).one("figure", "histogram")
    assert said(figure.one("figcaption")) == "Output bytes, 20 to 200 HR, 0 to 255"
    assert figure.one("svg").attributes["aria-label"] == (
        "Histogram. Output bytes of NET from 20 to 200, HR from 0 to 255."
    )
    for kind in ("output", "hr"):
        steps = [float(y) for y in re.findall(r"V([\d.]+)", figure.one("path", kind).attributes["d"])]
        assert len(steps) >= 256
        assert min(steps) >= 0
        assert max(steps) <= 100


@pytest.mark.parametrize(
    ("histogram", "hr", "spans"),
    [
        ((), (1,) * 256, 0),
        ((0,) * 256, (1,) * 256, 0),
        ((1,) * 255, (1,) * 256, 0),
        ((-1, *[1] * 255), (), 0),
        ((1,) * 256, (), 1),
        ((0,) * 128 + (9,) + (0,) * 127, (1,) * 256, 2),
        ((1,) * 256, (0,) * 256, 1),
    ],
)
def test_bytes_that_were_not_counted_are_not_drawn(histogram, hr, spans):
    shown = exhibit(histogram=histogram, histogram_hr=hr)
    figure = page_of(diagnosed(appraise=appraised({}, exhibit=shown))).one("figure", "exhibit")
    assert len(figure.all("div", "spans")) == spans


def test_without_an_exhibit_there_are_no_pictures():
    page = page_of(diagnosed(appraise=appraised(PSNR, exhibit=None)))
    assert page.all("img") == page.all("figure", "exhibit") == []


# Failure modes


def test_the_missing_clip_comes_first_and_then_what_explains_most():
    page = failures(
        entry("a", findings=(found("small", explained_db=0.5), found("silent", "warning"), found("loud"))),
        entry("b", findings=(found("great", "warning", explained_db=9.0), found("small", "warning", explained_db=3.0))),
        entry("c", findings=(found("missing-clip", explained_db=1.0), found("told", "info", explained_db=99.0))),
    )
    assert [node.attributes["aria-labelledby"] for node in page.all("section", "mode")] == [
        "missing-clip", "great", "small", "loud", "silent",
    ]  # fmt: skip
    rows = page.section("glance").one("tbody").all("tr")
    assert [cells(row)[1:] for row in rows][2] == ["✕ error", "3.00", "B, A"]
    assert [row.all("a")[0].attributes["href"] for row in rows][:2] == ["#missing-clip", "#great"]


def test_a_failure_is_explained_once_and_shown_for_each_submission():
    page = failures(
        diagnosed("a", findings=(found(explanation="Why.", remedy="One."), found("x", title="Other"))),
        diagnosed("b", findings=(found(explanation="Why.", remedy="Two."),)),
    )
    section = page.section("missing-clip")
    assert section.text.count("Why.") == 1
    first, second = section.all("article", "specimen")
    assert [("One." in each.text, "Two." in each.text) for each in (first, second)] == [(True, False), (False, True)]
    assert first.one("h3").one("a").attributes["href"] == "entries/a.html#findings"
    assert len(first.all("img")) == len(second.all("img")) == 5
    assert said(first.all("p", "fine")[0]) == "Also found: Other."
    other = page.section("x")
    assert other.all("img") == []
    assert said(other.one("p", "fine")) == "Its pictures are at missing-clip."
    assert other.one("p", "fine").one("a").attributes["href"] == "#missing-clip"
    assert len(page.all("img")) == 10


def test_pictures_stand_at_the_gravest_failure_but_for_the_missing_clip():
    page = failures(diagnosed("a", findings=(found("x", explained_db=1.0), found("y", "warning", explained_db=5.0))))
    assert [len(page.section(id_).all("img")) for id_ in ("x", "y")] == [5, 0]
    page = failures(diagnosed("a", findings=(found("x"), found("missing-clip", "warning"))))
    assert [len(page.section(id_).all("img")) for id_ in ("x", "missing-clip")] == [0, 5]


def test_several_findings_of_one_id_stand_together():
    twice = tuple(found("narrow", evidence=f"Layer {i}.", title=f"Title {i}", layer=f"CONV_2D {i}") for i in range(2))
    section = failures(diagnosed("a", findings=twice)).section("narrow")
    (article,) = section.all("article", "specimen")
    assert ["Layer 0." in article.text, "Layer 1." in article.text] == [True, True]
    assert section.one("h2").text == "Title 0"
    assert article.one("h4").text == "Title 1"
    assert len(article.all("img")) == 5


def test_a_submission_that_stopped_is_told_in_words():
    page = failures(failed("bomb", reason="It took <600> s. " * 40), stopped("shape", "words"))
    (article,) = page.section("stopped").all("article")
    assert article.one("h3").one("a").attributes["href"] == "entries/bomb.html#failure"
    assert "It took <600> s." in article.text
    assert len(article.text) < 500
    shape = next(node for node in page.all("section", "mode") if "shape" in node.text)
    assert shape.attributes["aria-labelledby"] == "words"
    assert page.all("img") == []


@pytest.mark.parametrize("evaluations", [(), (entry("a", 30.0, findings=(found("x", "info"),)),)])
def test_without_failures_the_page_says_so(evaluations):
    page = failures(*evaluations)
    assert "No failure occurred" in page.one("p", "lede").text
    assert page.all("section") == []


def test_places_are_unique_and_lead_from_findings_to_failures():
    ids = ["glance", "content", "stopped", "A b", "ok-1", "a b", "failure-4", "", "9"]
    page = render(results(entry("a", findings=tuple(found(id_) for id_ in ids)), failed("b")))
    tree = parsed(page[FAILURES])
    places = [node.attributes["id"] for node in tree.walk() if "id" in node.attributes]
    assert len(set(places)) == len(places)
    single = parsed(page[PurePosixPath("entries", "a.html")]).section("findings")
    links = [about.one("a").attributes["href"] for about in single.all("p", "about")]
    assert len(set(links)) == len(ids)
    for link in links:
        assert re.fullmatch(HREF, link)
        assert link.partition("#")[2] in places
    assert "../failure-modes.html#ok-1" in links


# Injection


def tagged(words: str) -> dict[PurePosixPath, str]:
    evaluation = diagnosed("net", words, title=words)
    odd = msgspec.structs.replace(
        evaluation, name="odd", findings=(
            found(words, words=words, explained_db=9.0), found("x", words=words + "!", explains=(words,)),
        ),
        examine=examined(words=words, unsimulated=words),
    )  # fmt: skip
    return html(render(results(evaluation, odd, failed("late", words, words, words))))


@pytest.mark.parametrize("payload", FEW, ids=range(len(FEW)))
def test_no_text_of_a_diagnosis_becomes_anything_but_text(payload):
    for (path, page), reference in zip(tagged(payload).items(), tagged(harmless(payload)).values(), strict=True):
        page.encode()
        assert skeleton(parsed(page)) == skeleton(parsed(reference)), path


def test_pages_with_diagnoses_are_well_made():
    self_contained(well_made(render(results(diagnosed("a"), diagnosed("b", "x"), stopped(), entry("bare", 30.0)))))


def test_texts_of_a_diagnosis_stay_readable():
    words = "\"'&<script>"
    page = tagged(words)
    tree = parsed(page[PurePosixPath("entries", "net.html")])
    row = tree.section("quantisation").one("tbody").all("tr")[0]
    assert row.one("th").text == words * 2
    assert tree.section("findings").one("figure", "exhibit").all("img")[0].attributes["alt"] == (
        f"As it came out: crop of {words} by {words}"
    )
    assert words in parsed(page[FAILURES]).section("missing-clip").one("h2").text
    assert words in parsed(page[INDEX]).section("troubles").text
