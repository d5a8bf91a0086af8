"""Storage probes: a direct read and a synced write in a directory, in a guarded child, judged by the device's own counters.

What a probe finds is a Trouble: `fails` tells whether the resource has failed or is only degraded.
"""

from __future__ import annotations

import errno
import mmap
import os
import time

from ocf_py import guard
from ocf_py.outcomes import CannotRecord, Error, Hung, Unanswered

from . import block

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SIZE = 4096  # A multiple of every logical block size in use; direct I/O wants offset, length and memory aligned to it.
NAMED_FILE = ".ocf_lab_probe"  # Only where the file system has no O_TMPFILE (NFS).
QUIET_MARGIN = 1.0
CUT_SECONDS = 2.0

READ, WRITE, FLUSH = "read", "write", "flush"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Trouble(Error):
    """What a probe found wrong: what, where, how long.  A failure of the resource, unless `fails` says otherwise."""

    fails = True
    unanswered = False  # Nothing can be said yet.
    missing = False  # The directory is not there, so neither is any I/O.

    def __init__(self, text: str, place: Place) -> None:
        super().__init__(text)
        self.place = place


class StorageHung(Trouble, Hung):
    """Storage does not answer, and nothing of the same kind has been answered by the device meanwhile."""

    def __init__(self, text: str, place: Place, pid: int, seconds: float) -> None:
        Exception.__init__(self, text)
        self.place, self.target, self.pid, self.seconds = place, place.path, pid, seconds


class StorageError(Trouble):
    """Storage answered with an error."""


class Ailing(Trouble):
    """Storage is slow, full, frozen for a backup or not judged yet: shown to the administrator, never a failover."""

    fails = False


class NotYet(Ailing):
    """The action's time ended before the probe could be judged."""

    unanswered = True


class Missing(StorageError):
    """The directory does not exist; most likely its file system is not mounted."""

    missing = True


class Place:
    """A directory of the database whose storage is guarded: "PGDATA", its path, and its device's number once that is known."""

    __slots__ = ("device", "label", "path")

    def __init__(self, label: str, path: str, device: str = "") -> None:
        self.label, self.path, self.device = label, path, device

    def where(self) -> str:
        return f"{self.label} {self.path} ({block.way_down(self.device)})" if self.device else f"{self.label} {self.path}"


class Limits:
    """When unanswered I/O means what, in seconds: hung, worth a word, too slow, frozen for too long."""

    __slots__ = ("freeze_max", "hung", "slow", "slow_max")

    def __init__(self, hung: float, slow: float, slow_max: float, freeze_max: float) -> None:
        self.hung, self.slow, self.slow_max, self.freeze_max = hung, slow, slow_max, freeze_max


class Evidence:
    """How many I/Os of each kind a device has completed, and when that number was last seen to change (seconds, monotonic clock)."""

    __slots__ = ("_seen",)

    def __init__(self, noted: dict[str, str]) -> None:
        self._seen: dict[str, tuple[int, float]] = {}
        for kind, text in noted.items():
            count, _, at = text.partition(" ")
            try:
                self._seen[kind] = (int(count), float(at))
            except ValueError:  # It was being written.
                continue

    def __bool__(self) -> bool:
        return bool(self._seen)

    def take(self, device: str, now: float) -> bool:
        """Look at the device's counters; return whether there is something new to note."""
        counters = block.counters(device) if device else None
        if not counters:
            return False
        current = {READ: counters.reads, WRITE: counters.writes, FLUSH: counters.flushes}
        changed = {kind: (count, now) for kind, count in current.items() if self._seen.get(kind, (-1, 0.0))[0] != count}
        self._seen.update(changed)
        return bool(changed)

    def encode(self) -> dict[str, str]:
        return {kind: f"{count} {at:.3f}" for kind, (count, at) in self._seen.items()}

    def last_progress(self, kind: str) -> float:
        """Return when the device last completed an I/O of this kind, 0 where that is not known.

        Flushes count apart from writes: a device may take writes into its cache and never get them out.  A device that counts no
        flushes (bio-based device-mapper) is judged by its writes.
        """
        if kind == FLUSH and not self._seen.get(FLUSH, (0, 0.0))[0]:
            kind = WRITE
        return self._seen.get(kind, (0, 0.0))[1]


def judge(child: guard.Child, place: Place, limits: Limits, evidence: Evidence, now: float) -> Ailing | StorageHung | None:
    """Return what it means that a child has not brought an answer yet, None while nothing can be said."""
    age = now - child.step_since
    cut = age >= CUT_SECONDS and bool(place.device) and block.cut(place.device, age)
    if age < limits.hung and not cut:
        return None
    about = guard.process(child.pid)
    if about is None:
        return None
    where = place.where()
    if about[0] != "D":
        return Ailing(f"overloaded: the storage check had no chance to run for {age:.1f} s: {where}", place)
    if waits_for_thaw(child.pid):
        if age < limits.freeze_max:
            return Ailing(f"file system frozen for {age:.0f} s (fsfreeze of a backup?): {where}", place)
        text = f"storage hang: file system frozen for {age:.0f} s (limit {limits.freeze_max:.0f} s), fsfreeze -u thaws it"
        return StorageHung(f"{text}: {where}", place, child.pid, age)
    kind = kind_of(child)
    quiet = now - max(evidence.last_progress(kind), child.since)
    if quiet < limits.hung - QUIET_MARGIN and not cut:
        if not limits.slow_max or age < limits.slow_max:
            return Ailing(f"storage slow: {kind} unanswered for {age:.1f} s while other I/O completes: {where}", place)
        text = f"storage hang: {kind} unanswered for {age:.0f} s (limit {limits.slow_max:.0f} s) though other I/O completes"
        return StorageHung(f"{text}: {where}", place, child.pid, age)
    cause = ", no path is running" if cut else ", 0 I/O completed" if evidence else ""
    return StorageHung(f"storage hang: {kind} unanswered for {age:.1f} s{cause}: {where}", place, child.pid, age)


def kind_of(child: guard.Child | None) -> str:
    return child.step if child and child.step in (READ, WRITE, FLUSH) else READ


class Watched(guard.Call):
    """Guarded I/O on one place, judged by the device's own counters.  What becomes of it is told by `trouble`."""

    def __init__(
        self, place: Place, limits: Limits, function: Callable[..., Any], *args: Any, writes: bool = False,
        user: guard.Account | None = None,
    ) -> None:  # fmt: skip
        super().__init__(f"io.{place.device or place.path}", function, *args, within=limits.hung, writes=writes, user=user,
                         facts={"device": place.device, "path": place.path, "label": place.label})  # fmt: skip
        self.place, self.limits = place, limits
        self.evidence = Evidence({})

    def begin(self) -> None:
        self._take(time.monotonic())

    def look(self, now: float) -> None:
        if not self.evidence and self.record:
            self.evidence = Evidence(self.record.read(guard.EVIDENCE))
        self._take(now)

    def _take(self, now: float) -> None:
        if self.record and self.evidence.take(self.place.device, now):
            self.record.write(guard.EVIDENCE, self.evidence.encode())

    def judge(self, now: float) -> Error | None:
        assert self.child
        return judge(self.child, self.place, self.limits, self.evidence, now)

    def trouble(self) -> Trouble | None:
        """Return what is wrong with the place, None where it is healthy."""
        error = self.error
        if error is None:
            return self.answered()
        if isinstance(error, Trouble):
            return error
        if isinstance(error, Unanswered):
            text = f"{kind_of(self.child)} unanswered for {error.seconds:.1f} s (limit {self.limits.hung:.0f} s), the next monitor judges"
            return NotYet(f"storage not answering yet: {text}: {self.place.where()}", self.place)
        if isinstance(error, OSError):
            return self.failed(error)
        if isinstance(error, CannotRecord):
            return Ailing(f"storage not checked: {error}", self.place)
        return Ailing(f"storage check did not end: {error}: {self.place.where()}", self.place)

    def answered(self) -> Trouble | None:
        """Return what is wrong with a place that has answered: `value` holds the seconds of each kind of I/O."""
        kind, seconds = max(((kind, self.value.get(kind, 0.0)) for kind in (READ, WRITE, FLUSH)), key=lambda pair: pair[1])
        if self.limits.slow and seconds >= self.limits.slow:
            return Ailing(f"storage slow: {kind} took {seconds:.1f} s: {self.place.where()}", self.place)
        return None

    def failed(self, error: OSError) -> Trouble:
        return StorageError(describe_error(error, self.place), self.place)


class Probe(Watched):
    """The probe of one directory.  Its value is what `exercise` returns."""

    def __init__(
        self, place: Place, limits: Limits, user: guard.Account | None, write: bool, look: Callable[[str], dict[str, Any]] | None = None
    ) -> None:
        super().__init__(place, limits, exercise, place.path, write, look, writes=write, user=user)

    def answered(self) -> Trouble | None:
        found = self.value
        if found["full"]:
            return Ailing(f"file system full: {found['free']} B free, the disk still answers: {self.place.where()}", self.place)
        return super().answered()

    def failed(self, error: OSError) -> Trouble:
        kind = Missing if error.errno in (errno.ENOENT, errno.ENOTDIR) else StorageError
        return kind(describe_error(error, self.place), self.place)


def describe_error(error: OSError, place: Place) -> str:
    name = errno.errorcode.get(error.errno or 0, str(error.errno))
    if error.errno == errno.EROFS:
        return f"read-only file system: {place.where()} (EROFS)"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"{place.label} {place.path} is not there; is the file system mounted?"
    step = f"{error.filename}: " if error.filename in (READ, WRITE, FLUSH) else ""
    return f"I/O error: {step}{name} {error.strerror}: {place.where()}"


def waits_for_thaw(pid: int) -> bool:
    """Return whether a process sleeps at the gate of a frozen file system (fs/super.c, sb_start_write waits there)."""
    return "percpu_rwsem" in block.read("/proc", str(pid), "wchan") or "percpu_down_read" in block.read("/proc", str(pid), "wchan")


# What follows runs in the guarded child.


def exercise(path: str, write: bool, look: Callable[[str], dict[str, Any]] | None = None) -> dict[str, Any]:
    """Read from the storage under a directory, write to it, flush, and read back, each past the page cache.

    Reads come first: where nothing answers, no write is left under way that could land after another node has taken over.
    Returns the seconds of each kind of I/O, whether the file system is full, and what `look` told.  Raises OSError whose
    filename is the kind of I/O that failed.
    """
    times = {READ: 0.0, WRITE: 0.0, FLUSH: 0.0}
    buffer = mmap.mmap(-1, SIZE)

    def timed(kind: str, work: Callable[[], Any]) -> Any:
        guard.step(kind, writes=kind != READ)
        began = time.monotonic()
        try:
            return work()
        except OSError as error:
            missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
            raise OSError(error.errno, error.strerror, path if missing else kind) from None
        finally:
            times[kind] = max(times[kind], time.monotonic() - began)

    device = timed(READ, lambda: os.stat(path).st_dev)
    timed(READ, lambda: read_something(path, buffer))
    told = timed(READ, lambda: look(path)) if look else {}
    full = write_something(path, buffer, timed) if write else False
    room = os.statvfs(path)
    return {**times, "full": full or (write and room.f_bavail == 0), "free": room.f_bavail * room.f_frsize,
            "device": block.number(device), "told": told}  # fmt: skip


def read_something(path: str, buffer: mmap.mmap) -> None:
    """Read a block of a file in the directory from the disk."""
    found = some_file(path, 3)
    if found:
        descriptor = open_direct(found, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            # The last block: of a WAL segment made in advance it is one that nobody has dirty pages of.
            end = max(0, os.fstat(descriptor).st_size - 1) // SIZE * SIZE
            os.preadv(descriptor, [buffer], end)
        finally:
            os.close(descriptor)


def some_file(path: str, depth: int) -> str:
    """Return a file that the server rarely writes: PG_VERSION, or the last by name of those in reach."""
    likely = f"{path}/PG_VERSION"
    if os.path.isfile(likely):
        return likely
    with os.scandir(path) as entries:
        sorted_entries = sorted(entries, key=lambda entry: entry.name, reverse=True)
    for entry in sorted_entries:
        if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_size:
            return entry.path
    for entry in sorted_entries:
        if depth and entry.is_dir(follow_symlinks=False):
            found = some_file(entry.path, depth - 1)
            if found:
                return found
    return ""


def write_something(path: str, buffer: mmap.mmap, timed: Callable[[str, Callable[[], Any]], Any]) -> bool:
    """Write a block to a file without a name, flush it and read it back; return whether the file system is full."""
    try:
        descriptor = timed(WRITE, lambda: open_unnamed(path))
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        timed(FLUSH, lambda: flush_directory(path))
        return True
    try:
        timed(WRITE, lambda: os.pwritev(descriptor, [buffer], 0))
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        # The file's own creation is in the journal: flushing it reaches the disk though no block is free.
        timed(FLUSH, lambda: os.fsync(descriptor))
        return True
    else:
        timed(FLUSH, lambda: os.fsync(descriptor))
        timed(READ, lambda: os.preadv(descriptor, [buffer], 0))
    finally:
        os.close(descriptor)
    return False


def open_direct(path: str, flags: int) -> int:
    """Open past the page cache, or, where a file system has no direct I/O (ZFS of old), without what it has cached."""
    try:
        return os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    descriptor = os.open(path, flags | os.O_DSYNC | os.O_CLOEXEC, 0o600)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return descriptor


def open_unnamed(path: str) -> int:
    try:
        return open_direct(path, os.O_RDWR | os.O_TMPFILE)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
            raise
    name = f"{path}/{NAMED_FILE}.{os.getpid()}"
    descriptor = open_direct(name, os.O_RDWR | os.O_CREAT)
    os.unlink(name)
    return descriptor


def flush_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
