"""Run an agent the way Pacemaker's tools run it.

What an agent is given and what becomes of its answer follows the source (Pacemaker 2.1: lib/services/services_linux.c,
services_ocf.c, lib/common/mainloop.c, daemons/execd/pacemaker-execd.c, tools/crm_resource_runtime.c) and the environment that
Debian 12's pacemaker-execd, pacemaker-controld, crm_resource and pcs were seen to hand over.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from . import processes, profiles, verdicts
from .logs import LogFile, SystemLog

REASON_PREFIX = "ocf-exit-reason:"
# Releases of Pacemaker up to 3.0.1 keep only so much of a reason (EXIT_REASON_MAX_LEN); what follows is lost to the user.
REASON_KEPT = 128
OUTPUT_KEPT = 10 * 1024 * 1024
# How long Pacemaker waits after its SIGKILL before it reports a process that will not die.
KILL_GRACE = 5.0
# How often a process that adopts orphans looks for those that have ended.
REAPING = 0.02
RSCTMP = "/run/resource-agents"
CORES = "/var/lib/pacemaker/cores"

Process = processes.Process


@dataclass(frozen=True)
class Result:
    """What one call of an agent came to.

    `code` and `reason` are what Pacemaker makes of it (an unknown exit status becomes 1, a killed agent's reason is replaced),
    `status` is the raw exit status, negative for a signal.  `left` are the processes of the action's group that outlived it,
    or hold its output.  `may_log` says that lines on stderr are in order: the agent was given no other log, or was asked to trace, which
    `traced` tells.
    """

    action: str
    code: int
    reason: str
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool = False
    killed: bool = False
    status: int = 0
    timeout: float = 0.0
    interval: float = 0.0
    level: int | None = None
    may_log: bool = False
    traced: bool = False
    left: tuple[Process, ...] = ()
    log: tuple[str, ...] = ()

    @property
    def survivors(self) -> list[int]:
        """Pids of the processes left in the action's process group."""
        return [process.pid for process in self.left]

    @property
    def reasons(self) -> list[str]:
        """Every exit reason in stderr, in order; Pacemaker takes the last."""
        return [line.split("\n", 1)[0] for line in self.stderr.split(REASON_PREFIX)[1:]]

    @property
    def reason_shown(self) -> str:
        """The part of the reason that releases of Pacemaker up to 3.0.1 keep."""
        return self.reason.encode(errors="surrogateescape")[:REASON_KEPT].decode(errors="replace")

    def __str__(self) -> str:
        what = self.action + (f" level {self.level}" if self.level else "")
        text = f"{what} answered {self.code} after {self.seconds:.2f} s"
        text += f" ({self.reason})" if self.reason else ""
        text += f"; raw status {self.status}" if self.status != self.code else ""
        text += f"; left behind: {', '.join(map(str, self.left))}" if self.left else ""
        noise = [line for line in self.stderr.splitlines() if not line.startswith(REASON_PREFIX)]
        return "\n    ".join([text, *(f"stderr: {line}" for line in noise[-8:]), *(f"log: {line}" for line in self.log[-8:])])


def last_reason(stderr: str) -> str:
    """Return the exit reason as parse_exit_reason_from_stderr() finds it: after the last prefix, up to the end of the line."""
    _, prefix, rest = stderr.rpartition(REASON_PREFIX)
    return rest.split("\n", 1)[0] if prefix else ""


def ocf_code(status: int) -> int:
    """Return what Pacemaker takes an exit status for (services__ocf2ocf)."""
    return status if 0 <= status <= 9 or status in (190, 191) else 1


def readable_interval(seconds: float) -> str:
    """Write a duration as Pacemaker's messages do: 20s, 1m30s, 500ms; one exact unit stays in the smaller one (60s)."""
    milliseconds = round(seconds * 1000)
    if not milliseconds:
        return "0s"
    text = ""
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000)):
        if milliseconds > length:
            text += f"{milliseconds // length}{unit}"
            milliseconds %= length
    if milliseconds > 1000:
        whole, rest = divmod(milliseconds, 1000)
        text += f"{whole}.{rest:03d}s" if rest else f"{whole}s"
    elif milliseconds:
        text += f"{milliseconds}ms"
    return text


class Call:
    """An action under way.  `finish` waits for its end, which comes at the timeout at the latest."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], *, action: str, timeout: float, kill_after: float | None = None,
        kill_group: bool = True, user: str | None = None, interval: float = 0.0, level: int | None = None,
        log_file: LogFile,
    ) -> None:  # fmt: skip
        self.action, self.timeout, self.interval, self.level = action, timeout, interval, level
        self._kill_after, self._kill_group, self._log_file = kill_after, kill_group, log_file
        silent = action in ("validate-all", "meta-data") or "HA_LOGFACILITY" in environment
        self._traced = "OCF_TRACE_RA" in environment
        self._may_log = self._traced or not silent
        self._error: OSError | None = None
        log_file.read()
        self._system_log = SystemLog.of_this_node()
        self._system_log.open()
        self.began = time.monotonic()
        try:
            self._process: subprocess.Popen[bytes] | None = launch(command, environment, user)
        except OSError as error:
            self._process, self._error = None, error
        self.pid = self._process.pid if self._process else 0
        processes.under_way.update([self.pid] if self.pid else [])

    def finish(self) -> Result:
        """Wait for the action and return its result.

        Never blocks on a process in uninterruptible sleep: one that does not die of SIGKILL is left behind, and named in `left`.
        """
        try:
            result = self._finished(self._process) if self._process else self._not_executed()
        except BaseException:
            # A test that is interrupted leaves no action under way.
            self._system_log.close()
            if self._process:
                self._kill()
                processes.reap(self._process)
            raise
        return replace(result, log=(*self._log_file.read(), *self._system_log.close()))

    def _finished(self, process: subprocess.Popen[bytes]) -> Result:
        timed_out = killed = False
        with contextlib.closing(PipeReader(process, self._system_log)) as reader:
            limit = self.timeout if self._kill_after is None else min(self.timeout, self._kill_after)
            if not reader.until_exit(self.began + limit):
                timed_out, killed = limit == self.timeout, limit != self.timeout
                self._kill()
                reader.until_exit(time.monotonic() + KILL_GRACE)
            seconds = time.monotonic() - self.began
            stdout, stderr = reader.texts()
        status = processes.reap(process)
        holding = [os.fstat(pipe.fileno()).st_ino for pipe in (process.stdout, process.stderr) if pipe]
        left = processes.settled(self.pid, holding)
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()
        code, reason = self._judge(status, stderr, timed_out)
        return Result(
            self.action, code, reason, stdout, stderr, seconds, timed_out, killed, status, self.timeout, self.interval, self.level,
            self._may_log, self._traced, left,
        )  # fmt: skip

    def _kill(self) -> None:
        try:
            if self._kill_group:
                os.killpg(self.pid, signal.SIGKILL)
            else:
                os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def _judge(self, status: int, stderr: str, timed_out: bool) -> tuple[int, str]:
        if timed_out and self._kill_group:
            return 1, f"Resource agent did not complete within {readable_interval(self.timeout)}"
        if timed_out:
            return 1, "Resource agent did not exit within specified timeout"
        if status < 0:
            return 1, f"Resource agent interrupted by {signal.strsignal(-status)} signal"
        return ocf_code(status), last_reason(stderr)

    def _not_executed(self) -> Result:
        assert self._error is not None
        number = self._error.errno or 0
        missing = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EINVAL, errno.ENOEXEC)
        code = 5 if number in missing else 4 if number in (errno.EACCES, errno.EPERM) else 1
        return Result(self.action, code, os.strerror(number), "", "", 0.0, status=code, timeout=self.timeout)


def launch(command: Sequence[str], environment: Mapping[str, str], user: str | None) -> subprocess.Popen[bytes]:
    """Start a program as execd does: own process group, /dev/null, no other descriptor, default SIGPIPE.  Raises OSError."""
    # subprocess restores SIGPIPE and closes descriptors by default.
    own_group: dict[str, object] = {"process_group": 0} if sys.version_info >= (3, 11) else {"preexec_fn": os.setpgrp}
    if user is not None:
        own_group.update(user=user, group=processes.group_of(user), extra_groups=[])
    options = {
        **own_group, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "bufsize": 0, "umask": 0o026,
        "env": dict(environment), "cwd": CORES if os.path.isdir(CORES) and user is None else "/",
    }  # fmt: skip
    try:
        return subprocess.Popen(command, **options)  # type: ignore[call-overload,no-any-return]
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        # Pacemaker uses execvp(), which hands a script without a "#!" line to the shell.
        return subprocess.Popen(["/bin/sh", *command], **options)  # type: ignore[call-overload,no-any-return]


class PipeReader:
    """Reads both pipes of a process until it exits, whoever else holds the pipes."""

    def __init__(self, process: subprocess.Popen[bytes], log: SystemLog) -> None:
        assert process.stdout and process.stderr
        self._poll = select.poll()
        self._pidfd = os.pidfd_open(process.pid)
        self._kept = {pipe.fileno(): bytearray() for pipe in (process.stdout, process.stderr)}
        self._open = set(self._kept)
        for descriptor in (*self._kept, self._pidfd):
            os.set_blocking(descriptor, False)
            self._poll.register(descriptor, select.POLLIN)
        self._log = log
        if log.socket:
            self._poll.register(log.socket, select.POLLIN)

    def close(self) -> None:
        os.close(self._pidfd)

    def until_exit(self, until: float) -> bool:
        """Collect output until the process has exited; False when the moment `until` comes first."""
        while True:
            left = until - time.monotonic()
            wait = left
            if processes.adopting():
                # An agent that waits for its service to end must not wait for us to reap it.
                processes.adopted()
                wait = min(left, REAPING)
            ready = {descriptor for descriptor, _ in self._poll.poll(max(0, int(wait * 1000) + 1))}
            for descriptor in ready & self._open:
                self._read(descriptor)
            self._log.collect()
            if self._pidfd in ready:
                # What was written before the end is in the pipe by now.
                for descriptor in tuple(self._open):
                    self._read(descriptor)
                return True
            if left <= 0:
                return False

    def _read(self, descriptor: int) -> None:
        kept = self._kept[descriptor]
        # Bounded: a survivor that writes without end must not hold up the caller.
        for _ in range(OUTPUT_KEPT // 65536 + 1):
            try:
                data = os.read(descriptor, 65536)
            except BlockingIOError:
                return
            if not data:
                self._open.discard(descriptor)
                self._poll.unregister(descriptor)
                return
            kept += data[: OUTPUT_KEPT - len(kept)]

    def texts(self) -> list[str]:
        return [bytes(kept).decode(errors="surrogateescape") for kept in self._kept.values()]


class Executor:
    """A node that runs one resource.

    `profile` is who runs the agent: execd, crm_resource, pcs (validate-all and meta-data only), ocf_tester, or bare (no environment
    at all).  With `check` every result is judged by `verdicts` and a `WrongBehaviour` raised; `allow_stuck` then accepts processes
    left behind in uninterruptible sleep.  `meta` holds further meta-attributes, such as {"globally_unique": "true"}.
    """

    def __init__(
        self, agent: str | Path, parameters: Mapping[str, object] | None = None, *, instance: str = "test", profile: str = "execd",
        check: bool = True, allow_stuck: bool = False, timeout: float = 20.0, node: str = "node1", provider: str | None = None,
        meta: Mapping[str, str] | None = None, environment: Mapping[str, str] | None = None, wrapper: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.agent = Path(agent)
        self.parameters = {name: str(value) for name, value in (parameters or {}).items()}
        self.instance, self.node, self.check, self.allow_stuck, self.timeout = instance, node, check, allow_stuck, timeout
        self.provider = provider or self.agent.resolve().parent.name
        self.meta, self.environment, self.wrapper = dict(meta or {}), dict(environment or {}), tuple(wrapper)
        self.profile = profiles.PROFILES[profile]
        self._directory = tempfile.mkdtemp(prefix="ocf-executor-")
        weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)
        self.log_file = LogFile(Path(self._directory) / "pacemaker.log")
        if profile == "execd" and os.geteuid() == 0:
            # execd makes it when it starts, and agents rely on that.
            os.makedirs(RSCTMP, exist_ok=True)

    # The actions, by name.

    def start(self, **options: object) -> Result:
        return self.call("start", **options)  # type: ignore[arg-type]

    def stop(self, **options: object) -> Result:
        return self.call("stop", **options)  # type: ignore[arg-type]

    def monitor(self, level: int = 0, interval: float = 10.0, **options: object) -> Result:
        """Run a recurring monitor.  Each level needs an interval of its own in a cluster; here any does."""
        return self.call("monitor", level=level or None, interval=interval, **options)  # type: ignore[arg-type]

    def probe(self, **options: object) -> Result:
        """Run a monitor as Pacemaker does before it knows anything: once, without an interval."""
        return self.call("monitor", **options)  # type: ignore[arg-type]

    def validate(self, level: int | None = None, **options: object) -> Result:
        return self.call("validate-all", level=level, **options)  # type: ignore[arg-type]

    def meta_data(self, **options: object) -> Result:
        return self.call("meta-data", **options)  # type: ignore[arg-type]

    def promote(self, **options: object) -> Result:
        return self.call("promote", **options)  # type: ignore[arg-type]

    def demote(self, **options: object) -> Result:
        return self.call("demote", **options)  # type: ignore[arg-type]

    def notify(self, kind: str = "post", operation: str = "start", **options: object) -> Result:
        meta = {"notify_type": kind, "notify_operation": operation, "notify": "true"}
        return self.call("notify", meta=meta, **options)  # type: ignore[arg-type]

    def kill_after(self, seconds: float, action: str, **options: object) -> Result:
        """Run an action and send SIGKILL to its process group after `seconds`, as Pacemaker does when it cancels a monitor."""
        return self.begin(action, kill_after=seconds, **options).finish()  # type: ignore[arg-type]

    # How an action is run.

    def call(self, action: str, *, check: bool | None = None, allow_stuck: bool | None = None, **options: object) -> Result:
        """Run any action to its end and judge the result.  Raises `WrongBehaviour`."""
        result = self.begin(action, **options).finish()  # type: ignore[arg-type]
        if self.check if check is None else check:
            verdicts.demand(result, allow_stuck=self.allow_stuck if allow_stuck is None else allow_stuck)
        return result

    def begin(
        self, action: str, *, timeout: float | None = None, level: int | None = None, interval: float = 0.0,
        kill_after: float | None = None, meta: Mapping[str, str] | None = None, parameters: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None, without: Sequence[str] = (), user: str | None = None,
        wrapper: Sequence[str] | None = None, arguments: Sequence[str] | None = None,
    ) -> Call:  # fmt: skip
        """Start an action without waiting for it.

        `parameters` replace the executor's, `environment` is added last and `without` names variables to leave out; `wrapper` is a
        command to put before the agent, `arguments` what the agent gets instead of the action's name.
        """
        timeout = self.timeout if timeout is None else timeout
        request = profiles.Request(
            agent=self.agent, action=action, instance=self.instance, provider=self.provider, node=self.node, timeout=timeout,
            interval=interval, level=level, log_file=self.log_file.path, meta={**self.meta, **(meta or {})},
            parameters=self.parameters if parameters is None else {name: str(value) for name, value in parameters.items()},
        )  # fmt: skip
        given = {**self.profile.environment(request), **self.environment, **(environment or {})}
        command = [*(self.wrapper if wrapper is None else wrapper), str(self.agent), *([action] if arguments is None else arguments)]
        return Call(
            command, {name: value for name, value in given.items() if name not in without}, action=action, timeout=timeout,
            kill_after=kill_after, kill_group=self.profile.kill_group, user=user, interval=interval, level=level,
            log_file=self.log_file,
        )  # fmt: skip
