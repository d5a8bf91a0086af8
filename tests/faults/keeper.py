"""The first user of a fault disk's loop device: a process that attaches it and holds it open.

    python3 -m tests.faults.keeper FILE FUSECTL        (started by tests.faults.server, in its mount namespace)

Neither the test nor the server can hold the device.  Its last close writes out what is cached, which would put the test into
uninterruptible sleep while the disk hangs, and the server for ever, since that close waits for the server itself.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.faults import identity, loop

# Requests that the kernel may have under way at the server at once.  The default, 12, would let a few hung writes block
# all reads.  A loop device has 128 requests, each of them at most a few dozen of FUSE's.
BACKGROUND = 16384


def raise_limits(file: str, fusectl: Path) -> None:
    connection = fusectl / str(os.minor(os.stat(file).st_dev))
    (connection / "max_background").write_text(str(BACKGROUND))
    (connection / "congestion_threshold").write_text(str(BACKGROUND))


def main() -> None:
    file, fusectl = sys.argv[1], Path(sys.argv[2])
    disk = identity.parse(file)
    assert disk is not None
    identity.take_name(disk)
    raise_limits(file, fusectl)
    backing = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    device, number = loop.attach(backing)
    os.close(backing)
    print(number, flush=True)
    sys.stdin.read()
    os.close(device)


if __name__ == "__main__":
    main()
