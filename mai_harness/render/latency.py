"""The page of a study of latencies, and its tables for the terminal."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mai_harness.latency_study import Decomposition, FormRow, LatencyResults, Outcome
from mai_harness.meta_nodes import PaperFinding
from mai_harness.render.columns import MISSING, number
from mai_harness.render.page import Pages, grouped, navigation, page
from mai_harness.render.studies import by_slug
from mai_harness.study import StudyResults

VERDICTS = {True: "holds", False: "does not hold", None: "undecided"}
Table = tuple[str, list[str], list[list[str]]]  #: title, headings, rows


def render_latencies(results: LatencyResults, studies: Sequence[StudyResults] = (), *, board: bool) -> Pages:
    """``metanodes.html`` by its path relative to the site.

    Args:
        studies: that the page leads to.
        board: whether there is a front page to lead to.
    """
    backends = list(results.backends)
    return page(
        "metanodes.html",
        "metanodes.html",
        results=results,
        backends=backends,
        nav=navigation(board=board, studies=by_slug(studies), latencies=True),
        findings=_by_finding(results, backends),
        node_groups=grouped(results.nodes, lambda row: row.node.group),
        node_longest={b: _longest(row.outcomes.get(b) for row in results.nodes) for b in backends},
        form_groups=grouped(results.forms, lambda row: row.form.group),
        form_longest={b: _longest(row.outcomes.get(b) for row in results.forms) for b in backends},
        shares={(row.name, b): shares(each) for row in results.networks for b, each in row.decompositions.items()},
        verdicts=VERDICTS,
    )


def _by_finding(results: LatencyResults, backends: list[str]) -> list[tuple[PaperFinding, dict[str, PaperFinding]]]:
    """Each statement of the paper, and what became of it by backend."""
    by_backend = {backend: found for backend in backends if (found := results.findings(backend))}
    first = next(iter(by_backend.values()), ())
    return [(stated, {b: found[i] for b, found in by_backend.items()}) for i, stated in enumerate(first)]


def _longest(outcomes: Iterable[Outcome | None]) -> float:
    return max((each.report.latency_ms for each in outcomes if each and each.report), default=0.0)


class Share(NamedTuple):
    """All operators of one kind in a network."""

    operator: str
    times: int
    ms: float
    share: float  #: of the sum of all, in [0, 1]


def shares(decomposition: Decomposition) -> list[Share]:
    """Time by kind of operator, longest first."""
    kinds = grouped(decomposition.operators, lambda layer: layer.name.rpartition(" ")[0] or layer.name)
    total = sum(layer.ms for layer in decomposition.operators) or 1.0
    sums = [(kind, len(layers), sum(layer.ms for layer in layers)) for kind, layers in kinds.items()]
    return [Share(kind, times, ms, ms / total) for kind, times, ms in sorted(sums, key=lambda each: -each[2])]


# The terminal


def latency_tables(results: LatencyResults) -> Iterator[Table]:
    """Tables of the parts that there are."""
    backends = list(results.backends)
    if results.nodes:
        nodes = [
            [row.node.group, row.node.title, number(row.node.paper_ms, ".1f"), *_ms(row.outcomes, backends)]
            for row in results.nodes
        ]
        yield "Meta-nodes, INT8, ms", ["", "node", "paper", *backends], nodes
        yield "Findings of the paper", ["", "finding", *backends], _verdicts(results, backends)
    if results.forms:
        forms = [[row.form.group, row.form.title, *_forms(row, backends)] for row in results.forms]
        yield "Forms of ABPN, INT8", ["", "form", *(f"{b} {unit}" for b in backends for unit in ("ms", "ratio"))], forms
    if results.networks:
        networks = [
            ["", row.title, number(row.published_parameters_k, ",.5g"), number(row.parameters / 1e3, ",.1f")]
            + [text for b in backends for text in _decomposed(row.decompositions.get(b))]
            for row in results.networks
        ]
        heads = [f"{b} {what}" for b in backends for what in ("whole ms", "sum ms", "sum/whole")]
        yield "Networks with random weights, latency only", ["", "network", "published K", "params K", *heads], networks


def _ms(outcomes: dict[str, Outcome], backends: list[str]) -> list[str]:
    found = [outcomes.get(backend) for backend in backends]
    return [number(each.report.latency_ms, ".2f") if each and each.report else MISSING for each in found]


def _verdicts(results: LatencyResults, backends: list[str]) -> list[list[str]]:
    return [
        ["", stated.states, *(VERDICTS[found[b].holds] if b in found else MISSING for b in backends)]
        for stated, found in _by_finding(results, backends)
    ]


def _forms(row: FormRow, backends: list[str]) -> list[str]:
    texts: list[str] = []
    for backend in backends:
        outcome = row.outcomes.get(backend, Outcome())
        texts.append(number(outcome.report.latency_ms if outcome.report else None, ".2f"))
        texts.append(number(outcome.ratio.value if outcome.ratio else None, ".3f"))
    return texts


def _decomposed(decomposition: Decomposition | None) -> list[str]:
    if decomposition is None:
        return [MISSING] * 3
    whole = decomposition.whole.latency_ms if decomposition.whole else None
    return [number(whole, ".1f"), number(decomposition.predicted_ms, ".1f"), number(decomposition.quotient, ".3f")]
