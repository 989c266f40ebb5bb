"""What a study of latencies holds: meta-nodes, forms of one network, networks taken apart; each on every backend."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from mai_harness.meta_nodes import FINDINGS, MetaNode, PaperFinding
from mai_harness.records import Circumstances, Failure, Form, LatencyReport, Layer, Ratio, Record
from mai_harness.storage import read_versioned

# 1, 2026-11-25: the first.
LATENCY_SCHEMA_VERSION = 1


class Outcome(Record, frozen=True):
    """One file on one backend: its latency, or why there is none."""

    report: LatencyReport | None = None
    ratio: Ratio | None = None  #: to the file that it is held against, timed in turns with it
    refusal: str = ""


class NodeRow(Record, frozen=True):
    """A meta-node on every backend."""

    node: MetaNode
    outcomes: dict[str, Outcome]


class FormRow(Record, frozen=True):
    """A form of a network on every backend."""

    form: Form
    reference: str  #: id of the form of its group that the ratios are to
    operators: dict[str, int] = msgspec.field(default_factory=dict)  #: of the INT8 file, and how many of each
    outcomes: dict[str, Outcome] = msgspec.field(default_factory=dict)
    failure: Failure | None = None


class Decomposition(Record, frozen=True):
    """A network on one backend, whole and operator by operator."""

    whole: LatencyReport | None = None
    operators: tuple[Layer, ...] = ()  #: each timed alone
    refusal: str = ""  #: why there is no figure of the whole
    refused: tuple[str, ...] = ()  #: operators that the backend does not take alone

    @property
    def predicted_ms(self) -> float | None:
        """The sum of the operators; ``None`` if one is missing."""
        return None if self.refused or not self.operators else sum(layer.ms for layer in self.operators)

    @property
    def quotient(self) -> float | None:
        """The prediction over what was measured."""
        predicted = self.predicted_ms
        return None if self.whole is None or predicted is None else predicted / self.whole.latency_ms


class NetworkRow(Record, frozen=True):
    """A published network with random weights: its latency only, until someone trains it."""

    name: str
    title: str
    paper: str
    published_parameters_k: float  #: thousands, as printed in ``source``
    source: str
    parameters: int  #: of the RGB x3 network that was timed
    note: str  #: why the two differ
    macs: int | None = None  #: of one frame
    operators: dict[str, int] = msgspec.field(default_factory=dict)
    decompositions: dict[str, Decomposition] = msgspec.field(default_factory=dict)
    failure: Failure | None = None


class LatencyResults(Circumstances, frozen=True):
    """``metanodes.json``; a part that was not asked for is empty."""

    command: str
    backends: dict[str, str]  #: as on the command line -> device
    nodes: tuple[NodeRow, ...] = ()
    forms: tuple[FormRow, ...] = ()
    networks: tuple[NetworkRow, ...] = ()

    def findings(self, backend: str) -> tuple[PaperFinding, ...]:
        """The paper's findings, held against the meta-nodes on a backend."""
        latencies = self._latencies(backend)
        return tuple(finding(latencies) for finding in FINDINGS) if latencies else ()

    def _latencies(self, backend: str) -> Mapping[str, float]:
        outcomes = {row.node.id: row.outcomes.get(backend) for row in self.nodes}
        return {id_: each.report.latency_ms for id_, each in outcomes.items() if each and each.report}


def latency_results_path(out: Path) -> Path:
    """Where the results are, below the folder for results."""
    return out / "metanodes.json"


def read_latency_results(path: Path) -> LatencyResults:
    """What was written to :func:`latency_results_path`.

    Raises:
        ResultsUnreadable: as in :func:`mai_harness.storage.read_versioned`.
    """
    return read_versioned(path, LatencyResults, LATENCY_SCHEMA_VERSION, "mai-harness metanodes")
