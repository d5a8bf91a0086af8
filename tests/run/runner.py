"""Run the parts of the suite as processes of their own, show how they get on, and leave nothing behind.

A part is a command that runs pytest with the plugin tests.run.events, or tells what it does in the same way.  Each part has a session
of its own, so that one signal reaches all of it.  A line on its standard input asks it to come to an end; what has not ended `GRACE`
seconds later is killed.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

MARK = "\x1e"
GRACE = 40.0  # The lab takes half a minute to tell where its cluster stands.
QUIET = 60.0  # After that long without a line of a part, say what it is doing.
CLOSING = re.compile(r"=+ .*\bin \d[\d.]*s.* =+")


@dataclass(frozen=True)
class Part:
    """What to run, for how many seconds at most, and what to say about it."""

    name: str
    title: str
    command: Sequence[str]
    limit: float
    alone: bool = False  # Nothing else runs meanwhile.


@dataclass
class Running:
    part: Part
    process: subprocess.Popen[bytes]
    log: IO[str]
    started: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    unfinished: bytes = b""
    output: list[str] = field(default_factory=list)
    test: str = ""
    test_began: float = 0.0
    module: str = ""
    in_module: Counter[str] = field(default_factory=Counter)
    module_seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    stopping: float | None = None
    trouble: str = ""

    def ask_to_stop(self, why: str) -> None:
        if self.stopping is None:
            self.stopping, self.trouble = time.monotonic(), why
            assert self.process.stdin
            with suppress(OSError):
                self.process.stdin.write(b"stop\n")
                self.process.stdin.flush()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@dataclass(frozen=True)
class Result:
    part: Part
    counts: Counter[str]
    failed: list[str]
    seconds: float
    trouble: str

    @property
    def good(self) -> bool:
        return not self.trouble


class Runner:
    """Runs parts, at most `jobs` at a time."""

    def __init__(self, parts: Sequence[Part], results: Path, jobs: int = 1) -> None:
        self.waiting, self.results, self.jobs = list(parts), results, jobs
        self.running: list[Running] = []
        self.done: list[Result] = []
        self.selector = selectors.DefaultSelector()
        self.began = time.monotonic()
        self.width = max(len(part.name) for part in parts)
        self.interrupted = 0

    def run(self) -> int:
        """Run everything; return 0 if all is well, 1 if not, 128 and the signal's number when interrupted."""
        self.results.mkdir(parents=True, exist_ok=True)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.interrupt)
        try:
            while (self.waiting and not self.interrupted) or self.running:
                self.step()
        finally:
            for running in self.running:
                running.kill()
                running.process.wait()
        self.summary()
        return 128 + self.interrupted if self.interrupted else int(not all(result.good for result in self.done))

    def interrupt(self, number: int, _frame: FrameType | None) -> None:
        again, self.interrupted = self.interrupted, number
        for running in self.running:
            running.kill() if again else running.ask_to_stop(f"interrupted by {signal.Signals(number).name}")

    def step(self) -> None:
        while self.waiting and self.room(self.waiting[0]) and not self.interrupted:
            self.start(self.waiting.pop(0))
        for key, _ in self.selector.select(timeout=1.0):
            self.read(key.data)
        now = time.monotonic()
        for running in self.running:
            if now - running.started > running.part.limit:
                running.ask_to_stop(f"not done after {running.part.limit:.0f} s, in {running.test or 'no test'}")
            if running.stopping is not None and now - running.stopping > GRACE:
                running.kill()
            if now - running.heard > QUIET:
                running.heard = now
                doing = f"in {running.test}" if running.test else "between tests" if running.counts else "setting up"
                self.say(running, f"... {doing} for {now - (running.test_began or running.started):.0f} s")

    def room(self, part: Part) -> bool:
        """Tell whether a part can begin beside those that run."""
        return not self.running or (len(self.running) < self.jobs and not part.alone and not self.running[0].part.alone)

    def start(self, part: Part) -> None:
        log = open(self.results / f"{part.name}.log", "w", encoding="utf-8")  # noqa: SIM115  # Closed by `end`.
        process = subprocess.Popen(part.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   start_new_session=True)  # fmt: skip
        running = Running(part, process, log)
        self.running.append(running)
        assert process.stdout
        os.set_blocking(process.stdout.fileno(), False)
        self.selector.register(process.stdout, selectors.EVENT_READ, running)
        self.say(running, f"== {part.title}")

    def read(self, running: Running) -> None:
        assert running.process.stdout
        data = os.read(running.process.stdout.fileno(), 65536)
        *lines, running.unfinished = (running.unfinished + data).split(b"\n")
        if not data:
            lines, running.unfinished = [line for line in [*lines, running.unfinished] if line], b""
        for line in lines:
            self.line(running, line.decode(errors="replace").rstrip("\r"))
        if not data:
            self.end(running)

    def line(self, running: Running, line: str) -> None:
        line, mark, event = line.partition(MARK)
        if mark:
            self.event(running, json.loads(event))
            if not line:
                return
        running.log.write(line + "\n")
        running.log.flush()
        if line.startswith("== ") and not running.output:
            self.say(running, line)  # lab.roots says what it installs.
        else:
            running.output.append(line)

    def event(self, running: Running, event: dict[str, object]) -> None:
        if "begins" in event:
            running.test, running.test_began = str(event["begins"]), time.monotonic()
            module = running.test.split("::")[0]
            if module != running.module:
                self.module_ends(running)
                running.module = module
            return
        outcome, seconds = str(event["outcome"]), float(str(event["seconds"]))
        running.log.write(f"{outcome} {event['ends']} {seconds:.2f} s\n")
        running.in_module[outcome] += 1
        running.counts[outcome] += 1
        running.module_seconds += seconds
        running.test, running.test_began = "", time.monotonic()
        if outcome != "passed":
            running.failed.append(f"{outcome.upper()} {event['ends']}")
            self.say(running, running.failed[-1])

    def module_ends(self, running: Running) -> None:
        if running.in_module:
            self.say(running, f"{running.module:<50} {counted(running.in_module)}, {running.module_seconds:.0f} s")
        running.in_module, running.module_seconds = Counter(), 0.0

    def end(self, running: Running) -> None:
        """Take leave of a part whose output has ended: all its processes are gone then, or have nothing more to say."""
        self.selector.unregister(running.process.stdout)  # type: ignore[arg-type]  # It is a pipe.
        running.kill()
        code = running.process.wait()
        self.running.remove(running)
        self.module_ends(running)
        running.log.close()
        for stream in (running.process.stdin, running.process.stdout):
            with suppress(OSError):
                assert stream
                stream.close()
        trouble = running.trouble or verdict(code, running)
        self.say(running, f"== {trouble or 'passed'}")
        print(*running.output, sep="\n", flush=True)
        self.done.append(Result(running.part, running.counts, running.failed, time.monotonic() - running.started, trouble))

    def say(self, running: Running, text: str) -> None:
        running.heard = time.monotonic()
        elapsed = int(running.heard - self.began)
        print(f"{elapsed // 60:3}:{elapsed % 60:02}  {running.part.name:<{self.width}}  {text}", flush=True)

    def summary(self) -> None:
        total: Counter[str] = Counter()
        print("\nIn all:")
        for result in self.done:
            total += result.counts
            if not result.good and not result.failed:
                total["error"] += 1
            print(f"  {result.part.name:<{self.width}}  {counted(result.counts):<30} {result.seconds:5.0f} s  {result.trouble}".rstrip())
            for name in result.failed:
                print(f"  {'':<{self.width}}  {name}")
        for part in self.waiting:
            print(f"  {part.name:<{self.width}}  not begun")
            total["error"] += 1
        print(f"The whole output is in {self.results}.")
        print(f"===== {counted(total)} in {time.monotonic() - self.began:.2f}s =====", flush=True)


def verdict(code: int, running: Running) -> str:
    """Return what is wrong with a part that ended by itself; nothing if all is well."""
    if code == 0 and running.counts["passed"] and any(CLOSING.fullmatch(line) for line in running.output):
        return ""
    if not running.counts:
        return f"no test ran (exit code {code})"
    return f"failed (exit code {code})"


def counted(counts: Counter[str]) -> str:
    """Say it as pytest's closing line does."""
    order = ["failed", "passed", "skipped", "error"]
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in order if counts[outcome]) or "no tests ran"


def run(parts: Sequence[Part], results: Path, jobs: int = 1) -> int:
    if not parts:
        sys.exit("there is nothing to run")
    return Runner(parts, results, jobs).run()
