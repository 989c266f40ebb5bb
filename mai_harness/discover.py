"""Find submissions: each format is one row of FORMATS, tried in order."""

import difflib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from mai_harness.errors import InvalidSubmission
from mai_harness.records import Kind, Record, Rejection, Submission, TrainRecipe, with_preset

_KINDS: dict[str, Kind] = {
    ".py": "torch", ".onnx": "onnx", ".pt2": "pt2", ".keras": "keras", ".tflite": "tflite", "": "saved_model",
}  # fmt: skip


WEIGHTS = ("weights.safetensors", "weights.pt", "weights.pth")
LEARNED_FILE = "learned.safetensors"  # of quantisation-aware training
STUDY_FILE = "study.toml"  # in a folder of submissions that are compared with one another, not with the others


class Manifest(Record, frozen=True):
    """``submission.toml``; every key may be left out, and paths may not leave the folder."""

    name: str | None = None  #: as the leaderboard shows it; the folder's name by default
    model: str = "model.py"  #: or a .onnx, .pt2, .keras, .tflite file, or a SavedModel folder
    authors: tuple[str, ...] | str = ()
    description: str = ""
    factory: str | None = None  #: the callable in model.py that returns the network; by default its last nn.Module
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)  #: keyword arguments of the factory
    weights: str | None = None  #: safetensors or a state dict; by default weights.safetensors, .pt or .pth if there
    train: TrainRecipe | None = None  #: with it, ``mai-harness train`` makes the weights; see ``with_preset``


def discover(root: Path) -> tuple[list[Submission], list[Rejection]]:
    """Every entry of ``root`` in name order, read as a submission or rejected with a reason; studies are neither.

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
        if path.name == STUDY_FILE or (path / STUDY_FILE).is_file():
            continue
        try:
            path.name.encode()  # names go into JSON and pages
            submission = read_submission(path)
            if any(other.name == submission.name for other in found):
                raise InvalidSubmission(f"another submission is already named {submission.name!r}; rename one")
            found.append(submission)
        except UnicodeEncodeError:
            name = os.fsencode(path).decode("utf-8", "replace").rpartition("/")[2]
            rejected.append(Rejection(name=name, reason="its name is not UTF-8; rename it"))
        except (InvalidSubmission, OSError) as error:
            rejected.append(Rejection(name=path.name, reason=str(error)))
    return found, rejected


def study_folders(root: Path) -> list[Path]:
    """The studies in ``root``, in name order."""
    return sorted(toml.parent for toml in root.glob(f"*/{STUDY_FILE}") if not toml.parent.name.startswith((".", "_")))


def named(name: str, submissions: Sequence[Submission], rejections: Sequence[Rejection]) -> Submission:
    """The submission of that name.

    Raises:
        InvalidSubmission: there is none, or it was rejected; the message says why, or names those that there are.
    """
    for submission in submissions:
        if submission.name == name:
            return submission
    for rejection in rejections:
        if rejection.name == name:
            raise InvalidSubmission(rejection.reason)
    hint = did_you_mean(name, (submission.name for submission in submissions))
    raise InvalidSubmission(f"there is no submission or file {name!r}; {hint}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The name that comes nearest, or else all that there are."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names) or 'none'}"


def read_submission(path: Path) -> Submission:
    """Read one file or folder.

    Raises:
        InvalidSubmission: it fits no format; the message lists them.
    """
    if not path.exists():
        raise InvalidSubmission(f"{path} is not there")
    for parse in FORMATS:
        if submission := parse(path):
            return submission
    raise InvalidSubmission(
        f"{path.name} is no submission: expected a folder with submission.toml, a challenge package with "
        "model.tflite, a SavedModel folder, or a .onnx, .tflite, .pt2 or .keras file"
    )


def _from_manifest(path: Path) -> Submission | None:
    toml = path / "submission.toml"
    if not (toml.is_file() or (path / "model.py").is_file()):
        return None
    manifest = _manifest(toml) if toml.is_file() else Manifest()
    model = _inside(path, manifest.model)
    kind = _KINDS.get(model.suffix)
    if kind is None or not model.exists():
        raise InvalidSubmission(f"{path.name}: model = {manifest.model!r} is not there or of no known format")
    dynamic = model.with_name("model_none.tflite")
    return Submission(
        name=path.name,
        title=manifest.name or path.name,
        kind=kind,
        path=str(model),
        root=str(path),
        fingerprint=_fingerprint(path),
        authors=(manifest.authors,) if isinstance(manifest.authors, str) else manifest.authors,
        description=manifest.description,
        factory=manifest.factory,
        arguments=manifest.arguments,
        weights=_weights(path, manifest),
        learned=str(path / LEARNED_FILE) if kind == "torch" and (path / LEARNED_FILE).is_file() else None,
        dynamic_path=str(dynamic) if kind == "tflite" and dynamic.is_file() else None,
        train=manifest.train,
    )


def _manifest(toml: Path) -> Manifest:
    try:
        written = msgspec.toml.decode(toml.read_bytes())
        if isinstance(written.get("train"), dict):
            written["train"] = with_preset(written["train"])
        return msgspec.convert(written, Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        hint = _choices(str(error)) or unknown_field_hint(str(error), Manifest, TrainRecipe)
        raise InvalidSubmission(f"{toml.parent.name}/submission.toml: {error}{hint}") from None


def _choices(message: str) -> str:
    """A hint for msgspec's 'Invalid enum value'; empty for any other message."""
    choice = re.search(r"Invalid enum value .* at `\$\.train\.(?:qat\.)?(\w+)`", message)
    return f"; known are {', '.join(get_args(get_type_hints(TrainRecipe)[choice[1]]))}" if choice else ""


def unknown_field_hint(message: str, *records: type[Record]) -> str:
    """A hint for msgspec's 'unknown field `x`' by the fields of ``records``; empty for any other message."""
    unknown = re.search(r"unknown field `([^`]+)`", message)
    if unknown is None:
        return ""
    known = [field for record in records for field in record.__struct_fields__]
    near = difflib.get_close_matches(unknown[1], known, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"


def _weights(folder: Path, manifest: Manifest) -> str | None:
    if manifest.weights is None:
        return next((str(folder / name) for name in WEIGHTS if (folder / name).is_file()), None)
    path = _inside(folder, manifest.weights)
    if not path.is_file() and manifest.train is None:
        raise InvalidSubmission(f"{folder.name}/submission.toml: weights = {manifest.weights!r} is not there")
    return str(path) if path.is_file() else None


def _from_package(path: Path) -> Submission | None:
    model, dynamic = path / "model.tflite", path / "model_none.tflite"
    if not model.is_file():
        return None
    return Submission(
        name=path.name, title=path.name, kind="tflite", path=str(model), root=str(path), fingerprint=_fingerprint(path),
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
    inside = sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    files = [path] if path.is_file() else inside
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path.parent)).encode("utf-8", "surrogateescape") + b"\0" + file.read_bytes())
    return digest.hexdigest()
