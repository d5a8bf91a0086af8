"""HA: the manager and the local resource managers, which stop, restart and recover guests in rounds of their own.

Repository file:line at the commits that lab/proxmox/world.py lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import power
from .guests import Guest
from .nodes import Node
from .tasks import Task

if TYPE_CHECKING:
    import random

    from .world import World

# pve-ha-manager src/PVE/HA/CRM.pm:363 and LRM.pm:469: the length of a round.
ROUND_SECONDS = 10.0
# src/PVE/HA/NodeStatus.pm:8: how long a node is gone before it is to be fenced.
FENCE_SECONDS = 60.0
# src/PVE/HA/Env/PVE2.pm:311: how long a dead node's agent lock lives on; without that lock nothing is recovered.
LOCK_SECONDS = 120.0
# src/watchdog-mux.c:50 and 54: the clients' bound and the device's.
WATCHDOG_SECONDS = 60.0
# src/PVE/HA/Manager.pm:539-549: locks that recovery takes away.
REMOVABLE_LOCKS = ("backup", "mounted", "migrate", "clone", "rollback", "snapshot", "snapshot-delete", "suspending", "suspended")

ON, OFF = ("started",), ("stopped", "disabled")


def managed(guest: Guest) -> bool:
    """Tell whether HA manages it: configured and not ignored (src/PVE/HA/Config.pm:352-365)."""
    return guest.config.ha not in {"", "ignored"}


class Ha:
    """The HA stack.  `round_seconds` and `recovery_seconds` are settable before its first round."""

    def __init__(self, world: World, random: random.Random) -> None:
        self.world = world
        self.round_seconds = ROUND_SECONDS
        self.recovery_seconds = LOCK_SECONDS
        self.watchdog_seconds = WATCHDOG_SECONDS
        self._random = random
        self._stops: set[int] = set()
        # What the local managers answered the manager, and what they are at.
        self._stopped: dict[int, bool] = {}
        self._working: dict[int, Task] = {}
        world.at(random.uniform(0, self.round_seconds), self._manage)

    def add_node(self, node: Node) -> None:
        self.world.at(self._random.uniform(0, self.round_seconds), lambda: self._local(node))

    def stop(self, guest: Guest) -> None:
        """Queue `crm-command stop` with timeout 0: obeyed in the manager's next round (src/PVE/HA/Config.pm:322-334)."""
        self._stops.add(guest.vmid)

    def guards(self, node: Node) -> bool:
        """Tell whether the node's watchdog is armed: it has active services (src/PVE/HA/Tools.pm:191-213)."""
        configs = (self.world.config(node, vmid) for vmid in self.world.guests)
        return any(config and config.node == node.name and config.ha not in {"", "ignored"}
                   and config.ha_state not in {"stopped", "error"} for config in configs)  # fmt: skip

    # The manager.

    def _manage(self) -> None:
        self.world.at(self.round_seconds, self._manage)
        members = self.world.quorate_part()
        if members:
            for guest in self.world.guests.values():
                if managed(guest):
                    self._decide(guest, members)

    def _decide(self, guest: Guest, members: frozenset[str]) -> None:
        """Make the next state (src/PVE/HA/Manager.pm:1199-1661)."""
        state, requested = guest.config.ha_state, guest.config.ha
        if guest.node not in members and state != "error":
            self._lose(guest, members)
        elif state == "fence":
            # The node came back before its guests were recovered: they are, on itself (Manager.pm:1632-1646).
            self._recover(guest, guest.node)
        elif state == "request_stop":
            succeeded = self._stopped.pop(guest.vmid, None)
            if succeeded is not None:
                guest.change(ha_state="stopped" if succeeded else "error")
        elif state == "stopped":
            self._stops.discard(guest.vmid)
            if requested in ON:
                guest.change(ha_state="started")
        elif state == "started":
            if guest.vmid in self._stops:
                # The requested state becomes "stopped" for good (Manager.pm:1422-1440).
                self._stops.discard(guest.vmid)
                guest.change(ha="stopped", ha_state="request_stop")
            elif requested in OFF:
                guest.change(ha_state="request_stop")
        elif state == "error" and requested == "disabled":
            guest.change(ha_state="stopped")

    def _lose(self, guest: Guest, members: frozenset[str]) -> None:
        """Fence, then recover on another node (Manager.pm:1375-1379, 1607-1661, 526-555)."""
        gone = self.world.time - self.world.lost.get(guest.node, self.world.time)
        if guest.config.ha_state != "fence":
            if gone >= FENCE_SECONDS:
                guest.change(ha_state="fence")
        elif gone >= self.recovery_seconds:
            fewest = min(sorted(members), key=lambda name: sum(other.node == name for other in self.world.guests.values()))
            self._recover(guest, fewest)

    def _recover(self, guest: Guest, node: str) -> None:
        state = "started" if guest.config.ha in ON else "request_stop"
        guest.change(node=node, ha_state=state, lock="" if guest.lock in REMOVABLE_LOCKS else guest.lock)

    # The local managers.

    def _local(self, node: Node) -> None:
        self.world.at(self.round_seconds, lambda: self._local(node))
        if node.on and node.quorate:
            for guest in self.world.guests.values():
                if managed(guest) and guest.node == node.name:
                    self._execute(guest, node)

    def _execute(self, guest: Guest, node: Node) -> None:
        """Do what the state asks (src/PVE/HA/LRM.pm:908-990), in a task of root's."""
        working = self._working.get(guest.vmid)
        if working is not None and working.running:
            return
        state, running = guest.config.ha_state, guest.run_on(node.name) is not None
        container = guest.config.kind == "lxc"
        if state == "started" and not running:
            start = power.vzstart if container else power.qmstart
            self._work(guest, node, "vzstart" if container else "qmstart", start)
        elif state in {"request_stop", "stopped"} and running:
            stop = power.vzstop if container else power.qmstop
            self._work(guest, node, "vzstop" if container else "qmstop", stop)
        elif state == "request_stop":
            self._stopped[guest.vmid] = True

    def _work(self, guest: Guest, node: Node, kind: str, worker: power.Worker) -> None:
        def ended() -> None:
            if guest.config.ha_state == "request_stop":
                self._stopped[guest.vmid] = guest.run_on(node.name) is None

        self._working[guest.vmid] = self.world.spawn(node, kind, str(guest.vmid), "root@pam", guest, worker, ended)
