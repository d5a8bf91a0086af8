"""A Proxmox VE cluster as a model: nodes, guests, tasks, HA, quorum and time.  lab/proxmox/api.py answers requests from it.

Nothing here sleeps and nothing has a thread: `advance()` works off what was due by `now()`, each thing at its own moment.  What a
random choice decides (the phase of HA's rounds) comes from the seed.

Facts are cited as repository file:line, at these commits of github.com/proxmox:
pve-manager 14a22df3 (9.2.11), qemu-server e6352be6 (9.2.6), pve-http-server 5c9e4ea, pve-access-control 5ccd07d, pve-ha-manager b71218f,
pve-cluster 7091d92, pve-container 94f5585, pve-common f665029, pve-guest-common 4a8f6cb, pve-storage 0c56bad.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Sequence

from . import migration, power
from .access import Access, Token, User
from .agenda import Agenda, Event, Steps
from .guests import NEVER, QUIT, SIGKILL, SIGTERM, Backend, Config, Guest, Memory, Reset, Run, made_up_uuid
from .ha import Ha
from .nodes import Node, Sample
from .tasks import Task

__all__ = ["NEVER", "QUIT", "SIGKILL", "SIGTERM", "Backend", "Guest", "Memory", "Node", "Reset", "Run", "Task", "World", "small_cluster"]

# The wall clock when the world begins: 2026-09-21, whatever `now()` counts from.
WALL_CLOCK = 1_790_000_000
# pve-manager PVE/Service/pvestatd.pm:885: how often a node tells its guests' numbers.
TELL_SECONDS = 10.0


class World:
    """The cluster.

    Faults of the whole, settable at any time: `partition()`; `token_seconds` (how long corosync takes to see that a node is gone);
    `qdevice_votes` (1 or 0); `overrule_shutdown` False (servers before qemu-server 8.1.2 do not know the parameter); `error_message`
    False (before pve-http-server 5.2.0 a JSON error carried no text); `bad_ticket` (the reason phrase of a bad ticket or token);
    `telling` False (no node's pvestatd tells anything any more); `hosts` (names that are no nodes, but that a node can resolve, and how
    a connection to each fares).
    """

    def __init__(self, now: Callable[[], float], power: Backend | None = None, seed: int = 0) -> None:
        self._agenda = Agenda(now)
        self._random = random.Random(seed)
        self._pids = itertools.count(123_456, 13)
        self._parts: list[frozenset[str]] = []
        self.name = "lab"
        self.backend: Backend = Memory() if power is None else power
        self.nodes: dict[str, Node] = {}
        self.guests: dict[int, Guest] = {}
        self.tasks: dict[str, Task] = {}
        self.access = Access(seed)
        self.qdevice_votes = 0
        self.token_seconds = 0.0
        self.boot_seconds = 60.0
        self.overrule_shutdown = True
        self.error_message = True
        self.telling = True
        self.hosts: dict[str, str] = {}
        self.version = "9.2.11"
        # The reason phrase for a bad ticket or token; before pve-manager 9.1 "permission denied - invalid PVE ticket".
        self.bad_ticket = "Authentication failed!"
        # Since when a node is not in the quorate part.
        self.lost: dict[str, float] = {}
        self.add_user("root@pam", "root")
        self.ha = Ha(self, self._random)
        self.at(0, self._tell)

    # Time.

    @property
    def time(self) -> float:
        return self._agenda.time

    def advance(self) -> None:
        """Work off all that was due, then look whether guests of a real back end ended or began by themselves."""
        self._agenda.advance()
        for guest in self.guests.values():
            living = guest.living()
            if living and self.backend.running(guest.vmid) is None:
                for run in living:
                    run.ended = self.time
            elif not living:
                pid = self.backend.running(guest.vmid)
                if pid is not None:
                    guest.runs.append(Run(guest.node, pid, self.time, vmid=guest.vmid))

    def at(self, seconds_from_now: float, do: Callable[[], None]) -> Event:
        return self._agenda.at(seconds_from_now, do)

    def wall(self, node: Node) -> float:
        """Return a node's wall clock."""
        return WALL_CLOCK + self.time - self._agenda.began + node.clock_skew

    # Making it.

    def add_node(self, name: str, address: str = "127.0.0.11", votes: int = 1) -> Node:
        node = Node(name, address, len(self.nodes) + 1, votes, changed=self._node_changed, booted=self.time - 86400)
        self.nodes[name] = node
        self.ha.add_node(node)
        self._recount()
        return node

    def add_guest(
        self, vmid: int, name: str, node: str, *, kind: str = "qemu", running: bool = True, ha: bool = False, template: bool = False,
        lock: str = "", uuid: str = "", stop_seconds: float = 1.0, start_seconds: float = 2.0,
    ) -> Guest:  # fmt: skip
        state = ("started" if running else "stopped") if ha else ""
        config = Config(node, kind, name, uuid or made_up_uuid(vmid), template, lock, state, state)
        guest = Guest(vmid, config, stop_seconds=stop_seconds, start_seconds=start_seconds, later=self.at)
        self.guests[vmid] = guest
        if running and not template:
            self.begin(guest, self.nodes[node])
        return guest

    def add_user(self, userid: str, password: str, tfa: bool = False, enabled: bool = True) -> None:
        self.access.users[userid] = User(password, tfa, enabled)

    def add_token(self, userid: str, tokenid: str, secret: str, privsep: bool = True) -> None:
        self.access.users[userid].tokens[tokenid] = Token(secret, privsep)

    def add_pool(self, name: str, *vmids: int) -> None:
        """Make a pool: what is granted on /pool/NAME holds for its guests."""
        self.access.pools[name] = frozenset(vmids)

    def grant(self, path: str, who: str, *privileges: str, propagate: bool = True) -> None:
        self.access.grant(path, who, *privileges, propagate=propagate)

    def nobody(self, vmid: int) -> Guest:
        """Return a guest that does not exist: a task may be started for it, and finds that out."""
        return Guest(vmid, Config("", "qemu", "", ""))

    # Processes.

    def runs(self, vmid: int) -> list[Run]:
        """Return the history of the guest's processes.  During a live migration there are two."""
        return self.guests[vmid].runs

    def running_at(self, vmid: int, moment: float) -> list[Run]:
        return [run for run in self.guests[vmid].runs if run.lived_at(moment)]

    def resets(self, vmid: int) -> list[Reset]:
        return self.guests[vmid].resets

    def begin(self, guest: Guest, node: Node, qmp: str = "running") -> Run:
        """Start a process of the guest.  The back end knows one at most: what a migration adds is the model's alone."""
        pid = next(self._pids) if guest.living() else self.backend.start(guest.vmid)
        run = Run(node.name, pid, self.time, qmp=qmp, vmid=guest.vmid)
        guest.runs.append(run)
        return run

    def end(self, run: Run) -> None:
        """End a process, if it still lives."""
        if run.ended is None:
            if len(self.guests[run.vmid].living()) == 1:
                self.backend.stop(run.vmid)
            run.ended = self.time

    def reset(self, guest: Guest, run: Run) -> None:
        if run.ended is None:
            self.backend.reset(guest.vmid)
            guest.resets.append(Reset(run.node, run.pid, self.time))

    def crash(self, vmid: int) -> None:
        """Let the guest's processes die by themselves."""
        for run in self.guests[vmid].living():
            self.end(run)

    # Tasks.

    def spawn(
        self, node: Node, kind: str, id_: str, user: str, guest: Guest, worker: power.Worker, ended: Callable[[], None] | None = None,
    ) -> Task:  # fmt: skip
        """Start a task; it does something only after its request was answered."""
        return self.spawn_steps(node, kind, id_, user, lambda task: worker(self, guest, node, task), ended)

    def spawn_steps(
        self, node: Node, kind: str, id_: str, user: str, make: Callable[[Task], Steps], ended: Callable[[], None] | None = None,
    ) -> Task:  # fmt: skip
        wall = self.wall(node)
        task = Task(node.name, next(self._pids), int((self.time - node.booted + 1) * 100), int(wall), kind, id_, user)
        task.steps = task.work(make(task))
        self.tasks[task.upid] = task

        def begin() -> None:
            if task.steps is not None:
                self._agenda.run(task.steps, ended)

        self.at(0.02, begin)
        return task

    def migrate(self, vmid: int, to: str, live: bool = True, seconds: float = 8.0, fails: str = "") -> Task:
        """Migrate the guest as root would.  `fails`: migration.ABORTED, or KILLED, which leaves the lock behind."""
        guest, target = self.guests[vmid], self.nodes[to]
        source = self.nodes[guest.node]

        def worker(task: Task) -> Steps:
            if live and guest.config.kind == "qemu":
                return migration.live(self, guest, source, target, task, seconds, fails)
            return migration.offline(self, guest, source, target, task, seconds)

        kind = "vzmigrate" if guest.config.kind == "lxc" else "qmigrate"
        return self.spawn_steps(source, kind, str(vmid), "root@pam", worker)

    def shut_down(self, vmid: int, user: str = "root@pam", seconds: float = 60.0) -> Task:
        """Let somebody ask the guest to shut down; until it obeys or the time is up, that task holds the lock file."""
        guest = self.guests[vmid]
        node = self.nodes[guest.node]
        kind = "vzshutdown" if guest.config.kind == "lxc" else "qmshutdown"
        return self.spawn_steps(node, kind, str(vmid), user, lambda task: power.shutdown(self, guest, node, task, seconds))

    # Nodes, votes and what each node knows.

    def partition(self, parts: Sequence[Iterable[str]]) -> None:
        """Cut the cluster's network into parts; clients still reach every node.  Nodes in no part are alone."""
        self._parts = [frozenset(part) for part in parts]
        self._later_recount()

    def heal(self) -> None:
        self.partition([])

    def connected(self, one: Node, other: Node) -> bool:
        """Tell whether two nodes reach each other on the cluster's network."""
        if one is other:
            return True
        if one.isolated or other.isolated or not (one.on and other.on and one.corosync and other.corosync):
            return False
        return not self._parts or any({one.name, other.name} <= part for part in self._parts)

    @property
    def single(self) -> bool:
        """Tell whether this is a host alone, without corosync."""
        return len(self.nodes) == 1

    def known_to(self, node: Node) -> list[Node]:
        """Return the nodes that one tells of: all members, there or not, or itself alone."""
        return list(self.nodes.values()) if node.corosync else [node]

    def quorate_part(self) -> frozenset[str]:
        return next((node.members for node in self.nodes.values() if node.on and node.quorate), frozenset())

    def config(self, node: Node, vmid: int) -> Config | None:
        """Return a guest's configuration as the cluster file system on a node shows it: without quorum, as it was then."""
        if node.frozen is not None:
            return node.frozen.get(vmid)
        guest = self.guests.get(vmid)
        return guest.config if guest else None

    def configs(self, node: Node) -> dict[int, Config]:
        if node.frozen is not None:
            return node.frozen
        return {vmid: guest.config for vmid, guest in self.guests.items()}

    def _node_changed(self, node: Node, what: str) -> None:
        if what == "dead":
            for guest in self.guests.values():
                guest.flocks.pop(node.name, None)
                for run in guest.living():
                    if run.node == node.name:
                        self.end(run)
            for task in list(self.tasks.values()):
                if task.node == node.name and task.running:
                    task.kill()
        elif what == "on":
            node.booted = self.time
        self._later_recount()

    def _later_recount(self) -> None:
        if self.token_seconds:
            self.at(self.token_seconds, self._recount)
        else:
            self._recount()

    def _recount(self) -> None:
        """Let corosync find its members and count the votes."""
        parts: dict[str, frozenset[str]] = {}
        for node in self.nodes.values():
            if node.on:
                parts[node.name] = frozenset(other.name for other in self.nodes.values() if other.on and self.connected(node, other))
        expected = sum(node.votes for node in self.nodes.values()) + self.qdevice_votes
        favoured = self._favoured(parts)
        for node in self.nodes.values():
            node.members = parts.get(node.name, frozenset())
            votes = sum(self.nodes[name].votes for name in node.members)
            if favoured and node.members == favoured:
                votes += self.qdevice_votes
            self._set_quorum(node, node.on and 2 * votes > expected)
        quorate = self.quorate_part()
        for name in self.nodes:
            if name in quorate:
                self.lost.pop(name, None)
            else:
                self.lost.setdefault(name, self.time)

    def _favoured(self, parts: dict[str, frozenset[str]]) -> frozenset[str]:
        """Return the part that has the QDevice's vote: the larger one, else that with the lowest node id (corosync-qnetd, ffsplit)."""
        reaching = {part for name, part in parts.items() if not self.nodes[name].isolated and self.nodes[name].corosync}
        if not reaching or not self.qdevice_votes:
            return frozenset()
        return max(reaching, key=lambda part: (len(part), -min(self.nodes[name].nodeid for name in part)))

    def _set_quorum(self, node: Node, quorate: bool) -> None:
        if quorate:
            node.inquorate_since = node.frozen = None
        elif node.inquorate_since is None:
            node.inquorate_since = since = self.time
            node.frozen = {vmid: guest.config for vmid, guest in self.guests.items()}
            if node.on and self.ha.guards(node):
                self.at(self.ha.watchdog_seconds, lambda: self._watchdog(node, since))

    def _watchdog(self, node: Node, since: float) -> None:
        """Reset a node whose HA stack could not renew its lock (pve-ha-manager src/watchdog-mux.c:319)."""
        if node.on and node.watchdog and node.inquorate_since == since:
            node.power = "dead"
            self.at(self.boot_seconds, lambda: setattr(node, "power", "on"))

    def _tell(self) -> None:
        """Let every node tell the others its guests' numbers (pve-manager PVE/Service/pvestatd.pm:328-445, 621-730)."""
        self.at(TELL_SECONDS, self._tell)
        if not self.telling:
            return
        for node in self.nodes.values():
            if not node.on:
                continue
            samples = {vmid: self._sample(node, vmid, config) for vmid, config in self.configs(node).items() if config.node == node.name}
            for name in node.members:
                self.nodes[name].samples.update(samples)
                self.nodes[name].heard[node.name] = self.time

    def _sample(self, node: Node, vmid: int, config: Config) -> Sample:
        guest = self.guests[vmid]
        run = guest.run_on(node.name)
        # pvestatd.pm:341: what QEMU says, where it says something.
        status = "stopped" if run is None else "running" if guest.silent else run.qmp
        return Sample(self.time, config.name, status, config.template, run.began if run else None, guest.memory, guest.cpus)


def small_cluster(now: Callable[[], float], power: Backend | None = None, seed: int = 0) -> World:
    """Two quorate nodes and a QDevice's vote; one guest on each; a user and a token that may fence both."""
    world = World(now, power, seed)
    world.qdevice_votes = 1
    world.add_node("pve1", "127.0.0.11")
    world.add_node("pve2", "127.0.0.12")
    world.add_guest(121, "rhel1", "pve1")
    world.add_guest(222, "rhel2", "pve2")
    world.add_user("pacemaker@pve", "right")
    world.add_token("pacemaker@pve", "fence", "0badc0de-0000-4000-8000-000000000000")
    for vmid in world.guests:
        for who in ("pacemaker@pve", "pacemaker@pve!fence"):
            world.grant(f"/vms/{vmid}", who, "VM.Audit", "VM.PowerMgmt")
    return world
