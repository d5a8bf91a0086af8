"""The SAN: one iSCSI target with two portals, whose LUNs are files.  It serves in the namespace of who calls this."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import IO

from lab.machine import plan
from lab.machine.gate import Fault
from lab.machine.image import copy, opened

# tgtd's port for tgtadm: not the default one, as other tgtds of the machine would be asked.
CONTROL = "71"
START_SECONDS = 20.0
PLACE = Path("/run/luns")


def command() -> list[str]:
    # A second --iscsi would replace the first.
    return ["tgtd", "--foreground", "--control-port", CONTROL, "--iscsi", ",".join(f"portal={portal}" for portal in plan.portals())]


def admin(*words: str) -> list[str]:
    return ["tgtadm", "--control-port", CONTROL, "--lld", "iscsi", *words]


def making(paths: dict[str, str]) -> list[list[str]]:
    """Return the commands that make the target and its LUNs; `paths` are the LUNs' files by name."""
    target = ["--tid", "1"]
    commands = [admin("--op", "new", "--mode", "target", *target, "--targetname", plan.TARGET)]
    for lun in plan.LUNS.values():
        this = [*target, "--lun", str(lun.number)]
        commands.append(admin("--op", "new", "--mode", "logicalunit", *this, "--backing-store", paths[lun.name]))
        identity = f"vendor_id=LAB,product_id={lun.name},scsi_sn=lab{lun.number:05}"
        commands.append(admin("--op", "update", "--mode", "logicalunit", *this, "--params", identity))
    commands.append(admin("--op", "bind", "--mode", "target", *target, "--initiator-address", "ALL"))
    return commands


def saved_name(lun: plan.Lun) -> str:
    """Return how a LUN is called among saved disks."""
    return f"lun-{lun.name}.raw"


class San:
    """The running SAN.  Its disks have no names: they go with the last process that has them open."""

    def __init__(self, directory: Path, log: IO[bytes], place: Path = PLACE, saved: Path | None = None) -> None:
        self.log, self.place = log, place
        self.files: dict[str, IO[bytes]] = {}
        for lun in plan.LUNS.values():
            file: IO[bytes] = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115  # It lives as long as the SAN.
            if saved:
                copy(saved / saved_name(lun), opened(file))
            file.truncate(lun.megabytes << 20)
            self.files[lun.name] = file
        place.mkdir(parents=True, exist_ok=True)
        words = [f"{name}={file.fileno()}" for name, file in self.files.items()]
        self.gate = subprocess.Popen([sys.executable, "-m", "lab.machine.gate", str(place), *words], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=log, text=True,
                                     pass_fds=[file.fileno() for file in self.files.values()])  # fmt: skip
        self._told()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Serve the LUNs.  Raises CalledProcessError or TimeoutError."""
        self.process = subprocess.Popen(command(), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        until = time.monotonic() + START_SECONDS
        while subprocess.run(admin("--op", "show", "--mode", "sys"), stdin=subprocess.DEVNULL, capture_output=True, timeout=20).returncode:
            if time.monotonic() > until or not self.running:
                raise TimeoutError(f"tgtd does not answer {START_SECONDS:.0f} s after its start; its log is {self.log.name}")
            time.sleep(0.2)
        for each in making({name: str(self.place / name) for name in plan.LUNS}):
            subprocess.run(each, check=True, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, timeout=20)

    def stop(self) -> None:
        """Take the power away; what was written is kept."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def set(self, lun: str, fault: Fault) -> int:
        """Put one LUN under a fault and return how many requests had been waiting.  Raises OSError when the gate is gone."""
        assert self.gate.stdin
        self.gate.stdin.write(json.dumps({"name": plan.LUNS[lun].name, **asdict(fault)}) + "\n")
        self.gate.stdin.flush()
        return int(self._told()["waited"])

    def save(self, saved: Path) -> None:
        """Copy what is on the LUNs; nobody may be writing."""
        for name, file in self.files.items():
            copy(opened(file), saved / saved_name(plan.LUNS[name]))

    def close(self) -> None:
        self.stop()
        self.gate.kill()
        self.gate.communicate()
        for file in self.files.values():
            file.close()

    def _told(self) -> dict[str, int]:
        assert self.gate.stdout
        line = self.gate.stdout.readline()
        if not line:
            raise OSError(f"the disks' server is gone; its log is {self.log.name}")
        told: dict[str, int] = json.loads(line)
        return told
