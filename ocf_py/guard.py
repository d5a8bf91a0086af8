"""Guarded calls: work that may hang runs in a child that can be left behind.

The main process of an agent must never sleep in D state: Pacemaker would not learn of it, and cancelling the action can freeze
pacemaker-execd (lib/common/mainloop.c waits for the killed process without limit).  So whatever touches storage runs here:

- one child per target, which answers over a pipe and ends with os._exit;
- a record of it under HA_RSCTMP, written before the child is released to begin, so that a child whose parent was killed at any
  instruction is either known or never began;
- a child that does not answer is left behind.  The next action finds its record and speaks of its age instead of starting another.
"""

from __future__ import annotations

import errno
import fcntl
import marshal
import os
import select
import time

from . import outcomes, state
from .outcomes import CannotRecord, Error, Hung, Unanswered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from typing_extensions import Self

    from .deadline import Deadline

PREFIX = "child."
# A record is one page with three parts that have one writer each: the parent says who works on what, the parent notes what it saw
# while waiting, the child says at which step it is.  A part is overwritten in place by one write, which a signal cannot cut in
# two and which needs no space once the page exists.
PAGE, PART = 4096, 1024
IDENTITY, EVIDENCE, STEP = 0, PART, 2 * PART
NAME = 200  # So much of a target or step is recorded: what stands after it in the part must have room.

TICK = 0.25
MANY = 100  # So many calls side by side fit into any limit of open files.
DESCRIPTORS, SPARE = 3, 100  # What a call holds open while it is unanswered, and what else a process may need.
# The signal module costs an import of enum.
SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGPIPE, SIGTERM, SIGCHLD, SIGXFSZ = 1, 2, 3, 9, 13, 15, 17, 25


class Child:
    """What a record says of a child: a process id and start time, what it works on since when (monotonic clock), and how."""

    __slots__ = ("evidence", "facts", "instance", "may_write", "pid", "since", "started", "step", "step_since", "target")

    def __init__(self, facts: dict[str, str], step: dict[str, str], instance: str = "") -> None:
        self.facts, self.instance = facts, instance
        self.evidence: dict[str, str] = {}
        self.pid, self.started = int(facts["pid"]), facts["started"]
        self.since, self.target = float(facts["since"]), facts["target"]
        self.step, self.step_since, self.may_write = "", self.since, facts.get("writes", "1")
        self.read_step(step)

    def read_step(self, step: dict[str, str]) -> None:
        """Take over what the child says of its step; what another child said, or one that is just writing, counts as nothing said."""
        try:
            if int(step["pid"]) == self.pid:
                self.step_since, self.may_write, self.step = float(step["since"]), step["writes"], step["step"]
        except (KeyError, ValueError):
            return

    def alive(self) -> bool:
        """Return whether the child still exists.  A zombie does no more I/O and counts as gone."""
        about = process(self.pid)
        return about is not None and about[1] == self.started and about[0] not in "ZX"

    @property
    def writes(self) -> bool:
        """Whether the child may still write to its target when it goes on."""
        return self.may_write == "1"

    def end(self) -> None:
        """Ask the kernel to end it; in D state it stays until its I/O returns, and then does nothing more."""
        if self.alive():
            try:
                os.kill(self.pid, SIGKILL)
            except OSError:
                return

    @property
    def age(self) -> float:
        return time.monotonic() - self.since


def process(pid: int) -> tuple[str, str] | None:
    """Return the state letter and the start time (clock ticks since boot) of a process, None where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return fields[0].decode(), fields[19].decode()


class Record:
    """The page of one target.  The lock is held by a main process that runs a child; a child left behind is known by its start time."""

    def __init__(self, folder: str, target: str) -> None:
        self.folder, self.path = folder, f"{folder}/{PREFIX}{state.file_name(target)}"
        self.page = self.lock = -1

    def open(self) -> None:
        """Open the page, making it where it does not exist.  Raises `CannotRecord`."""
        try:
            try:
                self.page = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                state.make_directory(self.folder)
                self.page = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if os.fstat(self.page).st_size < PAGE and os.pwrite(self.page, bytes(PAGE), 0) != PAGE:
                raise OSError(errno.ENOSPC, "short write")
            self.lock = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            self.close()
            raise CannotRecord(f"cannot record in {self.folder}: {os.strerror(error.errno or errno.EIO)}") from None

    def try_lock(self) -> bool:
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        # Forgotten before they are closed: when a signal raises in between, nobody closes the same numbers again.
        descriptors, self.page, self.lock = (self.page, self.lock), -1, -1
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)

    def write(self, part: int, facts: dict[str, str]) -> None:
        os.pwrite(self.page, state.encode(facts)[: PART - 1].ljust(PART, b"\0"), part)

    def read(self, part: int) -> dict[str, str]:
        return state.decode(os.pread(self.page, PART, part).rstrip(b"\0"))

    def child(self) -> Child | None:
        """Return the child that the page speaks of if it is alive."""
        return living(self.read(IDENTITY), self.read(STEP))


def living(identity: dict[str, str], step: dict[str, str], instance: str = "") -> Child | None:
    if not identity or identity.get("boot") != state.boot_id():
        return None
    try:
        child = Child(identity, step, instance)
    except (KeyError, ValueError):
        return None
    return child if child.alive() else None


def left_behind(rsctmp: str) -> Iterator[Child]:
    """Yield the living children that any resource of this node has recorded, at work or left behind."""
    top = f"{rsctmp}/ocf_py"
    for instance in listing(top):
        for name in listing(f"{top}/{instance}"):
            if name.startswith(PREFIX):
                try:
                    with open(f"{top}/{instance}/{name}", "rb") as file:
                        page = file.read(PAGE)
                except OSError:
                    continue
                identity, evidence, step = (state.decode(page[part : part + PART].rstrip(b"\0")) for part in (IDENTITY, EVIDENCE, STEP))
                child = living(identity, step, instance)
                if child:
                    child.evidence = evidence
                    yield child


def listing(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def forget(folder: str) -> None:
    """Remove the pages of an instance whose children are all gone."""
    for name in listing(folder):
        if name.startswith(PREFIX):
            record = Record(folder, "")
            record.path = f"{folder}/{name}"
            try:
                record.open()
                if record.try_lock() and not record.child():
                    os.unlink(record.path)
            except (CannotRecord, OSError):
                continue
            finally:
                record.close()
    try:
        os.rmdir(folder)
    except OSError:
        return


class Call:
    """A function to be run in a guarded child, and what became of it: `value`, or `error`.

    `target` names what it works on; one child at a time works on a target.  `within` is the number of seconds after which an
    unanswered child is Hung.  `facts` go into the record for others to read; `writes=True` says that the child may write.
    """

    def __init__(
        self,
        target: str,
        function: Callable[..., Any],
        *args: Any,
        within: float = 5.0,
        writes: bool = False,
        user: Account | None = None,
        facts: dict[str, str] | None = None,
    ) -> None:
        self.target, self.function, self.args, self.within, self.user = target, function, args, within, user
        self.facts = {**(facts or {}), "writes": "1" if writes else "0"}
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.child: Child | None = None
        self.record: Record | None = None
        self.own = False
        self._answer = -1
        self._received = b""

    def begin(self) -> None:
        """Called in the parent before the child begins; a subclass takes its first readings here."""

    def look(self, now: float) -> None:
        """Called in the parent from time to time while the child is unanswered."""

    def judge(self, now: float) -> Error | None:
        """Return what an unanswered child means at this moment, None where it has more time."""
        assert self.child
        age = now - self.child.since
        return Hung(self.target, self.child.pid, age) if age >= self.within else None

    def result(self) -> Any:
        """Return the value, or raise what the function raised."""
        if self.error:
            raise self.error
        return self.value


class Guards:
    """Runs guarded calls for one instance, whose records are in `folder`, within the action's deadline."""

    def __init__(self, folder: str, deadline: Deadline) -> None:
        self.folder, self.deadline = folder, deadline
        self._open: list[int] = []

    def run(self, *calls: Call, deadline: Deadline | None = None) -> None:
        """Run calls side by side until each has a value or an error.  Never blocks on a child."""
        with self.beside(*calls, deadline=deadline) as group:
            while not group.step(TICK):
                pass

    def beside(self, *calls: Call, deadline: Deadline | None = None) -> Group:
        """Start calls and return them as a group that the caller steps beside its own work.

        Every call has a value or an error when `step` has returned True, or when the group's `with` block has ended.
        """
        if len(calls) > MANY:
            make_room(len(calls) * DESCRIPTORS + SPARE)
        return Group(self, calls, min(self.deadline.ends, deadline.ends) if deadline else self.deadline.ends)

    def _begin(self, call: Call) -> None:
        """Start a child for the call, or wait for the one that is there already."""
        record = call.record = Record(self.folder, call.target)
        try:
            record.open()
            self._open += [record.page, record.lock]
            locked = record.try_lock()
            if locked and os.fstat(record.lock).st_nlink == 0:  # Forgotten between open and lock.
                self._release(call)
                return self._begin(call)
            call.child = record.child()
            if locked and not call.child:
                call.begin()
                self._spawn(call, record)
        except CannotRecord as error:
            self._finish(call, error=error)

    def _spawn(self, call: Call, record: Record) -> None:
        pipes: list[int] = []
        since = time.monotonic()
        try:
            pipes += os.pipe()
            pipes += os.pipe()
            pid = fork()
        except OSError as error:
            for descriptor in pipes:
                os.close(descriptor)
            return self._finish(call, error=Error(f"cannot start a child for {call.target}: {error.strerror}"))
        answer, child_answer, child_release, release = pipes
        if pid == 0:
            # Its own lock and those of its siblings too: a lock would be held for as long as this child is stuck.
            others = [descriptor for descriptor in (answer, release, *self._open) if descriptor != record.page]
            work(call, record, child_answer, child_release, others)
        os.close(child_answer)
        os.close(child_release)
        call._answer, call._received, call.own = answer, b"", True
        self._open.append(answer)
        os.set_blocking(answer, False)
        about = process(pid)
        identity = {"boot": state.boot_id(), "pid": str(pid), "started": about[1] if about else "", "since": f"{since:.3f}",
                    "target": call.target[:NAME], **call.facts}  # fmt: skip
        call.child = Child(identity, {})
        try:
            record.write(IDENTITY, identity)
            let_go(release)
        except OSError as error:
            # The child reads the end of its release pipe and ends without having begun.
            self._finish(call, error=CannotRecord(f"cannot record in {self.folder}: {error.strerror}"))
        finally:
            os.close(release)

    def _wait(self, pending: list[Call], seconds: float) -> None:
        """Wait for an answer; children of an earlier action give none and are looked at more often."""
        poll = select.poll()
        own = [call for call in pending if call._answer >= 0]
        for call in own:
            poll.register(call._answer, select.POLLIN)
        tick = TICK if len(own) == len(pending) else TICK / 5
        poll.poll(max(0.0, min(tick, seconds)) * 1000 + 1)

    def _advance(self, call: Call, now: float) -> None:
        if call._answer >= 0:
            self._receive(call)
        elif call.record:
            # It may have begun only now: another action holds the lock before it has a child.
            call.child = call.record.child()
            if not call.child:
                # The child that was there has ended, or another action's work on this target has.
                self._release(call)
                self._begin(call)
        if call.done or not call.child or not call.record:
            return
        call.child.read_step(call.record.read(STEP))
        call.look(now)
        verdict = call.judge(now)
        if verdict and call._answer >= 0:
            self._receive(call)  # It may have answered while it was looked at.
        if verdict and not call.done:
            self._finish(call, error=verdict)

    def _receive(self, call: Call) -> None:
        """Take what the child has sent; its answer is a length of four bytes and a marshalled tuple."""
        while not call.done:
            try:
                part = os.read(call._answer, 65536)
            except BlockingIOError:
                return
            call._received += part
            length = int.from_bytes(call._received[:4], "big") + 4
            if len(call._received) >= 4 and len(call._received) >= length:
                kind, payload = marshal.loads(call._received[4:length])
                if kind == "value":
                    self._finish(call, value=payload)
                else:
                    self._finish(call, error=rebuilt(kind, payload))
            elif not part:
                self._finish(call, error=Error(f"{call.target}: the child ended without an answer"))

    def _finish(self, call: Call, value: Any = None, error: BaseException | None = None) -> None:
        call.value, call.error, call.done = value, error, True
        if isinstance(error, Hung):
            if call.child and not isinstance(error, Unanswered):
                call.child.end()
        elif call.own and call.record and call.child:
            reap(call.child.pid)
            if not call.child.alive():
                call.record.write(IDENTITY, {})
        self._release(call)

    def _release(self, call: Call) -> None:
        answer, record, call._answer, call.record, call.own = call._answer, call.record, -1, None, False
        ours = (answer, record.page, record.lock) if record else (answer,)
        self._open = [descriptor for descriptor in self._open if descriptor not in ours]
        if record:
            record.close()
        if answer >= 0:
            os.close(answer)


class Group:
    """Guarded calls under way.  Leaving the `with` block leaves nothing running but what cannot be ended."""

    def __init__(self, guards: Guards, calls: tuple[Call, ...], ends: float) -> None:
        self._guards, self.calls, self._ends = guards, calls, ends

    def __enter__(self) -> Self:
        try:
            for call in self.calls:
                self._guards._begin(call)
        except BaseException:  # A signal: those that have begun are ended.
            self.__exit__()
            raise
        return self

    def step(self, seconds: float) -> bool:
        """Wait up to `seconds` for answers and judge what is unanswered; return whether every call is done."""
        pending = [call for call in self.calls if not call.done]
        if pending:
            self._guards._wait(pending, min(seconds, self._ends - time.monotonic()))
        now = time.monotonic()
        for call in pending:
            self._guards._advance(call, now)
            if not call.done and now >= self._ends:
                self._guards._finish(call, error=unanswered(call, now))
        return all(call.done for call in self.calls)

    def __exit__(self, *raised: object) -> None:
        now = time.monotonic()
        for call in self.calls:
            if not call.done:
                if call.child:
                    call.child.end()
                self._guards._finish(call, error=unanswered(call, now))
            self._guards._release(call)


def make_room(wanted: int) -> None:
    """Raise this process's limit of open files as far as that is needed and allowed: 1024 by default, which 340 disks exhaust."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted and soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def unanswered(call: Call, now: float) -> Error:
    if not call.child:
        return outcomes.DeadlineExceeded(f"{call.target}: another action has been at work on it until the time ended")
    age = now - call.child.since
    return Unanswered(call.target, call.child.pid, age, f"{call.target}: unanswered for {age:.1f} s when the time of the action ended")


def reap(pid: int) -> None:
    """Collect a child that has answered.  Never waits long: WNOHANG, because a child can stick on its way out too."""
    for _ in range(60):
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
        except ChildProcessError:
            return
        time.sleep(0.0005)


# What follows runs in the child.

_pages: list[int] = []  # The descriptor of this child's record.


def step(name: str, writes: bool = False) -> None:
    """Say in the record what the child does next, and whether that may write; does nothing outside a guarded child."""
    for page in _pages:
        facts = {"pid": str(os.getpid()), "step": name[:NAME], "since": f"{time.monotonic():.3f}", "writes": "1" if writes else "0"}
        os.pwrite(page, state.encode(facts).ljust(PART, b"\0"), STEP)


def work(call: Call, record: Record, answer: int, release: int, others: list[int]) -> None:
    """Wait for the release, run the function, answer, and end.  Never returns.  `others` are the parent's descriptors."""
    try:
        for descriptor in others:
            os.close(descriptor)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        default_signals()
        if os.read(release, 1):
            _pages.append(record.page)
            if call.user:
                call.user.become()
            send(answer, attempt(call))
    finally:
        os._exit(0)


def fork() -> int:
    """Fork with SIGTERM and SIGINT held back in the child until `default_signals`: there they would be raised as in the parent."""
    import _signal  # type: ignore[import-not-found]  # The C module has no stubs.

    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, (SIGTERM, SIGINT))
    pid = -1
    try:
        pid = os.fork()
    finally:
        if pid != 0:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
    return pid


def let_go(release: int) -> None:
    """Let a forked child begin; one that was killed in the meantime is told by the end of its pipes."""
    try:
        os.write(release, b"!")
    except BrokenPipeError:
        return


def default_signals() -> None:
    """Give up what this process, and Python at its start, has set for signals.  A program inherits the mask and what is ignored."""
    import _signal

    for number in (SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def attempt(call: Call) -> tuple[str, Any]:
    try:
        return "value", call.function(*call.args)
    except OSError as error:
        return "OSError", (error.errno, error.strerror, os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else None)
    except Error as error:
        return type(error).__name__, str(error)
    except BaseException as error:  # noqa: BLE001  Whatever it is, the parent is told.
        return "Exception", f"internal error: {described(error)}"


def send(descriptor: int, answer: tuple[str, Any]) -> None:
    try:
        text = marshal.dumps(answer)
    except ValueError:
        text = marshal.dumps(("Exception", f"internal error: {type(answer[1]).__name__} cannot be an answer of a guarded call"))
    text = len(text).to_bytes(4, "big") + text
    while text:
        text = text[os.write(descriptor, text) :]


def rebuilt(kind: str, payload: Any) -> BaseException:
    """Return the exception that the child raised."""
    if kind == "OSError":
        number, text, name = payload
        return OSError(number, text, name) if name else OSError(number, text)
    known = getattr(outcomes, kind, None)
    if isinstance(known, type) and issubclass(known, Error):
        error = known.__new__(known)
        Exception.__init__(error, payload)
        return error
    return Error(payload)


def described(error: BaseException) -> str:
    """Return an exception in a line, with the place where it was raised."""
    trace, place = error.__traceback__, ""
    while trace:
        code = trace.tb_frame.f_code
        place, trace = f" ({code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})", trace.tb_next
    return f"{type(error).__name__}: {error}{place}"


class Account:
    """A user of the system whom a child becomes: numbers only, so that nothing has to be looked up where it could hang."""

    __slots__ = ("gid", "groups", "name", "uid")

    def __init__(self, name: str, uid: int, gid: int, groups: tuple[int, ...]) -> None:
        self.name, self.uid, self.gid, self.groups = name, uid, gid, groups

    @classmethod
    def look_up(cls, name: str) -> Account:
        """Return the account of a name.  Raises KeyError.  Asks the name service, so call it in a guarded child."""
        import pwd

        entry = pwd.getpwnam(name)
        return cls(name, entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(name, entry.pw_gid)))

    def encode(self) -> str:
        return " ".join((self.name, str(self.uid), str(self.gid), *map(str, self.groups)))

    @classmethod
    def decode(cls, text: str) -> Account:
        name, uid, gid, *groups = text.split()
        return cls(name, int(uid), int(gid), tuple(map(int, groups)))

    def become(self) -> None:
        """Give up this process's identity for the account's."""
        if os.getuid() == self.uid:
            return
        os.setgroups(self.groups)
        os.setgid(self.gid)
        os.setuid(self.uid)
