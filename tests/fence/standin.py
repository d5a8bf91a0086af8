"""Fence agents run as Pacemaker runs them, against a cluster that is served over HTTPS."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lab.proxmox.server import Standin

STOCK = Path("/usr/share/ocf-lab/stock/fence_pve")
OURS = Path("/usr/sbin/fence_pve")

LIBRARY = Path("/usr/share/fence/fencing.py")

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Outcome:
    """What an agent left behind when it ended."""

    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def told(self) -> str:
        return self.stdout + self.stderr


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[Standin]:
    """Serve the small cluster on a port of its own; hold `standin.lock` to change its world, `standin.world`, while an agent runs."""
    # Most tests of this directory need neither a cluster nor certificates.
    from lab.proxmox.server import Standin
    from lab.proxmox.world import small_cluster

    with Standin(small_cluster(time.monotonic), directory=tmp_path, port=0) as served:
        yield served


def login(standin: Standin, **more: object) -> dict[str, object]:
    """Return the options by which an agent reaches the small cluster as its own user and trusts it; `more` replaces or adds."""
    first = next(iter(standin.world.nodes.values()))
    return {"ip": first.address, "ipport": standin.port, "username": "pacemaker@pve", "password": "right", "ssl_insecure": 1, **more}


def start_agent(
    agent: Path, options: Mapping[str, object], *, words: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start an agent with key=value lines on its stdin, or with `words` on its command line, which make it ignore stdin."""
    running = subprocess.Popen(
        [str(agent), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        env={"PATH": PATH, "LC_ALL": "C.UTF-8", **(environment or {})}, cwd=os.sep,
    )  # fmt: skip
    assert running.stdin is not None
    try:
        running.stdin.write("".join(f"{key}={value}\n" for key, value in options.items()))
        running.stdin.close()
    except BrokenPipeError:
        pass
    running.stdin = None
    return running


def end_of(running: subprocess.Popen[str], began: float, within: float) -> Outcome:
    """Wait for an agent.  Raises TimeoutExpired, the agent killed, when it takes longer."""
    try:
        stdout, stderr = running.communicate(timeout=within)
    finally:
        running.kill()
        running.wait()
        for stream in (running.stdout, running.stderr):
            if stream:
                stream.close()
    return Outcome(running.returncode, stdout, stderr, time.monotonic() - began)


def run_agent(
    agent: Path, options: Mapping[str, object], *, words: Sequence[str] = (), environment: Mapping[str, str] | None = None,
    within: float = 90,
) -> Outcome:  # fmt: skip
    """Run an agent to its end.  Raises TimeoutExpired when that does not come within so many seconds."""
    began = time.monotonic()
    return end_of(start_agent(agent, options, words=words, environment=environment), began, within)


def repaired_library(directory: Path) -> dict[str, str]:
    """Make a copy of the stock agents' library with what upstream repaired after Debian 12's version; return the environment for it.

    4.12.1 ends `list` with a TypeError where an outlet's id is a number, as Proxmox VE's are (D12; a4502b3b).
    """
    text, count = re.subn(r"print\((\()?outlet_id \+", r"print(\1str(outlet_id) +", LIBRARY.read_text())
    if count != 4:
        raise ValueError(f"{LIBRARY} has {count} of 4 places that print an outlet's id")
    (directory / LIBRARY.name).write_text(text)
    return {"PYTHONPATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}


def words_of(options: Mapping[str, object]) -> list[str]:
    """Return options as long ones of the command line: True is a switch, False none."""
    return [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in options.items() if value is not False]
