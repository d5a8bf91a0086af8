"""Power of one guest, and the proof of it: what `fence_pve` exists for.

A guest is off when the node that owns it has just said "stopped", after every task of ours there had ended, and the owner, asked
for once more after that, is the same and no migration is under way.  Whose word on the owner counts: a quorate part's; without
quorum anybody's, as long as nobody reachable differs and HA does not manage the guest.  Nothing else proves it: not a task that
says OK (it ends without looking), not another pid or a young uptime (a live migration gives both), not a hypervisor that is away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import quote

from fence_lab.clock import Deadline, Patience
from fence_lab.cluster import FIRST_PATIENCE, PATIENCE, PAUSE, VMID, Cluster, Guest, View
from fence_lab.errors import Away, FenceError, Misconfigured, OutOfTime
from fence_lab.proxmox import Busy, Garbled, Refused
from fence_lab.transport import READ_SECONDS, TransportError

# QEMU has this long to end by itself before it gets SIGTERM, and SIGKILL 10 s later (qemu-server QemuServer.pm `_do_vm_stop`).
STOP_SECONDS = 5
# How soon to look at a task that stops a guest: qemu-server looks once a second whether QEMU has ended.
STOP_TASK_SECONDS = 1.05
TASK_SECONDS = 0.3
# HA's manager and its local parts each look at their queues every 10 s.
HA_SECONDS = 30.0
# One silence of a hypervisor that has answered before is borne: much may have been reached already.
SECOND_PATIENCE = 2 * READ_SECONDS + 1
# An attempt that has no more time than this may fail for want of it.
LAST_SECONDS = 1.5
RUNS = "it runs"
MIGRATING = "is being migrated, which is waited for"

T = TypeVar("T")


class Unproven(FenceError):
    """What was seen does not decide; it may in a moment."""


@dataclass(frozen=True)
class Look:
    """What the owning node has just said of the guest."""

    running: bool
    lock: str = ""
    ha: bool = False
    name: str = ""
    template: bool = False


@dataclass(frozen=True)
class Place:
    """Where a guest is, by the first and most trustworthy of the views."""

    guest: Guest
    views: Sequence[View]

    @property
    def view(self) -> View:
        return self.views[0]

    def doubt(self) -> str:
        """Return why the owner is not certain, "" when it is."""
        guest, view = self.guest, self.view
        if view.quorate:
            return ""
        if guest.ha and view.quorate is None:
            return f"{guest} is managed by HA, which may run it elsewhere: nobody tells who is quorate (the user needs Sys.Audit on /)"
        if guest.ha:
            return f"{guest} is managed by HA, and no reachable part of the cluster is quorate: HA may run it elsewhere"
        for other in self.views[1:]:
            theirs = other.of(guest.vmid)
            if theirs and theirs.node != guest.node:
                return f"{view.endpoint} places {guest} on {guest.node} and {other.endpoint} on {theirs.node}, and neither is quorate"
        return ""


@dataclass
class Identity:
    """What the plug has to be, as the administrator says; empty is anything."""

    plug: str
    kind: str = ""
    name: str = ""
    uuid: str = ""
    nodename: str = ""


@dataclass
class GuestPower:
    """The power switch of a guest.  Every method raises FenceError with the reason when it cannot do or prove what it is asked."""

    cluster: Cluster
    identity: Identity
    deadline: Deadline
    log: logging.Logger
    _place: Place | None = None
    _refused: set[str] = field(default_factory=set)
    _pending: tuple[str, str] | None = None
    _asked_ha: dict[str, float] = field(default_factory=dict)
    _known: bool = False
    # What `off` ended with: `on` need not look again.
    _proven_off: tuple[Place, Look] | None = None
    _last: Place | None = None
    # The owner by the last word of a quorate part.
    _owner: str = ""
    # Where else a reachable part of the cluster has placed the guest, until that is refuted.
    _elsewhere: dict[str, Place] = field(default_factory=dict)

    def off(self) -> bool:
        """Stop the guest; return whether it ran.  Returns only when it is proven off."""
        seen_running = False

        def step() -> bool | str:
            nonlocal seen_running
            said = ""
            place, look = self.look()
            if look.running and look.lock != "migrate":
                seen_running = True
                said = self._stop(place, look)
                place, look = self.look()
            if look.lock == "migrate":
                return MIGRATING
            if look.running:
                return f"runs still; the last order's answer was: {said}"
            why = self._unsettled(place)
            if why is None:
                self._proven_off = place, look
                return seen_running
            return why

        return self._until("off", step)

    def on(self) -> bool:
        """Start the guest; return whether it was off."""
        seen_off = False

        def step() -> bool | str:
            nonlocal seen_off
            place, look = self._proven_off or self.look()
            self._proven_off = None
            if look.running:
                return seen_off
            if look.lock and (look.lock == "migrate" or not self.cluster.who.may_skip_locks):
                return f"is locked ({look.lock})"
            seen_off = True
            if look.ha and self._ha_is_at("start"):
                return "has been handed to HA to start"
            said = self._order(place, look, "start")
            return True if said == RUNS else f"is off still; the last order's answer was: {said}"

        return self._until("running", step)

    def cycle(self) -> None:
        """Reset the guest, or start it when it is off.  Proof is the task's word alone: a reset leaves no other trace."""

        def step() -> bool | str:
            place, look = self.look()
            if look.lock == "migrate":
                return MIGRATING
            if not look.running:
                why = self._unsettled(place)
                if why is not None:
                    return why
                self._proven_off = place, look
                return self.on()
            if doubt := place.doubt():
                raise Unproven(doubt)
            said = self._order(place, look, "reset")
            return True if said == "OK" else said

        self._until("reset", step)

    def running(self) -> bool:
        """Tell whether the guest runs; "no" is proven as for `off`."""

        def step() -> bool | str:
            place, look = self.look()
            if look.running:
                return True
            if look.lock == "migrate":
                return MIGRATING
            return False if (why := self._unsettled(place)) is None else why

        return self._until("known", step)

    def seen(self) -> tuple[Place, Look]:
        """Return where the guest is, and a fresh look at it there, after some trying if need be."""
        return self._until("known", self.look)

    def look(self) -> tuple[Place, Look]:
        """As `seen`, in one try."""
        place = self._place = self._last = self._place or self.find()
        try:
            look = self._ask(place)
        except Refused as error:
            self._forget()
            # The guest may just have moved; the list of guests is asked again.
            if error.says("does not exist", "unable to find"):
                raise Unproven(str(error)) from None
            raise
        if look.ha and not place.guest.ha:
            place = Place(replace(place.guest, ha=True), self.cluster.judged(place.views))
        self._place = place
        if not self._known:
            self._check_identity(place, look)
            self._known = True
        return place, look

    def find(self) -> Place:
        """Ask where the guest is."""
        views: Sequence[View] = self.cluster.views()
        self.cluster.recognise(views)
        place = self._place_in(views)
        owners = {guest.node for view in views if (guest := view.of(place.guest.vmid))}
        members = {status for view in views for status in view.nodes.values()}
        if place.guest.ha or len(owners) > 1 or "offline" in members:
            place = self._place_in(self.cluster.judged(views))
        if place.view.quorate:
            self._owner = place.guest.node
        for view in place.views:
            guest = view.of(place.guest.vmid)
            if guest and guest.node != place.guest.node:
                self._elsewhere[guest.node] = Place(guest, [view])
        return place

    def _until(self, what: str, step: Callable[[], T | str]) -> T:
        """Repeat a step until it returns something other than the reason why it has to be repeated.

        Gives up at the deadline, or when nothing but failures has come for PATIENCE seconds.
        """
        clock, patience = self.deadline.clock, Patience(self.deadline.clock, PATIENCE)
        done: T | str = ""
        where = f"plug {self.identity.plug}"
        while True:
            began, left = clock.now(), self.deadline.left()
            try:
                done = step()
                patience.renew()
            except OutOfTime as error:
                done = "; ".join([str(error), *([str(done)] if done else []), *self.cluster.failures.values()])
            except (TransportError, Unproven) as error:
                self.log.debug("%s", error)
                patience.seconds = SECOND_PATIENCE if self._known else PATIENCE if self._last else FIRST_PATIENCE
                if patience.ends(max(began, self.cluster.heard)):
                    raise self._given_up(error) from None
                # What the end of time has cut short is not the cause.
                done = done if done and left < LAST_SECONDS else str(error)
            if not isinstance(done, str):
                return done
            if self._place:  # Not forgotten when the next look fails.
                where = f"{self._place.guest} on {self._place.guest.node}"
            if self.deadline.left() <= PAUSE:
                raise OutOfTime(f"{where} is not {what} after {self.deadline.spent():.0f} s: {done}")
            if patience.worn:
                self._forget()
            clock.sleep(PAUSE)

    def _given_up(self, error: FenceError) -> FenceError:
        place = self._place or self._last
        if not isinstance(error, TransportError) or not place:
            return error
        guest, view = place.guest, place.view
        offline = " and offline in its cluster" if view.nodes.get(guest.node) == "offline" else ""
        if isinstance(error, Busy):
            return Away(f"state of {guest} unknown: {error}")
        return Away(f"hypervisor {guest.node} is unreachable{offline}; state of {guest} unknown: {error}")

    def _forget(self) -> None:
        self._place = None

    def _unsettled(self, place: Place) -> str | None:
        """Return why a guest that has just been called stopped is not off yet; None when it is.  Raises Unproven."""
        if self._pending and self._pending[0] == place.guest.node:
            self._wait(place, self._pending[1])
            return "the task has ended, and the guest is looked at once more"
        if place.guest.ha:
            # HA has left a member that is offline to its watchdog, and that may have failed.
            self.cluster.invite([node for node, status in place.view.nodes.items() if status == "offline"], place.view)
        if not place.view.quorate:
            # Whoever is in reach after all may know better.
            self.cluster.revive()
        again = self.find()
        if again.guest.node != place.guest.node:
            self._forget()
            return f"has moved from {place.guest.node} to {again.guest.node}"
        if again.guest.lock == "migrate":
            self._forget()
            return MIGRATING
        if again.guest.ha != place.guest.ha:
            again = Place(replace(again.guest, ha=True), self.cluster.judged(again.views))
        if doubt := again.doubt():
            raise Unproven(doubt)
        if not again.view.quorate and self._owner and self._owner != again.guest.node:
            raise Unproven(f"{again.guest} was on {self._owner} by the word of a quorate part, which does not answer any more")
        self._see_that_none_is_left(again)
        return None

    def _see_that_none_is_left(self, place: Place) -> None:
        """Stop what a part of the cluster that is cut off still runs of the guest.  Raises Unproven if it had to, or cannot tell."""
        for node, other in list(self._elsewhere.items()):
            if node != place.guest.node:
                also = f"{other.guest} was on {node} as well, by the word of {other.view.endpoint}"
                try:
                    look = self._ask(other)
                    if look.lock == "migrate":
                        raise Unproven(f"{also}, and {MIGRATING}")
                    if look.running:
                        said = self._order(other, look, "stop")
                        raise Unproven(f"{also}, and ran there; it was told to stop: {said}")
                except TransportError as error:
                    raise Unproven(f"{also}, which does not answer: {error}") from None
                except Refused as error:
                    if not error.says("does not exist"):
                        raise Unproven(f"{also}: {error}") from None
            del self._elsewhere[node]

    def _stop(self, place: Place, look: Look) -> str:
        if look.ha:
            if self._ha_is_at("stop"):
                return "it has been handed to HA to stop, which takes up to 30 s"
            if look.lock:
                # HA would try once, fail, and call the guest an error from then on (pve-ha-manager Manager.pm, next_state_request_stop).
                return f"it is locked ({look.lock}), which HA cannot stop"
            self.log.warning("%s is managed by HA: it is stopped through HA, which takes up to 30 s and keeps it stopped", place.guest)
        return self._order(place, look, "stop")

    def _ha_is_at(self, action: str) -> bool:
        return action in self._asked_ha and self.deadline.clock.now() - self._asked_ha[action] < HA_SECONDS

    def _order(self, place: Place, look: Look, action: str) -> str:
        """Order a change of power, wait for its task, and return what the task said; "" when there is none.  Raises Refused."""
        guest = place.guest
        form = {}
        if action == "stop" and guest.kind == "qemu":
            form["timeout"] = str(STOP_SECONDS)
        if action == "stop" and not look.ha:
            form["overrule-shutdown"] = "1"
        if look.lock and self.cluster.who.may_skip_locks:
            form["skiplock"] = "1"
        upid: Any = None
        while not upid:
            kept = {name: value for name, value in form.items() if name not in self._refused}
            try:
                upid = self.cluster.post_at(guest, place.view, f"/status/{action}", kept) or "no task"
            except Refused as error:
                # Older servers do not know overrule-shutdown, nor do guests that HA manages take it; not all say what they dislike.
                named = {name for name in kept if error.status == 400 and (name in error.errors or not error.errors)}
                if not named:
                    return self._excuse(error)
                self._refused |= named
        if not isinstance(upid, str) or not upid.isascii() or not upid.startswith("UPID:") or upid.count(":") < 7:
            raise Garbled(f"{place.view.endpoint} answered an order to {action} without a task")
        self._pending = (guest.node, upid)
        said = self._started(place, upid) if action == "start" else self._wait(place, upid)
        if look.ha and said == "OK":
            self._asked_ha[action] = self.deadline.clock.now()
        return said

    def _excuse(self, error: Refused) -> str:
        """Return the text of a refusal that may be another answer in a moment.  Raises the others."""
        if error.says("does not exist"):
            self._forget()
            raise Unproven(str(error))
        if error.status >= 500 and error.says("is locked", "can't lock file", "already running", "not running"):
            return str(error)
        raise error

    def _started(self, place: Place, upid: str) -> str:
        """Wait until the guest runs, which is before its task ends, or until the task has failed."""
        pause = TASK_SECONDS / 2
        while True:
            self.deadline.sleep(pause, f"start of {place.guest}")
            pause = min(1.0, 1.5 * pause)
            if self._ask(place).running:
                self._pending = None
                return RUNS
            said = self._end_of(place, upid) if pause > 2 * TASK_SECONDS else ""
            if said:
                return RUNS if self._ask(place).running else said

    def _wait(self, place: Place, upid: str) -> str:
        """Wait for a task's end and return its exit text: "OK", warnings, or an error for people and for the next step."""
        kind = upid.split(":")[5]
        pause, later = STOP_TASK_SECONDS if kind == "qmstop" else TASK_SECONDS, TASK_SECONDS
        while True:
            self.deadline.sleep(pause, f"task {kind} of {place.guest}")
            pause, later = later, min(1.0, 1.3 * later)
            said = self._end_of(place, upid)
            if said:
                return said

    def _end_of(self, place: Place, upid: str) -> str:
        """Return a task's exit text, "" while it has none."""
        try:
            data = self.cluster.get_at(place.guest, place.view, f"tasks/{quote(upid, safe='')}/status")
        except Refused as error:
            if error.status == 400 and error.says("no such task"):
                self._pending = None
                return "the task is not known any more"
            raise
        if not isinstance(data, dict) or data.get("status") not in ("running", "stopped"):
            raise Garbled(f"{place.view.endpoint} answered without the state of a task")
        if data["status"] == "running":
            return ""
        self._pending = None
        said = " ".join(str(data.get("exitstatus") or "no exit status").split())
        if said != "OK":
            self.log.warning("task %s of %s: %s", upid.split(":")[5], place.guest, said)
        return said

    def _ask(self, place: Place) -> Look:
        data = self.cluster.get_at(place.guest, place.view, "/status/current")
        where = f"{place.guest.node}, asked for {place.guest},"
        if not isinstance(data, dict) or data.get("status") not in ("running", "stopped"):
            raise Garbled(f"{where} answered without a status")
        if "vmid" in data and str(data["vmid"]) != str(place.guest.vmid):
            raise Garbled(f"{where} answered for another guest")
        ha: Any = data.get("ha")
        return Look(running=data["status"] == "running", lock=str(data.get("lock") or ""), name=str(data.get("name") or ""),
                    ha=isinstance(ha, dict) and str(ha.get("managed") or "0") != "0",
                    template=str(data.get("template") or "0") not in ("0", ""))  # fmt: skip

    def _place_in(self, views: Sequence[View]) -> Place:
        """Find the plug in the views.  Raises FenceError when there is no such guest, or more than one."""
        plug = self.identity.plug
        for view in views:
            numbered = VMID.fullmatch(plug)
            found = [view.guests[int(plug)]] if numbered and int(plug) in view.guests else []
            if not numbered and plug not in view.nodes:
                found = [guest for guest in self.cluster.named(view) if guest.name == plug]
            if len(found) > 1:
                numbers = ", ".join(str(guest.vmid) for guest in found)
                raise Misconfigured(f"{len(found)} guests are named {plug} ({numbers}): use the number")
            if found:
                return Place(found[0], [view, *(other for other in views if other is not view)])
            if view.quorate:
                break
        raise self._missing(views)

    def _missing(self, views: Sequence[View]) -> FenceError:
        plug, view = self.identity.plug, views[0]
        user = self.cluster.who.name
        if plug in view.nodes:
            return Misconfigured(f"plug {plug} is a Proxmox VE node, not a guest: use the number or the name of the virtual machine")
        if VMID.fullmatch(plug):
            return FenceError(f"there is no guest {plug}, or user {user} lacks VM.Audit on /vms/{plug}")
        unnamed = {guest.node for guest in self.cluster.named(view) if not guest.name}
        hint = f"; the names of guests on {', '.join(sorted(unnamed))} are not known at the moment: use the number" if unnamed else ""
        return FenceError(f"no guest that user {user} may see (VM.Audit) is named {plug}{hint}")

    def _check_identity(self, place: Place, look: Look) -> None:
        """Raise FenceError when the guest is not the one that is meant; warn when it may not be."""
        guest, wanted = place.guest, self.identity
        name = look.name or guest.name
        if look.template or guest.template:
            raise Misconfigured(f"{guest} is a template: it cannot run")
        if wanted.name and name != wanted.name:
            raise FenceError(f"guest {guest.vmid} is named {name or '(nothing)'}, not {wanted.name}: nothing was done to it")
        if wanted.uuid:
            self._check_uuid(place)
        if wanted.kind and wanted.kind != guest.kind:
            self.log.warning("%s is of type %s, not %s as vmtype says", guest, guest.kind, wanted.kind)
        if wanted.nodename and not wanted.name and name and name.split(".")[0] != wanted.nodename.split(".")[0]:
            self.log.warning("%s stands for cluster node %s: is it the right one? vm_name=%s says yes", guest, wanted.nodename, name)

    def _check_uuid(self, place: Place) -> None:
        data = self.cluster.get_at(place.guest, place.view, "/config")
        settings = str(data.get("smbios1") or "") if isinstance(data, dict) else ""
        uuid = next((part[5:] for part in settings.split(",") if part.startswith("uuid=")), "")
        if uuid.lower() != self.identity.uuid.lower():
            raise FenceError(f"{place.guest} has the UUID {uuid or '(none)'}, not {self.identity.uuid}: nothing was done to it")
