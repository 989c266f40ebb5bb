"""Train a torch submission by its recipe: ``weights.safetensors`` and how it came about."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from mai_harness.load import build_network
from mai_harness.patches import Images, opened
from mai_harness.records import Record, Submission, TrainRecipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric

WEIGHTS_FILE = "weights.safetensors"


class TrainRequest(Record, frozen=True):
    """A torch submission with a recipe, and the decoded images to learn from."""

    submission: Submission
    recipe: TrainRecipe
    images: str  #: the folder of the decode stage
    start: str | None = None  #: weights to go on from
    start_sha256: str = ""
    devices: int | None = None  #: GPUs, or processes where there is none; by default all GPUs, or one process


class TrainReport(Record, frozen=True):
    """How ``weights.safetensors`` came about."""

    torch: str  #: version
    recipe: TrainRecipe
    images: int  #: trained on
    images_sha256: str  #: over the HR pixels of those, in order
    validation_images: int
    seconds: float  #: over all sessions, without what was lost when one was killed
    final_loss: float  #: mean absolute error in grey levels over the last 100 steps
    validation_psnr_db: float | None  #: mean over the validation images, RGB, in float
    weights_sha256: str


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
    import torch
    from safetensors.torch import save

    from mai_harness.fit import fit

    network = build_network(request.submission, request.start)
    training, validation = images.split()
    fitted = fit(fabric, network, training, validation, request.recipe, folder, _tell)
    weights = save({name: value.cpu().contiguous() for name, value in network.state_dict().items()})
    if fabric.is_global_zero:
        (folder / WEIGHTS_FILE).write_bytes(weights)
    pixels = "".join(picture.sha256 for picture in training.pictures)
    return TrainReport(
        torch=str(torch.__version__),
        recipe=request.recipe,
        images=len(training),
        images_sha256=hashlib.sha256(pixels.encode()).hexdigest(),
        validation_images=len(validation),
        seconds=fitted.seconds,
        final_loss=fitted.final_loss,
        validation_psnr_db=fitted.validation_psnr_db,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )


def _tell(line: str) -> None:
    print(line, flush=True)
