"""A run that is killed in the middle of a fault.

    unshare --pid --mount --fork --kill-child --mount-proc -- python3 -m tests.faults.doomed FAULT FILESYSTEM

Started by test_leftovers.  Prints the number of its loop device and its PID namespace when the fault is there, and waits for its end.
"""

from __future__ import annotations

import json
import sys
import time

from tests.faults import identity, processes
from tests.faults.direct import Child
from tests.faults.disk import FaultDisk


def main() -> None:
    fault, kind = sys.argv[1:]
    disk = FaultDisk("doomed")
    disk.format(kind)
    disk.mount("/mnt/doomed")
    processes.run("dd", "if=/dev/zero", "of=/mnt/doomed/file", "bs=1M", "count=1", "oflag=direct", "conv=fsync", within=30)
    if "frozen" in fault:
        processes.run("fsfreeze", "--freeze", "/mnt/doomed", within=10)
    if "hung" in fault:
        disk.hang()
    if "idle" not in fault:
        for operation in ("write", "sync", "fsync"):
            processes.wait_until_stuck(Child(operation, "/mnt/doomed/file").pid)
    print(json.dumps({"loop": disk.device[len("/dev/loop") :], "namespace": identity.pid_namespace()}), flush=True)
    time.sleep(3600)


if __name__ == "__main__":
    main()
