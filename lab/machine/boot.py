"""Starting a lab, and waiting for its nodes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from lab import roots
from lab.machine import image, plan, qemu, room, ssh

SSH_SECONDS = 240.0
STORAGE_SECONDS = 120.0
# Two paths under each map, both in use.
STORAGE_READY = f"test $(multipath -ll | grep -cE 'active ready +running') -eq {2 * len(plan.LUNS)}"
# Where the nodes have the certificate authority of the hypervisors' cluster.
CA_FILE = "/etc/ssl/pve-root-ca.pem"


@contextmanager
def held(saved: Path | None = None) -> Iterator[tuple[room.Room, subprocess.Popen[bytes]]]:
    """Yield a new lab whose nodes are up, from blank or saved disks; it ends with the block unless `room.stay` let it go.  Raises NotSo."""
    image.build()
    lab, process = room.start(saved)
    assert process.stdin
    try:
        await_nodes(lab)
        yield lab, process
    finally:
        if not process.stdin.closed:
            roots.say("taking the lab down")
            room.end(process.pid)
            process.wait()


def await_node(lab: room.Room, node: plan.Node, began: float) -> None:
    ssh.await_success(lab, node, "true", SSH_SECONDS, "ssh answers")
    roots.say(f"{node.name}: ssh answers after {time.monotonic() - began:.0f} s")
    authority = ssh.run(lab, node, f"cat >{CA_FILE} && sync", text=lab.read(lab.order("status")["api"]["ca"]))
    if authority.returncode:
        raise room.NotSo(f"{node.name}: the API's certificate authority cannot be written: {authority.stderr.strip()[-300:]}")
    ssh.await_success(lab, node, STORAGE_READY, STORAGE_SECONDS, "both paths to every LUN are up")
    maps = ", ".join(lun.alias for lun in plan.LUNS.values())
    roots.say(f"{node.name}: both paths to {maps} are up after {time.monotonic() - began:.0f} s")


def await_nodes(lab: room.Room) -> None:
    """Wait for both nodes side by side, saying what their consoles say meanwhile.  Raises NotSo."""
    began = told = time.monotonic()
    pool = ThreadPoolExecutor()
    waiting = {pool.submit(await_node, lab, node, began): node for node in plan.NODES.values()}
    try:
        while not all(future.done() for future in waiting):
            time.sleep(0.2)
            if time.monotonic() - told > 10:
                told = time.monotonic()
                for future, node in waiting.items():
                    if not future.done():
                        lines = qemu.tail(room.DIRECTORY / f"console-{node.name}.log", 1)
                        roots.say(f"{node.name}, {told - began:.0f} s: {lines[-1][:100] if lines else 'nothing on the console yet'}")
        for future in waiting:
            future.result()
    finally:
        # Whoever still waits ends when the lab does, and does not hold up who takes it down.
        pool.shutdown(wait=False)
