"""Write the meta-nodes as INT8 TFLite files."""

from pathlib import Path

from mai_harness.meta_nodes import META_NODES, build
from mai_harness.records import Record


class BuildNodesRequest(Record, frozen=True):
    """All of them; there is nothing to choose."""


class BuildNodesReport(Record, frozen=True):
    """Id of a meta-node -> its file."""

    files: dict[str, str]


def build_nodes(_request: BuildNodesRequest, folder: Path) -> BuildNodesReport:
    """Every row of ``META_NODES``.

    Raises:
        ModelContractError: TensorFlow does not make the intended operators of a node.
    """
    return BuildNodesReport(files={node.id: str(build(node, folder)) for node in META_NODES})
