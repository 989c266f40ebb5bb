"""Train a graph on with the rounding of INT8 in it: ``learned.safetensors``, its weights and ranges."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mai_harness.discover import LEARNED_FILE
from mai_harness.patches import Images, opened
from mai_harness.records import Place, QatRecipe, QatReport, Record
from mai_harness.tflite_rewrites import rewrite

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class QatRequest(Record, frozen=True):
    """A calibrated graph, and the decoded images to learn from."""

    calibrated: Place
    recipe: QatRecipe
    images: Place  #: the folder of the decode stage
    devices: int | None = None  #: as in training


def qat(request: QatRequest, folder: Path) -> QatReport:
    """Learn weights and ranges, from the calibrated ones; goes on from ``checkpoint.pt`` if it is there.

    The recipe is ABPN's (arXiv 2105.09750, section 4.1): fine-tuning at a low rate after float training.

    Raises:
        ModelContractError: an operator of the graph cannot be trained.
        DataNotFound: no image is as large as a patch.
        HarnessError: the loss is no longer finite, or the devices are too few or do not divide the batch.
    """
    from mai_harness.fit import launch

    images = opened(Path(request.images)).holding(request.recipe.patch)
    return launch(_learn, request.devices, request, images, folder)


def _learn(fabric: "Fabric", request: QatRequest, images: Images, folder: Path) -> QatReport:
    from mai_harness.fake_quant import FakeQuantNetwork
    from mai_harness.fit import fit_and_save

    network = FakeQuantNetwork(rewrite(Path(request.calibrated).read_bytes())[0])
    groups: list[dict[str, Any]] = [
        {"params": [p for p in network.layers.parameters() if p.requires_grad]},
        {
            "params": [p for p in network.quantisers.parameters() if p.requires_grad],
            "lr": request.recipe.scale_learning_rate,
        },
    ]
    outcome, digest = fit_and_save(
        fabric, network, images, request.recipe, folder / LEARNED_FILE, partial(print, flush=True), groups
    )
    return QatReport(recipe=request.recipe, learned_sha256=digest, **msgspec.structs.asdict(outcome))
