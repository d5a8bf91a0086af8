"""The nodes' disk image, and the root in which QEMU and the SAN run: made once, kept in the cache under their recipes' hash."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lab import roots
from lab.machine import files, plan

SUITE = "bookworm"
SIZE = "4G"
COPY_SECONDS = 300.0

# The cloud kernel has what the nodes need (dm-multipath, iscsi_tcp, xfs, the virtio devices) and is a quarter of the other's size;
# ocf-tester asks for xmllint.
NODE_PACKAGES = (
    "corosync", "dbus", "e2fsprogs", "fence-agents", "iproute2", "iputils-ping", "kmod", "less", "libxml2-utils",
    "linux-image-cloud-amd64", "lvm2", "multipath-tools", "netbase", "open-iscsi", "openssh-server", "pacemaker", "pacemaker-cli-utils",
    "pcs", "postgresql-15", "procps", "psmisc", "python3", "python3-psycopg", "python3-requests", "resource-agents", "rpm", "rsync",
    "sg3-utils", "systemd-sysv", "udev", "xfsprogs", "zstd",
)  # fmt: skip
# The cluster's configuration is made by pcs here: on the nodes, each call of it takes seconds.
HOST_PACKAGES = (
    "fence-agents", "iproute2", "make", "openssh-client", "pacemaker-cli-utils", "pcs", "procps", "psmisc", "python3",
    "python3-cryptography", "python3-psycopg", "python3-requests", "qemu-system-x86", "resource-agents", "strace", "tcpdump", "tgt",
    "tini", "util-linux",
)  # fmt: skip

ENABLED = ("iscsid", "lab-discovery", "lab-identity", "lab-storage", "multipathd", "open-iscsi", "pcsd", "ssh", "systemd-networkd")
DISABLED = ("apt-daily-upgrade.timer", "apt-daily.timer", "corosync", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap",
            "fstrim.timer", "pacemaker", "postgresql", "systemd-networkd-wait-online", "systemd-timesyncd")  # fmt: skip

# The initial RAM disk holds only what finds the node's own disk: it is unpacked at each boot, and that without hardware help.
INSTALL = r"""
set -eu
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d   # No service of a package starts by itself.
chmod 755 /usr/sbin/policy-rc.d
mkdir -p /etc/dpkg/dpkg.cfg.d /etc/postgresql-common /etc/initramfs-tools/conf.d
printf 'path-exclude=/usr/share/%s/*\n' doc info locale man >/etc/dpkg/dpkg.cfg.d/lab
echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
echo 'MODULES=list' >/etc/initramfs-tools/conf.d/lab
printf '%s\n' virtio_pci virtio_blk ext4 >/etc/initramfs-tools/modules
apt-get update -q
apt-get install -q -y --no-install-recommends -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-unsafe-io "$@"
apt-get clean
rm -rf /var/lib/apt/lists/* /usr/sbin/policy-rc.d
"""

FINISH = r"""
set -eu
systemctl enable $ENABLED
for unit in $DISABLED; do systemctl disable $unit || :; done   # Not every one of them is there.
sed -i 's/^node.startup = manual/node.startup = automatic/' /etc/iscsi/iscsid.conf
grep -q '^node.startup = automatic' /etc/iscsi/iscsid.conf
sed -i 's/# system_id_source = "none"/system_id_source = "uname"/' /etc/lvm/lvm.conf
grep -q '^[[:space:]]*system_id_source = "uname"' /etc/lvm/lvm.conf
rm -f /etc/corosync/corosync.conf /var/lib/dbus/machine-id
: >/etc/machine-id   # Each node makes its own; without the file, systemd would enable all that is installed.
echo hacluster:hacluster | chpasswd
mkdir -p -m 700 ~root/.ssh /boot/lab
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -C node -f /etc/ssh/ssh_host_ed25519_key
ssh-keygen -q -t ed25519 -N '' -C lab -f /boot/lab/key
cp /boot/lab/key.pub ~root/.ssh/authorized_keys
{ printf '* '; cat /etc/ssh/ssh_host_ed25519_key.pub; } >/boot/lab/known_hosts
cp /boot/vmlinuz-* /boot/lab/vmlinuz
cp /boot/initrd.img-* /boot/lab/initrd
"""


@dataclass(frozen=True)
class Image:
    """A directory of the cache with all that a node boots from."""

    directory: Path

    @property
    def disk(self) -> Path:
        return self.directory / "disk.raw"

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.directory / "initrd"

    @property
    def key(self) -> Path:
        return self.directory / "key"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"


def finish() -> str:
    return FINISH.replace("$ENABLED", " ".join(ENABLED)).replace("$DISABLED", " ".join(DISABLED))


def image_recipe() -> str:
    """Return the hash of all that the image is made from."""
    texts = [part for pair in sorted(files.texts().items()) for part in pair]
    return roots.digest(SUITE, SIZE, roots.MIRROR, *NODE_PACKAGES, INSTALL, finish(), *texts)


def host_recipe() -> str:
    return roots.digest(SUITE, roots.MIRROR, *HOST_PACKAGES, INSTALL)


def image() -> Image:
    return Image(roots.CACHE / f"machine-node-{image_recipe()}")


def host() -> Path:
    return roots.CACHE / f"machine-host-{host_recipe()}"


def saved(key: str) -> Path:
    """Return where the disks are that were saved under a key: of this image's nodes, with these LUNs."""
    return roots.CACHE / f"machine-saved-{roots.digest(image_recipe(), repr(plan.NODES), repr(plan.LUNS), key)}"


def build() -> None:
    """Make what the cache has not got."""
    with roots.locked("machine"):
        if not host().exists():
            build_host(host())
        if not image().directory.exists():
            build_image(image().directory)
        forget_old()


def debian(directory: Path, packages: tuple[str, ...]) -> None:
    roots.need("debootstrap", "unshare", "mount", "mkfs.ext4")
    roots.logged("machine", ["debootstrap", "--variant=minbase", SUITE, str(roots.fresh(directory)), roots.MIRROR])
    roots.installing("machine", directory, INSTALL, sorted(packages))


def build_host(directory: Path) -> None:
    started = time.monotonic()
    roots.say("making the root of QEMU and the SAN (about a minute, once)")
    half = directory.with_suffix(".half")
    debian(half, HOST_PACKAGES)
    half.rename(directory)
    roots.say(f"made in {time.monotonic() - started:.0f} s")


def build_image(directory: Path) -> None:
    started = time.monotonic()
    roots.say("making the disk image of the nodes (about two minutes, once)")
    tree, half = directory.with_suffix(".tree"), roots.fresh(directory.with_suffix(".half"))
    debian(tree, NODE_PACKAGES)
    write_files(tree)
    roots.installing("machine", tree, finish(), [])
    for path in (tree / "boot" / "lab").iterdir():
        shutil.move(str(path), half / path.name)
    # No loop device and no mount: mkfs itself fills the file system.
    roots.logged("machine", ["mkfs.ext4", "-q", "-F", "-m", "0", "-d", str(tree), str(half / "disk.raw"), SIZE])
    half.rename(directory)
    shutil.rmtree(tree)
    roots.say(f"made in {time.monotonic() - started:.0f} s")


def write_files(tree: Path) -> None:
    for name, text in files.texts().items():
        path = tree / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text.startswith("#!") else 0o644)


def forget_old() -> None:
    """Remove what older recipes left; a lab that still runs has its disks open, or holds the lock of lab.machine.room."""
    for old in roots.CACHE.glob("machine-*-*"):
        if old not in (host(), image().directory) and time.time() - old.stat().st_mtime > 7 * 86400:
            shutil.rmtree(old, ignore_errors=True)


def opened(file: IO[bytes]) -> Path:
    """Return the path at which other processes find a file that is open here, and may have no name."""
    return Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")


def copy(source: Path, to: Path) -> None:
    """Copy a disk, holes left out.  Raises CalledProcessError."""
    subprocess.run(["cp", "--sparse=always", str(source), str(to)], check=True, stdin=subprocess.DEVNULL, timeout=COPY_SECONDS)
