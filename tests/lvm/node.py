"""The tests of LVM-activate on a real node: one virtual machine of the lab, with device-mapper, LVM, multipath and the stock agent.

    python3 -m tests.lvm.node [--events] [--keep] [-- PYTEST ARGUMENTS]

Boots a node, installs the agents of the work tree on it, runs this directory's tests there as root in one pytest, and leaves nothing.
With --keep the lab stays up, and the next call with --keep uses its node as it finds it.  A part of `make test` with --events, by which
the runner hears of each test.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lab import roots, setup
from lab.machine import boot, image, plan, room, ssh
from lab.machine.room import NotSo, Room

NODE = plan.NODES["rhel1"]
# The node has Debian's Python and no pytest.  The root's is for the same release, so what is compiled in it fits as well.
ROOT = "bookworm"
PYTEST = ("_pytest", "iniconfig*", "packaging*", "pluggy*", "py.py", "pygments*", "pytest*")
STAGE = "/run/node-tests"
SOURCES = "/opt/lvm-tests"
# Read in the lab's root, pytest's files on standard input.
PACK = f"""\
rm -rf {STAGE}
make --silent -C /src install DESTDIR={STAGE}
mkdir -p {STAGE}{SOURCES}/tests
cd /src
cp pyproject.toml {STAGE}{SOURCES}
cp -r tests/__init__.py tests/lvm tests/run {STAGE}{SOURCES}/tests
tar -C {STAGE}{SOURCES} -xf -
tar -C {STAGE} -cf - .
"""
# The cluster's services have nothing to do here, and what udev finds out about the tests' disks nobody needs; both take the time
# of an emulated processor.
RULES = """\
ENV{DM_NAME}=="lvmtest*", ENV{DM_UDEV_DISABLE_OTHER_RULES_FLAG}="1", ENV{DM_UDEV_DISABLE_DISK_RULES_FLAG}="1"
ENV{DM_NAME}=="lvmtest*", OPTIONS+="nowatch"
"""
PREPARE = """\
systemctl stop pcsd pcsd-ruby
mkdir -p /run/udev/rules.d
cat >/run/udev/rules.d/56-lvm-tests.rules
udevadm control --reload
"""
INSTALL_SECONDS, RUN_SECONDS = 120.0, 1500.0


@contextmanager
def node(keep: bool) -> Iterator[Room]:
    """Yield a lab of which one node is on: with `keep` the one that an earlier call has left, else a new one, which ends with the block.

    Raises NotSo: the tests write to the SAN's LUNs, so any other lab that is up is not for them.
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


def install(lab: Room) -> None:
    """Put agents, tests and pytest on the node.  Raises NotSo."""
    roots.build(ROOT)
    packages = next(roots.python_directory(roots.ROOTS[ROOT]).glob("lib/python3*/site-packages"))
    names = [path.name for name in PYTEST for path in packages.glob(name)]
    pytest = subprocess.run(["tar", "-C", str(packages), "-cf", "-", *names], capture_output=True, check=True, timeout=INSTALL_SECONDS)
    packing = lab.entering(["sh", "-euc", PACK])
    made = subprocess.run(packing, env=lab.environment(), input=pytest.stdout, capture_output=True, timeout=INSTALL_SECONDS)
    if made.returncode:
        raise NotSo(f"what the node needs cannot be packed: {made.stderr.decode(errors='replace').strip()[-300:]}")
    line = ssh.command(NODE, [f"rm -rf {SOURCES} && tar -C / -xf -"], INSTALL_SECONDS)
    sent = subprocess.run(lab.entering(line), env=lab.environment(), input=made.stdout, capture_output=True, timeout=INSTALL_SECONDS + 15)
    if sent.returncode:
        raise NotSo(f"{NODE.name}: agents and tests cannot be installed: {sent.stderr.decode(errors='replace').strip()[-300:]}")


def prepare(lab: Room) -> None:
    done = ssh.run(lab, NODE, PREPARE, INSTALL_SECONDS, RULES)
    if done.returncode:
        raise NotSo(f"{NODE.name}: {done.stderr.strip()[-300:]}")


def run(lab: Room, events: bool, arguments: Sequence[str]) -> int:
    """Run pytest on the node, its output here; return its exit code."""
    plugins = ["-p", "tests.run.strict", *(["-p", "tests.run.events"] if events else ["-v"])]
    words = ["python3", "-m", "pytest", *plugins, "--color=no", "--durations=10", *(arguments or ["tests/lvm"])]
    shell = f"cd {SOURCES} && exec {shlex.join(words)}"
    return subprocess.call(lab.entering(ssh.command(NODE, [shell], RUN_SECONDS)), env=lab.environment(), stdin=subprocess.DEVNULL)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.lvm.node", description="The tests of LVM-activate on a node of the lab")
    parser.add_argument("--events", action="store_true", help="tell the runner of each test")
    parser.add_argument("--keep", action="store_true", help="leave the lab up, or use the one that was left")
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    given, arguments = parser.parse_args(words[:split]), words[split + 1 :]
    if found := setup.lacking():
        sys.exit(" ".join(found))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with node(given.keep) as lab:
            prepare(lab)
            install(lab)
            return run(lab, given.events, arguments)
    except NotSo as error:
        # A lab that does not end must not hide what went wrong before.
        print(*(one for one in (error.__context__, error) if isinstance(one, NotSo)), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
