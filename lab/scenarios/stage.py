"""What a scenario can do to the cluster.  Each deed is known with its time, and with how it is taken back, before it is done."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lab import roots
from lab.client import ledger
from lab.machine import plan, ssh
from lab.machine.room import NotSo, Room
from lab.report.runs import Fault
from lab.scenarios import hypervisors, paths
from lab.scenarios.session import Lost, Session

SECONDS = 60.0

Deed = Callable[[], object]


@dataclass
class Broken:
    """Something that was done, by the monotonic clock; `mend` takes it back."""

    what: str
    at: float
    mend: Deed | None = None
    until: float | None = None


@dataclass
class Stage:
    """The lab in the hands of one run.  `kind` is which of the play's kinds this run is; `journal` is the client's ledger."""

    lab: Room
    active: str
    kind: str = ""
    journal: Path | None = None
    broken: list[Broken] = field(default_factory=list)
    # What the run needs beside its fault, and is to be taken away at its end.
    props: list[Deed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sessions: dict[str, Session] = field(default_factory=dict)
    postmaster: str = ""  # Its process on the active node, for who is to kill it.
    injected: float | None = None  # The monotonic clock,
    moment: float | None = None  # and that of the day.

    @property
    def standby(self) -> str:
        return next(name for name in plan.NODES if name != self.active)

    @property
    def whole(self) -> bool:
        """Whether nothing is left that would be taken back."""
        return not any(one.mend and one.until is None for one in self.broken)

    def do(self, what: str, deed: Deed, mend: Deed | None = None) -> None:
        """Do something to the cluster; the first deed is the injection."""
        one = Broken(what, time.monotonic(), mend)
        if self.injected is None:
            self.injected, self.moment = one.at, time.time()
        self.broken.append(one)
        deed()
        self.tell(what)

    def mend(self) -> None:
        """Take back what can be, the last deed first.  What cannot be taken back is said; healing finds out what it matters."""
        for one in reversed(self.broken):
            if one.mend and one.until is None:
                one.until = time.monotonic()
                self.attempt(f"taken back: {one.what}", one.mend)

    def end(self) -> None:
        """Leave nothing of the run on the stage."""
        self.mend()
        while self.props:
            self.attempt("", self.props.pop())
        while self.sessions:
            self.sessions.popitem()[1].close()

    def attempt(self, what: str, deed: Deed) -> None:
        try:
            deed()
        except (NotSo, OSError, subprocess.SubprocessError) as error:
            self.notes.append(f"{what or 'clearing away'}: {error}")
            roots.say(f"not {what or 'cleared away'}: {error}")
        else:
            if what:
                self.tell(what)

    def tell(self, what: str) -> None:
        roots.say(what)
        if self.journal and self.journal.exists():
            ledger.mark(self.journal, what)

    def events(self) -> tuple[Fault, ...]:
        """Return what was done, in seconds from the injection."""
        zero = self.injected or 0.0

        def since(moment: float) -> float:
            return round(moment - zero, 3)

        return tuple(Fault(since(one.at), "lab", one.what, None if one.until is None else since(one.until)) for one in self.broken)

    # The deeds.

    def login(self) -> None:
        """Open a session on each node, so that a deed is done when it is said to be.  Raises NotSo."""
        for name, node in plan.NODES.items():
            self.sessions[name] = Session(self.lab, node)
        for session in self.sessions.values():
            session.run("true", SECONDS)

    def shell(self, node: str, command: str, within: float = SECONDS) -> str:
        """Run a command on a node and return what it prints: in the session there, or in one of its own.  Raises NotSo."""
        session = self.sessions.pop(node, None)
        if session is not None:
            try:
                told = session.run(command, within)
            except Lost:  # The node was off meanwhile.
                session.close()
            except BaseException:
                session.close()
                raise
            else:
                self.sessions[node] = session
                return told
        done = ssh.run(self.lab, plan.NODES[node], command, within)
        if done.returncode:
            why = "no answer in time" if done.returncode == 124 else (done.stderr or done.stdout).strip()[-300:]
            raise NotSo(f"{node}: `{command[:80]}` ends with {done.returncode}: {why}")
        return done.stdout

    def on(self, node: str, what: str, command: str, back: str = "", within: float = SECONDS) -> None:
        """Do something by a command on a node, taken back by another command there."""
        mend = (lambda: self.shell(node, back, within)) if back else None
        self.do(f"{node}: {what}", lambda: self.shell(node, command, within), mend)

    def pull(self, node: str, *networks: str) -> None:
        for name in networks:
            self.do(f"{node}: cable to {name} pulled", self.cable(node, name, plugged=False), self.cable(node, name, plugged=True))

    def cable(self, node: str, network: str, *, plugged: bool) -> Deed:
        return lambda: self.lab.order("cable", node=node, segment=network, plugged=plugged)

    def power_off(self, node: str, *, back: bool = False) -> None:
        """Take the power away.  `back`: the scenario gives it back; else that is the cluster's own work."""
        mend = (lambda: self.lab.order("power", node=node, what="on")) if back else None
        self.do(f"{node}: powered off", lambda: self.lab.order("power", node=node, what="off"), mend)

    def lun(self, name: str, what: str, **fault: float) -> None:
        self.do(f"LUN {name}: {what}", lambda: self.lab.order("lun", name=name, **fault), lambda: self.lab.order("lun", name=name))

    def san_off(self) -> None:
        self.do("the SAN is off", lambda: self.lab.order("storage", on=False), lambda: self.lab.order("storage", on=True))

    def api_away(self) -> None:
        self.do("the hypervisors' API is unreachable", lambda: hypervisors.go_away(self.lab), lambda: hypervisors.come_back(self.lab))

    def path_in_use(self) -> str:
        """Return the network that the active node's I/O takes.  Raises NotSo."""
        return paths.in_use(self.shell(self.active, paths.SHOW))
