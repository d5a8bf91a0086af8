"""Following the logs of Pacemaker on both nodes while a run lasts.

The raw material is a file for each node: a line that tells when the watch began and who had the service then, and after that the lines
of the log, each after the host's time.  That is the moment at which a line arrived; for one that was written while nobody could follow
(the node was booting) it is the node's own time, corrected by how far its clock was from the host's when the connection stood again.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from lab.machine import plan, ssh
from lab.machine.room import NotSo, Room
from lab.report.runs import Event
from lab.watch import parse

if TYPE_CHECKING:
    from typing_extensions import Self

LOG = "/var/log/pacemaker/pacemaker.log"
HISTORY = "history.json"
HEADER = "{began:.3f} the watch begins, and {active} has the service\n"
HEADED = re.compile(r"(?P<began>[\d.]+) the watch begins, and (?P<active>\S+) has the service$")
STAMP = re.compile(r"(?P<second>\w{3} +\d+ [\d:]+)(?P<fraction>\.\d+)? ")
CONNECT_SECONDS = 60.0
AGAIN_SECONDS = 2.0
END_SECONDS = 5.0
# How many lines are looked through for what was written before the log could be followed, at first and later, and how far they may be out
# of order: agents write whole seconds.
FIRST_LINES, BACKLOG_LINES = 200, 20000
DISORDER_SECONDS = 2.0
# A stamp leaves out what is less than a millisecond, which the node's clock tells.
STAMP_SECONDS = 0.001
# The daemon that keeps the configuration writes most of the log, passwords of fence devices among it, and nothing that matters.  Of the
# debug messages only the fencer's of its operations do.
NOISE = "-avE ' pacemaker-based |debug: ([^O]|O[^p])'"
# The group of processes ends with the connection.
FOLLOW = """date '+%Y %z %s.%N'
tail -n {lines} -F {log} 2>/dev/null | grep --line-buffered {noise} &
cat >/dev/null
kill -- -$$"""


class Clock:
    """A node's clock, as the first line of a connection tells it."""

    def __init__(self, told: str, arrived: float) -> None:
        self.year, self.zone, now = told.split()
        self.now = float(now)
        self.behind = arrived - self.now

    def read(self, line: str) -> float | None:
        """Return the time of a line by this clock, None if it tells none."""
        stamp = STAMP.match(line)
        if stamp is None:
            return None
        second = datetime.strptime(f"{self.year} {self.zone} {stamp['second']}", "%Y %z %b %d %H:%M:%S")
        return second.timestamp() + float(stamp["fraction"] or 0)


class Follower:
    """A thread that copies the log of a node to a file, as long as the node can be reached, and again when it can."""

    def __init__(self, lab: Room, node: plan.Node, path: Path, header: str) -> None:
        self.lab, self.node, self.path = lab, node, path
        self.connected, self.ended = threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self.process: subprocess.Popen[str] | None = None
        # By the node's clock: what is older has been taken or is not wanted, and what of the rest has been taken.
        self.oldest = 0.0
        self.recent: list[tuple[float, str]] = []
        self.file = open(path, "w", buffering=1, encoding="utf-8")  # noqa: SIM115 - closed by end()
        self.file.write(header)
        self.thread = threading.Thread(target=self.follow, name=f"log of {node.name}", daemon=True)
        self.thread.start()

    def follow(self) -> None:
        while not self.ended.is_set():
            self.connect()
            self.ended.wait(AGAIN_SECONDS)

    def connect(self) -> None:
        """Follow the log over one connection until that ends."""
        shell = FOLLOW.format(lines=BACKLOG_LINES if self.connected.is_set() else FIRST_LINES, log=LOG, noise=NOISE)
        with self.lock:
            if self.ended.is_set():
                return
            # Its standard input stays open as long as it is to run, so that it ends with this process too.
            self.process = subprocess.Popen(self.lab.entering(ssh.command(self.node, [shell])), stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=self.lab.environment(),
                                            encoding="utf-8", errors="replace")  # fmt: skip
        with self.process as process:
            assert process.stdout
            try:
                self.copy(process.stdout)
            finally:
                process.kill()

    def copy(self, stream: Iterable[str]) -> None:
        clock = None
        known: Counter[str] = Counter()
        for read in stream:
            arrived = time.time()
            if not read.endswith("\n"):  # Cut off; it is in the backlog of the next connection.
                return
            line = read.strip("\0")  # What a power cut made of lines that were not on the disk yet.
            if clock is None:
                clock = Clock(line, arrived)
                known = Counter(text for _, text in self.recent)
                self.oldest = self.oldest or clock.now - STAMP_SECONDS
                self.connected.set()
                continue
            at = clock.read(line)
            if at is None or at < self.oldest:
                continue
            if known[line] > 0:
                known[line] -= 1
                continue
            self.file.write(f"{arrived if at > clock.now else at + clock.behind:.3f} {line}")
            self.oldest = max(self.oldest, at - DISORDER_SECONDS)
            self.recent = [(then, text) for then, text in [*self.recent, (at, line)] if then >= self.oldest]

    def end(self) -> None:
        self.ended.set()
        with self.lock:
            if self.process:
                self.process.kill()
        self.thread.join(END_SECONDS)
        self.file.close()


class Watch:
    """Follows the logs of all nodes into `directory` from when it is entered until it is left; `active` has the service then."""

    def __init__(self, lab: Room, directory: Path, active: str) -> None:
        self.lab, self.directory, self.active = lab, directory, active
        self.began = 0.0
        self.followers: list[Follower] = []

    def __enter__(self) -> Self:
        """Return when all logs are followed.  Raises NotSo."""
        self.began = time.time()
        header = HEADER.format(began=self.began, active=self.active)
        try:
            for name, node in plan.NODES.items():
                self.followers.append(Follower(self.lab, node, self.directory / f"pacemaker-{name}.log", header))
            for follower in self.followers:
                if not follower.connected.wait(self.began + CONNECT_SECONDS - time.time()):
                    raise NotSo(f"{follower.node.name}: its {LOG} could not be followed within {CONNECT_SECONDS:.0f} s")
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        for follower in self.followers:
            follower.end()

    def events(self, injected: float) -> tuple[Event, ...]:
        """Return what happened since the watch began; `injected` is the moment of the injection, in seconds since the epoch."""
        told = self.lab.order("history")
        history = {"power": told["power"], "requests": [request for request in told["requests"] if request[0] >= self.began]}
        (self.directory / HISTORY).write_text(json.dumps(history))
        return events(self.directory, injected)


def events(directory: Path, injected: float) -> tuple[Event, ...]:
    """Return what a watch has seen, from its raw material.  Raises OSError, and ValueError if that is not such material."""
    history = json.loads((directory / HISTORY).read_text())
    files = {path.stem.partition("-")[2]: path for path in sorted(directory.glob("pacemaker-*.log"))}
    logs = {node: path.read_text(encoding="utf-8").splitlines() for node, path in files.items()}
    header = next((HEADED.match(log[0]) for log in logs.values() if log), None)
    if header is None:
        raise ValueError(f"{directory}: there is no log that tells when the watch began")
    return parse.events(logs, history, float(header["began"]), header["active"], injected)
