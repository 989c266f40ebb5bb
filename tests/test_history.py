"""The history: what is kept of a run, how it is read again, and what changed between two."""

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_render import checked, entry, failed, finding, latency, on, results, score

from mai_harness.history import (
    HISTORY_SCHEMA_VERSION,
    Change,
    Run,
    RunEntry,
    changes,
    comparable,
    gone,
    kept,
    last_comparable,
    remember,
    run_of,
    timed_alike,
)
from mai_harness.records import LatencyReport, Ratio

ESTIMATE = {"ratio": None, "uncertainty": 0.0, "latency_ms": 20.0}
FIRST, SECOND = "2026-11-25T13:45:01+00:00", "2026-11-25T13:46:00+00:00"


def one(name: str = "abpn", **changed: Any) -> RunEntry:
    """Ranked first, with a runtime that is known to 1 %."""
    known = {"rank": 1, "score": 1.0, "psnr_raw_db": 30.0, "ratio": 1.0, "uncertainty": 0.01, "fingerprint": "a"}
    return RunEntry(**{"name": name, "title": name.upper()} | known | changed)


def run(*entries: RunEntry, **changed: Any) -> Run:
    known = {
        "schema_version": HISTORY_SCHEMA_VERSION, "created": FIRST, "harness_version": "0.1", "machine": "two cores",
        "dataset": "DIV2K", "dataset_fingerprint": "f", "shave": 0, "formula": "mai2021", "backend": "cpu",
        "device": "two cores, LiteRT 2", "threads": 1, "entries": entries,
    }  # fmt: skip
    return Run(**known | changed)


def change(before: RunEntry, now: RunEntry, **circumstances: Any) -> Change:
    return changes(run(before), run(now, **circumstances)).get(now.name, Change())


# What is kept


def test_a_run_has_what_the_board_says():
    ratio = Ratio(value=1.25, low=1.225, high=1.275, rounds=9, outliers=0)
    report = msgspec.structs.replace(latency(50.0), ratio=ratio, reference_ms=(40.0,))
    found = (finding("error"), finding("warning"), finding("info"))
    made = run_of(results(entry("a", 30.0, runtime=(on(report),), fingerprint="abc", findings=found), created=FIRST))
    assert (made.created, made.dataset_fingerprint, made.shave) == (FIRST, "f" * 64, 0)
    assert (made.backend, made.device, made.threads, made.formula) == ("cpu", "made up", 2, "mai2021")
    (kept_entry,) = made.entries
    assert kept_entry == RunEntry(
        name="a", title="A", fingerprint="abc", rank=1, score=2.0**12 / 50, psnr_raw_db=30.0, psnr_fp32_db=30.0,
        ssim_raw=0.9, ratio=1.25, uncertainty=pytest.approx(0.02), latency_ms=50.0, findings=2,
    )  # fmt: skip


def test_equal_scores_share_a_rank_and_who_may_not_compete_has_none():
    made = run_of(
        results(
            entry("a", 30.0, 50.0), entry("b", 30.0, 50.0), entry("c", 29.0, 50.0), entry("untimed", 31.0),
            entry("cheat", 35.0, 1.0, check=checked("pass", "fail", "fail")), failed("broken"),
            entry("warned", 28.0, 50.0, check=checked("warn")),
        )
    )  # fmt: skip
    ranks = {each.name: each.rank for each in made.entries}
    assert ranks == {"a": 1, "b": 1, "c": 3, "warned": 4, "untimed": None, "cheat": None, "broken": None}
    by_name = {each.name: each for each in made.entries}
    assert by_name["cheat"].rules_failed == 2
    assert by_name["broken"].failed_at == "export"


def test_an_estimate_is_certain_and_a_median_alone_is_not_known_to_be():
    estimate = LatencyReport(backend="npu", precision="int8", device="d", how="estimated", estimate_ms=20.0)
    made = run_of(results(entry("a", 30.0, runtime=(on(estimate),)), entry("b", 30.0, 50.0), entry("c", 30.0)))
    assert [each.uncertainty for each in made.entries] == [0.0, None, None]


def test_a_run_without_entries_or_scores_is_kept_too(tmp_path):
    for made in (run_of(results(created=FIRST)), run_of(results(failed("a"), created=SECOND))):
        assert (made.dataset_fingerprint, made.shave, made.backend, made.threads) == ("", None, "", None)
        remember(made, tmp_path)
    assert [len(each.entries) for each in kept(tmp_path, pytest.fail)] == [0, 1]


def test_an_entry_takes_few_bytes():
    made = run_of(results(entry("abpn_something", 30.123456789, 51.23456789, fingerprint="a" * 64)))
    assert len(msgspec.json.encode(made.entries[0])) < 350


# On disk


def test_runs_come_back_as_they_were_oldest_first(tmp_path):
    runs = [run(one(), one("b", rank=None, failed_at="score")), run(one(rank=2), created=SECOND)]
    paths = [remember(each, tmp_path) for each in reversed(runs)]
    assert [path.name for path in paths] == ["20261125T134600Z.json", "20261125T134501Z.json"]
    assert kept(tmp_path, pytest.fail) == runs
    assert kept(tmp_path / "elsewhere", pytest.fail) == []
    assert sorted(path.name for path in (tmp_path / "history").iterdir()) == sorted(path.name for path in paths)


def test_the_file_is_named_in_utc(tmp_path):
    assert remember(run(created="2026-11-25T15:45:01+02:00"), tmp_path).name == "20261125T134501Z.json"
    assert remember(run(created="2026-11-25T13:45:02"), tmp_path).name == "20261125T134502Z.json"


def test_the_newest_run_of_the_same_moment_is_replaced(tmp_path):
    remember(run(one()), tmp_path)
    remember(run(one(rank=7)), tmp_path)
    assert kept(tmp_path, pytest.fail) == [run(one(rank=7))]


def test_a_name_that_another_run_has_gets_a_number(tmp_path):
    fractions = [run(created=f"2026-11-25T13:45:01.{n:02}+00:00") for n in range(12)]
    names = [remember(each, tmp_path).stem for each in fractions]
    assert names[:3] == ["20261125T134501Z", "20261125T134501Z-2", "20261125T134501Z-3"]
    assert kept(tmp_path, pytest.fail) == fractions  # -10 is behind -9
    remember(run(created=SECOND), tmp_path)
    assert remember(run(one(), created=fractions[0].created), tmp_path).stem == "20261125T134501Z-13"


def damaged(whole: bytes) -> list[bytes]:
    value = json.loads(whole)
    return [
        b"", b"\xff\xfe", whole[: len(whole) // 2], b"[]", b"{}",
        json.dumps(value | {"entries": [{"name": "a"}]}).encode(), json.dumps(value | {"more": 1}).encode(),
        json.dumps(value | {"entries": [{"name": "a", "title": "A", "rank": 0}]}).encode(),
    ]  # fmt: skip


def test_a_damaged_file_is_told_and_left_out(tmp_path):
    whole = remember(run(one()), tmp_path).read_bytes()
    contents = damaged(whole)
    for number, content in enumerate(contents):
        (tmp_path / "history" / f"2027010{number}T000000Z.json").write_bytes(content)
    (tmp_path / "history" / "20280101T000000Z.json").mkdir()
    told: list[str] = []
    assert kept(tmp_path, told.append) == [run(one())]
    assert len(told) == len(contents) + 1
    assert all("20270" in line or "20280" in line for line in told)
    assert all("is damaged" in line for line in told)
    assert remember(run(created="2028-01-01T00:00:00+00:00"), tmp_path).stem == "20280101T000000Z-2"


def test_a_newer_schema_is_told_and_left_out(tmp_path):
    remember(run(one()), tmp_path)
    remember(run(one(), created=SECOND, schema_version=HISTORY_SCHEMA_VERSION + 1), tmp_path)
    told: list[str] = []
    assert kept(tmp_path, told.append) == [run(one())]
    (line,) = told
    assert "update mai_harness" in line


def test_a_moment_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="yesterday"):
        remember(run(created="yesterday"), tmp_path)
    assert not Path(tmp_path / "history").exists()


# What compares


@pytest.mark.parametrize(
    ("other", "compares", "times"),
    [
        ({}, True, True),
        ({"dataset": "renamed"}, True, True),
        ({"harness_version": "0.2", "created": SECOND}, True, True),
        ({"machine": "a host", "device": "a phone"}, True, False),
        ({"threads": 4}, True, False),
        ({"dataset_fingerprint": "g"}, False, True),
        ({"shave": 3}, False, True),
        ({"formula": "another"}, False, True),
        ({"backend": "npu"}, False, True),
        ({"dataset_fingerprint": "", "shave": None, "backend": ""}, True, True),  # all of it failed
        ({"dataset_fingerprint": "", "shave": None, "dataset": "another"}, False, True),
    ],
)
def test_what_compares(other, compares, times):
    assert comparable(run(), run(**other)) == comparable(run(**other), run()) == compares
    assert timed_alike(run(), run(**other)) == timed_alike(run(**other), run()) == times


def test_the_last_run_that_compares_is_found():
    earlier = [run(one(rank=5)), run(one(rank=4)), run(dataset_fingerprint="g")]
    assert last_comparable(earlier, run()) is earlier[1]
    assert last_comparable(earlier, run(formula="another")) is None
    assert last_comparable([], run()) is None


# What changed


def test_without_a_run_before_nothing_changed():
    assert changes(None, run(one())) == {}
    assert gone(None, run(one())) == ()


def test_what_is_as_it_was_is_left_out():
    assert changes(run(one()), run(one(), created=SECOND)) == {}


def test_new_and_gone_entries():
    before, now = run(one("a"), one("b")), run(one("b"), one("c"))
    assert changes(before, now) == {"c": Change(new=True)}
    assert [each.name for each in gone(before, now)] == ["a"]


@pytest.mark.parametrize(("before", "now", "places"), [(3, 1, 2), (1, 4, -3), (None, 2, 0), (2, None, 0)])
def test_a_rank_that_changed(before, now, places):
    found = change(one(rank=before), one(rank=now))
    assert found == Change(ranks=(before, now))
    assert found.places == places


@pytest.mark.parametrize(("now", "shown"), [(30.02, 0.02), (29.99, -0.01), (30.004, None), (None, None)])
def test_psnr_is_exact_and_told_where_it_shows(now, shown):
    found = change(one(), one(psnr_raw_db=now)).psnr_db
    assert found == (None if shown is None else pytest.approx(shown))


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({}, {"ratio": 1.013}, False),  # 1 % each is 1.4 % of both
        ({}, {"ratio": 1.02}, True),
        ({}, {"ratio": 0.95}, True),
        ({}, {"ratio": 1.02, "uncertainty": 0.03}, False),
        ({}, {"latency_ms": 99.0, "score": 0.5}, False),  # the machine was slow for the reference model too
        ({"uncertainty": None}, {"ratio": 2.0}, False),
        (ESTIMATE, ESTIMATE | {"latency_ms": 19.9}, True),
        (ESTIMATE | {"latency_ms": 0.0}, ESTIMATE, False),
        ({}, {"psnr_raw_db": None}, False),
    ],
)  # fmt: skip
def test_a_score_is_told_if_it_is_more_than_noise(before, now, told):
    assert (change(one(**before), one(**now)).score is not None) == told


def test_a_score_changes_as_the_formula_says():
    assert change(one(), one(ratio=0.5)).score == pytest.approx(1.0)
    assert change(one(), one(psnr_raw_db=30.5)).score == pytest.approx(1.0)
    assert math.isclose(change(one(), one(ratio=1.25)).score or 0, -0.2)


def test_a_formula_that_is_no_more_is_not_computed():
    before, now = run(one(), formula="old"), run(one(ratio=2.0, rank=2), formula="old")
    assert changes(before, now) == {"abpn": Change(ranks=(1, 2))}


def test_other_files_failures_and_rules():
    assert change(one(), one(fingerprint="b")) == Change(files=True)
    assert change(one(), one(fingerprint="")) == Change()
    assert change(one(), one(failed_at="score")) == Change(failed_at="score")
    assert change(one(failed_at="export"), one(failed_at="score")) == Change()
    assert change(one(failed_at="export"), one()) == Change(recovered=True)
    assert change(one(), one(rules_failed=1)) == Change(disqualified=True)
    assert change(one(rules_failed=1), one(rules_failed=2)) == Change()


def test_on_another_device_only_psnr_is_compared():
    found = change(one(), one(rank=9, ratio=3.0, psnr_raw_db=31.0), device="another")
    assert found == Change(psnr_db=1.0)


def test_the_whole_way_from_results(tmp_path):
    first = results(entry("a", 30.0, 50.0), entry("b", 29.0, 50.0), failed("c"), created=FIRST)
    better = entry("b", score=score(30.5), runtime=(on(latency(50.0)),))
    remember(run_of(first), tmp_path)
    now = run_of(results(entry("a", 30.0, 50.0), better, entry("c", 20.0, 50.0), created=SECOND))
    remember(now, tmp_path)
    *earlier, newest = kept(tmp_path, pytest.fail)
    found = changes(last_comparable(earlier, newest), newest)
    assert {name: each.places for name, each in found.items()} == {"a": -1, "b": 1, "c": 0}
    assert found["b"].psnr_db == 1.5
    assert found["c"].recovered
