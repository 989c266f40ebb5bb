"""Time a network as a whole and operator by operator, so that a sum of operators can be held against the network."""

import tempfile
from pathlib import Path

from mai_harness.backends import Backend, Choice, find
from mai_harness.errors import HarnessError
from mai_harness.latency_study import Decomposition
from mai_harness.records import Layer, Model, Place, Record
from mai_harness.tflite_graph import Alone, split
from mai_harness.timing import TimingPlan


class DecomposeRequest(Record, frozen=True):
    """An INT8 TFLite file, and where and how often to time it."""

    path: Place
    choice: Choice
    plan: TimingPlan
    device: str


def decompose(request: DecomposeRequest, _folder: Path) -> Decomposition:
    """The whole on the challenge's frame, and its operators alone.

    Raises:
        HarnessError: the backend cannot run here, or not this network.
    """
    backend = find(request.choice.name)
    whole = backend.measure(request.choice, Model(static=request.path), request.plan).reports[0]
    if whole.layers_alone:
        return Decomposition(whole=whole, operators=whole.layers)
    operators, refused = list[Layer](), list[str]()
    for alone in split(Path(request.path)):
        try:
            operators.append(_timed(backend, alone, request))
        except HarnessError as error:
            refused.append(f"{alone.name}: {error}")
    return Decomposition(whole=whole, operators=tuple(operators), refused=tuple(refused))


def _timed(backend: Backend, alone: Alone, request: DecomposeRequest) -> Layer:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alone.tflite"
        path.write_bytes(alone.model)
        (report,) = backend.compare(request.choice, [str(path)], request.plan)
    return Layer(name=alone.name, place=report.backend, ms=report.latency_ms)
