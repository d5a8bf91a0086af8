"""A real cluster of two nodes on one machine: corosync, Pacemaker and pcs, with a fence device that only takes notes.

    with Cluster(directory) as cluster:
        cluster.create("it", "ocf:heartbeat:Dummy", {})
        cluster.wait_for(lambda: cluster.running("it"), "it runs", within=30)

The first node is this machine, so that its agents see the disks and processes of the tests; the second one fences it.
"""

from __future__ import annotations

import re
import shutil
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from tests.system.node import NamespacedNode, Node

if TYPE_CHECKING:
    from typing_extensions import Self

FENCE_AGENT = Path(__file__).with_name("fence_recorder")
# Names of the resources that may run on this node only, where their disks are; the peer probes them all the same.
HERE_ONLY = "pg-.*"
FENCED = ("off", "reboot")
# A monitor that warns; Pacemaker keeps that as a failed action.
DEGRADED = 190
# A first monitor that is degraded is kept as a failure, and what was noted when it began stays pending: Pacemaker 2.1.5.
MONITORING = "Monitoring"
STATUS = ("crm_mon", "--output-as=xml", "--group-by-node", "--inactive")
EXECUTED = re.compile(r"\(log_finished\) +\t\w+: (\S+) (\S+) \(call \d+, PID \d+\) exited with status (\d+)")
RESULT = re.compile(r": Result of (\S+) operation for (\S+) on \S+: [^(|]+(?:\((.*)\) )?\| .*\brc=(\d+)")


@dataclass(frozen=True)
class FailedAction:
    """What Pacemaker shows as a failed action; degraded ones are among them."""

    node: str
    resource: str
    operation: str
    code: int
    reason: str
    status: str
    exec_seconds: float
    queue_seconds: float


@dataclass(frozen=True)
class Execution:
    """One run of an agent, from the executor's log."""

    operation: str
    code: int


@dataclass(frozen=True)
class Result:
    """A result as the controller took it, with the agent's reason; of a recurring monitor, one that was new."""

    operation: str
    code: int
    reason: str


@dataclass(frozen=True)
class FencingCall:
    """What the fence device was asked for, and by which node; `at` is on the monotonic clock."""

    at: float
    wall: float
    by: str
    action: str
    node: str


class Cluster:
    """Two nodes, `here` and `peer`, with fencing on and no resource but the fence device."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.record = directory / "fencing"
        self.resources: list[str] = []
        directory.chmod(0o755)
        self.here = Node(Path("/proc/sys/kernel/hostname").read_text().strip(), 1, directory / "here")
        self.nodes = [self.here]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.stop)
            stack.callback(lambda: print(self.logs()))
            self._connect()
            for node in self.nodes:
                node.configure(self.nodes)
            for node in self.nodes:
                node.start_corosync()
            for node in self.nodes:
                node.start_pacemaker()
            self._await_nodes()
            self._make_devices()
            stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def peer(self) -> Node:
        return self.nodes[1]

    def _connect(self) -> None:
        """Make the other node and a cable between the two."""
        peer = NamespacedNode("lab-peer", 2, self.directory / "peer")
        self.nodes.append(peer)
        self.here.run("ip", "link", "add", "cluster", "type", "veth", "peer", "name", "cluster", "netns", str(peer.init))
        for node in self.nodes:
            node.run("ip", "address", "add", f"{node.address}/24", "dev", "cluster")
            node.run("ip", "link", "set", "cluster", "up")

    def _make_devices(self) -> None:
        """Make the fence device, and what else a test may rely on."""
        shutil.copy(FENCE_AGENT, "/usr/sbin/")
        # While the device is at work, what has failed can be seen: the history of a fenced node is thrown away.
        self.pcs("stonith", "create", "fence-it", "fence_recorder", f"record={self.record}", "power_wait=5",
                 f"pcmk_host_list={self.here.name} {self.peer.name}", "op", "monitor", "interval=3600s")  # fmt: skip
        self.pcs("property", "set", "stonith-enabled=true")
        self.pcs("constraint", "location", f"regexp%{HERE_ONLY}", "avoids", self.peer.name)
        self.wait_for(lambda: self.running("fence-it"), "the fence device runs", within=60)

    def stop(self) -> None:
        """End everything, bounded in time whatever state it is in."""
        for node in self.nodes:
            node.stop()
        self.here.run("ip", "link", "delete", "cluster", check=False)

    # Asking and telling.

    def pcs(self, *words: str, within: float = 60) -> str:
        """Run the real pcs on this node and return its output.  Raises AssertionError with its output."""
        return self.here.run("pcs", *words, within=within).stdout

    def crm_mon_xml(self, node: Node | None = None) -> ET.Element:
        """Return the cluster's status as one node knows it.  Raises AssertionError while that is not in the cluster."""
        return ET.fromstring((node or self.here).run(*STATUS, within=20).stdout)

    def online(self) -> set[str]:
        """Return the names of the nodes that are in the cluster as this node sees it, none while it is not itself."""
        try:
            status = self.crm_mon_xml()
        except AssertionError:
            return set()
        nodes = [node.attrib for node in status.iterfind("nodes/node")]
        return {node["name"] for node in nodes if node["online"] == "true" and node["pending"] == "false"}

    def failed_actions(self, node: Node | None = None) -> list[FailedAction]:
        found = []
        for failure in self.crm_mon_xml(node).iterfind("failures/failure"):
            words = dict(failure.attrib)
            resource, operation, _ = words["op_key"].rsplit("_", 2)
            found.append(FailedAction(words["node"], resource, operation, int(words["exitcode"]), words["exitreason"], words["status"],
                                      int(words.get("exec", 0)) / 1000, int(words.get("queued", 0)) / 1000))  # fmt: skip
        return found

    def failures(self) -> list[FailedAction]:
        """Return the failed actions without the warnings among them: a busy machine may give reason for some."""
        return [action for action in self.failed_actions() if action.code != DEGRADED]

    def listed(self) -> set[str]:
        return {found.attrib["id"] for found in self.crm_mon_xml().iter("resource")}

    def running(self, resource: str, node: Node | None = None) -> bool:
        """Tell whether a resource runs, on one node or on any, and nothing is wrong with it."""
        for found in self.crm_mon_xml().iter("resource"):
            if found.get("id") == resource:
                names = {where.get("name") for where in found.iterfind("node")}
                settled = found.get("pending") in (None, MONITORING)
                fine = found.get("role") == "Started" and found.get("failed") == "false" and settled
                return fine and (node is None or node.name in names)
        return False

    def executions(self, resource: str, node: Node | None = None) -> list[Execution]:
        """Return the runs of a resource's agent on a node, this one by default, so far; recurring monitors are among them."""
        lines = (node or self.here).log.read_text(errors="replace").splitlines()
        found = (EXECUTED.search(line) for line in lines)
        return [Execution(match[2], int(match[3])) for match in found if match and match[1] == resource]

    def results(self, resource: str) -> list[Result]:
        """Return the results of a resource on this node so far: Pacemaker's status forgets them, at the latest with the fenced node."""
        found = (RESULT.search(line) for line in self.here.log.read_text(errors="replace").splitlines())
        return [Result(match[1], int(match[4]), match[3] or "") for match in found if match and match[2] == resource]

    def fencing_calls(self) -> list[FencingCall]:
        """Return the calls of the fence device that would have ended a node."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        calls = [FencingCall(float(at), float(wall), *words) for at, wall, *words in (line.split(" ") for line in lines)]
        return [call for call in calls if call.action in FENCED]

    def wait_for(self, ready: Callable[[], object], what: str, within: float) -> float:
        """Poll until `ready()` is true; return after how many seconds it was.  Raises AssertionError with the cluster's status."""
        began = time.monotonic()
        while not ready():
            if time.monotonic() - began > within:
                shown = self.here.run("crm_mon", "-1rfn", within=20, check=False).stdout
                raise AssertionError(f"{what}: not so after {within:g} s\n{shown}")
            time.sleep(0.5)
        return time.monotonic() - began

    def settle(self, within: float = 60) -> None:
        """Wait until the cluster has nothing to do."""
        self.here.run("crm_resource", "--wait", f"--timeout={within:g}s", within=within + 10)

    def create(self, resource: str, agent: str, parameters: Mapping[str, str], *words: str) -> None:
        """Make a resource with pcs, which does not wait for it."""
        self.resources.append(resource)
        self.pcs("resource", "create", resource, agent, *(f"{name}={value}" for name, value in parameters.items()), *words)

    def reset(self) -> None:
        """Take all resources out of the cluster with their history, and bring this node back if it was fenced."""
        if self.fencing_calls():
            # Pacemaker ends by itself on a node that it knows to have been fenced.
            self.wait_for(lambda: not self.online(), "this node is down", within=60)
        alive = bool(self.online())
        for resource in self.resources:
            (self.here if alive else self.peer).run("pcs", "resource", "delete", resource, "--force")
        self.resources.clear()
        if not alive:
            self._rejoin()
        # A resource that is configured no more is listed until it has been stopped.
        self.wait_for(lambda: self.listed() == {"fence-it"}, "all resources are gone", within=150)
        self.record.unlink(missing_ok=True)

    def _rejoin(self) -> None:
        """Boot this node: the fence device has only taken notes, so what is left of its daemons is ended here."""
        self.here.power_off()
        shutil.rmtree("/run/resource-agents", ignore_errors=True)
        self.here.start_corosync()
        self.here.start_pacemaker()
        self._await_nodes()

    def _await_nodes(self) -> None:
        self.wait_for(lambda: self.online() == {node.name for node in self.nodes}, "all nodes are online", within=120)

    def logs(self) -> str:
        return "".join(node.logs() for node in self.nodes)

