"""Find submissions: each format is one row of FORMATS, tried in order.

This runs in the main process on whatever people hand in, so it opens plain files alone, follows no link out of a
submission, and reads no more than the limits below; whatever is wrong is a rejection and costs no other its place.
"""

import difflib
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

import msgspec

from mai_harness.errors import InvalidSubmission, printable
from mai_harness.records import Kind, Record, Rejection, Submission, TrainRecipe, with_preset
from mai_harness.storage import file_name

_KINDS: dict[str, Kind] = {
    ".py": "torch", ".onnx": "onnx", ".pt2": "pt2", ".keras": "keras", ".tflite": "tflite", "": "saved_model",
}  # fmt: skip


WEIGHTS = ("weights.safetensors", "weights.pt", "weights.pth")
LEARNED_FILE = "learned.safetensors"  # of quantisation-aware training
STUDY_FILE = "study.toml"  # in a folder of submissions that are compared with one another, not with the others
MAX_FILES = 1000  # files and folders of one submission
MAX_BYTES = 1 << 30  # of all of them together
MAX_DEPTH = 16  # folders within folders
MAX_MANIFEST_BYTES = 256 << 10
_MAX_NESTING = 32  # of the arguments' values
_RESERVED = ".learn"  # ends the names under which trainings keep their stages
_REASON = 500  # characters of a reason
_CHUNK = 1 << 20
_CACHE = "__pycache__"  # not fingerprinted, for Python writes it
# tomllib's time grows with the square of a key's parts. What is not closed goes on to its end, so that each character
# is looked at once.
_KEY_PARTS = 8
_TOKENS = re.compile(
    r"""(?P<dot>\.)|(?P<between>[\w-]++|[ \t]++)|(?P<lines>\"{3}(?:[^\\]|\\.)*?(?:\"{3}|\Z)|'{3}.*?(?:'{3}|\Z))"""
    r"""|(?P<quoted>"(?:[^"\\\n]|\\.)*+"?|'[^'\n]*+'?)|(?P<other>\#[^\n]*+|.)""",
    re.DOTALL,
)
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
# Letters of other scripts that look like Latin ones; Unicode's table of confusables has thousands more.
_TWINS = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u051b\u051d\u043a\u043c\u0442\u0432\u043d"
    "\u03b1\u03bf\u03c1\u03bd\u03c5\u03b9\u03ba\u03c4\u03c7\u03b5\u03b7\u03f2\u0131\u0261",
    "aeopcyxijshdqwkmtbhaopvuiktxencig",
)

Title = Annotated[str, msgspec.Meta(max_length=200)]
Words = Annotated[str, msgspec.Meta(max_length=10_000)]
Inner = Annotated[str, msgspec.Meta(max_length=1000)]  #: a path below the submission's folder


class Manifest(Record, frozen=True):
    """``submission.toml``; every key may be left out, and paths may not leave the folder."""

    name: Title | None = None  #: as the leaderboard shows it; the folder's name by default
    model: Inner = "model.py"  #: or a .onnx, .pt2, .keras, .tflite file, or a SavedModel folder
    authors: Annotated[tuple[Title, ...], msgspec.Meta(max_length=100)] | Title = ()
    description: Words = ""
    factory: Title | None = None  #: the callable in model.py that returns the network; by default its last nn.Module
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)  #: keyword arguments of the factory
    weights: Inner | None = None  #: safetensors or a state dict; by default weights.safetensors, .pt or .pth if there
    train: TrainRecipe | None = None  #: with it, ``mai-harness train`` makes the weights; see ``with_preset``


class Part(NamedTuple):
    """A file of a submission: its place below the submission, empty if it is the submission, and where it lies."""

    place: tuple[str, ...]
    path: Path


def discover(root: Path) -> tuple[list[Submission], list[Rejection]]:
    """Every entry of ``root`` in name order, read as a submission or rejected with a reason; studies are neither.

    Of names that people take for the same, one is left; a title that is another's name gives way to the name.
    No rejection has the name of a submission or of another rejection.

    Raises:
        InvalidSubmission: ``root`` is no folder.
    """
    if not root.is_dir():
        raise InvalidSubmission(f"{root} is not a folder; give one with --submissions")
    found: dict[str, Submission] = {}  # by all that a name may be taken for
    rejected: list[tuple[str, str]] = []
    for path in sorted(root.iterdir(), key=lambda path: (not path.name.isascii(), path)):
        if path.name.startswith((".", "_")) or path.suffix == ".md" or _is_study(path):
            continue
        try:
            submission = _entry(path, root)
            keys = _likenesses(submission.name)
            _require_new(submission.name, next((found[key] for key in keys if key in found), None))
            found |= dict.fromkeys(keys, submission)
        except InvalidSubmission as error:
            rejected.append((path.name, str(error)))
    submissions = sorted({s.name: s for s in found.values()}.values(), key=lambda submission: submission.name)
    return _own_titles(submissions), _rejections(sorted(rejected), {submission.name for submission in submissions})


def _entry(path: Path, root: Path) -> Submission:
    """Read one entry of the folder ``root``; it may be a link to something in there, to nothing else."""
    with _told(path):
        if not path.name.isprintable():
            raise InvalidSubmission("its name has characters that do not print, or is not UTF-8; rename it")
        if path.is_symlink() and root.resolve() not in path.resolve(strict=True).parents:
            raise InvalidSubmission(f"{path.name} is a link that leads out of {root.name}; put a copy in its place")
        return read_submission(path)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Whatever reading ``path`` raises is an :class:`InvalidSubmission` that can be shown."""
    try:
        yield
    except InvalidSubmission as error:
        raise InvalidSubmission(printable(str(error))[:_REASON]) from None
    except (OSError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        what = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
        raise InvalidSubmission(printable(f"{path.name[:100]} cannot be read: {what}")[:_REASON]) from None


def _likenesses(name: str) -> tuple[str, str]:
    """What people, and what file systems, may take the name for."""
    return f"seen: {_likeness(name)}", f"kept: {file_name(name).casefold()}"


def _likeness(text: str) -> str:
    """Equal for texts that differ in case, accents, spaces, what does not show, and letters of a like shape."""
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    shown = (c for c in letters if unicodedata.category(c) not in ("Mn", "Me", "Cf", "Cc") and not c.isspace())
    return "".join(shown).translate(_TWINS)


def _require_new(name: str, other: Submission | None) -> None:
    if other is None:
        return
    if other.name == name:
        raise InvalidSubmission(f"another submission is already named {name!r}; rename one")
    raise InvalidSubmission(f"it is named like {other.name!r}; rename one")


def _own_titles(submissions: Sequence[Submission]) -> list[Submission]:
    """Submissions whose title is the name of another keep their own name for a title.

    Two may share a title: none can take another's from it so, and names stand beside titles wherever they differ.
    """
    owners = {_likeness(submission.name): submission.name for submission in submissions}
    return [
        s if owners.get(_likeness(s.title), s.name) == s.name else msgspec.structs.replace(s, title=s.name)
        for s in submissions
    ]


def _rejections(rejected: Iterable[tuple[str, str]], taken: set[str]) -> list[Rejection]:
    """With names that print, each once."""
    made = []
    for raw, reason in rejected:
        name, count = printable(raw), 1
        while name in taken:
            count += 1
            name = f"{printable(raw)} ({count})"
        taken.add(name)
        made.append(Rejection(name=name, reason=reason))
    return made


def _is_study(path: Path) -> bool:
    """Whether it is a folder, and no link to one, with a plain study.toml; or a study.toml that went astray."""
    if path.name == STUDY_FILE:
        return True
    with suppress(OSError):
        return stat.S_ISDIR(path.lstat().st_mode) and stat.S_ISREG((path / STUDY_FILE).lstat().st_mode)
    return False


def study_folders(root: Path) -> list[Path]:
    """The studies in ``root``, in name order."""
    folders = (toml.parent for toml in root.glob(f"*/{STUDY_FILE}") if not toml.parent.name.startswith((".", "_")))
    return sorted(folder for folder in folders if _is_study(folder))


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
        InvalidSubmission: it fits no format; the message lists them. Or it cannot be read, is too large, or holds what
            is no plain file.
    """
    with _told(path):
        if not path.exists():
            raise InvalidSubmission(f"{path} is not there")
        if path.name.endswith(_RESERVED) or path.stem.endswith(_RESERVED):
            raise InvalidSubmission(f"{path.name}: names that end in {_RESERVED} are the harness's own; rename it")
        parts = parts_of(path)
        for parse in FORMATS:
            if submission := parse(path, parts):
                return submission
    raise InvalidSubmission(
        f"{printable(path.name)[:100]} is no submission: expected a folder with submission.toml, a challenge package "
        "with model.tflite, a SavedModel folder, or a .onnx, .tflite, .pt2 or .keras file"
    )


def parts_of(path: Path) -> list[Part]:
    """Every file of a submission, in the order of their places; none is opened.

    Links to files below ``path`` count as files, those to folders below it as nothing more.

    Raises:
        InvalidSubmission: something is no plain file or folder, leads out, or exceeds a limit.
        OSError: something cannot be looked at.
    """
    whole, found, size = path.resolve(strict=True), list[Part](), 0
    for count, (entry, place) in enumerate(_below(path), 1):
        shown = "/".join((path.name, *place))
        if count > MAX_FILES:
            raise InvalidSubmission(f"{path.name} has more than {MAX_FILES} files and folders")
        if len(place) > MAX_DEPTH:
            raise InvalidSubmission(f"{shown} is deeper than {MAX_DEPTH} folders")
        status, real = _looked_at(entry, whole, shown)
        if stat.S_ISREG(status.st_mode):
            size += status.st_size
            found.append(Part(place, real))
        if size > MAX_BYTES:
            raise InvalidSubmission(f"{path.name} has more than {MAX_BYTES >> 20} MiB")
    return sorted(found)


def _below(path: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """What is below a folder with its place there, folders before what they hold; a file itself."""
    if not path.is_dir():
        yield path, ()
        return
    waiting: list[tuple[Path, tuple[str, ...]]] = [(path, ())]
    while waiting:
        folder, place = waiting.pop()
        with os.scandir(folder) as entries:  # step by step: there may be millions
            for entry in entries:
                below = Path(entry.path), (*place, entry.name)
                yield below
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(below)


def _looked_at(path: Path, whole: Path, shown: str) -> tuple[os.stat_result, Path]:
    """What it is and where it really lies.

    Raises:
        InvalidSubmission: it may not be there.
    """
    if not path.name.isprintable():
        raise InvalidSubmission(f"{shown}: its name has characters that do not print, or is not UTF-8")
    try:
        real = path.resolve(strict=True)
        status = real.lstat()
    except (OSError, RuntimeError):
        raise InvalidSubmission(f"{shown} cannot be followed or looked at; a link in it may lead nowhere") from None
    if not real.is_relative_to(whole):
        raise InvalidSubmission(f"{shown} is a link that leads out of the submission; put a copy in its place")
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise InvalidSubmission(f"{shown} is no plain file or folder, but {_SPECIAL.get(stat.S_IFMT(status.st_mode))}")
    return status, real


_SPECIAL = {
    stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


Parts = Sequence[Part]


def _from_manifest(path: Path, parts: Parts) -> Submission | None:
    toml = path / "submission.toml"
    if not (toml.is_file() or (path / "model.py").is_file()):
        return None
    manifest = _manifest(toml) if toml.is_file() else Manifest()
    model = _inside(path, manifest.model)
    kind = _KINDS.get(model.suffix)
    if kind is None or not (model.is_dir() if kind == "saved_model" else model.is_file()):
        raise InvalidSubmission(f"{path.name}: model = {manifest.model!r} is not there or of no known format")
    dynamic = model.with_name("model_none.tflite")
    return Submission(
        name=path.name,
        title=_line(manifest.name or "") or path.name,
        kind=kind,
        path=str(model),
        root=str(path),
        fingerprint=_fingerprint(path, parts),
        authors=_authors(manifest),
        description=_cleaned(manifest.description),
        factory=manifest.factory,
        arguments=manifest.arguments,
        weights=_weights(path, manifest),
        learned=str(path / LEARNED_FILE) if kind == "torch" and (path / LEARNED_FILE).is_file() else None,
        dynamic_path=str(dynamic) if kind == "tflite" and dynamic.is_file() else None,
        train=manifest.train,
    )


def _authors(manifest: Manifest) -> tuple[str, ...]:
    authors = (manifest.authors,) if isinstance(manifest.authors, str) else manifest.authors
    return tuple(filter(None, map(_line, authors)))


def _line(text: str) -> str:
    """One line of what prints."""
    return " ".join(_cleaned(text).split())


def _cleaned(text: str) -> str:
    """The text without control characters and invisible ones; lines, tabs and spaces stay."""
    kept = (c for c in text if c.isprintable() or c in "\n\t" or c in _JOINERS or unicodedata.category(c) == "Zs")
    return "".join(kept)


def _manifest(toml: Path) -> Manifest:
    where = f"{toml.parent.name}/submission.toml"
    if toml.stat().st_size > MAX_MANIFEST_BYTES:
        raise InvalidSubmission(f"{where} has more than {MAX_MANIFEST_BYTES >> 10} KiB")
    try:
        written = msgspec.toml.decode(_short_keys(toml.read_bytes().decode()))
        if isinstance(written.get("train"), dict):
            written["train"] = with_preset(written["train"])
        _require_shallow(written)
        manifest = msgspec.convert(written, Manifest)
        msgspec.json.encode(manifest)  # stages get it so; JSON has no integers of more than 64 bits
    except RecursionError:
        raise InvalidSubmission(f"{where}: its values are nested too deeply") from None
    except OverflowError:
        raise InvalidSubmission(f"{where}: an integer is out of range") from None
    except (msgspec.DecodeError, ValueError) as error:
        hint = _choices(str(error)) or unknown_field_hint(str(error), Manifest, TrainRecipe)
        raise InvalidSubmission(f"{where}: {error}{hint}") from None
    if manifest.train is not None and manifest.train.start is not None:
        _inside(toml.parent, manifest.train.start)
    return manifest


def _short_keys(text: str) -> str:
    dots = 0
    for token in _TOKENS.finditer(text):
        if token.lastgroup == "dot":
            dots += 1
        elif token.lastgroup in ("lines", "other"):
            dots = 0
        if dots >= _KEY_PARTS:
            raise ValueError(f"a key has more than {_KEY_PARTS} parts")
    return text


def _require_shallow(value: Any, depth: int = 0) -> None:
    if depth > _MAX_NESTING:
        raise RecursionError
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _require_shallow(inner, depth + 1)


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


def _from_package(path: Path, parts: Parts) -> Submission | None:
    model, dynamic = path / "model.tflite", path / "model_none.tflite"
    if not model.is_file():
        return None
    return Submission(
        name=path.name, title=path.name, kind="tflite", path=str(model), root=str(path),
        fingerprint=_fingerprint(path, parts), dynamic_path=str(dynamic) if dynamic.is_file() else None,
    )  # fmt: skip


def _from_saved_model(path: Path, parts: Parts) -> Submission | None:
    if not (path / "saved_model.pb").is_file():
        return None
    return Submission(
        name=path.name, title=path.name, kind="saved_model", path=str(path), fingerprint=_fingerprint(path, parts)
    )


def _from_file(path: Path, parts: Parts) -> Submission | None:
    kind = _KINDS.get(path.suffix)
    if kind in (None, "torch", "saved_model") or not path.is_file():
        return None
    return Submission(name=path.stem, title=path.stem, kind=kind, path=str(path), fingerprint=_fingerprint(path, parts))


FORMATS: tuple[Callable[[Path, Parts], Submission | None], ...] = (
    _from_manifest, _from_package, _from_saved_model, _from_file,
)  # fmt: skip


def _inside(folder: Path, relative: str) -> Path:
    path, whole = (folder / relative).resolve(), folder.resolve()
    if not path.is_relative_to(whole):
        raise InvalidSubmission(f"{folder.name}: {relative!r} leaves the submission's folder; copy the file into it")
    if _CACHE in path.relative_to(whole).parts:
        raise InvalidSubmission(f"{folder.name}: {relative!r} lies in {_CACHE}; move it out of there")
    return path


def _fingerprint(path: Path, parts: Parts) -> str:
    """SHA-256 over places, which begin with the submission's own name, and bytes."""
    digest = hashlib.sha256()
    for place, real in parts:
        if _CACHE not in place:
            digest.update("/".join((path.name, *place)).encode() + b"\0")
            _hash_into(digest, real)
    return digest.hexdigest()


def _hash_into(digest: "hashlib._Hash", path: Path) -> None:
    """Take in a plain file's bytes, up to the limit, in case it grows; what else has come in its place is refused."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise InvalidSubmission(f"{path.name} is no plain file")
        left = MAX_BYTES
        while left > 0 and (chunk := file.read(_CHUNK)):
            digest.update(chunk)
            left -= len(chunk)
