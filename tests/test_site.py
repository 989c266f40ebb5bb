"""A folder that is brought to the files of the site, and whose paths names cannot lead astray."""

import os
import re
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from payloads import PAYLOADS, WRITTEN
from site_checks import PART, entries, html, parsed
from test_render import INDEX, complete, entry, failed, results

from mai_harness.errors import ResultsUnreadable
from mai_harness.records import Evaluation
from mai_harness.render import Pages, assets, render
from mai_harness.site import publish, write
from mai_harness.storage import SCHEMA_VERSION, read_results, write_results
from mai_harness.study import study_path


def files(folder: Path) -> dict[str, bytes]:
    """All files of a folder by their paths in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip


def site(**contents: str | bytes | Path) -> Pages:
    """Files by their paths, with __ for / and _ for a dot."""
    return {PurePosixPath(name.replace("__", "/").replace("_", ".")): content for name, content in contents.items()}


# A folder is brought to these files


def test_texts_bytes_and_copies_are_written(tmp_path):
    source = tmp_path / "source.bin"
    source.write_bytes(b"\x00\xff")
    write(site(index_html="words – ✓\n", a__b_png=b"\x89PNG", a__b__c_bin=source), tmp_path / "site")
    assert files(tmp_path / "site") == {
        "index.html": "words – ✓\n".encode(), "a/b.png": b"\x89PNG", "a/b/c.bin": b"\x00\xff",
    }  # fmt: skip
    assert source.read_bytes() == b"\x00\xff"


def test_of_no_files_an_empty_folder_is_made_or_left(tmp_path):
    write({}, tmp_path / "site")
    write(site(a_html="a"), tmp_path / "site")
    write({}, tmp_path / "site")
    assert files(tmp_path / "site") == {}


def test_equal_files_are_left_alone_and_others_replaced(tmp_path):
    folder = tmp_path / "site"
    write(site(same_html="same", changed_html="old", longer_html="a"), folder)
    for path in folder.iterdir():
        os.utime(path, ns=(10**18, 10**18))
    before = {path.name: path.stat() for path in folder.iterdir()}
    write(site(same_html="same", changed_html="new", longer_html="ab"), folder)
    after = {path.name: path.stat() for path in folder.iterdir()}
    kept = [name for name in after if after[name].st_mtime_ns == before[name].st_mtime_ns]
    assert kept == ["same.html"]
    assert after["same.html"].st_ino == before["same.html"].st_ino
    assert files(folder) == {"same.html": b"same", "changed.html": b"new", "longer.html": b"ab"}


def test_a_second_time_nothing_is_written(tmp_path):
    pages = assets() | render(results(complete("a"), failed("b")))
    write(pages, tmp_path / "site")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "site").rglob("*")}
    write(pages, tmp_path / "site")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "site").rglob("*")} == before


def test_stale_files_go_and_none_outside(tmp_path):
    folder = tmp_path / "site"
    write(site(index_html="a", entries__gone_html="b", deep__er__gone_png=b"c"), folder)
    (folder / ".index.html.part").write_bytes(b"of a run that was killed")
    (tmp_path / "beside.html").write_text("not of the site")
    (tmp_path / "site-too").mkdir()
    (tmp_path / "site-too" / "index.html").write_text("nor this")
    write(site(index_html="a"), folder)
    assert files(tmp_path) == {
        "site/index.html": b"a", "beside.html": b"not of the site", "site-too/index.html": b"nor this",
    }  # fmt: skip


def test_stale_links_go_and_what_they_lead_to_stays(tmp_path):
    folder, outside = tmp_path / "site", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("stays")
    write(site(index_html="a"), folder)
    (folder / "file.txt").symlink_to(outside / "precious.txt")
    (folder / "folder").symlink_to(outside, target_is_directory=True)
    write(site(index_html="a"), folder)
    assert not (folder / "file.txt").is_symlink()
    assert files(outside) == {"precious.txt": b"stays"}


def test_a_link_in_place_of_a_page_is_replaced_and_what_it_led_to_stays(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    (tmp_path / "precious.txt").write_text("stays")
    (folder / "index.html").symlink_to(tmp_path / "precious.txt")
    write(site(index_html="a"), folder)
    assert files(tmp_path) == {"precious.txt": b"stays", "site/index.html": b"a"}


# Names lead nowhere else


def plain(pages: Pages) -> None:
    """Assert that every path stays in the site, on every file system."""
    folded = [str(path).casefold() for path in pages]
    assert len(set(folded)) == len(folded)
    for path in pages:
        assert all(re.fullmatch(PART, part) for part in path.parts), path
        assert all(len(part) < 200 for part in path.parts), path
        assert len(path.parts) <= 3, path


NAMES = st.lists(st.one_of(st.text(max_size=20), st.sampled_from(WRITTEN)), max_size=5, unique=True)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(names=NAMES)
def test_no_name_makes_a_path_of_its_own(names):
    pages = render(results(*(entry(name, 30.0) for name in names)))
    plain(pages | assets())
    assert len(entries(pages)) == len(names)


def test_all_hostile_names_at_once_get_pages_in_the_folder(tmp_path):
    names = WRITTEN[::4]
    pages = render(results(*(Evaluation(name=name, title="x", kind="torch") for name in names)))
    plain(pages)
    write(pages, tmp_path / "site")
    assert {path.name for path in tmp_path.iterdir()} == {"site"}
    assert set(files(tmp_path / "site")) == {str(path) for path in pages}
    assert len(entries(pages)) == len(names)


def test_names_that_are_no_unicode_get_pages_too():
    names = sorted(set(PAYLOADS) - set(WRITTEN))
    pages = render(results(*(entry(name, 30.0) for name in names)))
    plain(pages)
    assert len(entries(pages)) == len(names) > 2
    assert all(page.encode() for page in html(pages).values())


# What is kept becomes the site


def test_what_is_kept_is_published(tmp_path):
    told: list[str] = []
    write_results(results(entry("a", 30.0), failed("b"), schema_version=SCHEMA_VERSION), tmp_path / "results.json")
    folder = publish(read_results(tmp_path / "results.json"), tmp_path, told.append)
    assert (folder, told) == ((tmp_path / "site").resolve(), [])
    found = files(folder)
    assert {"index.html", "failure-modes.html", "entries/a.html", "entries/b.html", *map(str, assets())} <= set(found)
    assert all(found[str(path)] == file.read_bytes() for path, file in assets().items())
    assert parsed(found[str(INDEX)].decode()).all("h1")


def test_without_a_board_there_are_no_pages_and_a_torn_study_is_told(tmp_path):
    told: list[str] = []
    study_path(tmp_path, "torn").parent.mkdir(parents=True)
    study_path(tmp_path, "torn").write_text("{")
    folder = publish(None, tmp_path, told.append)
    assert html({PurePosixPath(name): "" for name in files(folder)}) == {}
    assert [("torn" in line, "mai-harness study torn" in line) for line in told] == [(True, True)]


def test_an_entry_that_is_gone_loses_its_page(tmp_path):
    for names in (("a", "b"), ("b",)):
        found = results(*(entry(name, 30.0) for name in names), schema_version=SCHEMA_VERSION)
        folder = publish(found, tmp_path, [].append)
    assert sorted(path.name for path in (folder / "entries").glob("*.html")) == ["b.html"]


def test_damaged_results_are_not_published(tmp_path):
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ResultsUnreadable):
        read_results(tmp_path / "results.json")
