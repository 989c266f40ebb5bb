"""Build an entrant's network. Runs only in a child process: ``model.py`` is arbitrary code."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from mai_harness.errors import InvalidSubmission
from mai_harness.records import Submission

if TYPE_CHECKING:
    from torch import nn


def build_network(submission: Submission, *, weights: bool = True) -> "nn.Module":
    """The network of a torch submission, (N, 3, H, W) to (N, 3, 3H, 3W), both float RGB in [0, 255].

    Raises:
        InvalidSubmission: the factory or the weights are missing or do not fit.
    """
    import torch
    from safetensors.torch import load_file

    spec = importlib.util.spec_from_file_location("submission_model", submission.path)
    if spec is None or spec.loader is None:
        raise InvalidSubmission(f"{submission.path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    factory = getattr(module, submission.factory or "", None)
    if factory is None:
        raise InvalidSubmission(f"{submission.path} defines no {submission.factory!r}; set factory in submission.toml")
    torch.manual_seed(submission.train.seed if submission.train else 0)
    network: nn.Module = factory(**submission.arguments)
    if weights and submission.weights is not None:
        path = Path(submission.weights)
        if not path.exists():
            raise InvalidSubmission(f"{path.name} is not there; run: mai-harness train {submission.name} --data DIR")
        try:
            network.load_state_dict(load_file(path))
        except Exception as error:
            raise InvalidSubmission(f"{path.name} does not fit the network: {error}") from None
    return network.eval()
