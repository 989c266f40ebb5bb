"""A stand-in for a phone: adbd's side of the adb protocol on a loopback port, over files and commands in memory.

Debian's real adb connects to it with ``adb connect 127.0.0.1:PORT``. It speaks the protocol's first version: ``sync:``
with STAT and SEND, and ``shell:`` with one stream and no exit code, as phones before Android 7 do, or ``shell,v2``.
Formats: packages/modules/adb/protocol.txt and SYNC.TXT of AOSP. Nothing that it is sent runs on this machine.
"""

import queue
import re
import shlex
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

_LIFETIME_S = 120.0  # whatever the tests do, no thread of it waits for longer
_POLL_S = 0.2
_VERSION, _MOST_BYTES = 0x01000000, 1 << 16
_TOKEN, _NO_SPACE = 1, "No space left on device"
_STDOUT, _EXIT = 1, 3  # packets of shell,v2
_SHELL = re.compile(r"\$\?|\$\$")

Benchmark = Callable[[list[str]], tuple[int, str]]  #: flags of benchmark_model -> exit code and what it writes


@dataclass
class Phone:
    """What the stand-in is, and how it misbehaves."""

    properties: dict[str, str]
    benchmark: Benchmark
    modern: bool = False  #: its shell has separate streams and passes exit codes on
    unauthorised: bool = False  #: its owner has not accepted the dialog
    free_bytes: int = 1 << 30
    executable: bool = True  #: otherwise benchmark_model is of another architecture
    vanish: bool = False  #: the cable comes out when benchmark_model starts
    hang_s: float = 0.0  #: benchmark_model does nothing for that long, unless it is killed
    files: dict[str, bytes] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    folders: set[str] = field(default_factory=lambda: {"/data/local/tmp"})
    commands: list[str] = field(default_factory=list)  #: all that shell: was asked for
    starts: list[list[str]] = field(default_factory=list)  #: flags of each start of benchmark_model
    killed: threading.Event = field(default_factory=threading.Event)

    def left_behind(self) -> list[str]:
        """Files and folders that were not there at first."""
        return sorted({*self.files, *self.folders} - {"/data/local/tmp"})


class AdbDevice:
    """Serves one phone on a port of its own until it is closed."""

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self._ends = time.monotonic() + _LIFETIME_S
        self._closed = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(_POLL_S)
        self.serial = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "AdbDevice":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_over(self) -> bool:
        return self._closed.is_set() or time.monotonic() > self._ends

    def close(self) -> None:
        self._closed.set()
        self._socket.close()
        self.unplug()

    def unplug(self) -> None:
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        while not self.is_over:
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            connection.settimeout(_POLL_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            threading.Thread(target=_Connection(self, connection).serve, daemon=True).start()


class _Connection:
    """One transport: reads packets, and hands each stream's to a thread of its own."""

    def __init__(self, device: AdbDevice, connection: socket.socket) -> None:
        self.device, self._socket = device, connection
        self._lock = threading.Lock()
        self._streams: dict[int, _Stream] = {}

    def serve(self) -> None:
        with suppress(OSError, EOFError):
            while not self.device.is_over:
                self._answer(*self._receive())
        self._socket.close()

    def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        number = int.from_bytes(command, "little")
        head = struct.pack("<6I", number, first, second, len(data), sum(data) & 0xFFFFFFFF, number ^ 0xFFFFFFFF)
        with self._lock:
            self._socket.sendall(head + data)

    def _receive(self) -> tuple[bytes, int, int, bytes]:
        number, first, second, length, _, _ = struct.unpack("<6I", self._exactly(24))
        return number.to_bytes(4, "little"), first, second, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                part = self._socket.recv(count - len(data))
            except TimeoutError:
                if self.device.is_over:
                    raise EOFError from None
                continue
            if not part:
                raise EOFError
            data += part
        return data

    def _answer(self, command: bytes, first: int, second: int, data: bytes) -> None:
        if command in (b"CNXN", b"AUTH"):
            if self.device.phone.unauthorised:
                self.send(b"AUTH", _TOKEN, 0, b"t" * 20)
            else:
                features = b"features=shell_v2" if self.device.phone.modern else b""
                self.send(b"CNXN", _VERSION, _MOST_BYTES, b"device::ro.product.model=Stand-in;" + features)
        elif command == b"OPEN":
            self._streams[first] = _Stream(self, first, data.rstrip(b"\0").decode())
        elif second in self._streams:
            self._streams[second].packets.put((command, data))


class _Stream:
    """One service that the host opened."""

    def __init__(self, connection: _Connection, number: int, service: str) -> None:
        self._connection, self._number, self._service = connection, number, service
        self._phone = connection.device.phone
        self.packets: queue.Queue[tuple[bytes, bytes]] = queue.Queue()
        self._pending = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        # Both sides number the stream alike.
        with suppress(OSError, EOFError):
            self._connection.send(b"OKAY", self._number, self._number)
            if self._service.startswith("shell"):
                self._shell(self._service.partition(":")[2])
            elif self._service == "sync:":
                self._sync()
            self._connection.send(b"CLSE", self._number, self._number)

    def _write(self, data: bytes) -> None:
        for start in range(0, len(data), _MOST_BYTES // 2):
            self._connection.send(b"WRTE", self._number, self._number, data[start : start + _MOST_BYTES // 2])
            while self._next()[0] != b"OKAY":
                pass

    def _next(self) -> tuple[bytes, bytes]:
        while not self._connection.device.is_over:
            with suppress(queue.Empty):
                command, data = self.packets.get(timeout=_POLL_S)
                if command == b"CLSE":
                    raise EOFError
                return command, data
        raise EOFError

    def _read(self, count: int) -> bytes:
        while len(self._pending) < count:
            command, data = self._next()
            if command == b"WRTE":
                self._pending += data
                self._connection.send(b"OKAY", self._number, self._number)
        data, self._pending = self._pending[:count], self._pending[count:]
        return data

    def _sync(self) -> None:
        while True:
            kind, length = struct.unpack("<4sI", self._read(8))
            if kind == b"QUIT":
                return
            path = self._read(length).decode()
            if kind == b"STAT":
                mode = 0o040771 if path in self._phone.folders else self._phone.modes.get(path, 0)
                self._write(struct.pack("<4s3I", b"STAT", mode, len(self._phone.files.get(path, b"")), 0))
            elif kind == b"SEND":
                self._receive_file(*path.rsplit(",", 1))
            else:
                raise EOFError

    def _receive_file(self, path: str, mode: str) -> None:
        content = b""
        while (head := struct.unpack("<4sI", self._read(8)))[0] == b"DATA":
            content += self._read(head[1])
        used = sum(map(len, self._phone.files.values()))
        if path.rpartition("/")[0] not in self._phone.folders:
            self._fail("couldn't create file: No such file or directory")
        elif used + len(content) > self._phone.free_bytes:
            self._fail(_NO_SPACE)
        else:
            self._phone.files[path], self._phone.modes[path] = content, int(mode)
            self._write(struct.pack("<4sI", b"OKAY", 0))

    def _fail(self, reason: str) -> None:
        self._write(struct.pack("<4sI", b"FAIL", len(reason)) + reason.encode())

    def _shell(self, command: str) -> None:
        self._phone.commands.append(command)
        shell = _Shell(self._phone, self._connection.device)
        said = shell.run(command)
        if self._phone.modern:
            output = said.encode()
            self._write(struct.pack("<BI", _STDOUT, len(output)) + output + struct.pack("<BIB", _EXIT, 1, shell.code))
        else:
            # A terminal stands between, as on those phones.
            self._write(said.replace("\n", "\r\n").encode())


class _Shell:
    """Of a shell just what the backend needs: lists of ; and &&, $?, $$, $(cat FILE), > FILE, and few commands."""

    def __init__(self, phone: Phone, device: AdbDevice) -> None:
        self._phone, self._device = phone, device
        self.code, self._folder = 0, "/"

    def run(self, script: str) -> str:
        """What the commands write."""
        said = ""
        for chain in _split(script, ";"):
            for position, command in enumerate(_split(chain, "&&")):
                if position and self.code:
                    break
                said += self._one(command)
        return said

    def _one(self, command: str) -> str:
        quiet = "2>/dev/null" in command
        # Inside single quotes $ stands for itself.
        parts = command.split("'")
        parts[::2] = [_SHELL.sub(lambda m: str(self.code) if m[0] == "$?" else "4711", each) for each in parts[::2]]
        words = shlex.split(re.sub(r"\$\(cat (\S+)( 2>/dev/null)?\)", self._content, "'".join(parts)))
        words = [word for word in words if word not in ("2>&1", "2>/dev/null")]
        target = ""
        if ">" in words:
            *words, _, target = words
        self.code, said = self._execute(words)
        if target:
            self._phone.files[self._path(target)], said = said.encode(), ""
        return "" if quiet and self.code else said

    def _content(self, match: re.Match[str]) -> str:
        return self._phone.files.get(self._path(match[1]), b"").decode().strip()

    def _path(self, name: str) -> str:
        return name if name.startswith("/") else f"{self._folder}/{name}"

    def _execute(self, words: list[str]) -> tuple[int, str]:
        command, arguments = words[0], words[1:]
        if command == "exec":
            return self._execute(arguments)
        known = {
            "cd": self._cd, "chmod": self._chmod, "echo": self._echo, "getprop": self._getprop, "kill": self._kill,
            "mkdir": self._mkdir, "rm": self._rm, "sh": self._sh, "true": lambda _: (0, ""),
        }  # fmt: skip
        if command in known:
            return known[command](arguments)
        if self._path(command.removeprefix("./")) in self._phone.files:
            return self._benchmark(command, arguments)
        return 127, f"/system/bin/sh: {command}: not found\n"

    def _cd(self, arguments: list[str]) -> tuple[int, str]:
        if arguments[0] not in self._phone.folders:
            return 1, f"/system/bin/sh: cd: {arguments[0]}: No such file or directory\n"
        self._folder = arguments[0]
        return 0, ""

    def _chmod(self, arguments: list[str]) -> tuple[int, str]:
        mode, path = arguments
        if path not in self._phone.files:
            return 1, f"chmod: {path}: No such file or directory\n"
        self._phone.modes[path] = 0o100000 | int(mode, 8)
        return 0, ""

    def _echo(self, arguments: list[str]) -> tuple[int, str]:
        return 0, " ".join(arguments) + "\n"

    def _getprop(self, arguments: list[str]) -> tuple[int, str]:
        return 0, "".join(f"[{key}]: [{value}]\n" for key, value in self._phone.properties.items())

    def _kill(self, arguments: list[str]) -> tuple[int, str]:
        if arguments[-1:] != ["4711"]:
            return 1, "/system/bin/sh: kill: bad pid\n"
        self._phone.killed.set()
        return 0, ""

    def _mkdir(self, arguments: list[str]) -> tuple[int, str]:
        if arguments[0] in self._phone.folders:
            return 1, f"mkdir: '{arguments[0]}': File exists\n"
        self._phone.folders.add(arguments[0])
        return 0, ""

    def _rm(self, arguments: list[str]) -> tuple[int, str]:
        for path in map(self._path, arguments[1:]):
            if path == "/data/local/tmp":
                raise AssertionError("the backend removes a folder that is not its own")
            self._phone.folders.discard(path)
            for name in [each for each in self._phone.files if each == path or each.startswith(f"{path}/")]:
                del self._phone.files[name]
                self._phone.modes.pop(name, None)
        return 0, ""

    def _sh(self, arguments: list[str]) -> tuple[int, str]:
        said = self.run(arguments[1])
        return self.code, said

    def _benchmark(self, command: str, arguments: list[str]) -> tuple[int, str]:
        phone, path = self._phone, self._path(command.removeprefix("./"))
        if not phone.modes.get(path, 0) & 0o100:
            return 126, f"/system/bin/sh: {command}: can't execute: Permission denied\n"
        if not phone.executable:
            return 126, f"/system/bin/sh: {command}: not executable: 64-bit ELF file\n"
        phone.starts.append(arguments)
        if phone.vanish:
            self._device.close()
            return 1, ""
        if phone.hang_s and phone.killed.wait(phone.hang_s):
            phone.killed.clear()
            return 143, "Terminated\n"
        return phone.benchmark(arguments)


def _split(script: str, separator: str) -> list[str]:
    """At separators outside of single quotes."""
    parts, quoted = [""], False
    for piece in re.split(f"('|{separator})", script):
        quoted ^= piece == "'"
        if piece == separator and not quoted:
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip() for part in parts if part.strip()]
