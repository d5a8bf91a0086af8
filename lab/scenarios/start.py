"""A lab that begins where another one was: configuring a cluster takes longer than booting one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab.cluster import configure
from lab.cluster.settings import Setting
from lab.machine import boot, saved
from lab.machine.room import Room


@contextmanager
def held(setting: Setting) -> Iterator[Room]:
    """Yield a new lab, from the disks that were saved for this setting if there are any; it ends with the block.  Raises NotSo."""
    with boot.held(saved.find(configure.recipe(setting))) as (lab, _):
        yield lab


def ready(lab: Room, setting: Setting) -> None:
    """Bring the cluster to a setting, with the agents of the tree, and see to it that the next lab can begin there.  Raises NotSo."""
    configure.configure(lab, setting)
    name = configure.recipe(setting)
    if not saved.find(name):
        saved.save(lab, name)
