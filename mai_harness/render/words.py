"""The words of all pages as one catalogue, ``templates/words.pot``, which translations are made from."""

import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mai_harness.challenge import FORMULAS
from mai_harness.metrics import METRICS
from mai_harness.render.columns import COLUMNS, READINGS, Column
from mai_harness.render.diagnosis import _PICTURES
from mai_harness.render.entry import _WHAT
from mai_harness.render.front import MEDALS
from mai_harness.render.latency import VERDICTS
from mai_harness.render.page import _BOARD, _environment, navigation
from mai_harness.render.paired import MEASURES
from mai_harness.render.studies import _PARTS, STUDY_COLUMNS

CATALOGUE = Path(__file__).parent.parent / "templates" / "words.pot"
_HEADER = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n"Content-Transfer-Encoding: 8bit\\n"\n\n'
# What columns note below their figures, as the filter ``phrase`` looks it up.
_NOTES = (
    "estimate", "{} by rule", "over {} dB", "too noisy to rank", "dequantised {}", "{} fail", "{} warn", "{} skip",
    "{} error", "{} warning", "{} info",
)  # fmt: skip


def catalogue() -> str:
    """The text of ``templates/words.pot``: it changes only when words do.

    Every message names the files where it stands. Those of templates have ``%%`` for a per cent sign.
    """
    # Tests and translators need it, and nobody else.
    from babel.messages.catalog import Catalog
    from babel.messages.pofile import write_po

    found = Catalog()
    for place, message in _of_templates():
        found.add(message, locations=[(place, None)])  # type: ignore[list-item]  # a place without a line
    for place, words in _of_tables().items():
        for word in words:
            added = found.add(word, locations=[(place, None)])  # type: ignore[list-item]
            added.flags = {"no-python-format"} if "%" in word else added.flags
    text = io.BytesIO()
    write_po(text, found, width=0, omit_header=True, sort_output=True)
    return _HEADER + text.getvalue().decode()


def _of_templates() -> Iterator[tuple[str, str | tuple[str, ...]]]:
    """File names, and messages or pairs of singular and plural."""
    for path in sorted(CATALOGUE.parent.glob("*.html")):
        for _, _, message in _environment().extract_translations(path.read_text("utf-8")):  # type: ignore[attr-defined]
            # Besides the words there is a ``None`` for each value that they are given.
            words = tuple(part for part in ((message,) if isinstance(message, str) else message) if part)
            yield path.name, words if len(words) > 1 else words[0]


def _of_tables() -> Mapping[str, Iterable[str]]:
    """By file the words that its templates print with the filters ``word`` and ``phrase``."""
    links = (*_BOARD, *navigation(board=False, latencies=True))
    return {
        "challenge.py": [text for each in FORMULAS.values() for text in (each.title, each.source, each.text)],
        "metrics.py": [metric.title for metric in METRICS.values()],
        "columns.py": [*_of_columns(COLUMNS), *_NOTES],
        "diagnosis.py": [text for pair in _PICTURES.values() for text in pair],
        "entry.py": [*READINGS.values(), *_WHAT.values(), "all that was measured"],
        "front.py": MEDALS.values(),
        "latency.py": VERDICTS.values(),
        "page.py": [link.title for link in links],
        "paired.py": [measure.title for measure in MEASURES],
        "studies.py": [*_of_columns(STUDY_COLUMNS), *_PARTS.values()],
    }


def _of_columns(columns: Iterable[Column[Any]]) -> Iterator[str]:
    for column in columns:
        yield from (column.group, column.heading, column.meaning)
