"""What is kept in ``leaderboard/`` as a static site in ``leaderboard/site/``."""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from mai_harness import history
from mai_harness.errors import ResultsUnreadable
from mai_harness.latency_study import LatencyResults, latency_results_path, read_latency_results
from mai_harness.records import Results
from mai_harness.render import Beside, Pages, assets, render, render_studies
from mai_harness.render.latency import render_latencies
from mai_harness.storage import file_name, write_bytes
from mai_harness.study import StudyResults, read_study_results, study_path

T = TypeVar("T")
Tell = Callable[[str], None]
_OFFERED = ("model.tflite", "model_none.tflite", "model.onnx")


def publish(results: Results | None, out: Path, tell: Tell) -> Path:
    """Write the site of the board, if there is one, and of all studies; its folder.

    Args:
        tell: called with a line for a person about a file that cannot be read, and so has no page.
    """
    studies, latencies = kept_studies(out, tell), kept_latencies(out, tell)
    pages = assets() | render_studies(studies, board=results is not None, latencies=latencies is not None)
    if results is not None:
        pages |= render(results, studies, latencies=latencies is not None, beside=_beside(results, out, tell))
    if latencies is not None:
        pages |= render_latencies(latencies, studies, board=results is not None)
    site = (out / "site").resolve()
    with _alone(out):
        write(pages, site)
    return site


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Wait for another that writes the same site, such as ``serve``."""
    with (out / ".site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _beside(results: Results, out: Path, tell: Tell) -> Beside:
    models = {each.name: _models(out / "packages" / file_name(each.name)) for each in results.submissions if each.score}
    return Beside(runs=history.kept(out, tell), models=models, pictures=out / "pictures")


def _models(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in _OFFERED if (folder / name).is_file()}


def write(pages: Pages, site: Path) -> None:
    """Bring a folder to these files and no others. One that already is as it should be is left alone."""
    wanted = {site / path: content for path, content in pages.items()}
    for path, content in wanted.items():
        data = content.encode() if isinstance(content, str) else content
        data = data.read_bytes() if isinstance(data, Path) else data
        _clear(path, site)
        if not path.is_file() or path.read_bytes() != data:
            write_bytes(path, data)
    for stale in sorted(site.rglob("*"), reverse=True):
        if stale.is_dir() and not stale.is_symlink():
            with suppress(OSError):  # it is not empty
                stale.rmdir()
        elif stale not in wanted:
            stale.unlink()


def _clear(path: Path, site: Path) -> None:
    """Remove what stands in the way: a link, a file in place of a folder, a folder in place of the file."""
    for folder in [each for each in reversed(path.parents) if each.is_relative_to(site) and each != site]:
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
    if path.is_symlink():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


def sweep(results: Results, out: Path) -> None:
    """Remove pictures that these results do not show."""
    galleries = [each.gallery for each in results.submissions if each.gallery]
    shown = {name for gallery in galleries for window in gallery.windows for name in window.pictures.values()}
    for path in (out / "pictures").glob("*.webp"):
        if path.name not in shown:
            path.unlink(missing_ok=True)


def kept_studies(out: Path, tell: Tell) -> list[StudyResults]:
    """The results of all studies that were run."""
    paths = sorted(study_path(out, "x").parent.glob("*.json"))
    return [found for path in paths if (found := _if_readable(read_study_results, path, tell))]


def kept_latencies(out: Path, tell: Tell) -> LatencyResults | None:
    """The results of ``metanodes``, ``None`` if it was not run."""
    path = latency_results_path(out)
    return _if_readable(read_latency_results, path, tell) if path.exists() else None


def _if_readable(read: Callable[[Path], T], path: Path, tell: Tell) -> T | None:
    try:
        return read(path)
    except ResultsUnreadable as error:
        tell(str(error))
        return None
