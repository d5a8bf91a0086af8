"""Making the cluster whole again after a run, at first by waiting, then by force."""

from __future__ import annotations

import contextlib
import math
import time

from lab import roots
from lab.cluster import configure, state
from lab.cluster.settings import Setting
from lab.machine import plan
from lab.machine.room import NotSo, Room, alive
from lab.scenarios import hypervisors

SOFT_SECONDS = 240.0
HARD_SECONDS = 400.0
PATIENCE_SECONDS = 60.0


def heal(lab: Room, setting: Setting) -> bool:
    """Wait until the cluster is healthy; return whether both nodes had to be switched off and on for it.  Raises NotSo."""
    try:
        await_whole(lab, setting, SOFT_SECONDS)
    except NotSo as error:
        roots.say(f"the cluster does not heal by itself: {error}; switching both nodes off and on")
        force(lab, setting)
        return True
    return False


def force(lab: Room, setting: Setting) -> None:
    """Take back every fault of the hardware, switch both nodes off and on, and wait until the cluster is healthy.  Raises NotSo."""
    mend_hardware(lab)
    for what in ("off", "on"):
        for name in plan.NODES:
            lab.order("power", node=name, what=what)
    await_whole(lab, setting, HARD_SECONDS)


def mend_hardware(lab: Room) -> None:
    for lun in plan.LUNS:
        lab.order("lun", name=lun)
    lab.order("storage", on=True)
    for node in plan.NODES:
        for network in plan.NETWORKS:
            lab.order("cable", node=node, segment=network, plugged=True)
    hypervisors.come_back(lab)


def power_on(lab: Room) -> None:
    """Switch on what is off."""
    for name, node in lab.order("status")["nodes"].items():
        if node["pid"] is None:
            lab.order("power", node=name, what="on")


def await_whole(lab: Room, setting: Setting, within: float) -> None:
    """Switch on what is off, let both nodes come back, forget their failures, and wait until all is healthy.  Raises NotSo."""
    until = time.monotonic() + within
    power_on(lab)
    configure.await_members(lab, within)
    cleaned = -math.inf
    while True:
        now = time.monotonic()
        try:
            seen = state.read(lab)
            wrong, failures = state.troubles(seen, setting), list(seen.failures)
        except NotSo as error:  # A node that answers too late once may be well all the same.
            wrong, failures = [str(error)], []
        if not wrong:
            return
        if now > until or not alive(lab.inner):
            raise NotSo(f"not whole after {within:.0f} s: {'; '.join(wrong)}")
        # What failed while a node was away is tried again only when that is forgotten; what has failed and runs again is only told of.
        if wrong == failures or now - cleaned > PATIENCE_SECONDS:
            cleaned = now
            with contextlib.suppress(NotSo):
                configure.clean(lab)
        time.sleep(2.0)
