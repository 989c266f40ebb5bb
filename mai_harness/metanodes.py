"""The way through of `mai-harness metanodes`: build or convert, then time on every backend, and keep what came out."""

import hashlib
import importlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from mai_harness.backends import Choice, find
from mai_harness.build_nodes import BuildNodesReport, BuildNodesRequest
from mai_harness.datasets import Dataset
from mai_harness.decompose import DecomposeRequest
from mai_harness.errors import HarnessError, StageFailed
from mai_harness.latency_study import (
    LATENCY_SCHEMA_VERSION,
    Decomposition,
    FormRow,
    LatencyResults,
    NetworkRow,
    NodeRow,
    Outcome,
)
from mai_harness.meta_nodes import META_NODES
from mai_harness.pipeline import (
    Converted,
    Owner,
    Settings,
    Tell,
    Workshop,
    circumstances,
    convert,
    failure,
    locked,
    plan_for,
    prepare,
)
from mai_harness.prepare import Prepared
from mai_harness.records import Failure, Form, Submission
from mai_harness.storage import file_name
from mai_harness.tflite_graph import facts, read_graph
from mai_harness.time_files import TimeFilesReport, TimeFilesRequest

Part = Literal["nodes", "forms", "networks"]
PARTS: tuple[Part, ...] = ("nodes", "forms", "networks")
CONVERSION_S = 3600.0  # VDSR works on features of 1080x1920
NETWORK_ROUNDS = 10  # of networks that take seconds a frame; cheap ones are none the worse for it


def metanodes(settings: Settings, parts: Sequence[Part], dataset: Dataset, tell: Tell) -> LatencyResults:
    """Time meta-nodes, forms and networks; what fails is told in its row.

    Raises:
        HarnessError: a backend cannot run here, an image cannot be used, or another run is under way.
    """
    devices = {str(choice): find(choice.name).device(choice) for choice in settings.backends}
    workshop = Workshop(settings, tell)
    with locked(settings):
        prepared = prepare(workshop, dataset)
        rows: dict[str, Any] = {part: _MEASURE[part](workshop, prepared) for part in PARTS if part in parts}
    return LatencyResults(
        schema_version=LATENCY_SCHEMA_VERSION,
        command=" ".join(["mai-harness metanodes", *(parts if len(parts) < len(PARTS) else ())]),
        backends=devices,
        **rows,
        **circumstances(dataset),
    )


def _nodes(workshop: Workshop, prepared: Prepared) -> tuple[NodeRow, ...]:
    owner = Owner("metanodes.nodes", "")
    files = workshop.run(owner, "build_nodes", BuildNodesRequest(), BuildNodesReport).files
    outcomes = _timed(workshop, "nodes", files, {}, prepared)
    return tuple(NodeRow(node=node, outcomes=outcomes[node.id]) for node in META_NODES)


def _forms(workshop: Workshop, prepared: Prepared) -> tuple[FormRow, ...]:
    from mai_harness.residual_forms import FORMS, as_factory, reference_of

    files, failures = {}, {}
    for form in FORMS:
        try:
            files[form.id] = _converted(workshop, as_factory(form), form.without, prepared)
        except StageFailed as error:
            failures[form.id] = failure(error)
    against = {form.id: reference_of(form).id for form in FORMS}
    outcomes = _timed(workshop, "forms", files, against, prepared)
    return tuple(_form_row(form, against[form.id], files, outcomes, failures) for form in FORMS)


def _form_row(
    form: Form,
    reference: str,
    files: dict[str, str],
    outcomes: dict[str, dict[str, Outcome]],
    failures: dict[str, Failure],
) -> FormRow:
    path = files.get(form.id)
    return FormRow(
        form=form,
        reference=reference,
        operators=_operators(path) if path else {},
        outcomes=outcomes.get(form.id, {}),
        failure=failures.get(form.id),
    )


def _networks(workshop: Workshop, prepared: Prepared) -> tuple[NetworkRow, ...]:
    from mai_harness.published_networks import PUBLISHED

    return tuple(_network_row(workshop, row, prepared) for row in PUBLISHED)


def _network_row(workshop: Workshop, row: Any, prepared: Prepared) -> NetworkRow:
    path = str(importlib.import_module(row.module).__file__)
    built = {"path": path, "factory": row.factory, "arguments": row.arguments}
    found: dict[str, Any] = {}
    try:
        file = _converted(workshop, built, (), prepared)
        found = {"operators": _operators(file), "macs": facts(read_graph(Path(file))).macs}
        found["decompositions"] = {
            str(choice): _decomposed(workshop, row.name, file, choice, prepared)
            for choice in workshop.settings.backends
        }
    except StageFailed as error:
        found["failure"] = failure(error)
    return NetworkRow(
        name=row.name,
        title=row.title,
        paper=row.paper,
        published_parameters_k=row.published_parameters_k,
        source=row.source,
        parameters=row.parameters,
        note=row.note,
        **found,
    )


def _decomposed(workshop: Workshop, name: str, file: str, choice: Choice, prepared: Prepared) -> Decomposition:
    plan = plan_for(workshop, prepared)
    plan = msgspec.structs.replace(plan, warmup=1, runs=min(plan.runs, NETWORK_ROUNDS), threads=plan.threads[:1])
    owner = Owner(f"metanodes.{name}.on-{file_name(str(choice))}", _digest(file))
    try:
        request = DecomposeRequest(path=file, choice=choice, plan=plan, device=find(choice.name).device(choice))
        return workshop.run(owner, "decompose", request, Decomposition)
    except HarnessError as error:  # one of its device too, which may have gone meanwhile
        return Decomposition(refusal=str(error))


def _timed(
    workshop: Workshop, part: Part, files: dict[str, str], against: dict[str, str], prepared: Prepared
) -> dict[str, dict[str, Outcome]]:
    """Id -> backend -> outcome."""
    found: dict[str, dict[str, Outcome]] = {id_: {} for id_ in files}
    for choice in workshop.settings.backends:
        owner = Owner(f"metanodes.{part}.on-{file_name(str(choice))}", "".join(map(_digest, files.values())))
        try:
            request = TimeFilesRequest(
                files=files,
                against=against,
                choice=choice,
                plan=plan_for(workshop, prepared),
                device=find(choice.name).device(choice),
            )
            outcomes = workshop.run(owner, "time_files", request, TimeFilesReport).outcomes
        except HarnessError as error:  # one of its device too, which may have gone meanwhile
            outcomes = dict.fromkeys(files, Outcome(refusal=str(error)))
        for id_, outcome in outcomes.items():
            found[id_][str(choice)] = outcome
    return found


def _converted(workshop: Workshop, built: dict[str, Any], without: tuple[str, ...], prepared: Prepared) -> str:
    """The INT8 file of a network of the harness's own, with random weights; the same network is converted once.

    One frame calibrates it, for its pixels do not matter.

    Raises:
        StageFailed: it cannot be converted.
    """
    key = hashlib.sha256(msgspec.json.encode((built["factory"], built["arguments"], without))).hexdigest()[:8]
    name = f"metanodes.{built['factory']}-{key}"
    network = Submission(name=name, title=name, kind="torch", fingerprint=_digest(built["path"]), **built)
    settings = replace(workshop.settings, without=without, timeout_s=max(workshop.settings.timeout_s, CONVERSION_S))
    alone = Workshop(settings, workshop.tell)
    done = Converted()
    few = msgspec.structs.replace(prepared, calibration=prepared.calibration[:1])
    convert(alone, network, few, done)
    return done.files.static


def _operators(path: str) -> dict[str, int]:
    return dict(Counter(op.name for op in read_graph(Path(path)).ops))


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


_MEASURE: dict[Part, Callable[[Workshop, Prepared], tuple[Any, ...]]] = {
    "nodes": _nodes,
    "forms": _forms,
    "networks": _networks,
}
