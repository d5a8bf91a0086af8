"""The cost of a command with all its descendants: CPU, time, processes and memory."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import resource
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

PR_SET_CHILD_SUBREAPER = 36
# What a process had in memory at most is read while strace holds back its end: the figure that wait4 gives also counts what
# the process was before its execve, a copy of this one.
HELD_BACK_SECONDS = 0.15
# A call of strace's output that succeeded, in one line or resumed in a later one.
BEGUN = re.compile(r"^(?:\d+ +)?(?:(clone3?|v?fork|execve)\((.*)\)|<\.\.\. (clone3?|v?fork|execve) resumed>(.*)) += (\d+)", re.MULTILINE)
# A call of execve in strace's output: the process, and the program where the call is begun, and what it returned where it has.
EXECUTED = re.compile(r'^(?:(\d+) +)?(?:execve\("([^"]*)"|<\.\.\. execve resumed>)(?:.*\) += (-?\d+))?', re.MULTILINE)
# Lists that grow with the machine: directories of devices and processes, the tables of mounts and partitions.
LISTED = re.compile(r'openat[^"]*"(/sys/[^"]*|/proc|/dev/[^"]*)", [^)]*O_DIRECTORY|"(/proc/[^"]*(?:mount|diskstats|partitions)[^"]*)"')


@dataclass(frozen=True)
class Command:
    """A command as the cluster runs it; `codes` are the exit codes that show that it did what is to be measured."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    codes: Sequence[int] = (0,)
    # Descendants that go on, such as a server, or never end, such as a stuck child, are not waited for, nor is their CPU counted.
    leaves: bool = False


@dataclass(frozen=True)
class Cost:
    """One run: seconds of CPU (user and system) of the command and all its descendants, and seconds until the command ended."""

    cpu: float
    wall: float
    # Descendants that outlived their parents and were reaped by the measuring process.
    orphans: int = 0


@dataclass(frozen=True)
class Processes:
    """How many processes and programs a run began beside its own, and the most memory that one of them held, in KiB."""

    forks: int
    execs: int
    memory: int


class Failed(Exception):
    """A command did not end as it has to where its cost means anything."""


def run(command: Command) -> Cost:
    """Run a command once.  Raises Failed.

    A process of its own does it, which adopts what the command leaves behind: the CPU of a descendant that nobody has waited for
    is in nobody's account.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, json.dumps(measured(command)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        text = file.read()
    os.waitpid(pid, 0)
    code, cpu, wall, orphans = json.loads(text or "[-1, 0, 0, 0]")
    if code not in command.codes:
        raise Failed(f"{command.name} ended with {code}, not {' or '.join(map(str, command.codes))}")
    return Cost(cpu, wall, orphans)


def measured(command: Command) -> tuple[int, float, float, int]:
    """Return exit code, CPU, time and adopted processes of a command; in the measuring process."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    null = os.open(os.devnull, os.O_RDWR)
    orphans = 0
    began = time.monotonic()
    # Not fork: the copy of this process would be made, and paid, on the command's account.
    files = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
    child = os.posix_spawn(command.argv[0], list(command.argv), dict(command.environment), file_actions=files, setpgroup=0)
    _, status, _ = os.wait4(child, 0)
    wall = time.monotonic() - began
    while not command.leaves:
        try:
            os.wait4(-1, 0)
        except ChildProcessError:
            break
        orphans += 1
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, wall, orphans


def interleaved(commands: Sequence[Command], rounds: int) -> dict[str, list[Cost]]:
    """Run all commands in turn, A B C A B C …: what else the machine does then falls on all of them alike."""
    costs: dict[str, list[Cost]] = {command.name: [] for command in commands}
    for command in commands:
        run(command)  # Caches are warm from here on.
    for number in range(rounds):
        turn = number % len(commands)
        for command in [*commands[turn:], *commands[:turn]]:
            costs[command.name].append(run(command))
    return costs


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of paired runs, and the middle half of them."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f})"


def quartiles(values: Sequence[float]) -> Ratio:
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return Ratio(median(ordered), ordered[quarter], ordered[-1 - quarter])


def cpu_ratio(costs: Mapping[str, Sequence[Cost]], name: str, base: str) -> Ratio:
    return quartiles([one.cpu / other.cpu for one, other in zip(costs[name], costs[base])])


def processes(command: Command) -> Processes:
    """Count the processes and programs of a run by strace, and see the memory of each at its end.  Raises Failed."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace")
        argv = ["strace", "-f", "-qq", "-e", "trace=clone,clone3,fork,vfork,execve,exit_group",
                "-e", f"inject=exit_group:delay_enter={int(HELD_BACK_SECONDS * 1e6)}", "-o", str(trace), *command.argv]  # fmt: skip
        with subprocess.Popen(argv, env=dict(command.environment), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as tracer:  # fmt: skip
            memory: dict[int, int] = {}
            while tracer.poll() is None:
                for pid in descendants(tracer.pid):
                    memory[pid] = max(memory.get(pid, 0), most_memory(pid))
                time.sleep(HELD_BACK_SECONDS / 5)
            if tracer.returncode not in command.codes:
                raise Failed(f"{command.name} ended with {tracer.returncode} under strace")
        return replace(counted(trace.read_text(errors="replace")), memory=max(memory.values(), default=0))


def counted(trace: str) -> Processes:
    """Count the calls in strace's output that began a process or a program; threads do not count, nor does the command itself."""
    begun = BEGUN.findall(trace)
    calls = [call or resumed for call, words, resumed, more, _ in begun if "CLONE_THREAD" not in words + more]
    execs = calls.count("execve")
    return Processes(len(calls) - execs, execs - 1, 0)


def programs(command: Command) -> list[str]:
    """Return the paths of all programs that a run executes, its own first, by strace.  Raises Failed."""
    return executed(traced(command, "-e", "trace=execve"))


def executed(trace: str) -> list[str]:
    """Return the programs in strace's output, those that could be executed."""
    begun: dict[str, str] = {}
    found = []
    for pid, program, result in EXECUTED.findall(trace):
        begun[pid] = program or begun[pid]
        if result == "0":
            found.append(begun[pid])
    return found


def lists(command: Command) -> list[str]:
    """Return the lists of devices, processes and mounts that a run reads, by strace.  Raises Failed."""
    return [directory or table for directory, table in LISTED.findall(traced(command, "-e", "trace=openat,open"))]


def traced(command: Command, *options: str) -> str:
    """Return strace's output of a run.  Raises Failed."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace")
        # Only the traced calls stop: time limits hold in what is run here too.
        argv = ["strace", "-f", "-qq", "--seccomp-bpf", *options, "-o", str(trace), *command.argv]
        done = subprocess.run(argv, env=dict(command.environment), stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode not in command.codes:
            said = done.stderr.decode(errors="replace").strip()
            raise Failed(f"{command.name} ended with {done.returncode} under strace: {said}")
        return trace.read_text(errors="replace")


def descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError, ValueError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def most_memory(pid: int) -> int:
    """Return the most that a process has had in memory since its program began (VmHWM), in KiB."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0
