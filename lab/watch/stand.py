"""Where the cluster stands, for the report of a failure."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor

from lab.machine import plan, qemu, room, ssh
from lab.watch.follow import LOG, NOISE

SECONDS = 20.0
CONSOLE_LINES = 30
# What does not end by itself must not take the rest with it.
ASKED = f"""timeout 12 crm_mon -1rf 2>&1
echo '-- the end of {LOG}'
tail -n 5000 {LOG} | grep {NOISE} | tail -n 40
echo '-- the end of dmesg'
dmesg | tail -n 30"""


def standing(lab: room.Room) -> str:
    """Return what each node says of the cluster and of itself, and of one that does not answer its console; within half a minute."""
    with ThreadPoolExecutor() as pool:
        return "\n".join(pool.map(lambda node: told(lab, node), plan.NODES.values()))


def told(lab: room.Room, node: plan.Node) -> str:
    said = trouble = ""
    try:
        done = ssh.run(lab, node, ASKED, within=SECONDS)
        said, trouble = done.stdout, done.stderr.strip() if done.returncode else ""
    except subprocess.TimeoutExpired as error:
        trouble = f"no answer within {error.timeout:g} s"
    if not said or trouble:
        console = room.DIRECTORY / f"console-{node.name}.log"
        lines = qemu.tail(console, CONSOLE_LINES) if console.exists() else ["there is none"]
        said = "\n".join([said, f"-- {trouble or 'it says nothing'}; the end of its console", *lines])
    return f"== {node.name}\n{said.strip()}\n"
