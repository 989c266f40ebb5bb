"""Exact rewrites of an exported network into the operators that mobile NPUs run fast.

Exporters and authors write one and the same pixel shuffle or anchor in many ways, most of them as transposes in six
dimensions. Every pass leaves the function as it is: data moves the same way, and channels are permuted along with
the weights that make them.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import onnx

from mai_harness.rewrites.fold import fold_constants
from mai_harness.rewrites.graph import Graph
from mai_harness.rewrites.movement import channel_copies, depth_to_space
from mai_harness.rewrites.sink import sink_permutations


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """One kind of rewrite; ``apply`` changes the graph and returns a line for each change."""

    id: str
    title: str
    apply: Callable[[Graph], tuple[str, ...]]


PASSES: tuple[Pass, ...] = (
    Pass(id="constants", title="constants", apply=fold_constants),
    Pass(id="depth-to-space", title="pixel shuffle", apply=depth_to_space),
    Pass(id="permutations", title="order of channels", apply=sink_permutations),
    # Behind the permutations, which may have reached a copy and be done along with it.
    Pass(id="copies", title="copies of channels", apply=channel_copies),
)
_MOST_ROUNDS = 100  # two or three do; a graph on which they would never end is still the same function


def rewrite(model: onnx.ModelProto, without: Collection[str] = ()) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Apply all passes, but those whose ids are in ``without``, until none finds anything to do.

    Args:
        model: of static shapes, in one graph; not changed.

    Returns:
        A model of the same inputs, outputs and function, and one line for each rewrite. What no pass
        understands is left as it is.
    """
    changes: list[str] = []
    graph = Graph(_copy(model))
    for _ in range(0 if _has_subgraphs(model) else _MOST_ROUNDS):
        found = [f"{row.title}: {change}" for row in PASSES if row.id not in without for change in row.apply(graph)]
        if not found:
            break
        changes += found
    return (graph.model() if changes else _copy(model)), tuple(changes)


def _has_subgraphs(model: onnx.ModelProto) -> bool:
    """Whether a node holds a graph, which could read any tensor of this one without saying so."""
    kinds = (attribute.type for node in model.graph.node for attribute in node.attribute)
    return any(kind in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for kind in kinds)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    return twin
