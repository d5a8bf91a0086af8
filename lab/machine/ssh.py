"""Commands on a node, bounded."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

from lab.machine import image, plan
from lab.machine.room import NotSo, Room, alive

CONNECT_SECONDS = 20  # A busy machine's node needs longer than ten for the first line of its answer.
PAUSE_SECONDS, TRY_SECONDS = 2.0, 60.0


def command(node: plan.Node, words: Sequence[str], within: float | None = None, terminal: bool = False) -> list[str]:
    """Return the command line, as it is inside the lab; nothing of what happens on the node outlasts `within` seconds here."""
    made = image.image()
    options = ["BatchMode=yes", f"ConnectTimeout={CONNECT_SECONDS}", "ServerAliveInterval=5", "ServerAliveCountMax=6", "LogLevel=ERROR",
               f"UserKnownHostsFile={made.known_hosts}"]  # fmt: skip
    bound = ["timeout", "--foreground", "--kill-after=2", f"{within:g}"] if within is not None else []
    line = [*bound, "ssh", "-F", "none", "-i", str(made.key), *(["-t"] if terminal else [])]
    for option in options:
        line += ["-o", option]
    return [*line, f"root@{node.address('lan')}", *words]


def run(room: Room, node: plan.Node, shell: str, within: float = 30.0, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a shell command on a node with `text` as its input; exit code 124 says that the time was up, 255 that there was no way."""
    return subprocess.run(room.entering(command(node, [shell], within)), input=text, capture_output=True, text=True,
                          env=room.environment(), timeout=within + 15)  # fmt: skip


def await_success(room: Room, node: plan.Node, shell: str, within: float, what: str) -> float:
    """Try a command until it succeeds and return the seconds it took.  Raises NotSo with what the last attempts said.

    It is the node that tries again: each login costs an emulated one a second, which it needs for what is waited for.
    """
    began = time.monotonic()
    trying = f"until {shell}; do sleep {PAUSE_SECONDS:g}; done"
    while True:
        left = within - (time.monotonic() - began)
        done = run(room, node, trying, within=max(CONNECT_SECONDS, min(TRY_SECONDS, left)))
        spent = time.monotonic() - began
        if done.returncode == 0:
            return spent
        if not alive(room.inner):
            raise NotSo(f"{node.name}: the lab's process {room.inner} is gone")
        if spent > within:
            said = (done.stderr or done.stdout).strip()
            raise NotSo(f"{node.name}: {what} still not so after {spent:.0f} s (exit code {done.returncode}): {said[-500:]}")
        time.sleep(PAUSE_SECONDS)
