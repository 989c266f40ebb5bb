"""Train a torch submission by its recipe: ``weights.safetensors`` and how it came about."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mai_harness.load import build_network
from mai_harness.patches import Images, opened
from mai_harness.records import Place, Record, Submission, TrainRecipe, TrainReport

if TYPE_CHECKING:
    from lightning_fabric import Fabric

WEIGHTS_FILE = "weights.safetensors"


class TrainRequest(Record, frozen=True):
    """A torch submission with a recipe, and the decoded images to learn from."""

    submission: Submission
    recipe: TrainRecipe
    images: Place  #: the folder of the decode stage
    start: Place | None = None  #: weights to go on from
    start_sha256: str = ""
    devices: int | None = None  #: GPUs, or processes where there is none; by default all GPUs, or one process


def train(request: TrainRequest, folder: Path) -> TrainReport:
    """Train a torch submission and write ``weights.safetensors``; goes on from ``checkpoint.pt`` if it is there.

    Raises:
        InvalidSubmission: the network cannot be built.
        DataNotFound: no image is as large as a patch.
        HarnessError: the loss is no longer finite, or the devices are too few or do not divide the batch.
    """
    from mai_harness.fit import launch

    everything = opened(Path(request.images))
    large = everything.holding(request.recipe.patch)
    if small := len(everything) - len(large):
        print(f"{small} of {len(everything)} images are smaller than a patch and left out", flush=True)
    return launch(_train, request.devices, request, large, folder)


def _train(fabric: "Fabric", request: TrainRequest, images: Images, folder: Path) -> TrainReport:
    from mai_harness.fit import fit_and_save

    network = build_network(request.submission, request.start)
    outcome, digest = fit_and_save(
        fabric, network, images, request.recipe, folder / WEIGHTS_FILE, partial(print, flush=True)
    )
    return TrainReport(recipe=request.recipe, weights_sha256=digest, **msgspec.structs.asdict(outcome))
