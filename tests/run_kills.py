"""Stop runs at random moments in every way that there is, and see what is lost. For a person, for it takes an hour:

``python tests/run_kills.py --kills 100 --trainings 20 --cuts 10``

A run is right if it ends with the results of one that nothing disturbed, but for times.
"""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from mai_harness.errors import ResultsUnreadable
from mai_harness.history import kept
from mai_harness.isolate import REPLY, intact_reply, stored_reply
from mai_harness.storage import read_results

# Steps of a few pixels are done before two threads have met.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
PRUNED = ("upscale-", "examine-")  # stages whose files are removed once they have served
SETTLE_S = 10.0
NETWORK = """
import torch
from torch import nn

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 27, 3, padding=1))
        self.shuffle = nn.PixelShuffle(3)

    def forward(self, x):
        return self.shuffle(self.body(x) + x.repeat_interleave(9, 1)).clamp(0, 255)
"""
RECIPE = "[train]\nsteps = 3000\nbatch = 1\npatch = 8\nseed = 3\n"


def make(root: Path) -> Path:
    """A folder with a submission to evaluate, one to train, two images to score on and one to learn from."""
    rng = np.random.default_rng(0)
    for name, manifest in (("submissions/net", 'name = "Net"\n'), ("trained/net", RECIPE)):
        (root / name).mkdir(parents=True)
        (root / name / "model.py").write_text(NETWORK)
        (root / name / "submission.toml").write_text(manifest)
    for folder, names in (("photos", "ab"), ("data/train", "c")):
        (root / folder).mkdir(parents=True)
        for name in names:
            smooth = np.kron(rng.integers(0, 256, (12, 15, 3)), np.ones((12, 12, 1)))
            Image.fromarray(smooth.astype(np.uint8)).save(root / folder / f"{name}.png")
    return root


def evaluating(out: Path, submissions: str = "submissions") -> list[str]:
    """The command, without anything that is measured by the clock."""
    options = ["--submissions", submissions, "--data", "photos", "--backend", "npu", "--out", str(out)]
    return [sys.executable, "-m", "mai_harness", "evaluate", *options]


def training(out: Path) -> list[str]:
    """The command; weights land beside the submission."""
    options = ["--submissions", "trained", "--data", "data", "--out", str(out)]
    return [sys.executable, "-m", "mai_harness", "train", "net", *options]


def ended(command: list[str], root: Path) -> subprocess.CompletedProcess[str]:
    """A run that nothing stops."""
    return subprocess.run(command, cwd=root, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def killed(command: list[str], root: Path, seconds: float) -> bool:
    """Start a run and end it by SIGKILL after some time; whether it had not ended by itself."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    run = subprocess.Popen(command, cwd=root, env=ENVIRONMENT, start_new_session=True, **quiet)
    try:
        run.wait(seconds)
    except subprocess.TimeoutExpired:
        run.kill()
    return run.wait() == -signal.SIGKILL


def outcome(out: Path) -> str:
    """All that an evaluation found, but for the moment and its own place."""
    results: Any = json.loads((out / "results.json").read_bytes())
    del results["created"], results["checksum"]
    return re.sub("-[0-9a-f]{20}/", "-KEY/", json.dumps(results).replace(str(out.resolve()), "OUT"))


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def left_over(out: Path) -> list[str]:
    """Processes that work below a folder though their run is dead, after a while."""
    end = time.monotonic() + SETTLE_S
    while (found := _working_in(out)) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def _working_in(folder: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode("utf-8", "replace")
            if str(folder) in words or str(folder) in str((process / "cwd").readlink()):
                found.append(process.name)
        except OSError:  # it ended, or is another's
            continue
    return [pid for pid in found if pid != str(os.getpid())]


def faults(out: Path, right: Path) -> list[str]:
    """What a stop has damaged, held against an undisturbed run's folder; what is not there yet is no fault."""
    found = [f"process {pid} goes on" for pid in left_over(out)]
    try:
        read_results(out / "results.json")
    except ResultsUnreadable as error:
        found += [str(error)] if (out / "results.json").exists() else []
    kept(out, found.append)
    for reply in out.glob(f"work/*/*/{REPLY}"):
        pruned = reply.parent.name.startswith(PRUNED)
        if (stored_reply if pruned else intact_reply)(reply.parent) is None:
            found.append(f"{reply.parent} is damaged")
    for name in ("packages", "pictures"):
        whole = hashes(right / name)
        found += [
            f"{name}/{path} is damaged"
            for path, digest in hashes(out / name).items()
            if not path.endswith(".part") and whole.get(path) != digest
        ]
    return found


def cut_power(out: Path, draw: random.Random, stages: int) -> list[str]:
    """Damage stages' folders as a power cut does to what was not yet on the disk; what was done, in words."""
    replies = sorted(out.glob(f"work/*/*/{REPLY}"), key=lambda path: path.stat().st_mtime)
    done = []
    for reply in draw.sample(replies, min(stages, len(replies))):
        files = [path for path in reply.parent.rglob("*") if path.is_file() and path.name not in ("log.txt",)]
        path = draw.choice(files)
        how = draw.choice(["halved", "emptied", "zeroed", "gone", "one bit turned"])
        damage(path, how)
        done.append(f"{path.relative_to(out)} {how}")
    return done


def damage(path: Path, how: str) -> None:
    """One file as a power cut, or a bad disk, leaves it."""
    data = path.read_bytes()
    middle = len(data) // 2
    if how == "gone":
        path.unlink()
        return
    turned = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if data else data
    halved = {"halved": data[:middle], "emptied": b"", "zeroed": bytes(len(data)), "one bit turned": turned}
    path.write_bytes(halved[how])


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A file system of that size, where mounting is allowed.

    Raises:
        subprocess.CalledProcessError: it is not.
    """
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def enlarge(place: Path, size: str) -> None:
    """Give the file system more space."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)


class Trial:
    """Counts of one kind of trouble, told at its end."""

    def __init__(self, what: str) -> None:
        self.what, self.counts, self._since = what, Counter[str](), time.monotonic()

    def note(self, key: str, words: list[str] | None = None) -> None:
        """Count one, or as many as there are words, which are told."""
        self.counts[key] += 1 if words is None else len(words)
        for line in words or ():
            click.echo(f"  {self.what}: {line}")

    def tell(self) -> None:
        """The counts, and how long it all took."""
        told = ", ".join(f"{count} {key}" for key, count in self.counts.items())
        click.echo(f"{self.what}: {told}; {time.monotonic() - self._since:.0f} s")


def kill_evaluations(root: Path, right: Path, kills: int, draw: random.Random, within_s: float) -> None:
    """Kill evaluations, each of which goes on from where the last one was; every tenth ends, and one begins anew."""
    trial, out = Trial("killed evaluations"), root / "killed"
    while trial.counts["kills"] < kills:
        if not killed(evaluating(out), root, draw.uniform(0, within_s)):
            trial.note("ended before")
        else:
            trial.note("kills")
        trial.note("faults", faults(out, right))
        if (trial.counts["kills"] + trial.counts["ended before"]) % 10 == 0:
            _end(trial, evaluating(out), root, out, right)
            shutil.rmtree(out)
    trial.tell()


def _end(trial: Trial, command: list[str], root: Path, out: Path, right: Path) -> None:
    done = ended(command, root)
    same = done.returncode == 0 and outcome(out) == outcome(right)
    trial.note("ended right" if same else "ENDED WRONG", None if same else [done.stderr[-500:]])
    trial.note("faults", faults(out, right))


def kill_trainings(root: Path, kills: int, draw: random.Random) -> None:
    """Kill trainings, and let each end: the weights have to be the same to the bit."""
    if not kills:
        return
    trial, weights = Trial("killed trainings"), root / "trained" / "net" / "weights.safetensors"
    began = time.monotonic()
    ended(training(root / "training"), root)
    usual_s, right = time.monotonic() - began, hashlib.sha256(weights.read_bytes()).hexdigest()
    for number in range(kills):
        out = root / f"training-{number}"
        weights.unlink()
        trial.note("kills" if killed(training(out), root, draw.uniform(0, usual_s)) else "ended before")
        trial.note("faults", [f"process {pid} goes on" for pid in left_over(out)])
        done = ended(training(out), root)
        same = done.returncode == 0 and hashlib.sha256(weights.read_bytes()).hexdigest() == right
        trial.note("same bits" if same else "OTHER BITS", None if same else [done.stderr[-500:]])
        shutil.rmtree(out)
    trial.tell()


def cut_powers(root: Path, right: Path, cuts: int, draw: random.Random) -> None:
    """Damage what a finished run left, and see that the next one mends it."""
    if not cuts:
        return
    trial, out = Trial("power cuts"), root / "cut"
    ended(evaluating(out), root)
    for _ in range(cuts):
        trial.note("files damaged", cut_power(out, draw, 3))
        _end(trial, evaluating(out), root, out, right)
    trial.tell()


def fill_disks(root: Path, right: Path, sizes: tuple[str, ...]) -> None:
    """Run out of space, then be given more."""
    trial = Trial("full disks")
    for size in filter(None, sizes):
        try:
            with small_disk(root / f"disk-{size}", size) as place:
                short = ended(evaluating(place / "out"), root)
                told = "Traceback" not in short.stderr and (short.returncode in (0, 2))
                trial.note(f"told with exit {short.returncode}" if told else "NOT TOLD")
                click.echo(f"  {size}: exit {short.returncode}: {(short.stderr.splitlines() or [''])[-1][:200]}")
                enlarge(place, "1g")
                _end(trial, evaluating(place / "out"), root, place / "out", right)
        except subprocess.CalledProcessError as error:
            click.echo(f"  full disks: left out, for mounting is not allowed here: {error}")
            return
    trial.tell()


def run_two_at_once(root: Path, right: Path) -> None:
    """The second is refused, and the first is not disturbed."""
    trial, out = Trial("two at once"), root / "both"
    first = subprocess.Popen(
        evaluating(out), cwd=root, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not (out / "work" / "data").exists():
        time.sleep(0.05)
    second = ended(evaluating(out), root)
    refused = second.returncode == 2 and "another run is using" in second.stderr
    trial.note("refused" if refused else "NOT REFUSED")
    first.wait()
    trial.note("right" if outcome(out) == outcome(right) else "WRONG")
    trial.tell()


@click.command()
@click.option("--kills", default=100, show_default=True, help="Of evaluations.")
@click.option("--trainings", default=20, show_default=True, help="To kill.")
@click.option("--cuts", default=10, show_default=True, help="Power cuts.")
@click.option("--sizes", default="1m,16m,24m,40m", show_default=True, help="Of disks that fill up.")
@click.option("--within", type=float, help="Seconds in which evaluations are killed; by default a third of one's.")
@click.option("--seed", default=0, show_default=True)
def main(kills: int, trainings: int, cuts: int, sizes: str, within: float | None, seed: int) -> None:
    """Tell what is lost by kills, power cuts, full disks and two runs at once."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="mai-kills-") as folder:
        root = make(Path(folder))
        began = time.monotonic()
        first = ended(evaluating(root / "right"), root)
        usual_s = time.monotonic() - began
        click.echo(f"an undisturbed evaluation: exit {first.returncode}, {usual_s:.0f} s")
        run_two_at_once(root, root / "right")
        fill_disks(root, root / "right", tuple(sizes.split(",")))
        cut_powers(root, root / "right", cuts, draw)
        kill_trainings(root, trainings, draw)
        kill_evaluations(root, root / "right", kills, draw, within or usual_s / 3)


if __name__ == "__main__":
    main()
