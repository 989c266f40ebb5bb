"""The text layer: templates, and how values become text on every page."""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from gettext import NullTranslations
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

import jinja2

from mai_harness.records import LatencyReport, ScoreReport
from mai_harness.render import diagnosis
from mai_harness.render.columns import MISSING, Column, number
from mai_harness.study import StudyResults

T = TypeVar("T")
Content = str | bytes | Path  #: of a file of the site; a path stands for a copy of that file

_LANGUAGE = NullTranslations()  # English; another is ``gettext.translation("words", folder, ["de"])``

_NUMBER = re.compile(r"[+\N{MINUS SIGN}]?\d[\d.,]*")

# Control characters, lone surrogates and direction overrides have no place in a published page.
_UNPRINTABLE = dict.fromkeys(
    [*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A),
     *range(0xD800, 0xE000)], "\N{REPLACEMENT CHARACTER}",
)  # fmt: skip


Pages = dict[PurePosixPath, Content]  #: by path relative to the site


def page(name: str, path: str, **context: Any) -> Pages:
    """One page from a template, which escapes what it is given.

    Args:
        path: of the page, relative to the site. The template has it as ``here``, and ``root`` leads back.
    """
    text = _environment().get_template(name).render(context, here=path, root="../" * path.count("/"))
    return {PurePosixPath(path): text}


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("mai_harness"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_finalise, extensions=["jinja2.ext.i18n"],
    )  # fmt: skip
    made.policies["ext.i18n.trimmed"] = True
    made.install_gettext_translations(_LANGUAGE, newstyle=True)  # type: ignore[attr-defined]  # what the extension adds
    made.globals["missing"] = MISSING  # a literal none would be escaped before it is finalised
    made.filters |= {"number": number, "moment": _moment, "date_time": _date_time, "quantile": _quantile}
    made.filters |= {"word": _word, "phrase": _phrase}
    made.filters |= {"share": diagnosis.share, "longest": diagnosis.longest}
    made.filters |= {"pictures": diagnosis.pictures, "histogram": diagnosis.histogram}
    return made


def _word(text: str) -> str:
    """Words of a table of ours. Unlike ``_()``, which takes its text for markup, it may be given any text."""
    return _LANGUAGE.gettext(text) if text else text  # of an empty text a catalogue tells its own particulars


def _phrase(text: str) -> str:
    """The same of words about one number, for which the catalogue has ``{}``."""
    found = _NUMBER.search(text)
    if found is None:
        return _word(text)
    known = _NUMBER.sub("{}", text, count=1)
    words = _word(known)
    return text if words == known else words.replace("{}", found[0], 1)


def _finalise(value: object) -> object:
    if value is None:
        return MISSING
    return value.translate(_UNPRINTABLE) if isinstance(value, str) else value


def _moment(created: str) -> str:
    """For people; what is no moment is left as it is."""
    moment = _utc(created)
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else created


def _date_time(created: str) -> str:
    """For the attribute ``datetime``; empty if it is no moment."""
    moment = _utc(created)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment else ""


def _utc(created: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(created)
        return moment if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _quantile(report: LatencyReport, tenths: int) -> float | None:
    if tenths == 5:
        return report.latency_ms
    return report.quantile_ms(tenths) if len(report.samples_ms) > 1 else None


class Link(NamedTuple):
    """A page that every page leads to, by its path relative to the site."""

    path: str
    title: str


_BOARD = (
    Link("index.html", "Ranking"), Link("compare.html", "Compare"), Link("failure-modes.html", "Failure modes"),
    Link("history.html", "History"),
)  # fmt: skip


def navigation(*, board: bool, studies: Sequence[tuple[str, StudyResults]] = (), latencies: bool = False) -> list[Link]:
    """The pages that there are.

    Args:
        studies: each with its file name.
    """
    links = list(_BOARD) if board else []
    links += [Link(f"studies/{slug}.html", study.title) for slug, study in studies]
    return [*links, Link("metanodes.html", "Latency of operators")] if latencies else links


def grouped(several: Iterable[T], group_of: Callable[[T], str]) -> dict[str, list[T]]:
    """Each under its group's name, in order."""
    groups: dict[str, list[T]] = {}
    for each in several:
        groups.setdefault(group_of(each), []).append(each)
    return groups


def groups_of(columns: Iterable[Column[T]]) -> list[tuple[str, list[Column[T]]]]:
    """The columns under the names of their groups."""
    return list(grouped(columns, lambda column: column.group).items())


def score_conditions(scores: Iterable[ScoreReport]) -> list[dict[str, Any]]:
    """What the scores were taken on; more than one means that they cannot be compared."""
    found = {(s.dataset, len(s.images), s.shave, s.exact): None for s in scores}
    return [dict(zip(("dataset", "images", "shave", "exact"), key, strict=True)) for key in found]


def latency_conditions(reports: Iterable[LatencyReport]) -> dict[str, list[dict[str, Any]]]:
    """By backend how runtimes were taken; where there is more than one way, they cannot be compared."""
    found: dict[str, list[dict[str, Any]]] = {}
    for report in reports:
        # How an estimate came about is told of each network by itself.
        how = report.how if report.estimate_ms is None else None
        way = {"device": report.device, "threads": report.threads, "how": how}
        ways = found.setdefault(report.backend, [])
        if way not in ways:
            ways.append(way)
    return found
