"""Find submissions: each format is one row of FORMATS, tried in order."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from mai_harness.errors import InvalidSubmission
from mai_harness.records import Kind, Record, Rejection, Submission, TrainRecipe

_KINDS: dict[str, Kind] = {
    ".py": "torch", ".onnx": "onnx", ".pt2": "pt2", ".keras": "keras", ".tflite": "tflite", "": "saved_model",
}  # fmt: skip


class Manifest(Record):
    """``submission.toml``; paths are relative to its folder and may not leave it."""

    title: str
    model: str = "model.py"
    authors: tuple[str, ...] = ()
    description: str = ""
    factory: str | None = None
    arguments: dict[str, Any] = {}
    weights: str | None = None
    train: TrainRecipe | None = None


def discover(root: Path) -> tuple[list[Submission], list[Rejection]]:
    """Every entry of ``root`` in name order, read as a submission or rejected with a reason.

    Raises:
        InvalidSubmission: ``root`` is no folder.
    """
    if not root.is_dir():
        raise InvalidSubmission(f"{root} is not a folder; give one with --submissions")
    found: list[Submission] = []
    rejected: list[Rejection] = []
    for path in sorted(root.iterdir()):
        if path.name.startswith((".", "_")) or path.suffix == ".md":
            continue
        try:
            submission = read_submission(path)
            if any(other.name == submission.name for other in found):
                raise InvalidSubmission(f"another submission is already named {submission.name!r}; rename one")
            found.append(submission)
        except (InvalidSubmission, OSError) as error:
            rejected.append(Rejection(name=path.name, reason=str(error)))
    return found, rejected


def read_submission(path: Path) -> Submission:
    """Read one file or folder.

    Raises:
        InvalidSubmission: it fits no format; the message lists them.
    """
    for parse in FORMATS:
        if submission := parse(path):
            return submission
    raise InvalidSubmission(
        f"{path.name} is no submission: expected a folder with submission.toml, a challenge package with "
        "model.tflite, a SavedModel folder, or a .onnx, .tflite, .pt2 or .keras file"
    )


def _from_manifest(path: Path) -> Submission | None:
    toml = path / "submission.toml"
    if not toml.is_file():
        return None
    try:
        manifest = msgspec.toml.decode(toml.read_bytes(), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidSubmission(f"{toml}: {error}") from None
    model = _inside(path, manifest.model)
    kind = _KINDS.get(model.suffix)
    if kind is None or not model.exists():
        raise InvalidSubmission(f"{toml}: model = {manifest.model!r} is not there or of no known format")
    if kind == "torch" and manifest.factory is None:
        raise InvalidSubmission(f"{toml}: add factory = \"...\", the callable in {manifest.model} that returns the network")
    weights = None if manifest.weights is None else _inside(path, manifest.weights)
    return Submission(
        name=path.name, title=manifest.title, kind=kind, path=str(model), fingerprint=_fingerprint(path),
        authors=manifest.authors, description=manifest.description, factory=manifest.factory,
        arguments=manifest.arguments, weights=None if weights is None else str(weights), train=manifest.train,
    )  # fmt: skip


def _from_package(path: Path) -> Submission | None:
    model, dynamic = path / "model.tflite", path / "model_none.tflite"
    if not model.is_file():
        return None
    return Submission(
        name=path.name, title=path.name, kind="tflite", path=str(model), fingerprint=_fingerprint(path),
        dynamic_path=str(dynamic) if dynamic.is_file() else None,
    )  # fmt: skip


def _from_saved_model(path: Path) -> Submission | None:
    if not (path / "saved_model.pb").is_file():
        return None
    return Submission(
        name=path.name, title=path.name, kind="saved_model", path=str(path), fingerprint=_fingerprint(path)
    )


def _from_file(path: Path) -> Submission | None:
    kind = _KINDS.get(path.suffix)
    if kind in (None, "torch", "saved_model") or not path.is_file():
        return None
    return Submission(name=path.stem, title=path.stem, kind=kind, path=str(path), fingerprint=_fingerprint(path))


FORMATS: tuple[Callable[[Path], Submission | None], ...] = (
    _from_manifest, _from_package, _from_saved_model, _from_file,
)  # fmt: skip


def _inside(folder: Path, relative: str) -> Path:
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InvalidSubmission(f"{folder.name}: {relative!r} leaves the submission's folder; copy the file into it")
    return path


def _fingerprint(path: Path) -> str:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path.parent)).encode("utf-8", "surrogateescape") + b"\0" + file.read_bytes())
    return digest.hexdigest()
