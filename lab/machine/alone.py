"""One node of the lab alone, for what needs device-mapper, LVM and the stock agents, and no cluster.

    with alone.node() as lab:
        alone.prepare(lab)
        alone.install(lab, "/opt/place", ["lab/bench"])
        alone.run(lab, "cd /opt/place && exec python3 -m lab.bench.volumes", 600.0)

Its lab may write to the SAN's LUNs as it likes: nobody else is there.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lab import roots
from lab.machine import boot, image, plan, room, ssh
from lab.machine.room import NotSo, Room

NODE = plan.NODES["rhel1"]
STAGE = "/run/node"
# Run in the lab's root, where the work tree is /src.
PACK = """\
rm -rf "$STAGE"
make --silent -C /src install DESTDIR="$STAGE"
mkdir -p "$STAGE$PLACE"
cd /src
cp -r --parents "$@" "$STAGE$PLACE"
"""
# The cluster's services have nothing to do here, and what udev finds out about the disks of tests.lvm.stack nobody needs; both take the
# time of an emulated processor.
RULES = """\
ENV{DM_NAME}=="lvmtest*", ENV{DM_UDEV_DISABLE_OTHER_RULES_FLAG}="1", ENV{DM_UDEV_DISABLE_DISK_RULES_FLAG}="1"
ENV{DM_NAME}=="lvmtest*", OPTIONS+="nowatch"
"""
RULES_FILE = "/run/udev/rules.d/56-lvm-tests.rules"
PREPARE = f"""\
{{ systemctl stop pcsd pcsd-ruby && mkdir -p {os.path.dirname(RULES_FILE)} && echo {shlex.quote(RULES)} >{RULES_FILE} &&
udevadm control --reload; }}"""
INSTALL_SECONDS = 120.0


@contextmanager
def node(keep: bool = False) -> Iterator[Room]:
    """Yield a lab of which one node is on: with `keep` the one that an earlier call has left, else a new one, which ends with the block.

    Raises NotSo: who asks for this writes to the SAN's LUNs, so any other lab that is up is not for them.
    """
    if keep and room.process() is not None:
        lab = room.find()
        if [name for name, told in lab.order("status")["nodes"].items() if told["pid"] and name != NODE.name]:
            raise NotSo("the lab that is up has two nodes, and a cluster perhaps; `python3 -m lab.machine down` ends it")
        yield lab
        return
    image.build()
    lab, process = room.start()
    try:
        for other in plan.NODES.values():
            if other != NODE:
                lab.order("power", node=other.name, what="off")
        taken = ssh.await_success(lab, NODE, boot.STORAGE_READY, boot.SSH_SECONDS + boot.STORAGE_SECONDS, "the storage is there")
        roots.say(f"{NODE.name} is up after {taken:.0f} s")
        yield lab
    finally:
        if keep:
            room.stay(process)
        else:
            room.end(process.pid)
            process.wait()


def prepare(lab: Room) -> None:
    """Let the node do nothing beside what it is asked to.  Raises NotSo."""
    ssh.await_success(lab, NODE, PREPARE, INSTALL_SECONDS, "nothing else is at work")


def install(lab: Room, place: str, sources: Sequence[str], more: str = "", given: bytes = b"") -> None:
    """Install the agents on the node, and put `sources` of the work tree into the directory `place` of it.

    `more` is a shell script that adds to $STAGE, which becomes the node's root, from the lab's root; `given` is its standard input.
    Raises NotSo.
    """
    script = f'{PACK}{more}\ntar -C "$STAGE" -cf - .'
    packing = lab.entering(["sh", "-euc", script, "pack", *sources])
    environment = {**lab.environment(), "STAGE": STAGE, "PLACE": place}
    made = subprocess.run(packing, env=environment, input=given, capture_output=True, timeout=INSTALL_SECONDS)
    if made.returncode:
        raise NotSo(f"what the node needs cannot be packed: {made.stderr.decode(errors='replace').strip()[-300:]}")
    line = ssh.command(NODE, [f"rm -rf {shlex.quote(place)} && tar -C / -xf -"], INSTALL_SECONDS)
    sent = subprocess.run(lab.entering(line), env=lab.environment(), input=made.stdout, capture_output=True, timeout=INSTALL_SECONDS + 15)
    if sent.returncode:
        raise NotSo(f"{NODE.name}: what it needs cannot be installed: {sent.stderr.decode(errors='replace').strip()[-300:]}")


def run(lab: Room, shell: str, within: float) -> int:
    """Run a shell command on the node with its output here, and return its exit code."""
    return subprocess.call(lab.entering(ssh.command(NODE, [shell], within)), env=lab.environment(), stdin=subprocess.DEVNULL)
