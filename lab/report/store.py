"""A directory of runs, a file each: results accumulate over days, interruptions and changes of the code."""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from lab.report import phases, runs, scenarios, verdict
from lab.report.runs import Run

PACKED = ".gz"


@dataclass(frozen=True)
class Broken:
    """A file that is no run, and why."""

    path: Path
    why: str


@dataclass(frozen=True)
class Kept:
    """What a directory holds.  `runs` and the names of their files are in one order, which does not depend on the file system."""

    runs: tuple[Run, ...]
    names: tuple[str, ...]
    broken: tuple[Broken, ...]


def derived(run: Run) -> dict[str, object]:
    """Return what follows from a run, for readers of its JSON."""
    seen = phases.of(run)
    return {**seen.plain(), "noticed": phases.noticed(run.events), "fence_called": phases.fence_called(run),
            "power_offs": verdict.power_cycles(run), "failings": list(verdict.failings(run))}  # fmt: skip


def add(directory: Path, run: Run) -> Path:
    """Write a run into a file of its own, whole or not at all, and return its path.  Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor, half = tempfile.mkstemp(prefix=f".{run.name}.", suffix=".half", dir=directory)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(runs.dump(run, **derived(run)))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(half, 0o644)
        path = _named(Path(half), directory, run.name)
    finally:
        os.unlink(half)
    entries = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(entries)
    finally:
        os.close(entries)
    return path


def _named(half: Path, directory: Path, name: str) -> Path:
    """Give a file its name.  A link, not a renaming: it never replaces the run of somebody who had the same second."""
    number = 1
    while True:
        path = directory / (f"{name}.json" if number == 1 else f"{name}-{number}.json")
        try:
            os.link(half, path)
        except FileExistsError:
            number += 1
        else:
            return path


def text_of(path: Path) -> str:
    """Return the text of a run's file.  Raises OSError, EOFError, zlib.error and UnicodeDecodeError."""
    whole = path.read_bytes()
    return (gzip.decompress(whole) if path.suffix == PACKED else whole).decode()


def load(directory: Path) -> Kept:
    """Read all runs of a directory, gzipped or not; none where there is no directory.  What cannot be read is told, and left alone."""
    found: list[tuple[Run, str]] = []
    broken = []
    for path in sorted([*directory.glob("[!.]*.json"), *directory.glob(f"[!.]*.json{PACKED}")]):
        try:
            found.append((runs.load(text_of(path)), path.name.partition(".")[0]))
        except runs.Malformed as error:
            broken.append(Broken(path, str(error)))
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            broken.append(Broken(path, f"cannot be read: {error}"))
    found.sort(key=lambda one: (scenarios.order(one[0].scenario), one[0].profile.value, one[0].agents.value, one[0].started, one[1]))
    return Kept(tuple(run for run, _ in found), tuple(name for _, name in found), tuple(broken))
