"""What loading costs a training step: steps with the loader against steps on one batch that is there already."""

import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mai_harness.load import build_network
from mai_harness.patches import Images, opened
from mai_harness.records import Place, Record, Submission, TrainRecipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric

WARMUP = 5  # steps of each kind that are not counted
BLOCK_WITH_WORKERS = 100  # steps: many more than workers fetch ahead


class LoaderRequest(Record, frozen=True):
    """A torch submission with a recipe, the decoded images, and how many steps of each kind to time."""

    submission: Submission
    recipe: TrainRecipe
    images: Place  #: the folder of the decode stage
    steps: int


class LoaderReport(Record, frozen=True):
    """Medians of the times of a step, both kinds measured in turns."""

    device: str
    threads: int  #: of the CPU
    workers: int  #: processes that load; with none the training process does
    steps: int  #: timed of each kind
    with_loader_ms: float
    fixed_batch_ms: float

    @property
    def ratio(self) -> float:
        """With the loader to without; 1 is free."""
        return self.with_loader_ms / self.fixed_batch_ms


def bench_loader(request: LoaderRequest, _folder: Path) -> LoaderReport:
    """Train a fresh network for a moment, on one device.

    Raises:
        InvalidSubmission: the network cannot be built.
        DataNotFound: no image is as large as a patch.
    """
    from mai_harness.fit import launch

    images = opened(Path(request.images)).holding(request.recipe.patch)
    return launch(_measure, 1, request, images)


def _measure(fabric: "Fabric", request: LoaderRequest, images: Images) -> LoaderReport:
    import torch

    from mai_harness.fit import Trainer, patch_loader

    phase = msgspec.structs.replace(request.recipe, steps=1 + WARMUP + request.steps)
    trainer = Trainer(fabric, build_network(request.submission, None), phase)
    loader = patch_loader(fabric, images, phase, 0)
    batches = iter(loader)
    fixed = next(batches)
    block = BLOCK_WITH_WORKERS if loader.num_workers else 1
    loaded_s: list[float] = []
    fixed_s: list[float] = []

    def timed(fetch: "Callable[[], tuple[torch.Tensor, torch.Tensor]]") -> float:
        start = time.perf_counter()
        trainer.step(0, *fetch()).item()  # the value is there when the device is done
        return time.perf_counter() - start

    while len(loaded_s) < WARMUP + request.steps:
        count = min(block, WARMUP + request.steps - len(loaded_s))
        loaded_s += [timed(lambda: next(batches)) for _ in range(count)]
        fixed_s += [timed(lambda: fixed) for _ in range(count)]
    return LoaderReport(
        device=str(fabric.device),
        threads=torch.get_num_threads(),
        workers=loader.num_workers,
        steps=request.steps,
        with_loader_ms=_median_ms(loaded_s),
        fixed_batch_ms=_median_ms(fixed_s),
    )


def _median_ms(seconds: Iterable[float]) -> float:
    return 1000 * statistics.median(list(seconds)[WARMUP:])
