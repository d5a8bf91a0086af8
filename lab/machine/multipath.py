"""What the nodes' multipath does with I/O when no path is left."""

from __future__ import annotations

from lab.machine import files, plan, ssh
from lab.machine.room import NotSo, Room


def retry(lab: Room, policy: str) -> None:
    """Set no_path_retry on both nodes: "fail", "queue" or a number of retries.  Raises NotSo."""
    for name, node in plan.NODES.items():
        # A node that is fenced loses what it has not written to its disk.
        done = ssh.run(lab, node, f"cat >{files.RETRY_FILE} && sync && multipathd reconfigure", text=files.retry_policy(policy))
        if done.returncode:
            raise NotSo(f"{name}: {(done.stderr or done.stdout).strip()}")
