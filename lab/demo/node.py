"""One database on a disk of its own under one agent, and Pacemaker's part: monitor, and stop when that fails."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from lab.demo import writer
from lab.demo.record import DEGRADED, OK, STOP_TIMEOUT, Call, Plan, Side
from ocf_py.testing import Executor, Result
from tests.faults.disk import DiskError, FaultDisk
from tests.postgres import OWNER, Database, ended

OCF = Path("/usr/lib/ocf/resource.d")
MONITOR_TIMEOUT = 40.0  # As the metadata of pgsql-storage says; the stock agent gets no less.


class Failed(Exception):
    """The demonstration cannot go on: a step that is none of its subjects went wrong."""


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Hold Ctrl-C back, for ever from the processes started meanwhile: a disk whose server ends at once cannot be taken away in order."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Node:
    """Runs one agent.  `told` is called with each call that has ended."""

    def __init__(self, side: Side, port: int, plan: Plan, stack: ExitStack, told: Callable[[Side, Call], None]) -> None:
        self.side, self.plan, self._told = side, plan, told
        provider, name = side.agent.split(":")[1:]
        if not (OCF / provider / name).exists():
            raise Failed(f"{side.agent} is not installed here")
        with interrupts_blocked():
            self.disk = stack.enter_context(FaultDisk(side.name))
        self.disk.format("xfs")
        self.disk.mount(f"/mnt/{side.name}")
        self.database = Database(Path(f"/mnt/{side.name}/data"), port=port)
        self.database.initdb()
        stack.callback(self._end_server)
        parameters = self.database.parameters()
        if provider == "lab" and plan.io_timeout != "auto":
            parameters["io_timeout"] = plan.io_timeout
        self._executor = Executor(OCF / provider / name, parameters, instance=f"pg-{side.name}", check=False, timeout=STOP_TIMEOUT)
        self._zero = 0.0
        self._ordered = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._guard, daemon=True)

    def address(self) -> dict[str, Any]:
        """Return how a client reaches the server."""
        return {"host": self.database.socketdir, "port": self.database.port, "user": OWNER, "dbname": "postgres"}

    def first_start(self) -> None:
        """Start the server and make the table."""
        self._demand(self._executor.start())
        self.database.execute(writer.TABLE)
        # What the first monitors load is in memory, as on any server that has run for a while.
        for _ in range(2):
            self._demand(self._executor.monitor(timeout=MONITOR_TIMEOUT))

    def guard(self, zero: float) -> None:
        """Begin the recurring monitor in a thread; `zero` is the monotonic time that is called 0."""
        self._zero = zero
        self._thread.start()

    def order_stop(self) -> None:
        """Do what an administrator would do by hand, unless a monitor has failed by now."""
        self._ordered.set()

    def settle(self) -> None:
        """Wait for the end of the stop, and of processes that it had to leave behind.  Raises Failed."""
        self._over.set()
        self._thread.join(STOP_TIMEOUT)
        if not ended(self.database.processes(), within=15):
            raise Failed(f"{self.side.name}: server processes are left though the disk answers again")

    def start_again(self) -> None:
        """Start the server with its agent, after the disk answers again."""
        self._demand(self._call("start", lambda: self._executor.start(timeout=60)))

    def final_stop(self) -> None:
        """Count the rows and stop."""
        self.side.found = {number for (number,) in self.database.execute("SELECT number FROM journal")}
        self._demand(self._executor.stop(timeout=60))

    def _guard(self) -> None:
        """Be Pacemaker: the next monitor begins one interval after the end of the last; a failure leads to a stop at once."""
        failed = False
        while not failed and not self._ordered.is_set() and not self._over.is_set():
            result = self._call("monitor", lambda: self._executor.monitor(interval=self.plan.interval, timeout=MONITOR_TIMEOUT))
            failed = result.code not in (OK, DEGRADED)
            if not failed:
                self._ordered.wait(self.plan.interval)
        if not self._over.is_set():
            self.side.ordered = not failed
            self._call("stop", self._executor.stop)

    def _call(self, action: str, run: Callable[[], Result]) -> Result:
        began = time.monotonic() - self._zero
        result = run()
        call = Call(action, began, began + result.seconds, result.code, result.reason)
        self.side.calls.append(call)
        self._told(self.side, call)
        return result

    def _demand(self, result: Result) -> None:
        # A monitor may warn, as of a moment in which the machine was slow.
        if result.code not in ((OK, DEGRADED) if result.action == "monitor" else (OK,)):
            raise Failed(f"{self.side.agent}: {result}")

    def _end_server(self) -> None:
        """Kill what is left of the server, however the demonstration ended, so that its disk can be taken away."""
        with suppress(DiskError):
            self.disk.heal()
        for pid in self.database.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
