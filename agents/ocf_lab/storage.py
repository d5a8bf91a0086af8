"""The storage of a resource: the places to watch, what they were found on, and what is known of I/O that hangs there."""

from __future__ import annotations

import time

from ocf_py import guard
from ocf_py.outcomes import CannotRecord, Error

from . import block, probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ocf_py.agent import Agent
    from ocf_py.deadline import Deadline

PLACE = "place."  # In the instance's memory: label, path and device of each place.
WRITER_SECONDS = 2.0


class Settings:
    """The administrator's parameters: times in seconds, `io_timeout` None for the automatic one, `mode` write, read or none."""

    __slots__ = ("freeze_max", "io_slow", "io_slow_max", "io_timeout", "mode")

    def __init__(self, io_timeout: float | None, io_slow: float, io_slow_max: float, freeze_max: float, mode: str) -> None:
        self.io_timeout, self.io_slow, self.io_slow_max = io_timeout, io_slow, io_slow_max
        self.freeze_max, self.mode = freeze_max, mode


class Devices:
    """What is known of I/O on the devices of a resource, and when it counts as hung.  A subclass says which they are."""

    def __init__(self, agent: Agent, settings: Settings) -> None:
        self.agent, self.settings = agent, settings
        self.evidence: dict[int, probe.Evidence] = {}  # Of children of other calls, by process id: only who runs one notes it.

    def devices(self) -> list[str]:
        raise NotImplementedError

    def limits(self) -> probe.Limits:
        given = self.settings
        hung = given.io_timeout
        if hung is None:
            queueing = float(self.agent.memory.get("queueing") or 0)
            hung = max((block.automatic_io_timeout(device, queueing) for device in self.devices()), default=block.DEFAULT_IO_TIMEOUT)
        return probe.Limits(hung, given.io_slow, given.io_slow_max and max(given.io_slow_max, hung), given.freeze_max)

    def queueing(self) -> str:
        """Return for how many seconds the multipath maps below queue I/O without a path, as multipathd tells."""
        from ocf_py import commands

        maps = {name for device in self.devices() for name in block.maps(device)}
        if not maps or not commands.find("multipathd"):
            return "0"
        try:
            shown = self.agent.run("multipathd", "show", "maps", "raw", "format", "%d %Q", within=5.0)
            config = self.agent.run("multipathd", "show", "config", "local", within=5.0)
        except Error as error:
            self.agent.log.warning(f"cannot ask multipathd how long it queues: {error}")
            return "0"
        return f"{block.queueing_time(shown.out, config.out, maps):g}"

    def children(self) -> list[guard.Child]:
        """Return the living children, of any resource of this node, that are at work for this instance or on its devices."""
        devices = set(self.devices())
        own = self.agent.guards.folder.rpartition("/")[2]
        found = guard.left_behind(self.agent.environment.rsctmp)
        return [child for child in found if child.instance == own or child.facts.get("device") in devices]

    def stuck(self) -> str:
        """Return what a check of these devices, of this resource or another, has found to hang, "" where nothing is known."""
        limits, now = self.limits(), time.monotonic()
        for child in self.children():
            device = child.facts.get("device")
            if device and not probe.waits_for_thaw(child.pid):
                evidence = self.evidence.setdefault(child.pid, probe.Evidence(child.evidence))
                evidence.take(device, now)
                place = probe.Place(child.facts.get("label", ""), child.facts.get("path", ""), device)
                trouble = probe.judge(child, place, limits, evidence, now)
                if isinstance(trouble, probe.StorageHung):
                    return str(trouble)
        return ""

    def writers(self) -> list[guard.Child]:
        """End the children that may still write, and return those that cannot be ended."""
        wait = self.agent.deadline.at_most(WRITER_SECONDS)
        while True:
            left = [child for child in self.children() if child.writes]
            for child in left:
                child.end()
            if not left or not wait.left():
                return left
            time.sleep(0.05)

    def name_disks(self, trouble: probe.Trouble) -> None:
        """Log by what their storage knows the disks beneath: a reason has no room for it."""
        if trouble.place.device and (serials := block.serials(trouble.place.device)):
            self.agent.log.error(f"the disks beneath {trouble.place.path}: {serials}")

    def settled(self) -> bool:
        return settled(self.devices(), self.agent.deadline)


class Storage(Devices):
    """Watches the directory `path`, called `label`, and whatever `look` finds to belong to it.

    `look(path)` runs in the guarded child and returns a dictionary whose "places" are pairs of label and path.
    """

    def __init__(self, agent: Agent, label: str, path: str, settings: Settings, look: Callable[[str], dict[str, Any]]) -> None:
        super().__init__(agent, settings)
        self.label, self.path, self.look = label, path, look

    def places(self) -> list[probe.Place]:
        """Return the places as they were last known, the main directory first."""
        known = [probe.Place(*text.split("\t")) for _, text in sorted(self.agent.memory.section(PLACE).items())]
        return known if known and known[0].path == self.path else [probe.Place(self.label, self.path)]

    def devices(self) -> list[str]:
        return list(dict.fromkeys(place.device for place in self.places() if place.device))

    def check(self, user: guard.Account, within: Deadline | None = None) -> tuple[list[probe.Trouble], dict[str, Any]]:
        """Probe every device once, all side by side; return the troubles, the worst first, and what `look` told.

        A place that turns up, such as a new tablespace, is probed in the same go.
        """
        places = self.places()
        probed: set[str] = set()
        troubles: list[probe.Trouble] = []
        told: dict[str, Any] = {}
        waiting = places
        while waiting:
            probes = self.probes(waiting, user, probed)
            self.agent.guards.run(*probes, deadline=within)
            for one in probes:
                told = self.learn(one, troubles) or told
            found = [(self.label, self.path), *told["places"]] if told else [(place.label, place.path) for place in places]
            waiting = [probe.Place(label, path) for label, path in found if path not in {place.path for place in places}]
            places = [place for place in places if (place.label, place.path) in found] + waiting
        self.remember(places)
        return sorted(troubles, key=severity), told

    def probes(self, places: list[probe.Place], user: guard.Account | None, probed: set[str]) -> list[probe.Probe]:
        """Return a probe for each device among the places, and for each place whose device is not known yet."""
        limits = self.limits()
        found = []
        for place in places:
            if (place.device or place.path) not in probed:
                probed.add(place.device or place.path)
                look = self.look if place.path == self.path else None
                found.append(probe.Probe(place, limits, user, self.settings.mode == "write", look))
        return found

    def learn(self, one: probe.Probe, troubles: list[probe.Trouble]) -> dict[str, Any]:
        """Take what a probe brought: its trouble, its device, and what `look` told."""
        trouble = one.trouble()
        told: dict[str, Any] = {}
        if one.error is None:
            told = one.value["told"]
            if one.place.device not in ("", one.value["device"]):
                trouble = moved(one.place, one.value["device"])
            else:
                one.place.device = one.value["device"]
        if trouble:
            troubles.append(trouble)
        return told

    def remember(self, places: list[probe.Place]) -> None:
        facts: dict[str, str | None] = dict.fromkeys(name for name in self.agent.memory if name.startswith(PLACE))
        facts.update({f"{PLACE}{n:03}": "\t".join((place.label, place.path, place.device)) for n, place in enumerate(places)})
        try:
            self.agent.memory.update(**facts)
        except CannotRecord as error:
            self.agent.log.warning(str(error))


def settled(devices: Iterable[str], deadline: Deadline) -> bool:
    """Wait until no I/O is in flight on devices and what they stand on; return whether that came about."""
    wait = deadline.at_most(WRITER_SECONDS)
    while any(block.in_flight(device) for device in devices):
        if not wait.left():
            return False
        time.sleep(0.05)
    return True


def severity(trouble: probe.Trouble) -> tuple[bool, bool]:
    return not trouble.fails, not isinstance(trouble, probe.StorageHung)


def moved(place: probe.Place, device: str) -> probe.Trouble:
    text = f"{place.label} {place.path} is on {block.name(device)} now and was on {block.name(place.device)}"
    return probe.StorageError(f"{text}: was the file system unmounted?", place)
