"""Train a graph on with the rounding of INT8 in it: ``learned.safetensors``, its weights and ranges."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mai_harness.patches import Images, opened
from mai_harness.records import QatRecipe, Record
from mai_harness.tflite_rewrites import rewrite

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LEARNED_FILE = "learned.safetensors"


class QatRequest(Record, frozen=True):
    """A calibrated graph, and the decoded images to learn from."""

    calibrated: str
    recipe: QatRecipe
    images: str  #: the folder of the decode stage
    devices: int | None = None  #: as in training


class QatReport(Record, frozen=True):
    """How ``learned.safetensors`` came about."""

    torch: str  #: version
    recipe: QatRecipe
    images: int  #: trained on
    images_sha256: str  #: over the HR pixels of those, in order
    validation_images: int
    seconds: float  #: over all sessions, without what was lost when one was killed
    final_loss: float  #: mean absolute error in grey levels over the last 100 steps
    validation_psnr_db: float | None  #: mean over the validation images, RGB, with the rounding of INT8
    learned_sha256: str


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
    import torch
    from safetensors.torch import save

    from mai_harness.fake_quant import FakeQuantNetwork
    from mai_harness.fit import fit

    network = FakeQuantNetwork(rewrite(Path(request.calibrated).read_bytes())[0])
    training, validation = images.split()
    groups: list[dict[str, Any]] = [
        {"params": [p for p in network.layers.parameters() if p.requires_grad]},
        {
            "params": [p for p in network.quantisers.parameters() if p.requires_grad],
            "lr": request.recipe.scale_learning_rate,
        },
    ]
    fitted = fit(fabric, network, training, validation, request.recipe, folder, _tell, groups)
    learned = save({name: value.cpu().contiguous() for name, value in network.state_dict().items()})
    if fabric.is_global_zero:
        (folder / LEARNED_FILE).write_bytes(learned)
    pixels = "".join(picture.sha256 for picture in training.pictures)
    return QatReport(
        torch=str(torch.__version__),
        recipe=request.recipe,
        images=len(training),
        images_sha256=hashlib.sha256(pixels.encode()).hexdigest(),
        validation_images=len(validation),
        seconds=fitted.seconds,
        final_loss=fitted.final_loss,
        validation_psnr_db=fitted.validation_psnr_db,
        learned_sha256=hashlib.sha256(learned).hexdigest(),
    )


def _tell(line: str) -> None:
    print(line, flush=True)
