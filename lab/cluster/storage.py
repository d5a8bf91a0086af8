"""The shared volumes: made once, by the first node, as in the lab document."""

from __future__ import annotations

from collections.abc import Iterable

from lab.cluster.settings import Volume
from lab.machine import plan


def making(volumes: Iterable[Volume]) -> str:
    """Return the shell that makes logical volumes and file systems, each active on no node at its end."""
    lines = ["set -e"]
    for each in volumes:
        lines += [
            f"pvcreate --yes /dev/clusterstorage/{each.lun}",
            # The node stamps the group with its own system ID, as system_id_source says.
            f"vgcreate --setautoactivation n {each.group} /dev/clusterstorage/{each.lun}",
            f"lvcreate --yes --wipesignatures y --extents 100%FREE --name {each.name} {each.group}",
            f"mkfs.xfs -q -f {each.device}",
            f"vgchange --activate n {each.group}",
        ]
    return "\n".join(lines)


def mounting(volumes: Iterable[Volume]) -> str:
    """Return the shell that brings volumes to this node while no cluster does, whosever they were."""
    lines = ["set -e", "here=$(uname -n)"]
    every = ", ".join(f'"{name}"' for name in plan.NODES)
    for each in volumes:
        taking = f"vgchange --yes --config 'local/extra_system_ids=[{every}]' --systemid $here {each.group}"
        lines += [
            f"vgs --foreign --noheadings -o systemid {each.group} | grep -qw $here || {taking}",
            f"vgchange --activate y {each.group}",
            f"mkdir -p {each.mount}",
            f"mountpoint -q {each.mount} || mount {each.device} {each.mount}",
        ]
    return "\n".join(lines)


def unmounting(volumes: Iterable[Volume]) -> str:
    lines = ["set -e"]
    for each in volumes:
        lines += [f"umount {each.mount}", f"vgchange --activate n {each.group}"]
    return "\n".join(lines)
