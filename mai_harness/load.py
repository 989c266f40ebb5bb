"""Build an entrant's network. Runs only in a child process: ``model.py`` is arbitrary code."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mai_harness.errors import InvalidSubmission
from mai_harness.records import Submission

if TYPE_CHECKING:
    from torch import Tensor, nn


def build_network(submission: Submission, weights: str | None) -> "nn.Module":
    """The network of a torch submission, (N, 3, H, W) to (N, 3, 3H, 3W), both float RGB in [0, 255].

    Args:
        weights: safetensors, or a state dict that ``torch.load(weights_only=True)`` takes; ``None`` leaves the
            network as its factory made it.

    Raises:
        InvalidSubmission: the factory or the weights are missing or do not fit.
    """
    import torch

    factory = _factory(_imported(Path(submission.path)), submission)
    torch.manual_seed(submission.train.seed if submission.train else 0)
    network: nn.Module = factory(**submission.arguments)
    if not isinstance(network, torch.nn.Module):
        raise InvalidSubmission(f"{factory.__name__} returns {type(network).__name__}; expected a torch.nn.Module")
    if weights is not None:
        _fill(network, Path(weights))
    return network.eval()


def _imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("submission_model", path)
    if spec is None or spec.loader is None:
        raise InvalidSubmission(f"{path} cannot be imported")
    sys.path.insert(0, str(path.parent))  # model.py may import what lies beside it
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _factory(module: ModuleType, submission: Submission) -> Any:
    """What ``factory`` names, or else the nn.Module that ``model.py`` defines last: helpers come before it."""
    from torch import nn

    if submission.factory is not None:
        factory = getattr(module, submission.factory, None)
        if factory is None:
            raise InvalidSubmission(f"model.py defines no {submission.factory!r}; set factory in submission.toml")
        return factory
    defined = [v for v in vars(module).values() if isinstance(v, type) and issubclass(v, nn.Module)]
    own = [value for value in defined if value.__module__ == module.__name__]
    if not (own or defined):
        raise InvalidSubmission("model.py defines no torch.nn.Module; define one, or name a factory in submission.toml")
    return (own or defined)[-1]


def _fill(network: "nn.Module", path: Path) -> None:
    if not path.exists():
        raise InvalidSubmission(f"weights {path.name} are not there")
    try:
        network.load_state_dict(_state(path))
    except Exception as error:
        raise InvalidSubmission(f"{path.name} does not fit the network: {error}") from None


def _state(path: Path) -> "dict[str, Tensor]":
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    import torch

    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
