"""Run a program: bounded, in a rebuilt world, never waiting on a process in D state.

`subprocess` is not used: its run() waits without limit for a killed child and for every holder of the pipes (CPython issues
82388 and 75628), and importing it costs more than a healthy monitor may.
"""

from __future__ import annotations

import errno
import os
import select
import time

from . import guard, state
from .guard import SIGKILL, SIGTERM
from .outcomes import CommandFailed, DeadlineExceeded, Error, Hung, NotInstalled, NotPermitted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .deadline import Deadline

OUTPUT_LIMIT = 1 << 20
GRACE = 0.5
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Finished:
    """A program that ended by itself.  `code` is its exit code, or minus the signal that ended it; `out` and `err` its output."""

    __slots__ = ("argv", "code", "err", "out", "seconds")

    def __init__(self, argv: Sequence[str], code: int, out: str, err: str, seconds: float) -> None:
        self.argv, self.code, self.out, self.err, self.seconds = tuple(argv), code, out, err, seconds

    def failure(self) -> str:
        """Return the failure in a line: the program, its code, and the last thing that it said."""
        said = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        ended = f"exited {self.code}" if self.code >= 0 else f"was ended by signal {-self.code}"
        return f"{self.argv[0].rpartition('/')[2]} {ended}{': ' + said[-1] if said else ''}"


def find(program: str) -> str | None:
    """Return the path of an executable, by the fixed search path unless it has a slash."""
    candidates = [program] if "/" in program else [f"{folder}/{program}" for folder in PATH.split(":")]
    return next((path for path in candidates if os.access(path, os.X_OK) and not os.path.isdir(path)), None)


def quoted(argv: Sequence[str]) -> str:
    safe = "-_./=:@%+,"
    plain = (word and all(c.isalnum() or c in safe for c in word) for word in argv)
    return " ".join(word if is_plain else "'" + word.replace("'", "'\\''") + "'" for word, is_plain in zip(argv, plain))


class Runner:
    """Runs programs for one action of one instance.

    `world` is the environment that every program gets beside PATH and the C locale; `trace` is told each call and its end.
    """

    def __init__(self, folder: str, deadline: Deadline, world: Mapping[str, str], trace: Callable[[str], None]) -> None:
        self.folder, self.deadline, self.world, self.trace = folder, deadline, world, trace

    def run(
        self,
        *argv: str,
        ok: Sequence[int] | None = (0,),
        input: str = "",
        within: float | None = None,
        env: Mapping[str, str] | None = None,
        user: guard.Account | None = None,
        target: str = "",
        writes: bool = True,
    ) -> Finished:
        """Run a program and return it finished.

        `ok` are the exit codes taken as success, None for any.  `env` replaces the executor's part of the environment.  With a
        `target` the program is recorded as working on it, so that a later stop knows of it should it hang.  Raises NotInstalled,
        NotPermitted, CommandFailed, DeadlineExceeded (it was ended), Hung (it could not be ended and was left behind), CannotRecord.
        """
        path = find(argv[0])
        if not path:
            raise NotInstalled(f"{argv[0]} is not installed")
        # Ending a program takes up to twice the grace, which belongs to the action's time.
        most = self.deadline.left()
        most -= min(2 * GRACE, most / 2)
        deadline = self.deadline.at_most(most if within is None else min(within, most))
        environment = {**(self.world if env is None else env), "LC_ALL": "C"}
        environment.setdefault("PATH", PATH)
        running = Running([path, *argv[1:]], environment, input, user)
        record = self._claimed(target) if target else None
        try:
            running.start(record, {"target": target[: guard.NAME], "writes": "1" if writes else "0"})
            code = running.wait(deadline)
            if code is None:
                raise self._overdue(running, record, target)
            if record:
                record.write(guard.IDENTITY, {})
        except Error:
            raise
        except BaseException:
            if running.pid > 0 and running.code is None:
                running.end()
            raise
        finally:
            running.close()
            if record:
                record.close()
        finished = Finished(argv, code, running.text(running.out), running.text(running.err), running.seconds)
        self.trace(f"{quoted(argv)} -> {code} in {finished.seconds:.2f} s")
        if running.failure:
            denied = running.failure in (errno.EPERM, errno.EACCES)
            raise (NotPermitted if denied else NotInstalled)(f"{argv[0]} cannot be executed: {os.strerror(running.failure)}")
        if ok is not None and code not in ok:
            raise CommandFailed(finished.failure(), finished)
        return finished

    def _claimed(self, target: str) -> guard.Record:
        """Return the target's record, locked, with nobody at work on it.  Raises Hung, Error or CannotRecord."""
        record = guard.Record(self.folder, target)
        record.open()
        try:
            left = record.child()
            if left:
                raise Hung(target, left.pid, left.age, f"{target}: process {left.pid} of {left.age:.0f} s ago still at work")
            if not record.try_lock():
                raise Error(f"{target}: another action is at work on it")
        except Error:
            record.close()
            raise
        return record

    def _overdue(self, running: Running, record: guard.Record | None, target: str) -> Error:
        """End a program whose time is over, and return what is to be said of it."""
        stuck = running.end()
        words, seconds = quoted(running.argv), running.seconds
        if not stuck:
            if record:
                record.write(guard.IDENTITY, {})
            self.trace(f"{words} ended after {seconds:.2f} s: no time left")
            return DeadlineExceeded(f"{words[:100]} still running after {seconds:.0f} s")
        pid, started = stuck
        if record:
            record.write(guard.IDENTITY, {**record.read(guard.IDENTITY), "pid": str(pid), "started": started})
        self.trace(f"{words} left behind after {seconds:.2f} s (process {pid})")
        text = f"{words[:100]} hangs in uninterruptible sleep for {seconds:.0f} s (process {pid})"
        return Hung(target or running.argv[0], pid, seconds, text)


class Running:
    """A program between its start and its end."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], input: str, user: guard.Account | None) -> None:
        self.argv, self.env, self.input, self.user = argv, env, input.encode(), user
        self.pid = self.pidfd = -1
        self._began = time.monotonic()
        self.out, self.err, self.failure = bytearray(), bytearray(), 0
        self.code: int | None = None
        self._pipes: dict[int, bytearray] = {}
        self._feed = -1
        self._error = -1

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def start(self, record: guard.Record | None, facts: dict[str, str]) -> None:
        stdin, self._feed = os.pipe() if self.input else (os.open(os.devnull, os.O_RDONLY), -1)
        out, child_out = os.pipe()
        err, child_err = os.pipe()
        self._error, child_error = os.pipe()
        child_release, release = os.pipe()
        self._pipes = {out: self.out, err: self.err}
        since = self._began
        self.pid = guard.fork()
        if self.pid == 0:
            self._become(stdin, child_out, child_err, child_error, child_release, release)
        for descriptor in (stdin, child_out, child_err, child_error, child_release):
            os.close(descriptor)
        try:
            if record:
                about = guard.process(self.pid)
                record.write(guard.IDENTITY, {"boot": state.boot_id(), "pid": str(self.pid), "started": about[1] if about else "",
                                              "since": f"{since:.3f}", **facts})  # fmt: skip
            guard.let_go(release)
        finally:
            os.close(release)
        self.pidfd = os.pidfd_open(self.pid)
        for descriptor in (out, err, self._feed):
            if descriptor >= 0:
                os.set_blocking(descriptor, False)

    def _become(self, stdin: int, out: int, err: int, error: int, release: int, parent_end: int) -> None:
        """Turn the forked child into the program.  Never returns."""
        try:
            os.close(parent_end)
            if os.read(release, 1):
                guard.default_signals()
                if self.user:
                    self.user.become()
                os.dup2(stdin, 0)
                os.dup2(out, 1)
                os.dup2(err, 2)
                os.execve(self.argv[0], list(self.argv), dict(self.env))
        except OSError as failure:
            os.write(error, str(failure.errno).encode())
        finally:
            os._exit(127)

    def wait(self, deadline: Deadline) -> int | None:
        """Return the exit code, or None when the deadline comes first.  Does not wait for other holders of the output."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        for descriptor in self._pipes:
            poll.register(descriptor, select.POLLIN)
        if self._feed >= 0:
            poll.register(self._feed, select.POLLOUT)
        while True:
            for descriptor, _ in poll.poll(deadline.left() * 1000):
                if descriptor == self._feed:
                    if not self._write():
                        poll.unregister(descriptor)
                        self._feed = -1
                        os.close(descriptor)
                elif descriptor in self._pipes and not self._drain(descriptor):
                    poll.unregister(descriptor)
            code = self._code()
            if code is not None:
                for descriptor in self._pipes:
                    self._drain(descriptor)
                self.failure = int(os.read(self._error, 16) or b"0")
                return code
            if not deadline.left():
                return None

    def _write(self) -> bool:
        """Feed the program; return whether more is to come."""
        try:
            self.input = self.input[os.write(self._feed, self.input) :]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return bool(self.input)

    def _drain(self, descriptor: int) -> bool:
        """Take what is there; return whether the pipe may still bring more.  What exceeds the limit is read and dropped."""
        # Bounded: who writes without end would keep the caller from its deadline.
        for _ in range(OUTPUT_LIMIT // 65536 + 1):
            try:
                part = os.read(descriptor, 65536)
            except BlockingIOError:
                return True
            if not part:
                return False
            kept = self._pipes[descriptor]
            kept += part[: max(0, OUTPUT_LIMIT - len(kept))]
        return True

    def _code(self) -> int | None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self.code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return self.code

    def end(self) -> tuple[int, str] | None:
        """End the program and what it started in our process group.

        Returns the process id and start time of one that cannot be ended, None when all are gone.
        """
        family: dict[int, str] = {}
        left: list[tuple[int, str]] = []
        for signal in (SIGTERM, SIGKILL):
            # Who has lost its parent by the first signal is no descendant any more, and is remembered for the second.
            family.update(self._family())
            for pid in living(family):
                try:
                    os.kill(pid, signal)
                except (ProcessLookupError, PermissionError):
                    continue
            until = time.monotonic() + GRACE
            while (left := list(living(family).items())) and time.monotonic() < until:
                time.sleep(0.01)
            if not left:
                break
        self._code()
        return left[0] if left else None

    def _family(self) -> dict[int, str]:
        """Return the start times of the program and of its descendants in our process group, by process id."""
        group = os.getpgrp()
        about = {int(name): found for name in guard.listing("/proc") if name.isdigit() and (found := status(int(name)))}
        family = [self.pid]
        for parent in family:
            family += [pid for pid, (_, its_parent, its_group, _) in about.items() if its_parent == parent and its_group == group]
        return {pid: about[pid][3] for pid in family if pid in about}

    def text(self, output: bytearray) -> str:
        return bytes(output).decode("utf-8", "surrogateescape")

    def close(self) -> None:
        for descriptor in (*self._pipes, self._feed, self._error, self.pidfd):
            if descriptor >= 0:
                os.close(descriptor)


def status(pid: int) -> tuple[str, int, int, str] | None:
    """Return the state letter, parent, process group and start time of a process, None where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return fields[0].decode(), int(fields[1]), int(fields[2]), fields[19].decode()


def living(processes: Mapping[int, str]) -> dict[int, str]:
    """Return those of the processes, given by id and start time, that still exist; a zombie is gone."""
    known = {pid: status(pid) for pid in processes}
    return {pid: started for pid, started in processes.items() if (now := known[pid]) and now[3] == started and now[0] not in "ZX"}


def require(*programs: str) -> None:
    """Raise NotInstalled naming the programs that are not there."""
    missing = [program for program in programs if not find(program)]
    if missing:
        raise NotInstalled(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed")


__all__ = ["Finished", "Runner", "find", "quoted", "require"]
