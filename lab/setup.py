"""See that this machine can run the lab, and install what is missing.

    python3 -m lab.setup [nodes]

The lab needs a few programs of the machine itself; everything else is installed in the distribution roots (lab/roots.py) and
nowhere else.  No service is installed or started.  Where nothing is missing, nothing is done.

What only the two virtual machines need does not keep the rest from running: it is told, and an error only with the word `nodes`.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys

from lab import roots
from lab.machine import image

# program: the Debian package that has it
PROGRAMS = {"debootstrap": "debootstrap", "make": "make", "mkfs.ext4": "e2fsprogs", "mount": "mount", "nsenter": "util-linux",
            "setpriv": "util-linux", "unshare": "util-linux"}  # fmt: skip

# file system: what it is for
FILE_SYSTEMS = {
    "overlay": "gives each run a root that it may write to",
    "fuse": "serves the disks that hang on request",
    "ext4": "is one of the file systems on them",
    "xfs": "is one of the file systems on them",
}
SPACE_GB = 4  # Three roots with their Python packages take 2.8 GB.
NODES_SPACE_GB = 12  # An image, three sets of saved disks of two nodes, and the disks of those that run.
NODES_MEMORY_GB = 4
# SIOCBRADDBR: the kernel loads its bridges for it, if they are a module.  The bridge goes with its namespace.
BRIDGE = "import fcntl, socket; fcntl.ioctl(socket.socket(), 0x89A0, b'lab'.ljust(16, bytes(1)))"


def say(text: str) -> None:
    print(f"== setup: {text}", flush=True)


def need_root() -> None:
    if platform.system() != "Linux":
        sys.exit("The lab is made of Linux namespaces, loop devices and mounts; this is not Linux.")
    if os.geteuid() != 0:
        sys.exit("The lab makes namespaces, loop devices and mounts, which takes root: become root (sudo -i, su -) and try again.")


def install_missing() -> None:
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if not missing:
        say(f"{', '.join(sorted(PROGRAMS))} are there")
        return
    if not shutil.which("apt-get"):
        sys.exit(f"Missing: {', '.join(missing)}.  This machine has no apt-get; install them its own way and try again.")
    say(f"installing {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    patient = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]
    for step in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
        code = subprocess.call([*patient, *step], stdin=subprocess.DEVNULL, env=environment)
        if code:
            sys.exit(f"`apt-get {step[0]}` failed with {code}; its output is above.  Without {', '.join(missing)} there is no lab.")


def check_kernel() -> None:
    """Load what the kernel has as modules, in case it does not load them by itself."""
    if subprocess.call(["unshare", "--mount", "--pid", "--net", "--fork", "true"], stdin=subprocess.DEVNULL):
        sys.exit("This machine does not let root make namespaces; inside a container, give it the rights of --privileged.")
    for module in (*FILE_SYSTEMS, "loop"):
        if shutil.which("modprobe"):
            subprocess.call(["modprobe", "-q", module], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open("/proc/filesystems") as file:
        known = {line.split()[-1] for line in file}
    for name, purpose in FILE_SYSTEMS.items():
        if name not in known:
            sys.exit(f"This kernel has no {name}, which {purpose}.")
    with open("/proc/misc") as file:
        if "loop-control" not in file.read():
            sys.exit("This kernel has no loop devices, which the disks that hang are.")
    say(f"kernel {platform.release()} has {', '.join(FILE_SYSTEMS)} and loop devices")


def check_space() -> None:
    """Make sure that the roots fit, unless they are made already."""
    roots.CACHE.mkdir(parents=True, exist_ok=True)
    missing = [name for name, root in roots.ROOTS.items() if not roots.debian_directory(root).exists()]
    free = shutil.disk_usage(roots.CACHE).free / 1e9
    if missing and free < SPACE_GB:
        sys.exit(f"{roots.CACHE} has {free:.1f} GB free and the roots take {SPACE_GB}; set OCF_LAB_CACHE to a directory with more.")
    say(f"roots are kept in {roots.CACHE}" + (f"; to be made when needed: {', '.join(missing)}" if missing else ""))


def lacking() -> list[str]:
    """Return what the two virtual machines need and this machine has not got, a sentence each."""
    found = []
    if shutil.which("modprobe"):
        subprocess.call(["modprobe", "-q", "tun"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open("/proc/misc") as file:
        if "tun" not in file.read().split():
            found.append("This kernel has no tun devices, which the nodes' network cards are (CONFIG_TUN, module tun).")
    if subprocess.call(["unshare", "--net", sys.executable, "-c", BRIDGE], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        found.append("This kernel has no bridges, which the nodes' networks are (CONFIG_BRIDGE, module bridge).")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    if memory < NODES_MEMORY_GB:
        found.append(f"This machine has {memory:.1f} GB of memory; two nodes and what they run on take {NODES_MEMORY_GB}.")
    free = shutil.disk_usage(roots.CACHE).free / 1e9
    if free < NODES_SPACE_GB and not image.image().directory.exists():
        found.append(f"{roots.CACHE} has {free:.1f} GB free and the nodes' disks take up to {NODES_SPACE_GB}.")
    return found


def check_nodes(needed: bool) -> None:
    found = lacking()
    if found and needed:
        sys.exit("\n".join(found))
    for sentence in found:
        say(f"no virtual machines here: {sentence}")
    if not found:
        say("the two virtual machines can run")


def main() -> int:
    need_root()
    install_missing()
    check_kernel()
    check_space()
    check_nodes(needed="nodes" in sys.argv[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
