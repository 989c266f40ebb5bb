"""What a child process may see and do: bubblewrap where it is there, else Landlock, else limits alone.

Landlock and its numbers: linux/landlock.h; kernel documentation, userspace-api/landlock.rst.
"""

import ctypes
import functools
import os
import shutil
import signal
import site
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NoReturn

Level = Literal["bubblewrap", "landlock", "limits"]
#: What each level keeps from a submission, for people.
LEVELS: dict[Level, str] = {
    "bubblewrap": "bubblewrap: sees its own files alone, no network, no process of others, killed with all children",
    "landlock": (
        "Landlock: reads its own files alone, writes in its own folder alone, no TCP. Where the kernel gives no "
        "namespaces, UDP is open and a process that leaves its session may outlive it. Install bubblewrap for more"
    ),
    "limits": (
        "limits on time, memory, processes and disk alone: it can read this user's files and reach the network. "
        "Install bubblewrap"
    ),
}
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin")
# The linker's cache, names of users, time zone; nothing of the machine's own secrets.
_SETTINGS = (
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf",
    "/etc/localtime", "/etc/alternatives", "/etc/mime.types",
)  # fmt: skip
# Settings of the kernel belong to root even without any capability: seen, and not written.
_KERNEL = ("/proc/sys", "/proc/sysrq-trigger")
_TOPOLOGY = "/sys/devices/system"  # processors, for libraries that count them
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_SCRATCH_BYTES = 4 << 30  # of its own /tmp
# Kept of the environment: what libraries compute with, and where programs are.
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "LD_PRELOAD", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_KEPT_PREFIXES = ("OPENBLAS_",)


@dataclass(frozen=True, kw_only=True)
class Walls:
    """What a child may touch; all else is not there for it."""

    level: Level
    reads: tuple[Path, ...]  #: files and folders
    writes: Path  #: its own folder
    gpu: bool = False
    photographs: bool = False  #: those that come with scikit-image, some of which are scored


@functools.cache
def level() -> Level:
    """The strongest that works here; found out once, by trying."""
    program = shutil.which("bwrap")
    if program is not None:
        probe = [program, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--unshare-all", "true"]
        done = subprocess.run(probe, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode == 0:
            return "bubblewrap"
    return "landlock" if _landlock_version() > 0 else "limits"


def environment(own: dict[str, str]) -> dict[str, str]:
    """A child's environment: ``own``, and the little of this process's that computing needs."""
    kept = {k: v for k, v in os.environ.items() if k in _KEPT or k.startswith(_KEPT_PREFIXES)}
    return {**kept, **own}


def command(inner: Sequence[str], walls: Walls) -> list[str]:
    """The command line that runs ``inner`` behind walls; ``inner`` itself at other levels than bubblewrap."""
    if walls.level != "bubblewrap":
        return list(inner)
    options = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    options += ["--hostname", "harness", "--proc", "/proc", "--dev", "/dev"]
    for path in _existing(_KERNEL):
        options += _seen(path)
    options += ["--size", str(_SCRATCH_BYTES), "--tmpfs", "/tmp"]
    for path in (*_existing(_SYSTEM), *_existing(_SETTINGS), *_existing([_TOPOLOGY])):
        options += ["--symlink", str(path.readlink()), str(path)] if path.is_symlink() else _seen(path)
    for path in python_files():
        options += _seen(path)
    hidden = None if walls.photographs else _photographs()
    options += ["--tmpfs", str(hidden)] if hidden else []
    for path in walls.reads:
        options += _seen(path)
    options += ["--bind", str(walls.writes), str(walls.writes), "--chdir", str(walls.writes)]
    if walls.gpu:
        for device in Path("/dev").glob("nvidia*"):
            options += ["--dev-bind", str(device), str(device)]
    return [*options, "--remount-ro", "/", "--", *inner]


def _seen(path: Path) -> list[str]:
    return ["--ro-bind", str(path), str(path)]


def python_files() -> list[Path]:
    """Where this Python, its packages and the harness are."""
    given = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    roots = [sys.prefix, sys.exec_prefix, sys.base_prefix, sysconfig.get_path("stdlib"), *user, *given]
    paths = [Path(__file__).resolve().parent, *_existing(dict.fromkeys(roots))]
    return [path for path in paths if not any(path != other and path.is_relative_to(other) for other in paths)]


def _photographs() -> Path | None:
    """The folder of scikit-image's photographs: some of them are scored."""
    found = find_spec("skimage")
    folder = Path(found.origin).parent / "data" if found and found.origin else None
    return folder if folder and folder.is_dir() else None


def _existing(paths: Iterable[str]) -> list[Path]:
    return [Path(path) for path in paths if os.path.lexists(path)]


# Landlock, for machines without bubblewrap; called in the child, before it opens anything of a submission

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PR_SET_NO_NEW_PRIVS = 38
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_ALL_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}  # by version; later ones as 5
_SINCE_5 = (1 << 16) - 1
_TCP = 0b11  # bind and connect, since 4
_SCOPED = 0b11  # abstract sockets and signals, since 6


def _landlock_version() -> int:
    if sys.platform != "linux":
        return 0
    return int(max(ctypes.CDLL(None).syscall(_CREATE_RULESET, None, 0, 1), 0))


def confine(walls: Walls) -> None:
    """Shut this process and its children in, as far as the kernel goes; nothing to do behind bubblewrap's walls."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = _landlock_version()
    if version == 0:
        return
    every = _ALL_FILES.get(version, _SINCE_5)
    attributes = struct.pack("=QQQ", every, _TCP if version >= 4 else 0, _SCOPED if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = libc.syscall(_CREATE_RULESET, attributes, size, 0)
    look = _EXECUTE | _READ_FILE | _READ_DIR
    for path in _readable(walls):
        _allow(libc, ruleset, path, look & every)
    _allow(libc, ruleset, walls.writes, every)
    for path in _existing(_DEVICES):
        _allow(libc, ruleset, path, _READ_FILE | _WRITE_FILE)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
        raise OSError(ctypes.get_errno(), "Landlock refused")
    os.close(ruleset)


def _readable(walls: Walls) -> list[Path]:
    whole = [*_existing(_SYSTEM), *_existing(_SETTINGS), *_existing([_TOPOLOGY, "/proc"]), *python_files()]
    hidden = None if walls.photographs else _photographs()
    parts = [part for path in whole for part in (_all_but(path, hidden) if hidden else [path])]
    return [*parts, *walls.reads]


def _all_but(path: Path, hidden: Path) -> list[Path]:
    """The path, or where it holds what is hidden, all that lies beside that: Landlock can only allow."""
    path, hidden = path.resolve(), hidden.resolve()
    if not hidden.is_relative_to(path):
        return [path]
    if path == hidden:
        return []
    return [part for inner in path.iterdir() for part in _all_but(inner, hidden)]


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, access: int) -> None:
    if not path.is_dir():  # rights over folders make no sense for files
        access &= _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    rule = struct.pack("=Qi", access, handle)
    libc.syscall(_ADD_RULE, ruleset, 1, rule, 0)
    os.close(handle)


# Namespaces of its own, likewise

_NEW_USER, _NEW_NETWORK, _NEW_PROCESSES = 0x10000000, 0x40000000, 0x20000000


def leave_network() -> bool:
    """Go on in a process that has no network and whose children die with it; whether the kernel allowed it.

    The calling process stays behind, waits for that one and ends as it does. To be called on one thread.
    """
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None)
    if libc.unshare(_NEW_USER | _NEW_NETWORK | _NEW_PROCESSES) != 0:
        return False
    for file, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        Path("/proc/self", file).write_text(text)
    inside = os.fork()
    if inside != 0:
        _end_as(inside)
    return True


def _end_as(child: int) -> NoReturn:
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)
