"""A Proxmox VE cluster as its endpoints show it: who is a member, where a guest is, and whose word on that counts.

Sources: pve-manager API2/Cluster.pm (resources, status), API2Tools.pm (`extract_node_stats`: "offline" is corosync's word,
"unknown" means that statistics are missing), pve-cluster status.c (statistics may be five minutes old; "online" outlives corosync).
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fence_lab.clock import Deadline, Patience
from fence_lab.errors import FenceError, Misconfigured
from fence_lab.proxmox import Credentials, Endpoint, Garbled, LoginRefused, Refused, rows
from fence_lab.transport import CONNECT_SECONDS, READ_SECONDS, Address, Lost, Transport, TransportError

GUESTS = ("qemu", "lxc")
VMID = re.compile("[0-9]{1,9}")
# Both bounds, and a little for what is done around them.
ROUND_SECONDS = CONNECT_SECONDS + READ_SECONDS + 0.5

# How long a hypervisor may fail to answer before it is given up: the cluster may have another way to fence.
PATIENCE = 5.0
# Before it is known where the guest is: two connections that are not made, since nothing will follow them.
FIRST_PATIENCE = 7.0
PAUSE = 0.5
# A node that is likely to be dead has cost a connection's time already; a proxy that has no route to it says so after 3 s.
DOUBTFUL_READ_SECONDS = 4.0

T = TypeVar("T")


@dataclass(frozen=True)
class Guest:
    """A guest's line in an endpoint's list.  `power` is the list's word, which may be minutes old: good to show, never to prove."""

    vmid: int
    kind: str
    node: str
    name: str = ""
    power: str = "unknown"
    template: bool = False
    lock: str = ""
    ha: bool = False

    def __str__(self) -> str:
        return f"{'VM' if self.kind == 'qemu' else 'container'} {self.vmid}" + (f" ({self.name})" if self.name else "")

    @property
    def path(self) -> str:
        return f"/nodes/{self.node}/{self.kind}/{self.vmid}"


@dataclass(frozen=True)
class View:
    """What one endpoint says of its cluster.  `quorate` is None while nobody asked, or when the user may not know.

    Counting members instead would be a mistake: a node whose corosync has died goes on calling all of them online
    (pmxcfs clears the flag in corosync's callback only).
    """

    endpoint: Endpoint
    nodes: Mapping[str, str]
    guests: Mapping[int, Guest]
    quorate: bool | None = None

    def of(self, vmid: int) -> Guest | None:
        return self.guests.get(vmid)


def guest_of(row: Mapping[str, Any], where: str) -> Guest:
    """Read a guest's line.  Raises Garbled."""
    vmid, node, kind = row.get("vmid"), row.get("node"), row.get("type")
    if isinstance(vmid, bool) or not VMID.fullmatch(str(vmid)) or not isinstance(node, str) or not node:
        raise Garbled(f"{where} lists a guest without number or node")
    return Guest(int(str(vmid)), str(kind), node, name=str(row.get("name") or ""), power=str(row.get("status") or "unknown"),
                 template=str(row.get("template") or "0") != "0", lock=str(row.get("lock") or ""),
                 ha=row.get("hastate") not in (None, "", "ignored"))  # fmt: skip


def nested(one: Iterable[str], other: Iterable[str]) -> bool:
    """Tell whether one list of members is a part of the other: that is what a member sees that has lost its corosync."""
    ours, theirs = set(one), set(other)
    return ours <= theirs or theirs <= ours


def mixed(one: Endpoint, ours: Iterable[str], other: Endpoint, theirs: Iterable[str]) -> Misconfigured:
    return Misconfigured(f"{one} and {other} are not of one cluster (nodes {', '.join(sorted(ours))} and {', '.join(sorted(theirs))}): "
                         "correct the list in ip")  # fmt: skip


class Cluster:
    """The endpoints of one cluster.  `connect` first; whatever asks may raise what `Endpoint.get` raises."""

    def __init__(
        self, transport: Transport, addresses: Sequence[Address], who: Credentials, deadline: Deadline, log: logging.Logger
    ) -> None:
        self.transport, self.who, self.deadline, self.log = transport, who, deadline, log
        self.endpoints = [Endpoint(transport.connection(address), who, deadline, log) for address in addresses]
        # Endpoints that did not answer, and what they did instead.
        self.failures: dict[str, str] = {}
        self._status_denied = False
        # The members' certificates, as each endpoint lists them.
        self._seals: dict[Endpoint, dict[str, str]] = {}
        self._members: dict[str, str] = {}
        self._names: dict[tuple[str, str], dict[int, str]] = {}

    def connect(self) -> None:
        """Log in everywhere, side by side.  Raises LoginRefused or TransportError when no endpoint accepts."""
        if self.who.token:
            return
        self.patiently(lambda: self._somewhere(Endpoint.login, self.endpoints))

    def close(self) -> None:
        for endpoint in self.endpoints:
            endpoint.connection.close()

    def views(self) -> list[View]:
        """Ask every endpoint for its view, side by side.  Raises what the failures were when none answers.

        Raises Misconfigured when the endpoints do not belong to one cluster: a guest with this number may be another one there.
        """
        views = self._somewhere(self._view, self.alive())
        self._refuse_a_mix(views)
        return views

    def patiently(self, step: Callable[[], T]) -> T:
        """Try something again that fails for want of an answer."""
        clock, patience = self.deadline.clock, Patience(self.deadline.clock, FIRST_PATIENCE)
        while True:
            began = clock.now()
            try:
                return step()
            except TransportError as error:
                if patience.ends(began) or self.deadline.left() <= PAUSE:
                    raise
                self.log.debug("once more: %s", error)
            clock.sleep(PAUSE)

    def judged(self, views: Sequence[View]) -> list[View]:
        """Ask for the quorum of each view; the most trustworthy is first."""
        words, _ = self._everywhere(self.quorate, [view.endpoint for view in views])
        asked = [replace(view, quorate=words.get(view.endpoint)) for view in views]
        return sorted(asked, key=lambda view: (view.quorate is not True, view.quorate is False))

    def named(self, view: View) -> list[Guest]:
        """Return a view's guests with their names: where statistics are missing, as with a pvestatd that hangs, their nodes tell."""
        unnamed = {(guest.node, guest.kind) for guest in view.guests.values() if not guest.name} - set(self._names)
        calls = {where: functools.partial(self._ask_names, *where, view) for where in sorted(unnamed)}
        for where, outcome in self.transport.side_by_side(calls, self.deadline.within(ROUND_SECONDS)).items() if calls else ():
            if isinstance(outcome, FenceError):
                self.log.debug("names of guests on %s: %s", where[0], outcome)
            self._names[where] = {} if isinstance(outcome, FenceError) else outcome
        return [guest if guest.name else replace(guest, name=self._names.get((guest.node, guest.kind), {}).get(guest.vmid, ""))
                for guest in view.guests.values()]  # fmt: skip

    def _ask_names(self, node: str, kind: str, view: View) -> dict[int, str]:
        way = self.routes(node, view.endpoint)[0]
        listed = rows(way.get(f"/nodes/{node}/{kind}"), str(way))
        return {int(row["vmid"]): str(row.get("name") or "") for row in listed if VMID.fullmatch(str(row.get("vmid")))}

    @property
    def heard(self) -> float:
        """When anything was last answered."""
        return max(endpoint.heard for endpoint in self.endpoints)

    def alive(self) -> list[Endpoint]:
        """Return the endpoints that have answered so far, or all when none has."""
        return [endpoint for endpoint in self.endpoints if not endpoint.dead] or self.endpoints

    def revive(self) -> None:
        """Count on endpoints again that did not answer."""
        for endpoint in self.endpoints:
            endpoint.dead = ""

    def recognise(self, views: Sequence[View]) -> None:
        """Learn which endpoint is which node, and that all are of one cluster, by the certificates that the members have.

        Raises Misconfigured when they are not: what has not been compared is not asked for a guest (`routes`).
        """
        if len(self.endpoints) < 2:
            return
        found, _ = self._everywhere(self._ask_seals, [view.endpoint for view in views if view.endpoint not in self._seals])
        self._seals.update(found)
        for endpoint, seals in self._seals.items():
            first, theirs = next(iter(self._seals.items()))
            common = [node for node in set(seals) & set(theirs) if seals[node] and theirs[node]]
            # One may have been renewed where the other part does not learn of it; not all of them.
            if not nested(seals, theirs) or (common and all(seals[node] != theirs[node] for node in common)):
                raise mixed(first, theirs, endpoint, seals)
            names = {seal: node for node, seal in seals.items()}
            endpoint.node = names.get((endpoint.connection.fingerprint or "none").upper(), endpoint.node)

    def _ask_seals(self, endpoint: Endpoint) -> dict[str, str]:
        return {str(row.get("node")): str(row.get("ssl_fingerprint") or "").upper() for row in rows(endpoint.get("/nodes"), str(endpoint))}

    def routes(self, node: str, first: Endpoint) -> list[Endpoint]:
        """Return the endpoints by which to ask a node: itself, then `first`, then the others."""
        known = [endpoint for endpoint in self.alive() if endpoint is first or endpoint in self._seals]
        ways = [endpoint for endpoint in known if endpoint.node == node]
        ways += [*([] if first.dead and known else [first]), *known]
        return list(dict.fromkeys(ways))

    def invite(self, nodes: Iterable[str], view: View) -> None:
        """Ask these nodes from now on as well, at the addresses that the cluster has for them, if it tells."""
        for node in nodes:
            self.endpoints += self._direct(node, view)

    def get_at(self, guest: Guest, view: View, tail: str) -> Any:
        """Ask the node of a guest: directly, else through the other endpoints and at its own address.

        Raises the TransportError of the most direct way when none answers.
        """
        path = f"{guest.path}{tail}" if tail.startswith("/") else f"/nodes/{guest.node}/{tail}"
        ways = self.routes(guest.node, view.endpoint)
        direct, failure = ways[0].node == guest.node, None
        doubtful = view.nodes.get(guest.node) == "offline" or any(endpoint.dead for endpoint in self.endpoints)
        if direct or not doubtful:
            way, began = ways.pop(0), self.deadline.clock.now()
            try:
                return way.get(path)
            except TransportError as error:
                failure = error
            # A node that is silent when asked by one is so when asked by others, and there is no time to see that for each.
            if self.deadline.clock.now() - began >= CONNECT_SECONDS:
                ways = []
        others = ways if direct else [*ways, *self._direct(guest.node, view)]
        read = DOUBTFUL_READ_SECONDS if doubtful else READ_SECONDS
        outcomes = self._at_once(lambda other: other.get(path, read=read), others)
        for other, outcome in outcomes.items():
            if not isinstance(outcome, FenceError):
                if other not in self.endpoints:
                    self.endpoints.append(other)
                return outcome
        for outcome in outcomes.values():
            if isinstance(outcome, Refused):
                raise outcome
        raise failure or Lost("; ".join(map(str, outcomes.values())))

    def post_at(self, guest: Guest, view: View, tail: str, params: Mapping[str, str]) -> Any:
        """Order something at the node of a guest, once.  Another way is tried only when nothing was sent on the one before."""
        failure: TransportError | None = None
        for way in self.routes(guest.node, view.endpoint):
            try:
                return way.post(f"{guest.path}{tail}", params)
            except TransportError as error:
                if isinstance(error, Lost):
                    raise
                failure = error
        raise failure or Lost("there is no endpoint left to ask")

    def quorate(self, endpoint: Endpoint) -> bool | None:
        """Return whether an endpoint calls its part of the cluster quorate; None when it does not tell (Sys.Audit on / is needed)."""
        if self._status_denied:
            return None
        try:
            listed = rows(endpoint.get("/cluster/status"), str(endpoint))
        except (TransportError, Refused, LoginRefused) as error:
            self._status_denied = isinstance(error, Refused) and error.status == 403
            self.log.debug("quorum is not known: %s", error)
            return None
        members = [row for row in listed if row.get("type") == "node"]
        self._members.update({str(row["name"]): str(row["ip"]) for row in members if row.get("name") and row.get("ip")})
        words = [row.get("quorate") for row in listed if row.get("type") == "cluster"]
        # A host on its own has no line of type cluster; neither has a member whose corosync never came up (API2/Cluster.pm).
        return str(words[0]) == "1" if words else None

    def _view(self, endpoint: Endpoint) -> View:
        nodes, guests = {}, {}
        for row in rows(endpoint.get("/cluster/resources"), str(endpoint)):
            if not isinstance(row.get("type"), str):
                raise Garbled(f"{endpoint} lists something of no type")
            if row["type"] == "node":
                if not isinstance(row.get("node"), str):
                    raise Garbled(f"{endpoint} lists a node without a name")
                nodes[row["node"]] = str(row.get("status"))
            elif row.get("type") in GUESTS:
                guest = guest_of(row, str(endpoint))
                guests[guest.vmid] = guest
        if not nodes:
            raise Garbled(f"{endpoint} lists no node at all")
        return View(endpoint, nodes, guests)

    def _refuse_a_mix(self, views: Sequence[View]) -> None:
        first = views[0]
        for other in views[1:]:
            # Single hosts may all be called "pve".
            seals = {first.endpoint.connection.fingerprint, other.endpoint.connection.fingerprint} - {None}
            if not nested(first.nodes, other.nodes) or (len(first.nodes) == len(other.nodes) == 1 and len(seals) == 2):
                raise mixed(first.endpoint, first.nodes, other.endpoint, other.nodes)

    def _direct(self, node: str, view: View) -> list[Endpoint]:
        """Return the way to a node at the address that the cluster has for it, unless that is known already."""
        if node not in self._members:
            self.quorate(view.endpoint)
        host = self._members.get(node)
        if not host or any(endpoint.node == node or endpoint.connection.address.host == host for endpoint in self.endpoints):
            return []
        address = Address(host, view.endpoint.connection.address.port)
        endpoint = Endpoint(self.transport.connection(address), self.who, self.deadline, self.log).like(view.endpoint)
        endpoint.node = node
        self._seals[endpoint] = {node: ""}
        return [endpoint]

    def _at_once(self, call: Callable[[Endpoint], T], endpoints: Iterable[Endpoint]) -> dict[Endpoint, T | FenceError]:
        calls = {endpoint: functools.partial(call, endpoint) for endpoint in endpoints}
        return self.transport.side_by_side(calls, self.deadline.within(ROUND_SECONDS)) if calls else {}

    def _somewhere(self, call: Callable[[Endpoint], T], endpoints: Iterable[Endpoint]) -> list[T]:
        """Ask all endpoints and return what those said that answered.  Raises what the failures were when none did."""
        found, failed = self._everywhere(call, endpoints)
        if not found:
            raise self._worst(failed)
        return list(found.values())

    def _everywhere(
        self, call: Callable[[Endpoint], T], endpoints: Iterable[Endpoint]
    ) -> tuple[dict[Endpoint, T], dict[Endpoint, FenceError]]:
        """Ask all endpoints what each can answer by itself; return what they said, and why others did not."""
        began = self.deadline.clock.now()
        found, failed = {}, {}
        for endpoint, outcome in self._at_once(call, endpoints).items():
            if not isinstance(outcome, FenceError):
                found[endpoint] = outcome
                continue
            failed[endpoint] = outcome
            # One reset is no reason to do without a hypervisor; one that does not answer would cost as much in each round.
            silent = isinstance(outcome, Lost) and self.deadline.clock.now() - began >= READ_SECONDS
            if silent or isinstance(outcome, LoginRefused):
                endpoint.dead = str(outcome)
            if self.failures.get(str(endpoint.connection.address)) != str(outcome):
                self.log.debug("without %s: %s", endpoint, outcome)
            self.failures[str(endpoint.connection.address)] = str(outcome)
        return found, failed

    def _worst(self, failed: Mapping[Endpoint, FenceError]) -> FenceError:
        """Return the one error that says most: a refusal before a silence; all silences in one sentence."""
        for error in failed.values():
            if isinstance(error, (LoginRefused, Refused)):
                return error
        if len(failed) == 1:
            return next(iter(failed.values()))
        return Lost("no hypervisor answers: " + "; ".join(map(str, failed.values())))
