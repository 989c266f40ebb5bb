"""Hostile and broken submissions: some hundreds of makers, by family, and what is to come of each.

Code that runs, and reaches what it should not, writes below ``Trap.marker``, talks to ``Trap.port``, or raises words with
``HARM`` in them; all three are for the caller to look for. Code that reaches nothing raises, so that its row is quick.
"""
# ruff: noqa: E501  # an attack a line

import io
import os
import pickle
import random
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import chdir, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

HARM = "HARM-WAS-DONE"
HEALTHY = ("healthy", "healthy_torch")  #: names of the submissions that stand beside these

#: ``rejected`` by discover; ``failed`` at a stage; ``either``; ``any``, if it may also come out as a healthy one does.
Outcome = Literal["rejected", "failed", "either", "any"]


@dataclass(frozen=True)
class Trap:
    """What a hostile submission is after."""

    marker: Path  #: folder that only the caller may write
    port: int = 9  #: of 127.0.0.1, TCP and UDP
    secrets: Path = Path("/nonexistent")  #: folder of files, and of scored HR images in ``HR``
    submissions: Path = Path("/nonexistent")
    out: Path = Path("/nonexistent")


Maker = Callable[[Path, Trap], None]


@dataclass(frozen=True)
class Hostile:
    """One of them: ``make`` is called with the folder of submissions, where it makes ``entry`` and nothing else."""

    entry: str
    make: Maker
    outcome: Outcome = "rejected"
    words: str = ""  #: that its reason has

    @property
    def rows(self) -> tuple[str, ...]:
        """Names that its row may have: a file's name loses its ending when it is read as a submission."""
        shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in self.entry)
        return (shown,) if self.outcome == "rejected" else (shown, Path(shown).stem)


# How they are laid down


def _file(root: Path, _trap: Trap, *, entry: str, data: bytes | Callable[[], bytes]) -> None:
    (root / entry).write_bytes(data if isinstance(data, bytes) else data())


def file(entry: str, data: bytes | Callable[[], bytes], outcome: Outcome, words: str = "") -> Hostile:
    """A single file."""
    return Hostile(entry, partial(_file, entry=entry, data=data), outcome, words)


def _bytes_of(content: Any, trap: Trap) -> bytes:
    if isinstance(content, Armed):
        content = content.code(trap)
    made = content() if callable(content) else content
    return made.encode() if isinstance(made, str) else made


def _folder(root: Path, trap: Trap, *, entry: str, files: dict[str, Any], more: Callable[[Path], None] | None) -> None:
    (root / entry).mkdir()
    for name, content in files.items():
        path = root / entry / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_bytes_of(content, trap))
    if more is not None:
        more(root / entry)


def folder(
    entry: str, files: dict[str, Any], outcome: Outcome, words: str = "", more: Callable[[Path], None] | None = None
) -> Hostile:
    """A folder of files; contents are bytes, text, what makes bytes, or :class:`Armed`; ``more`` is done to it last."""
    return Hostile(entry, partial(_folder, entry=entry, files=files, more=more), outcome, words)


@dataclass(frozen=True)
class Armed:
    """Python of a torch submission that makes ``attack`` at one of three places, and then ends, or goes on."""

    attack: str
    place: Literal["import", "init", "forward"] = "import"
    goes_on: bool = False

    def code(self, trap: Trap) -> str:
        """The module's text."""
        lines = [*self.attack.strip("\n").splitlines(), *([] if self.goes_on else ['raise RuntimeError("contained")'])]
        body = "\n".join(f"    {line}" for line in lines)
        calls = {name: "attack()" if name == self.place else "pass" for name in ("import", "init", "forward")}
        return _MODULE.format(
            marker=str(trap.marker), port=trap.port, secrets=str(trap.secrets), submissions=str(trap.submissions),
            out=str(trap.out), harm=HARM, body=body, **{f"at_{name}": call for name, call in calls.items()},
        )  # fmt: skip


_MODULE = """
import atexit, ctypes, glob, json, mmap, os, shutil, signal, socket, subprocess, sys, threading, time
from pathlib import Path
import torch
from torch import nn

MARKER, PORT, SECRETS, SUBMISSIONS, OUT = Path({marker!r}), {port}, Path({secrets!r}), Path({submissions!r}), Path({out!r})

def harm(what):
    raise RuntimeError("{harm}: " + repr(what)[:200])

def attack():
{body}

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Conv2d(3, 27, 3, padding=1)
        self.shuffle = nn.PixelShuffle(3)
        {at_init}

    def forward(self, x):
        {at_forward}
        return self.shuffle(self.last(x) + x.repeat_interleave(9, 1)).clamp(0.0, 255.0)

{at_import}
"""

#: A torch network, (N, 3, H, W) to (N, 3, 3H, 3W) float RGB.
NETWORK = """
import torch
from torch import nn

class Network(nn.Module):
    def __init__(self, features=4):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, features, 3, padding=1)
        self.last = nn.Conv2d(features, 27, 3, padding=1)
        self.shuffle = nn.PixelShuffle(3)

    def forward(self, x):
        y = torch.relu(self.first(x))
        return self.shuffle(self.last(y) + x.repeat_interleave(9, 1)).clamp(0.0, 255.0)
"""

# Healthy files to break; made once, in processes of their own, for exporting changes the process that it runs in

_TORCH = """
import torch
from model import Network
from safetensors.torch import save_file
network = Network().eval()
frame, small = torch.rand(1, 3, 360, 640) * 255, torch.rand(1, 3, 48, 64) * 255
torch.onnx.export(network, (frame,), "net.onnx", dynamo=False, opset_version=17, input_names=["x"], output_names=["y"])
torch.export.save(torch.export.export(network, (small,)), "net.pt2")
torch.save(network.state_dict(), "weights.pt")
save_file(network.state_dict(), "weights.safetensors")
"""
_KERAS = """
import sys
sys.path.insert(0, TESTS)
from pathlib import Path
import tensorflow as tf, tf_keras as keras
import tiny
tiny.write(Path("net.tflite"), tiny.upscaler)
x = keras.Input((None, None, 3))
y = keras.layers.Conv2D(27, 3, padding="same")(x)
y = keras.layers.ReLU(255.0)(tf.nn.depth_to_space(y + tf.concat([x] * 9, -1), 3))
model = keras.Model(x, y)
model.save("net.keras")
tf.saved_model.save(model, "saved")
"""


@cache
def bases() -> dict[str, bytes]:
    """Healthy files by name; those of a SavedModel begin with ``saved/``."""
    with tempfile.TemporaryDirectory() as name:
        at = Path(name)
        (at / "model.py").write_text(NETWORK)
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "TF_USE_LEGACY_KERAS": "1"}
        for code in (_TORCH, _KERAS.replace("TESTS", repr(str(Path(__file__).parent)))):
            done = subprocess.run(
                [sys.executable, "-c", code],
                cwd=at,
                env=os.environ | quiet,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
        return {str(path.relative_to(at)): path.read_bytes() for path in at.rglob("*") if path.is_file()}


def healthy(root: Path) -> None:
    """The two that stand beside them."""
    (root / f"{HEALTHY[0]}.tflite").write_bytes(bases()["net.tflite"])
    (root / HEALTHY[1]).mkdir()
    (root / HEALTHY[1] / "model.py").write_text(NETWORK)
    (root / HEALTHY[1] / "submission.toml").write_text('authors = ["A", "B"]\n')
    (root / HEALTHY[1] / "weights.safetensors").write_bytes(bases()["weights.safetensors"])


# How bytes are broken


def cut(name: str, share: float) -> bytes:
    """The first part of it."""
    data = bases()[name]
    return data[: int(len(data) * share)]


def flipped(name: str, seed: int, bits: int = 32) -> bytes:
    """Some bits turned over."""
    data, rng = bytearray(bases()[name]), random.Random(seed)
    for _ in range(bits):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def zeroed(name: str, seed: int) -> bytes:
    """A tenth of it without content."""
    data, rng = bytearray(bases()[name]), random.Random(seed)
    start, length = rng.randrange(len(data)), len(data) // 10
    data[start : start + length] = bytes(len(data[start : start + length]))
    return bytes(data)


def garbage(seed: int, size: int = 4096) -> bytes:
    """Noise."""
    return random.Random(seed).randbytes(size)


def bomb(*names: str, size: int = 3 << 30) -> bytes:
    """A zip archive of a few megabytes, each file of which is 3 GiB of zeros."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in names:
            with archive.open(name, "w", force_zip64=True) as inner:
                block = bytes(16 << 20)
                for _ in range(size // len(block)):
                    inner.write(block)
    return made.getvalue()


def leading_out(name: str, target: str) -> bytes:
    """The healthy archive with one more file, whose name leads out of wherever it is unpacked."""
    made = io.BytesIO(bases()[name])
    with zipfile.ZipFile(made, "a") as archive:
        for up in ("../" * 12, "/"):
            archive.writestr(up + target.lstrip("/"), b"planted")
    return made.getvalue()


def replaced(name: str, inner: str, data: bytes) -> bytes:
    """The healthy archive with other bytes for those of its files whose name ends so."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(bases()[name])) as old, zipfile.ZipFile(made, "w") as new:
        for each in old.namelist():
            new.writestr(each, data if each.endswith(inner) else old.read(each))
    return made.getvalue()


class _Calls:
    """Unpickles by calling something."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


def _pickled(root: Path, trap: Trap, *, entry: str, target: str, how: str) -> None:
    """A pickle, bare or in torch's archive, that makes a file if it is loaded."""
    code = f"open({str(trap.marker / 'pickle')!r}, 'w').close()"
    call = _Calls(os.system, f"touch {trap.marker}/pickle") if how == "system" else _Calls(exec, code)
    data = pickle.dumps({"first.weight": call} if how == "inner" else call)
    (root / entry).mkdir()
    (root / entry / "model.py").write_text(NETWORK)
    archived = target.endswith((".pt", ".pth")) and how != "bare"
    (root / entry / target).write_bytes(replaced("weights.pt", "data.pkl", data) if archived else data)


def _program(root: Path, trap: Trap, *, entry: str, inner: str) -> None:
    """A .pt2 whose archive holds a pickle that makes a file if it is loaded."""
    data = pickle.dumps(_Calls(os.system, f"touch {trap.marker}/program"))
    (root / entry).write_bytes(replaced("net.pt2", inner, data))


# Families that discover turns down

_MODEL = {"model.py": NETWORK}

_NAMES = [
    "new\nline", "car\rriage", "tab\ttab", "bell\x07", "back\x08\x08\x08", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07",
    "delete\x7f", "\x85next", "no\xa0break", "zero\u200bwidth", "join\u2060er", "line\u2028", "paragraph\u2029",
    "right\u202eot-left", "\u2066isolate", "soft\xadhyphen", "bom\ufeff", "private\ue000", "\uffff", "row\n| 1 | x |",
    "x\n\nHTTP 200 OK", "tag\U000e0041", "\x01\x02\x03",
]  # fmt: skip
_NO_UTF8 = [
    b"caf\xe9",
    b"\xff\xfe",
    b"a\x80b",
    b"\xed\xa0\x80",
    b"\xc0\xafetc",
    b"\xf5\x80\x80\x80",
    b"x\xe2\x82",
    b"\xa0",
]
_PRINTED = [
    "a..%2f..%2fetc%2fpasswd", "%2e%2e%2f", "%00", "a\\..\\..\\windows", "C:\\autoexec", "~root", "$(touch pwned)", "`id`",
    "; rm -rf x", "| id", "&& id", "-rf", "--out", "<script>alert(1)<", "<img src=x onerror=alert(1)>", "' or 1=1 --",
    '" onload="alert(1)', "{{7*7}}", "${7*7}", "{0.__class__}", "%s%n%x", "=cmd|'C calc'!A0", "@SUM(1)", "a,b\"c",
    "con", "NUL", "x" * 250, "\N{CJK UNIFIED IDEOGRAPH-4E00}" * 80, "e" + "\N{COMBINING ACUTE ACCENT}" * 100, "*", "?",
    "index.html", "results.json", "javascript:alert(1)", "data", "work", "compare.on-cpu", "a b  c", "\u05d0\u05d1 12",
]  # fmt: skip


def _names() -> Iterator[Hostile]:
    for number, name in enumerate(_NAMES):
        if number % 2:
            yield folder(name, _MODEL, "rejected", "do not print")
        else:
            yield file(f"{name}.tflite", b"x", "rejected", "do not print")
    for raw in _NO_UTF8:
        yield file(os.fsdecode(raw + b".onnx"), b"x", "rejected", "not UTF-8")
    for name in _PRINTED:
        yield folder(name, {"readme.txt": "x"}, "rejected", "is no submission")
    for raw in (b"in\xffner", b"line\nbreak", b"\x1b[2J", "r\u202el".encode()):
        yield folder(f"holds {raw!r}".replace("\\", "_"), {**_MODEL, os.fsdecode(raw): b""}, "rejected", "do not print")


_MANIFESTS: dict[str, tuple[str | bytes, str]] = {
    "nothing but noise": (garbage(1, 2000), "submission.toml"),
    "not utf-8": (b"name = '\xff\xfe'", "utf-8"),
    "utf-16": ("name = 'x'".encode("utf-16"), "utf-8"),
    "nul": (b"name = 'a\x00b'", "submission.toml"),
    "bare carriage return": (b"name = 'a\rb'", "submission.toml"),
    "bom": (b"\xef\xbb\xbfname = 'x'", "submission.toml"),
    "json": ('{"name": "x"}', "submission.toml"),
    "yaml": ("name: x\nmodel: y", "submission.toml"),
    "twice": ("name = 'a'\nname = 'b'", "submission.toml"),
    "table twice": ("[train]\nsteps = 1\n[train]\nsteps = 2", "submission.toml"),
    "unclosed": ("name = 'a", "submission.toml"),
    "unclosed array": ("authors = [", "submission.toml"),
    "deep arrays": ("arguments = {a = " + "[" * 5000 + "]" * 5000 + "}", "nested too deeply"),
    "deep tables": ("arguments = " + "{a = " * 3000 + "1" + "}" * 3000, "nested too deeply"),
    "deep enough": ("arguments = {a = " + "[" * 40 + "]" * 40 + "}", "nested too deeply"),
    "long key": ("arguments." + "a." * 100_000 + "a = 1", "more than 8 parts"),
    "long quoted key": ('"\\"".' * 20_000 + "a = 1", "more than 8 parts"),
    "long header": ("[" + "a . " * 20_000 + "a]", "more than 8 parts"),
    "huge integer": ("arguments = {a = " + "9" * 5000 + "}", "limit"),
    "huge steps": ("[train]\nsteps = " + "9" * 5000, "limit"),
    "huge": ("description = '" + "x" * (300 << 10) + "'", "KiB"),
    "number for a name": ("name = 3", "Expected `str"),
    "array for a name": ("name = ['a']", "Expected `str"),
    "table for a model": ("model = {a = 1}", "Expected `str"),
    "date for a model": ("model = 2020-01-01", "Expected `str"),
    "number for arguments": ("arguments = 3", "Expected `object"),
    "array for arguments": ("arguments = [1]", "Expected `object"),
    "numbers for authors": ("authors = [1, 2]", "Expected `str"),
    "bool for authors": ("authors = true", "authors"),
    "long name": (f"name = '{'x' * 201}'", "200"),
    "long author": (f"authors = ['{'x' * 201}']", "200"),
    "one long author": (f"authors = '{'x' * 201}'", "200"),
    "many authors": ("authors = [" + "'x', " * 101 + "]", "100"),
    "long description": (f"description = '{'x' * 10_001}'", "10000"),
    "long factory": (f"factory = '{'x' * 201}'", "200"),
    "long model": (f"model = '{'x' * 1001}'", "1000"),
    "unknown key": ("nmae = 'x'", "did you mean 'name'"),
    "unknown key with lines": ('"a\\nb\\u001b[2J" = 1', "unknown field"),
    "very long key": ("k" * 100_000 + " = 1", "unknown field"),
    "proto": ("__proto__ = {}", "unknown field"),
    "unknown preset": ("[train]\npreset = 'x'", "known are desk, paper"),
    "long preset": (f"[train]\npreset = '{'x' * 100_000}'", "preset"),
    "array of presets": ("[train]\npreset = [1]", "preset"),
    "no steps": ("[train]\nsteps = 0", "steps"),
    "negative steps": ("[train]\nsteps = -5", "steps"),
    "float steps": ("[train]\nsteps = 1.5", "steps"),
    "infinite batch": ("[train]\nbatch = inf", "batch"),
    "halving without steps": ("[train]\nschedule = 'halving'", "halve_every"),
    "text for train": ("train = 'x'", "Expected `object"),
    "text for qat": ("[train]\nqat = 'x'", "Expected `object"),
    "train twice over": ("[[train]]\nsteps = 1\n[[train]]\nsteps = 2", "Expected `object"),
    "start out": ("[train]\nstart = '../../etc/passwd'", "leaves the submission's folder"),
    "start at the root": ("[train]\nstart = '/etc/passwd'", "leaves the submission's folder"),
    "start at a device": ("[train]\nstart = '/dev/zero'", "leaves the submission's folder"),
    "start at nul": ('[train]\nstart = "a\\u0000"', "null byte"),
    "bad date": ("arguments = {a = 2020-13-45}", "submission.toml"),
    "empty model": ("model = ''", ""),
    "model is a folder": ("model = 'sub.onnx'", "is not there or of no known format"),
    "model is the folder": ("model = '.'\n[train]", ""),
    "unknown format": ("model = 'notes.txt'", "is not there or of no known format"),
}
_OUTWARD = (
    "../healthy.tflite", "../../../../../../etc/passwd.onnx", "/etc/passwd", "sub/../../x.onnx", "//etc/hostname", "..",
    "../healthy_torch/model.py", "/proc/self/mem", "/dev/stdin", "./././../healthy_torch/weights.safetensors",
)  # fmt: skip


def _manifests() -> Iterator[Hostile]:
    inner = {**_MODEL, "sub.onnx/inner": "x", "notes.txt": "x"}
    for name, (toml, words) in _MANIFESTS.items():
        outcome: Outcome = "rejected" if words else "failed"
        yield folder(f"toml {name}", {**inner, "submission.toml": toml}, outcome, words)
    for key in ("model", "weights"):
        for number, path in enumerate(_OUTWARD):
            toml = f"{key} = '{path}'"
            yield folder(f"{key} out {number}", {**inner, "submission.toml": toml}, "rejected", "leaves the submission")
        for what, path in (
            ("nul", "a\\u0000b"),
            ("cached", "__pycache__/x.onnx"),
            ("missing", "x.onnx"),
            ("long", "y" * 999),
        ):
            files = {**inner, "submission.toml": f'{key} = "{path}"', "__pycache__/x.onnx": "x"}
            yield folder(f"{key} {what}", files, "rejected")
    for seed in range(25):
        yield folder(f"toml fuzz {seed}", {"submission.toml": _mangled(seed)}, "rejected")


def _mangled(seed: int) -> bytes:
    """A manifest, for a folder that lacks the model, with some of its parts in other places."""
    rng = random.Random(seed)
    words = [
        "name", "=", "'x'", '"""', "'''", "[", "]", "[[", "]]", "{", "}", ".", ",", "\n", "#", "1", "-", "inf", "nan", "true",
        "0x", "1e999", "2020-01-01", "T", "train", "steps", "authors", "arguments", "\\u0000", "\\", '"', "\x00", "\xff", "qat",
    ]  # fmt: skip
    return " ".join(rng.choice(words) for _ in range(rng.randrange(3, 60))).encode("latin-1")


def _linked(root: Path, _trap: Trap, *, entry: str, place: str, target: str) -> None:
    _folder(root, _trap, entry=entry, files=_MODEL, more=None)
    path = root / entry / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _special(path: Path, what: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if what == "socket":
        with socket.socket(socket.AF_UNIX) as made, chdir(path.parent):  # its paths are short
            made.bind(path.name)
    elif what == "device":
        with suppress(OSError):  # root alone may
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
            return
        os.mkfifo(path)
    else:
        os.mkfifo(path)


def _links() -> Iterator[Hostile]:
    targets = (
        "/etc/passwd",
        "../healthy.tflite",
        "../healthy_torch/model.py",
        "nowhere",
        "/dev/zero",
        "/proc/self/environ",
    )
    places = (
        "model.py",
        "weights.safetensors",
        "submission.toml",
        "learned.safetensors",
        "weights.json",
        "extra",
        "__pycache__/x",
    )
    for number, (place, target) in enumerate((p, t) for p in places for t in targets[:: 1 if p == "extra" else 3]):
        deeper = target.replace("../", "../../") if "/" in place else target
        name = f"link {number}"
        yield Hostile(
            name, partial(_linked, entry=name, place=place, target=deeper), "rejected", place.rpartition("/")[2]
        )
    for number, target in enumerate(("/", "/proc", "..", "../healthy_torch", "/dev")):
        name = f"folder link {number}"
        yield Hostile(
            name,
            partial(_linked, entry=name, place="sub/more", target=target if target[0] == "/" else f"../{target}"),
            words="leads out",
        )
    yield Hostile("link loop", partial(_linked, entry="link loop", place="extra", target="extra"), words="extra")
    for number, (name, target) in enumerate(
        (("toplink{}.tflite", "/etc/passwd"), ("toplink{}", "/etc"), ("toplink{}", "/"), ("toplink{}", ".."), ("toplink{}", "."),
         ("toplink{}.onnx", "/dev/zero"), ("toplink{}.pt2", "gone"), ("toplink{0}", "toplink{0}"))
    ):  # fmt: skip
        entry = name.format(number)
        yield Hostile(entry, partial(_top_link, entry=entry, target=target.format(number)))
    for what, words in (("pipe", "a pipe"), ("socket", "a socket"), ("device", "no plain file")):
        for place in (
            "model.py",
            "submission.toml",
            "weights.pt",
            "sub/deep",
            "__pycache__/x",
            "model.tflite",
            "weights.json",
        ):
            name = f"{what} {place.replace('/', '_')}"
            yield Hostile(name, partial(_with_special, entry=name, place=place, what=what), words=words)
        for ending in (".tflite", ".onnx"):
            name = f"{what} itself{ending}"
            yield Hostile(name, partial(_top_special, entry=name, what=what), words=words)


def _top_link(root: Path, _trap: Trap, *, entry: str, target: str) -> None:
    (root / entry).symlink_to(target)


def _top_special(root: Path, _trap: Trap, *, entry: str, what: str) -> None:
    _special(root / entry, what)


def _with_special(root: Path, trap: Trap, *, entry: str, place: str, what: str) -> None:
    _folder(root, trap, entry=entry, files={} if place == "model.py" else _MODEL, more=None)
    _special(root / entry / place, what)


def _many(at: Path, count: int, folders: bool) -> None:
    at.mkdir(exist_ok=True)
    for number in range(count):
        path = at / f"f{number}"
        path.mkdir() if folders else path.touch()


def _deep(at: Path, depth: int) -> None:
    for _ in range(depth):
        at /= "d"
        at.mkdir()


def _sparse(at: Path, name: str, size: int) -> None:
    with (at / name).open("wb") as hollow:
        hollow.truncate(size)


def _sparse_ones(at: Path, count: int) -> None:
    for number in range(count):
        _sparse(at, f"{number}", 1 << 28)


def _sizes() -> Iterator[Hostile]:
    yield folder("many files", _MODEL, "rejected", "more than 1000 files", lambda at: _many(at, 10_000, False))
    yield folder("many folders", _MODEL, "rejected", "more than 1000 files", lambda at: _many(at, 1100, True))
    yield folder(
        "cached files", _MODEL, "rejected", "more than 1000", lambda at: _many(at / "__pycache__", 1100, False)
    )
    yield folder("deep", _MODEL, "rejected", "deeper than 16", lambda at: _deep(at, 17))
    yield folder("deeper", _MODEL, "rejected", "deeper than 16", lambda at: _deep(at, 200))
    for name in ("weights.safetensors", "extra.bin", "submission.toml"):
        yield folder(
            f"large {name}", _MODEL, "rejected", "more than 1024 MiB", lambda at, name=name: _sparse(at, name, 1 << 40)
        )
    yield folder("large together", _MODEL, "rejected", "more than 1024 MiB", lambda at: _sparse_ones(at, 5))
    for ending in ("tflite", "onnx", "keras", "pt2"):
        entry = f"hollow {ending}.{ending}"
        yield Hostile(entry, partial(_top_sparse, entry=entry), words="more than 1024 MiB")
    yield folder("empty folder", {}, "rejected", "is no submission")
    yield file("picture.png", b"\x89PNG", "rejected", "is no submission")
    yield file("model.py", NETWORK.encode(), "rejected", "is no submission")


def _top_sparse(root: Path, _trap: Trap, *, entry: str) -> None:
    _sparse(root, entry, 2 << 30)


def _impostors() -> Iterator[Hostile]:
    for name in ("healthy", "healthy.v2"):
        yield file(f"{name}.learn.onnx", b"x", "rejected", ".learn")
    alike = ("h\u0435althy", "he\u0430lthy", "hea\u0301lthy", "\uff48ealthy", "healthy\u3164"[:7] + "\u0300", "\N{MATHEMATICAL BOLD SMALL H}ealthy",
             "healthy_t\u043erch", "healthy_torc\u04bb")  # fmt: skip
    for name in alike:
        yield folder(name, _MODEL, "rejected", "named like 'healthy")
    yield file("healthy_torch.onnx", b"x", "rejected", "already named")
    for number, title in enumerate(("healthy", "Healthy_torch", "HEAL THY", "h\u0435althy", "\\u202ehealthy")):
        files = {"submission.toml": f'name = "{title}"', "model.py": "1 / 0"}
        yield folder(f"claims {number}", files, "failed", "division by zero")


# Families that a stage has to end


def _tables(change: Callable[[Any], None]) -> bytes:
    """The TFLite file with something changed in its tables, which nobody then looks after."""
    from mai_harness.tflite_graph.edit import packed, unpacked

    tables = unpacked(bases()["net.tflite"])
    change(tables)
    return packed(tables)


def _shape(tables: Any, shape: list[int]) -> None:
    for tensor in tables.subgraphs[0].tensors:
        tensor.shape, tensor.shapeSignature = shape[: len(tensor.shape)], None


def _of_input(tables: Any, shape: list[int]) -> None:
    graph = tables.subgraphs[0]
    graph.tensors[graph.inputs[0]].shape = shape


def _each_tensor(tables: Any, **fields: Any) -> None:
    for tensor in tables.subgraphs[0].tensors:
        for name, value in fields.items():
            setattr(tensor, name, value)


def _each_operator(tables: Any, **fields: Any) -> None:
    for operator in tables.subgraphs[0].operators:
        for name, value in fields.items():
            setattr(operator, name, value)


def _scales(tables: Any, value: float) -> None:
    for tensor in tables.subgraphs[0].tensors:
        if tensor.quantization is not None and tensor.quantization.scale is not None:
            tensor.quantization.scale = [value] * len(tensor.quantization.scale)


def _buffers(tables: Any, data: bytes) -> None:
    for buffer in tables.buffers:
        if buffer.data is not None and len(buffer.data):
            buffer.data = data


def _cycle(tables: Any) -> None:
    first, last = tables.subgraphs[0].operators[0], tables.subgraphs[0].operators[-1]
    first.inputs = [int(last.outputs[0]), *map(int, first.inputs[1:])]


def _repeated(tables: Any, count: int) -> None:
    graph = tables.subgraphs[0]
    graph.operators = [graph.operators[i % len(graph.operators)] for i in range(count)]


def _empty(tables: Any) -> None:
    tables.subgraphs[0].operators = []


def _no_graph(tables: Any) -> None:
    tables.subgraphs = []


def _many_graphs(tables: Any) -> None:
    tables.subgraphs = tables.subgraphs * 500


def _ends(tables: Any, inputs: list[int], outputs: list[int]) -> None:
    tables.subgraphs[0].inputs, tables.subgraphs[0].outputs = inputs, outputs


def _words(tables: Any, text: bytes) -> None:
    for tensor in tables.subgraphs[0].tensors:
        tensor.name = text
    tables.description = text


_EDITS: dict[str, tuple[Callable[[Any], None], Outcome]] = {
    "huge shapes": (lambda t: _shape(t, [2**31 - 1] * 4), "failed"),
    "negative shapes": (lambda t: _shape(t, [-5] * 4), "failed"),
    "empty shapes": (lambda t: _shape(t, [0] * 4), "failed"),
    "huge input": (lambda t: _of_input(t, [1, 2**20, 2**20, 3]), "failed"),
    "large input": (lambda t: _of_input(t, [1, 20000, 20000, 3]), "failed"),
    "negative input": (lambda t: _of_input(t, [1, -360, -640, 3]), "failed"),
    "flat input": (lambda t: _of_input(t, [360]), "failed"),
    "many axes": (lambda t: _of_input(t, [1] * 1000), "failed"),
    "buffers outside": (lambda t: _each_tensor(t, buffer=2**31), "failed"),
    "buffers exchanged": (lambda t: _each_tensor(t, buffer=1), "any"),
    "unknown type": (lambda t: _each_tensor(t, type=99), "failed"),
    "strings": (lambda t: _each_tensor(t, type=5), "failed"),
    "no quantisation": (lambda t: _each_tensor(t, quantization=None), "failed"),
    "variables": (lambda t: _each_tensor(t, isVariable=True), "any"),
    "operands outside": (lambda t: _each_operator(t, inputs=[10**6]), "failed"),
    "negative operands": (lambda t: _each_operator(t, inputs=[-7, -8, -9]), "failed"),
    "results outside": (lambda t: _each_operator(t, outputs=[10**6]), "failed"),
    "no operands": (lambda t: _each_operator(t, inputs=[], outputs=[]), "failed"),
    "many operands": (lambda t: _each_operator(t, inputs=[0] * 100_000), "failed"),
    "unknown operators": (lambda t: _each_operator(t, opcodeIndex=999), "failed"),
    "no options": (lambda t: _each_operator(t, builtinOptions=None), "any"),
    "custom options": (lambda t: _each_operator(t, customOptions=list(bytes(100))), "any"),
    "scale nan": (lambda t: _scales(t, float("nan")), "failed"),
    "scale infinite": (lambda t: _scales(t, float("inf")), "failed"),
    "scale zero": (lambda t: _scales(t, 0.0), "any"),
    "scale negative": (lambda t: _scales(t, -1.0), "any"),
    "scale tiny": (lambda t: _scales(t, 1e-38), "any"),
    "short buffers": (lambda t: _buffers(t, b"\0"), "failed"),
    "filled buffers": (lambda t: _buffers(t, b"\x7f" * 2916), "failed"),
    "cycle": (_cycle, "any"),
    "ten thousand operators": (lambda t: _repeated(t, 10_000), "any"),
    "no operators": (_empty, "any"),
    "no graph": (_no_graph, "failed"),
    "many graphs": (_many_graphs, "any"),
    "no ends": (lambda t: _ends(t, [], []), "failed"),
    "ends outside": (lambda t: _ends(t, [999], [999]), "failed"),
    "negative ends": (lambda t: _ends(t, [-1], [-1]), "failed"),
    "many ends": (lambda t: _ends(t, [0] * 1000, [1] * 1000), "any"),
    "input is output": (lambda t: _ends(t, [0], [0]), "failed"),
    "script": (lambda t: _words(t, b"<script>alert(1)</script>\x1b[31m\n\0\xff"), "any"),
    "long words": (lambda t: _words(t, b"w" * 200_000), "any"),
}  # fmt: skip


def _tflite() -> Iterator[Hostile]:
    yield from _broken("net.tflite", "tflite", cuts=7, flips=8, zeros=5)
    for name, (change, outcome) in _EDITS.items():
        yield file(f"tflite {name}.tflite", partial(_tables, change), outcome)
    package = {"model.tflite": lambda: bases()["net.tflite"], "model_none.tflite": garbage(5)}
    yield folder("tflite broken none", package, "failed")


def _broken(name: str, ending: str, cuts: int, flips: int, zeros: int) -> Iterator[Hostile]:
    """Single files of a format that are empty, noise, of another format, shortened, or changed here and there."""
    yield file(f"{ending} empty.{ending}", b"", "failed")
    yield file(f"{ending} noise.{ending}", garbage(2), "failed")
    yield file(f"{ending} zeros.{ending}", bytes(4096), "failed")
    yield file(f"{ending} other.{ending}", partial(_base, "model.py"), "failed")
    for i in range(cuts):
        yield file(f"{ending} cut {i}.{ending}", partial(cut, name, (i + 0.5) / cuts), "failed")
    for i in range(flips):
        yield file(f"{ending} flipped {i}.{ending}", partial(flipped, name, i, 4 << i % 4), "any")
    for i in range(zeros):
        yield file(f"{ending} zeroed {i}.{ending}", partial(zeroed, name, i), "any")


def _base(name: str) -> bytes:
    return bases()[name]


def _graph(nodes: Callable[[Any], list[Any]], shape: tuple[Any, ...] = (1, 3, 360, 640)) -> bytes:
    """An ONNX model from ``x`` to ``y``."""
    import onnx
    from onnx import helper

    kind = onnx.TensorProto.FLOAT
    ends = helper.make_tensor_value_info("x", kind, shape), helper.make_tensor_value_info("y", kind, None)
    graph = helper.make_graph(nodes(helper), "g", [ends[0]], [ends[1]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def _external(location: str) -> bytes:
    """Its weights lie in another file."""
    import onnx

    model = onnx.load_from_string(bases()["net.onnx"])
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in (("location", location), ("offset", "0")):
            tensor.external_data.add(key=key, value=value)
    return bytes(model.SerializeToString())


def _constant(helper: Any, name: str, values: list[int]) -> Any:
    return helper.make_node("Constant", [], [name], value=helper.make_tensor(name, 7, [len(values)], values))


def _many_nodes(helper: Any) -> list[Any]:
    return [helper.make_node("Relu", [f"t{i}" if i else "x"], [f"t{i + 1}"]) for i in range(10_000)] + [
        helper.make_node("Identity", ["t10000"], ["y"])
    ]


def _endless(helper: Any) -> list[Any]:
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Sin", ["v"], ["w"])], "b",
        [info("i", 7, []), info("go", 9, []), info("v", 1, None)], [info("on", 9, []), info("w", 1, None)],
    )  # fmt: skip
    return [
        helper.make_node("Constant", [], ["n"], value=helper.make_tensor("n", 7, [], [2**62])),
        helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", 9, [], [True])),
        helper.make_node("Loop", ["n", "c", "x"], ["y"], body=body),
    ]


_GRAPHS: dict[str, Callable[[Any], list[Any]]] = {
    "nothing": lambda _: [],
    "unknown operator": lambda h: [h.make_node("Conquer", ["x"], ["y"])],
    "other domain": lambda h: [h.make_node("Relu", ["x"], ["y"], domain="evil.example")],
    "same size": lambda h: [h.make_node("Relu", ["x"], ["y"])],
    "cycle": lambda h: [h.make_node("Relu", ["b"], ["a"]), h.make_node("Add", ["a", "x"], ["b"]), h.make_node("Relu", ["b"], ["y"])],
    "itself": lambda h: [h.make_node("Add", ["y", "x"], ["y"])],
    "twice named": lambda h: [h.make_node("Relu", ["x"], ["y"]), h.make_node("Relu", ["x"], ["y"])],
    "ten thousand": _many_nodes,
    "loop": _endless,
    "huge constant": lambda h: [_constant(h, "s", [1, 3, 10**6, 10**6]), h.make_node("ConstantOfShape", ["s"], ["y"])],
    "huge tile": lambda h: [_constant(h, "s", [1, 1, 4000, 4000]), h.make_node("Tile", ["x", "s"], ["y"])],
    "negative shape": lambda h: [_constant(h, "s", [-5, 3, -7]), h.make_node("Reshape", ["x", "s"], ["y"])],
    "huge padding": lambda h: [_constant(h, "s", [0, 0, 2**40, 0, 0, 0, 0, 0]), h.make_node("Pad", ["x", "s"], ["y"])],
    "wrong shuffle": lambda h: [h.make_node("DepthToSpace", ["x"], ["y"], blocksize=3)],
    "zero block": lambda h: [h.make_node("DepthToSpace", ["x"], ["y"], blocksize=0)],
    "not finite": lambda h: [h.make_node("Log", ["x"], ["l"]), h.make_node("Resize", ["l", "", "k"], ["y"], mode="nearest")],
    "missing operand": lambda h: [h.make_node("Add", ["x", "never"], ["y"])],
    "hostile words": lambda h: [h.make_node("Relu", ["x"], ["y"], name="<script>\x1b[2J\n../../x")],
}  # fmt: skip


def _onnx() -> Iterator[Hostile]:
    yield from _broken("net.onnx", "onnx", cuts=6, flips=6, zeros=4)
    for name, nodes in _GRAPHS.items():
        yield file(f"onnx {name}.onnx", partial(_graph, nodes), "failed")
    for name, shape in {
        "huge": (2**31, 3, 2**31, 2**31),
        "negative": (-1, -3, -360, -640),
        "flat": (3,),
        "none": (),
    }.items():
        yield file(f"onnx {name} input.onnx", partial(_graph, _GRAPHS["same size"], shape), "failed")
    for number, location in enumerate(
        ("../../../../../../etc/passwd", "/etc/passwd", "../healthy.tflite", "nowhere.bin", "/dev/zero", "")
    ):
        yield file(f"onnx external {number}.onnx", partial(_external, location), "failed")


def _header(text: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _state(change: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
    """Other weights of the healthy network."""
    from safetensors.numpy import load, save

    return save(change(load(bases()["weights.safetensors"])))


def _filled(state: dict[str, Any], value: float) -> dict[str, Any]:
    return {name: array * 0 + value for name, array in state.items()}


_NET = {"model.py": NETWORK}
_HEADERS = {
    "longer": _header(b"{}", 2**40), "longest": _header(b"{}", 2**64 - 1), "negative": _header(b"{}", 2**63), "shorter": _header(b"{}", 0),
    "nothing": _header(b"{}"), "no json": _header(b"[[[[[["), "deep": _header(b"[" * 100_000),
    "outside": _header(b'{"first.weight":{"dtype":"F32","shape":[4,3,3,3],"data_offsets":[0,999999999]}}'),
    "backwards": _header(b'{"first.weight":{"dtype":"F32","shape":[4,3,3,3],"data_offsets":[432,0]}}', data=bytes(432)),
    "huge shape": _header(b'{"first.weight":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}'),
    "negative shape": _header(b'{"first.weight":{"dtype":"F32","shape":[-4,3],"data_offsets":[0,48]}}', data=bytes(48)),
    "unknown type": _header(b'{"first.weight":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}', data=bytes(4)),
}  # fmt: skip


def _weights() -> Iterator[Hostile]:
    def with_(name: str, data: Any, outcome: Outcome = "failed", target: str = "weights.safetensors") -> Hostile:
        return folder(name, {**_NET, target: data}, outcome)

    for name, data in _HEADERS.items():
        yield with_(f"weights header {name}", data)
    for name, data in (("empty", b""), ("noise", garbage(3)), ("pickle", pickle.dumps({}))):
        yield with_(f"weights {name}", data)
    for i in range(4):
        yield with_(f"weights cut {i}", partial(cut, "weights.safetensors", (i + 0.5) / 4))
    for i in range(3):
        yield with_(f"weights flipped {i}", partial(flipped, "weights.safetensors", i, 200), "any")
    for value in (float("nan"), float("inf"), -1e38):
        yield with_(f"weights of {value}", partial(_state, partial(_filled, value=value)), "any")
    yield with_("weights of other shapes", partial(_state, lambda s: {k: v[..., None] for k, v in s.items()}))
    yield with_("weights of other names", partial(_state, lambda s: {f"x{k}": v for k, v in s.items()}))
    yield with_("weights of doubles", partial(_state, lambda s: {k: v.astype("float64") for k, v in s.items()}), "any")
    for i in range(3):
        yield with_(f"pt cut {i}", partial(cut, "weights.pt", (i + 0.5) / 3), target="weights.pt")
    yield with_("pt flipped", partial(flipped, "weights.pt", 0, 300), "any", target="weights.pt")
    yield with_("pt bomb", partial(bomb, "archive/data.pkl", "archive/data/0"), target="weights.pt")
    yield with_("pt no dict", partial(replaced, "weights.pt", "data.pkl", pickle.dumps([1, 2])), target="weights.pt")
    for target in ("weights.pt", "weights.pth"):
        for how in ("system", "exec", "inner", "bare"):
            name = f"pickle {how} {target[8:]}"
            yield Hostile(name, partial(_pickled, entry=name, target=target, how=how), "failed")
    for name, data in (
        ("deep", "[" * 100_000),
        ("noise", garbage(4)),
        ("lies", '{"command": "x", "machine": 3}'),
        ("huge", "1" * (8 << 20)),
    ):
        files = {"model.py": "1 / 0", "weights.json": data, "weights.safetensors": b"x"}
        yield folder(f"card {name}", files, "failed", "division by zero")


def _archives() -> Iterator[Hostile]:
    yield from _broken("net.pt2", "pt2", cuts=3, flips=4, zeros=2)
    yield from _broken("net.keras", "keras", cuts=3, flips=4, zeros=2)
    yield file("pt2 bomb.pt2", partial(bomb, "net/archive_format", "net/version", "net/models/model.json"), "failed")
    yield file("keras bomb.keras", partial(bomb, "metadata.json", "config.json", "model.weights.h5"), "failed")
    for ending in ("pt2", "keras"):
        name = f"{ending} leading out.{ending}"
        yield Hostile(name, partial(_leading, entry=name, base=f"net.{ending}"), "any")
    for number, inner in enumerate((".pt", ".json", "version")):
        name = f"pt2 pickle {number}.pt2"
        yield Hostile(name, partial(_program, entry=name, inner=inner), "either" if number else "any")
    for name, text in {
        "no version": "{}",
        "list": "[]",
        "version of lists": '{"keras_version": []}',
        "deep": "[" * 100_000,
        "keras 9": '{"keras_version": "9.9"}',
    }.items():
        yield file(
            f"keras {name}.keras",
            partial(replaced, "net.keras", "metadata.json", text.encode()),
            "any" if name == "keras 9" else "failed",
        )
    for name, text in {"empty": "{}", "deep": "[" * 100_000, "module": '{"module":"os","class_name":"system","config":{"command":"touch pwned"}}',
                       "lambda": '{"module":"keras.layers","class_name":"Lambda","config":{"function":["4wEAAAA=",null,null]}}'}.items():  # fmt: skip
        yield file(f"keras config {name}.keras", partial(replaced, "net.keras", "config.json", text.encode()), "failed")
    yield from _saved_models()


def _leading(root: Path, trap: Trap, *, entry: str, base: str) -> None:
    (root / entry).write_bytes(leading_out(base, f"{trap.marker}/unpacked"))


def _saved_models() -> Iterator[Hostile]:
    changes: dict[str, tuple[str, Callable[[], bytes], Outcome]] = {
        "empty": ("saved_model.pb", lambda: b"", "failed"),
        "noise": ("saved_model.pb", partial(garbage, 6), "failed"),
        "no index": ("variables/variables.index", lambda: b"", "failed"),
        "noise index": ("variables/variables.index", partial(garbage, 7), "failed"),
        "no data": ("variables/variables.data-00000-of-00001", lambda: b"", "failed"),
    }
    for i in range(3):
        changes[f"cut {i}"] = ("saved_model.pb", partial(cut, "saved/saved_model.pb", (i + 0.5) / 3), "failed")
        changes[f"flipped {i}"] = ("saved_model.pb", partial(flipped, "saved/saved_model.pb", i, 200), "any")
    for name, (inner, data, outcome) in changes.items():
        entry = f"saved model {name}"
        yield Hostile(entry, partial(_saved, entry=entry, inner=inner, data=data), outcome)


def _saved(root: Path, trap: Trap, *, entry: str, inner: str, data: Callable[[], bytes]) -> None:
    files = {name[6:]: content for name, content in bases().items() if name.startswith("saved/")}
    _folder(root, trap, entry=entry, files={**files, inner: data}, more=None)


# Code that attacks. What it reaches it tells by harm(), by a file below MARKER, or over PORT.

_ATTACKS: dict[str, str] = {
    "fork bomb": "while True:\n    os.fork()",
    "processes": "many = [subprocess.Popen(['sleep', '600']) for _ in range(2000)]",
    "threads": "for _ in range(20000):\n    threading.Thread(target=time.sleep, args=(600,)).start()",
    "endless": "while True: pass",
    "sleep": "time.sleep(10**6)",
    "deaf": "for s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: time.sleep(1)",
    "100 GB": "block = bytearray(100 << 30)",
    "memory": "kept = []\nwhile True: kept.append(os.urandom(64 << 20))",
    "mapped": "m = mmap.mmap(-1, 40 << 30)\nfor i in range(0, 40 << 30, 4096): m[i] = 1",
    "tensor": "torch.ones(10**11)",
    "flood": "while True: os.write(1, b'flood ' * 10000)",
    "errors": "while True: os.write(2, b'x' * 100000)",
    "disk": "with open('fill', 'wb') as f:\n    for _ in range(40000): f.write(bytes(1 << 20))",
    "files": "os.mkdir('d')\nfor i in range(200000): open(f'd/{i}', 'w').close()",
    "recursion": "sys.setrecursionlimit(10**9)\ndef f(x): return f(x) + 1\nf(0)",
    "exit": "os._exit(0)",
    "exit 3": "sys.exit(3)",
    "exit words": "sys.exit('<script>bye</script>')",
    "abort": "os.abort()",
    "segfault": "ctypes.string_at(0)",
    "kill self": "os.kill(os.getpid(), signal.SIGKILL)",
    "kill parent": "os.kill(os.getppid(), signal.SIGKILL)",
    "kill all": "os.kill(-1, signal.SIGKILL)",
    "kill group": "os.killpg(0, signal.SIGKILL)",
    "interrupt": "raise KeyboardInterrupt",
    "generator exit": "raise GeneratorExit",
    "base exception": "class Odd(BaseException): pass\nraise Odd('odd')",
    "hostile words": "raise ValueError('<script>alert(1)</script>\\x1b[31m\\u202e' + 'x' * 100000)",
    "hostile exception": "class Bad(Exception):\n    def __str__(self): raise ValueError('no')\nraise Bad",
    "endless exception": "class Bad(Exception):\n    def __str__(self):\n        while True: pass\nraise Bad",
    "no words": "raise ValueError",
    "shadow": "harm(open('/etc/shadow').read())",
    "init": "if b'hush' in open('/proc/1/environ', 'rb').read(): harm('environ')",
    "environ": "for p in glob.glob('/proc/*/environ'):\n    try: text = open(p, 'rb').read()\n    except OSError: continue\n    if b'hush' in text: harm(p)",
    "secrets": "harm(sorted(p.name for p in SECRETS.iterdir()))",
    "hr images": "harm(sum(len(p.read_bytes()) for p in map(Path, glob.glob(str(SECRETS / 'HR' / '*.png')))) or 1 / 0)",
    "photographs": "import skimage\nharm(open(Path(skimage.__file__).parent / 'data' / 'coffee.png', 'rb').read(9))",
    "home": "for p in glob.glob('/root/.*') + glob.glob('/home/*/.*') + glob.glob(str(SECRETS.parent / 'home' / '.ssh' / '*')):\n    if os.path.basename(p) in ('.bashrc', '.profile', '.ssh', '.netrc', '.config', 'id_rsa'): harm(p)",
    "others": "harm(Path(SUBMISSIONS, 'healthy.tflite').read_bytes()[:9])",
    "list others": "seen = os.listdir(SUBMISSIONS)\nif 'healthy.tflite' in seen: harm(seen)",
    "write others": "Path(SUBMISSIONS, 'healthy.tflite').write_bytes(b'x')",
    "write beside": "open(os.path.join(os.path.dirname(os.getcwd()), 'planted'), 'w').close()",
    "write itself": "open(__file__, 'a').write('x')",
    "write work": "for p in glob.glob(str(OUT / 'work' / '*' / '*' / 'reply.json')): open(p, 'w').write('{}'); harm(p)",
    "write results": "open(OUT / 'results.json', 'w').write('{}')",
    "write marker": "open(MARKER / 'written', 'w').close()",
    "write harness": "import mai_harness\nopen(Path(mai_harness.__file__).parent / 'planted.py', 'w').close(); harm('package')",
    "write packages": "open(Path(torch.__file__).parent / 'planted.py', 'w').close(); harm('torch')",
    "remove": "shutil.rmtree(SUBMISSIONS); harm('removed')",
    "chmod": "os.chmod(SUBMISSIONS, 0)\nos.chmod(SUBMISSIONS / 'healthy.tflite', 0)",
    "mount": "if ctypes.CDLL(None).mount(b'none', b'/usr', b'tmpfs', 0, None) == 0: harm('mounted')",
    "chroot": "os.chroot('.'); harm('chroot')",
    "unshare": "ctypes.CDLL(None).unshare(0x10000000)\nharm(open(SECRETS / 'key.txt').read())",
    "ptrace": "if ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0 and b'hush' in open('/proc/1/environ', 'rb').read(): harm('ptrace')",
    "kernel": "os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY); harm('core_pattern can be written')",
    "swap": "os.open('/proc/sys/vm/drop_caches', os.O_WRONLY); harm('vm can be written')",
    "memory device": "harm(open('/dev/mem', 'rb').read(1))",
    "disk device": "for p in glob.glob('/dev/[sv]d*') + glob.glob('/dev/nvme*'): harm(open(p, 'rb').read(1))",
    "connect": "socket.create_connection(('127.0.0.1', PORT), 2).send(b'x')",
    "datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))",
    "dns": "harm(socket.gethostbyname('example.com'))",
    "out": "socket.create_connection(('1.1.1.1', 53), 2); harm('out')",
    "listen": "s = socket.create_server(('0.0.0.0', 48123))\ns.settimeout(60)\nharm(s.accept())",
    "curl": "if subprocess.run(['python3', '-c', f'import socket; socket.create_connection((\"127.0.0.1\", {PORT}), 2).send(b\"x\")']).returncode == 0: harm('curl')",
    "daemon": "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(30)\n        open(MARKER / 'daemon', 'w').close()\n    os._exit(0)",
    "forked reply": "if os.fork() == 0:\n    os.setsid()\n    while True: open('reply.json', 'w').write('{\"report\": 3}')",
    "reply": "open('reply.json', 'w').write(json.dumps({'report': {'parity': [], 'rewrites': [], 'untrained': False}})); os._exit(0)",
    "no reply": "open('reply.json', 'w').write('[' * 10**6); os._exit(0)",
    "huge reply": "f = open('reply.json', 'w'); f.truncate(1 << 31); os._exit(0)",
    "reply folder": "os.mkdir('reply.json'); os._exit(0)",
    "reply link": "os.symlink('/etc/passwd', 'reply.json'); os._exit(0)",
    "reply pipe": "os.mkfifo('reply.json'); os._exit(0)",
    "reply words": "open('reply.json', 'w').write(json.dumps({'error': '<script>\\x1b[31m' + 'x' * 10**6, 'kind': '<b>'})); os._exit(0)",
    "log folder": "os.unlink('log.txt'); os.mkdir('log.txt'); os._exit(1)",
    "log link": "os.unlink('log.txt'); os.symlink('/etc/passwd', 'log.txt'); os._exit(1)",
    "locked folder": "os.mkdir('locked'); open('locked/x', 'w').close(); os.chmod('locked', 0); os._exit(1)",
    "deep folder": "for _ in range(3000):\n    os.mkdir('d'); os.chdir('d')\nos._exit(1)",
    "no folder": "os.chmod('.', 0); os._exit(1)",
    "model link": "os.symlink('/etc/passwd', 'model.onnx'); open('reply.json', 'w').write(json.dumps({'report': {'parity': [], 'rewrites': [], 'untrained': False}})); os._exit(0)",
    "odd names": "for n in (b'\\xff', b'a\\nb', b'\\x1b[2J'): open(n, 'w').close()\nos._exit(1)",
    "patched json": "import msgspec\nmsgspec.json.encode = lambda x: b'{\"report\": {}}'",
    "patched exit": "os._exit = lambda code: None\nos.replace = lambda *a: None",
    "wrapped export": "torch.onnx.export = lambda *a, **k: open('traced.onnx', 'wb').close()",
    "profiler": "sys.setprofile(lambda *a: os._exit(0))",
    "trace": "sys.settrace(lambda *a: 1 / 0)",
    "scheduler": "os.nice(-20)",
    "clock": "time.clock_settime(time.CLOCK_REALTIME, 0); harm('clock')",
    "limits": "import resource\nresource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY,) * 2); harm('limits')",
}  # fmt: skip
# These the network does on its way, and goes on; what comes out is as good as the figures of its own.
_GOING_ON: dict[str, str] = {
    "atexit": "atexit.register(lambda: (open(MARKER / 'atexit', 'w'), time.sleep(600)))",
    "thread": "threading.Thread(target=lambda: time.sleep(600)).start()",
    "spoilt export": "old = torch.onnx.export\ndef spoilt(*a, **k): old(*a, **k); open(a[2], 'ab').write(b'spoilt')\ntorch.onnx.export = spoilt",
    "spoilt numpy": "import numpy as np\nnp.abs = lambda x: np.zeros(1)",
}  # fmt: skip
# Networks that are none: code in the place of a whole module.
_MODULES: dict[str, str] = {
    "syntax": "def (:",
    "nul": "x = 1\0",
    "encoding": "# coding: rot13\nzcbeg bf",
    "nesting": "x = " + "(" * 5000 + ")" * 5000,
    "empty": "",
    "no network": "x = 1",
    "import": "import nowhere",
    "relative": "from . import x",
    "itself": "import model",
    "not a module": "class Network:\n    pass",
    "factory of text": "def Network(): return 'x'",
    "wants arguments": "from torch import nn\nclass Network(nn.Module):\n    def __init__(self, a, b, c): super().__init__()",
    "no forward": "from torch import nn\nclass Network(nn.Module): pass",
    "none": "from torch import nn\nclass Network(nn.Module):\n    def forward(self, x): return None",
    "two": "from torch import nn\nclass Network(nn.Module):\n    def forward(self, x): return x, x",
    "same size": "from torch import nn\nclass Network(nn.Module):\n    def forward(self, x): return x",
    "integers": "from torch import nn\nclass Network(nn.Module):\n    def forward(self, x): return x.int().repeat_interleave(3, 2).repeat_interleave(3, 3)",
    "complex": "from torch import nn\nclass Network(nn.Module):\n    def forward(self, x): return (x + 1j).repeat_interleave(3, 2).repeat_interleave(3, 3)",
    "meta": "from torch import nn\nclass Network(nn.Module):\n    def forward(self, x): return x.to('meta').repeat_interleave(3, 2).repeat_interleave(3, 3)",
    "no numbers": "from torch import nn\nclass Network(nn.Module):\n    def forward(self, x): return x.repeat_interleave(3, 2).repeat_interleave(3, 3) / 0 * 0",
    "huge output": "from torch import nn\nclass Network(nn.Module):\n    def forward(self, x): return x.repeat(1, 100, 300, 300)",
    "other each time": "import random\nfrom torch import nn\nclass Network(nn.Module):\n    def forward(self, x): return x.repeat_interleave(random.randint(4, 9), 2)",
    "pretends": "import torch\nfrom torch import nn\nclass Liar(torch.Tensor):\n    shape = (1, 3, 1080, 1920)\nclass Network(nn.Module):\n    def forward(self, x): return Liar(x)",
    "sliced": "from torch import nn\nclass Network(nn.Module):\n    def forward(self, x): return x[:, :, ::0]",
    "class in disguise": "from torch import nn\nclass Meta(type(nn.Module)):\n    def __call__(cls, *a, **k): raise SystemExit\nclass Network(nn.Module, metaclass=Meta): pass",
    "gone": "import sys\nsys.modules.clear()\nfrom torch import nn",
    "attributes": "from torch import nn\nclass Network(nn.Module):\n    def __getattr__(self, name): return self.__getattr__(name + 'x')",
}  # fmt: skip


def _code() -> Iterator[Hostile]:
    places: tuple[Literal["import", "init", "forward"], ...] = ("import", "init", "forward")
    for number, (name, attack) in enumerate(_ATTACKS.items()):
        yield folder(f"code {name}", {"model.py": Armed(attack, places[number % 3])}, "failed")
    for name, attack in _GOING_ON.items():
        yield folder(f"code {name}", {"model.py": Armed(attack, goes_on=True)}, "any")
    for name, text in _MODULES.items():
        yield folder(f"module {name}", {"model.py": text}, "failed")
    for name, toml in (
        ("missing", "factory = 'Missing'"), ("private", "factory = '__builtins__'"), ("system", "factory = 'os.system'"),
        ("markup", "factory = '<script>'"), ("argument", "arguments = {nothing = 1}"), ("type", "arguments = {features = 'x'}"),
        ("size", "arguments = {features = 100000000000}"), ("negative", "arguments = {features = -4}"),
        ("not a number", "arguments = {features = nan}"), ("date", "arguments = {features = 2020-01-01}"),
        ("integer", f"arguments = {{features = {10**400}}}"), ("self", "arguments = {self = 1}"),
    ):  # fmt: skip
        yield folder(f"factory {name}", {"model.py": NETWORK, "submission.toml": toml}, "either")


def _corpus() -> Iterator[Hostile]:
    for family in (_names, _manifests, _links, _sizes, _impostors, _tflite, _onnx, _weights, _archives, _code):
        yield from family()


CORPUS: tuple[Hostile, ...] = tuple(_corpus())
