"""The page of the history, and the marks in the ranking, on hand-made runs."""

import re
import time
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import pytest
from test_history import SECOND, one, run
from test_render import HREF, Node, parsed, results

from mai_harness.history import Change, Run, kept, remember
from mai_harness.render.history import DEEPEST, DRAWN, LISTED, NAMED, TOLD, history_page
from mai_harness.render.page import _environment, page

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}%s%(n)s\N{RIGHT-TO-LEFT OVERRIDE}\x07'
MINUS = "\N{MINUS SIGN}"


def text_of(*runs: Run, **slugs: str) -> str:
    context = history_page(runs, slugs) | {"results": results(), "nav": []}
    return str(page("history.html", "history.html", **context)[PurePosixPath("history.html")])


def shown(*runs: Run, **slugs: str) -> Node:
    return parsed(text_of(*runs, **slugs))


def at(minute: int, *entries: Any, **changed: Any) -> Run:
    return run(*entries, **{"created": f"2026-11-25T{minute // 60:02}:{minute % 60:02}:00+00:00"} | changed)


def words(node: Node) -> str:
    return " ".join(node.text.split())


def news(*runs: Run) -> list[str]:
    """What changed in the newest run, a line each."""
    row = shown(*runs).section("runs").one("tbody").all("tr")[0]
    return [words(line) for line in row.all("li")]


def mark(change: Change | None) -> Node:
    macro = getattr(_environment().get_template("changes.html").module, "mark")  # noqa: B009
    return parsed(str(macro(change)))


# The page is well made


def varied() -> list[Run]:
    """Twelve runs of fifteen entries: with gaps, ties, another device, other images and one that failed."""
    runs = []
    for minute in range(12):
        entries = [
            one(f"e{n}", rank=1 + (n + minute) % 15 // 2 * 2, psnr_raw_db=28 + n / 10 + minute / 50)
            for n in range(15)
            if (n + minute) % 7
        ]
        stopped = one("stopped", rank=None, psnr_raw_db=None, ratio=None, failed_at="score")
        changed = {4: {"device": "a phone"}, 6: {"dataset_fingerprint": "g"}}.get(minute, {})
        runs.append(at(minute, *entries, stopped, **changed))
    return runs


def test_ids_are_unique_fixed_words_and_all_that_is_pointed_at_exists():
    made = shown(*varied(), e1="e1")
    ids = [node.attributes["id"] for node in made.walk() if "id" in node.attributes]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9-]+", each) for each in ids)
    for node in made.walk():
        assert set(node.attributes.get("aria-labelledby", "").split()) <= set(ids)


def test_hostile_names_are_escaped():
    entries = [one(HOSTILE, title=HOSTILE), one("b", title=HOSTILE, rank=2)]
    known = {"dataset": HOSTILE, "machine": HOSTILE, "device": HOSTILE, "harness_version": HOSTILE}
    before = at(0, one(HOSTILE, title=HOSTILE, rank=2), one("gone", title=HOSTILE), **known)
    text = text_of(before, at(1, *entries, **known), at(2, *entries, **known | {"created": HOSTILE}), **{HOSTILE: "a"})
    made = parsed(text)
    assert not [n for n in made.walk() if n.tag in {"script", "img"}]
    assert not [name for n in made.walk() for name in n.attributes if name.startswith("on")]
    assert "49" not in text
    assert "%(n)s" in text
    assert not re.search("[\N{RIGHT-TO-LEFT OVERRIDE}\x07]", text)
    for node in made.all("a"):
        assert re.fullmatch(HREF, node.attributes["href"])


def test_only_entries_that_have_a_page_are_links():
    made = shown(at(0, one("a"), one("b", rank=2)), at(1, one("a", rank=2), one("b")), b="other")
    main = made.one("main")
    assert {node.attributes["href"] for node in main.all("a")} == {"entries/other.html"}
    assert [line.tag for line in main.all("svg")[0].walk() if "mark" in line.classes] == ["g", "a"]


@pytest.mark.parametrize("count", [0, 1])
def test_without_a_second_run_the_page_says_that_it_grows(count):
    made = shown(*[at(n, one()) for n in range(count)])
    assert "Every evaluation that finishes adds one" in words(made.one("header"))
    assert ("One run is kept" in made.one("header").text) == (count == 1)
    assert made.all("svg") == []
    assert len(made.all("tr")) == 2 * count
    assert ("The first run." in made.one("main").text) == (count == 1)


def test_runs_without_entries():
    for runs in ([at(0)], [at(0), at(1)], [at(0, one()), at(1)]):
        made = shown(*runs)
        assert made.all("svg") == []
        row = made.section("runs").one("tbody").all("tr")[0]
        assert [words(cell) for cell in row.all("td")][1:3] == ["–", "0/0"]
    assert news(at(0, one()), at(1)) == ["Gone: ABPN"]


def test_a_newest_run_in_which_all_failed_draws_nothing():
    broken = one(rank=None, psnr_raw_db=None, failed_at="export")
    made = shown(at(0, one()), at(1, broken, dataset_fingerprint="", shave=None, backend="", device="", threads=None))
    assert made.all("svg") == []
    assert "There is nothing to draw" in made.one("main").text
    assert "Failed: ABPN" in words(made.section("runs"))


# The table of runs


def test_what_changed_is_told_in_words():
    before = at(
        0, one("up", rank=2), one("down"), one("left", rank=4), one("breaks"), one("mends", failed_at="export"),
        one("cheats", rank=3), one("edited", psnr_raw_db=29.0),
    )  # fmt: skip
    now = at(
        1, one("up"), one("down", rank=2, ratio=0.9), one("came", rank=7), one("mends"),
        one("breaks", failed_at="score"), one("cheats", rank=None, rules_failed=1),
        one("edited", psnr_raw_db=28.75, fingerprint="b", uncertainty=0.5),
    )  # fmt: skip
    assert news(before, now) == [
        "Rank: UP 2 → 1, DOWN 1 → 2", f"PSNR: EDITED {MINUS}0.25 dB", "Score: DOWN +11.1 %", "New: CAME", "Gone: LEFT",
        "Failed: BREAKS", "Disqualified: CHEATS", "Works again: MENDS", "Files changed: EDITED",
    ]  # fmt: skip


def test_a_lost_rank_is_a_dash():
    assert news(at(0, one()), at(1, one(rank=None))) == ["Rank: ABPN 1 → –"]


def test_long_lists_are_cut_short_best_first():
    count = TOLD + 5
    before = at(0, *(one(f"e{n}", rank=n + 2) for n in range(count)))
    now = at(1, *(one(f"e{n}", rank=n + 1) for n in reversed(range(count))))
    (line,) = news(before, now)
    assert line.startswith("Rank: E0 2 → 1, E1 3 → 2,")
    assert line.endswith("E5 7 → 6 and 5 more")


def rows(*runs: Run) -> list[str]:
    return [words(row.one("td", "prose")) for row in shown(*runs).section("runs").one("tbody").all("tr")]


def test_a_run_is_compared_with_the_last_that_is_like_it_and_says_which():
    newest, other, device, first = rows(
        at(0, one()), at(1, one(rank=2), device="a phone"), at(2, one(), dataset_fingerprint="g"),
        at(3, one(rank=3, psnr_raw_db=30.5)),
    )  # fmt: skip
    assert first == other == "First of its kind: no run before it is like it."
    assert device.startswith("Nothing. Timed on another device")
    assert "PSNR: ABPN +0.50 dB" in newest
    assert "Rank" not in newest.partition("Compared")[0]
    assert "Compared with the run of 2026-11-25 00:01 UTC." in newest
    assert "ranks and scores are not compared" in newest
    assert rows(at(0, one()), at(1, one())) == ["Nothing.", first]


def test_leaders_share_the_first_place():
    made = shown(at(0, *(one(f"e{n}") for n in range(5)), one("last", rank=6)))
    assert words(made.section("runs").one("td", "entry")) == "E0, E1 and 3 more"
    assert "6/6" in made.section("runs").text


def test_the_table_has_the_newest_runs_and_says_so():
    made = shown(*(at(n, one()) for n in range(LISTED + 3)))
    found = made.section("runs")
    assert len(found.one("tbody").all("tr")) == LISTED
    assert f"The newest {LISTED} of {LISTED + 3} runs." in words(found)
    assert words(found.one("tbody").all("tr")[0].one("th")) == "2026-11-25 00:52 UTC"


def test_the_table_of_entries():
    runs = [
        at(0, one("a", rank=3)),
        at(1, one("a", rank=2, psnr_raw_db=30.25), one("b")),
        at(2, one("a", psnr_raw_db=30.5)),
    ]
    (row,) = shown(*runs).section("entries").one("tbody").all("tr")
    assert [words(cell) for cell in row.all("td")] == ["1", "1", "3", "30.50", "+0.50", "3"]


# The charts


def places(drawing: Node) -> list[tuple[float, float]]:
    paths = [node.attributes["d"] for node in drawing.all("path")]
    drawn = [(float(x), float(y)) for path in paths for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]
    dots = [(float(node.attributes["cx"]), float(node.attributes["cy"])) for node in drawing.all("circle")]
    labels = [(float(node.attributes["x"]), float(node.attributes["y"])) for node in drawing.all("text")]
    return drawn + dots + labels


MANY = [at(n, *(one(f"e{m}", rank=1 + (m * 7 + n) % 60, psnr_raw_db=25 + m / 9) for m in range(60))) for n in range(30)]


@pytest.mark.parametrize(
    "runs",
    [varied(), MANY, [at(0, one()), at(1, one())], [at(n, *(one(f"e{m}") for m in range(30))) for n in range(3)]],
    ids=["varied", "many", "two", "ties"],
)
def test_all_that_is_drawn_lies_inside(runs):
    drawings = shown(*runs).all("svg", "plot")
    assert len(drawings) == 4
    for drawing in drawings:
        _, _, width, height = map(float, drawing.attributes["viewbox"].split())
        assert all(0 <= x <= width and 0 <= y <= height for x, y in places(drawing))
        heights = sorted(float(m.all("text")[0].attributes["y"]) for m in drawing.walk() if "mark" in m.classes)
        assert 1 <= len(heights) <= NAMED
        assert all(b - a >= 15.9 for a, b in pairwise(heights))


def test_better_is_up_and_newer_is_right():
    before, now = at(0, one("a"), one("b", rank=2, psnr_raw_db=29)), at(1, one("a", rank=2, psnr_raw_db=31), one("b"))
    ranks, fidelity = (shown(before, now).section(name).one("svg", "wide") for name in ("ranks", "fidelity"))
    for drawing, name in ((ranks, "B"), (fidelity, "A")):
        (found,) = [m for m in drawing.walk() if "mark" in m.classes and m.one("title").text.startswith(f"{name}:")]
        (x1, y1), (x2, y2) = [(float(c.attributes["cx"]), float(c.attributes["cy"])) for c in found.all("circle")]
        assert x1 < x2
        assert y2 < y1
    assert [words(title) for title in ranks.all("title")][1:] == ["A: 1, 2", "B: 2, 1"]
    assert words(fidelity.one("desc")).startswith("In the newest run: B, 30.00 dB; A, 31.00 dB;")


def test_only_runs_timed_alike_have_ranks_and_only_the_last_are_drawn():
    runs = [at(0, one(), dataset_fingerprint="g"), at(1, one(), device="a phone"), at(2, one()), at(3, one())]
    made = shown(*runs)
    assert [len(made.section(s).one("svg", "wide").all("circle")) for s in ("ranks", "fidelity")] == [2, 3]
    made = shown(*(at(n, one()) for n in range(DRAWN + 5)))
    assert len(made.section("ranks").one("svg", "wide").all("circle")) == DRAWN
    assert "only the last 10 of them are drawn" in words(made.section("ranks"))


def test_a_gap_stays_open_and_what_stands_alone_is_a_dot():
    runs = [at(0, one("a"), one("b", rank=2)), at(1, one("b")), at(2, one("a"), one("b", rank=2))]
    drawing = shown(*runs).section("ranks").one("svg", "wide")
    (found,) = [m for m in drawing.walk() if "mark" in m.classes and m.one("title").text == "A: 1, –, 1"]
    assert found.all("path", "way")[0].attributes["d"].count("h0") == 2


def test_the_best_have_names_and_the_rest_is_one_grey_line():
    drawing = shown(*MANY).section("ranks").one("svg", "wide")
    assert len([m for m in drawing.walk() if "mark" in m.classes]) == NAMED
    assert [m.one("title").text[-3:] for m in drawing.walk() if "leads" in m.classes] == [", 1"]
    assert len(drawing.all("path", "rest")) == 1
    assert f">{DEEPEST}" in [node.text for node in drawing.all("text")]


# The marks in the ranking


@pytest.mark.parametrize("change", [None, Change(), Change(ranks=(None, 3))])
def test_nothing_changed_has_no_mark(change):
    assert mark(change).all("span", "change") == []


@pytest.mark.parametrize(
    ("change", "seen", "heard"),
    [
        (Change(ranks=(3, 1)), "▲ 2", "up 2 since the last run"),
        (Change(ranks=(1, 2)), "▼ 1", "down 1 since the last run"),
        (Change(new=True), "new", "new since the last run"),
        (Change(psnr_db=0.034), "+0.03 dB", "INT8 PSNR +0.03 dB since the last run"),
        (Change(score=-0.1234), f"score {MINUS}12.3 %", "per cent since the last run"),
        (Change(failed_at="export"), "newly failing", "did not fail in the last run"),
        (Change(recovered=True), "works again", "failed in the last run"),
        (Change(disqualified=True), "newly disqualified", "broke no rule in the last run"),
        (Change(files=True), "edited", "its files changed since the last run"),
    ],
)
def test_a_mark_is_seen_and_heard(change, seen, heard):
    made = mark(change).one("span", "change")
    (visible, hidden) = made.all("span")[1:]
    assert (visible.text, visible.attributes["aria-hidden"]) == (seen, "true")
    assert hidden.classes == {"hidden"}
    assert heard in hidden.text
    assert made.attributes["title"] == hidden.text


def test_several_marks_stand_beside_one_another():
    made = mark(Change(ranks=(3, 1), psnr_db=0.5, files=True))
    assert [m.all("span")[1].text for m in made.all("span", "change")] == ["▲ 2", "+0.50 dB", "edited"]


# Scale


def test_a_long_history_of_many_entries_is_read_and_rendered_in_seconds(tmp_path):
    for n in range(200):
        ranks = [1 + (m + n) % 500 for m in range(500)]
        entries = [
            one(f"e{m}", rank=rank, psnr_raw_db=25 + rank / 99, fingerprint="a" * 64) for m, rank in enumerate(ranks)
        ]
        remember(at(n, *entries), tmp_path)
    start = time.perf_counter()
    runs = kept(tmp_path, pytest.fail)
    text = text_of(*runs, **{f"e{m}": f"e{m}" for m in range(500)})
    assert time.perf_counter() - start < 10  # takes about one
    assert len(runs) == 200
    assert len(text) < 1_500_000


def test_the_moment_of_the_newest_run_is_told():
    assert SECOND[:16].replace("T", " ") in words(shown(run(one()), run(one(), created=SECOND)).one("header"))
