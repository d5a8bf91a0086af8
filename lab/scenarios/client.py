"""The lab's client as a process in the lab's namespace, and what its ledger says while it grows."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.client import ledger
from lab.cluster import settings
from lab.machine import plan, room
from lab.machine.room import NotSo, Room
from lab.report.runs import Audit, Session

if TYPE_CHECKING:
    from typing_extensions import Self

# lab.client.work has these names too; it loads the database's driver, which the machine need not have.
LEDGER, PROBES = "ledger.jsonl", "probes.jsonl"
AUDIT = "audit.json"

# Who is killed cannot end its client, which is to end all the same.
LONGEST = 1800
GAP = 3.0  # A stream without an acknowledgement for so long does not flow.
STOP_SECONDS = 45.0
AUDIT_SECONDS = 90.0
ADDRESS = ["--host", plan.VIP, "--port", str(settings.PORT), "--user", settings.USER, "--dbname", settings.DATABASE]


class Flow:
    """Since when the writes of each stream have been acknowledged, by the monotonic clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.zero: float | None = None
        self.since: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self._offset = 0

    def look(self) -> None:
        """Read what was added.  Raises OSError and ledger.Unreadable."""
        with open(self.path, "rb") as file:
            file.seek(self._offset)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self._take(ledger.parsed(self.path, 0, line))

    def _take(self, event: dict[str, Any]) -> None:
        if event["event"] == "begin":
            self.zero = float(event["monotonic"])
        elif event["event"] == "end" and event["outcome"] == ledger.OK and self.zero is not None:
            stream, at = str(event["stream"]), self.zero + float(event["at"])
            if at - self.last.get(stream, -GAP) >= GAP or stream not in self.since:
                self.since[stream] = at
            self.last[stream] = at

    def steady(self, now: float) -> float:
        """Return for how long all streams have been flowing."""
        streams = [session.value for session in Session]
        if any(now - self.last.get(stream, -GAP) >= GAP for stream in streams):
            return 0.0
        return now - max(self.since[stream] for stream in streams)

    def silent(self, now: float) -> float | None:
        """Return how long ago the last write of all was acknowledged."""
        return now - max(self.last.values()) if self.last else None


class Client:
    """The process; as a context manager it is ended however that is left.  `directory` is one that the lab sees too."""

    def __init__(self, lab: Room, directory: Path) -> None:
        self.lab, self.directory = lab, directory
        self.flow = Flow(directory / LEDGER)
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        line = self.lab.entering(["python3", "-m", "lab.client", *ADDRESS, "--seconds", str(LONGEST), "--out", str(self.directory)])
        with open(self.directory / "client.log", "wb") as log:
            self.process = subprocess.Popen(line, env=self.lab.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def look(self) -> None:
        """See what became of the writes.  Raises NotSo when the client has ended by itself."""
        if self.process is not None and self.process.poll() is not None:
            text = (self.directory / "client.log").read_text(errors="replace").strip()
            raise NotSo(f"the client has ended with {self.process.returncode}: {text[-500:]}")
        with contextlib.suppress(FileNotFoundError):  # It begins its ledger when the table is there.
            self.flow.look()

    def await_steady(self, seconds: float, within: float) -> None:
        """Wait until all writes have been acknowledged for so long.  Raises NotSo."""
        until = time.monotonic() + within
        while True:
            self.look()
            if self.flow.steady(time.monotonic()) >= seconds:
                return
            if time.monotonic() > until:
                text = (self.directory / "client.log").read_text(errors="replace").strip()
                raise NotSo(f"writes are not acknowledged for {seconds:.0f} s, after {within:.0f} s.  {text[-300:]}")
            time.sleep(0.5)

    def stop(self) -> None:
        """End the client: in order, so that what is under way is settled; by force when that does not come to an end."""
        if self.process is None:
            return
        # The process here is nsenter's, which hands on no signal; when it is killed the client is too.
        inner = room.child(self.process.pid)
        if inner is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(inner, signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.process.kill()
            self.process.wait()
            self.process = None


def audit(lab: Room, directory: Path, injected: float) -> Audit:
    """Read all rows back and hold them against the ledger; `injected` in its seconds.  Raises NotSo, OSError and SubprocessError."""
    line = ["python3", "-m", "lab.client", "audit", str(directory), *ADDRESS, "--wait", f"{AUDIT_SECONDS:g}", "--injected", f"{injected:g}"]
    done = subprocess.run(lab.entering(line), env=lab.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=4 * AUDIT_SECONDS)  # fmt: skip
    if not (directory / AUDIT).exists():
        raise NotSo(f"the audit ends with {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}")
    return counts(json.loads((directory / AUDIT).read_text()))


def counts(told: dict[str, Any]) -> Audit:
    """Return the findings of audit.json as numbers."""
    ghosts = len(told["ghosts"]) + len(told["contradicted"])
    return Audit(told["acknowledged"], len(told["lost"]), ghosts, len(told["duplicates"]), len(told["overlaps"]))
