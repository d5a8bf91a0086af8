"""How a schedule is played against an agent, and what may be demanded of the agent in it."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from fence_lab.clock import Clock
from fence_lab.pve import FencePve
from fence_lab.transport import Transport
from lab.proxmox import power
from lab.proxmox.api import Request, Response
from lab.proxmox.guests import QUIT, Guest, Run
from lab.proxmox.nodes import ANSWERS, Node
from lab.proxmox.world import World
from tests.fence.schedules import CUES, NAME, PASSWORD, ROOT_PASSWORD, TOKEN, TOKEN_NAME, USER, VMID, Cue, Happening, Schedule
from tests.fence.simulated import Line, Network, SimulatedClock, SimulatedTransport

# Beyond its limit an action may last as long as it takes to say so.
MARGIN = 0.25
# What an administrator was promised for a hypervisor that is away.
OFFLINE_SECONDS = 10.0
# With nothing broken: a stop that comes to SIGKILL lasts 5 + 10 s; HA adds its rounds, the time before a restart not counted.
QUICK_SECONDS, HA_SECONDS = 22.0, 35.0
KINDS = {kind: re.compile(pattern) for kind, pattern in CUES.items()}


def world_of(schedule: Schedule, now: Callable[[], float]) -> World:
    """Make the cluster that a schedule begins with."""
    world = World(now, seed=schedule.seed)
    world.qdevice_votes = int(schedule.qdevice)
    world.token_seconds = schedule.token_seconds
    world.overrule_shutdown = world.error_message = not schedule.old
    world.telling = schedule.telling
    world.ha.recovery_seconds = schedule.recovery_seconds
    for number in range(1, schedule.nodes + 1):
        world.add_node(f"pve{number}", f"127.0.0.{10 + number}")
    guest = world.add_guest(
        VMID, NAME, schedule.owner, kind=schedule.kind, running=schedule.running, ha=schedule.ha, stop_seconds=schedule.stop_seconds
    )
    guest.dies_at = schedule.dies_at
    world.add_guest(222, "rhel2", "pve2")
    world.access.users["root@pam"].password = ROOT_PASSWORD
    world.add_user(USER, PASSWORD)
    world.add_token(USER, TOKEN_NAME, TOKEN)
    for who in (USER, f"{USER}!{TOKEN_NAME}"):
        for vmid in world.guests:
            world.grant(f"/vms/{vmid}", who, "VM.Audit", "VM.PowerMgmt")
        if schedule.audit:
            world.grant("/", who, "Sys.Audit", propagate=False)
    return world


def free_moment(runs: Sequence[Run], first: float, last: float) -> float | None:
    """Return the first moment of a span at which no process ran."""
    moment = first
    for run in sorted(runs, key=lambda run: run.began):
        if run.began > moment:
            break
        if run.ended is None:
            return None
        moment = max(moment, run.ended)
    return moment if moment <= last else None


class Play:
    """A schedule, played against an agent.  Times are those of `now`; beyond its limit an action may last `margin` seconds."""

    margin = MARGIN

    def __init__(self, schedule: Schedule, now: Callable[[], float]) -> None:
        self.schedule = schedule
        # A stream of its own: what is drawn on the way must not depend on how many numbers the generator drew.
        self.dice = random.Random(~schedule.seed)
        self.world = world_of(schedule, now)
        self.guest = self.world.guests[VMID]
        self.network = Network(self.dice, schedule.latency, schedule.mishaps, schedule.storms, self.before, self.after)
        self.lines: list[Line] = []
        self._seen = dict.fromkeys(KINDS, 0)
        self._cues: dict[Cue, list[Happening]] = {}
        self._secrets = {PASSWORD, ROOT_PASSWORD, TOKEN}
        self.code = -1
        self.stdout = self.stderr = ""
        self.began = self.ended = 0.0
        # The owner when the call began: what it has to name when that one is away.
        self.owner = ""

    def prepare(self) -> None:
        """Let everything be due that has its time."""
        for happening in self.schedule.happenings:
            if isinstance(happening.when, Cue):
                self._cues.setdefault(happening.when, []).append(happening)
            else:
                self._at(happening.when + self.schedule.history, happening)

    def begin(self) -> None:
        """Note how things are when the call begins; the history is over."""
        kind, seconds = self.schedule.lock
        if kind:
            self.guest.locks_for(kind, seconds)
        self.owner = self.guest.node
        self.began = self.network.began = self.world.time

    def call(self, agent: type[FencePve], transport: Transport, clock: Clock) -> None:
        """Run the agent to its end."""
        class Played(agent):  # type: ignore[misc,valid-type]  # mypy follows no base that is a variable
            def transport(self) -> Transport:
                return transport

        stdin, stdout, stderr = io.StringIO(self.schedule.stdin()), io.StringIO(), io.StringIO()
        self.code = Played.run([], stdin, stdout, stderr, {"PCMK_service": "pacemaker-fenced"}, clock)
        self.ended = clock.now()
        self.stdout, self.stderr = stdout.getvalue(), stderr.getvalue()

    def _at(self, seconds: float, happening: Happening) -> None:
        self.world.at(max(0.0, seconds), lambda: self._happen(happening))

    def _happen(self, happening: Happening) -> None:
        self.lines.append(Line(self.world.time, "* %s %s", (happening.what, happening.values)))
        HAPPENINGS[happening.what](self, *happening.values)

    def node(self, which: str) -> Node:
        """Return the node that a happening means, by its part in the play at this moment."""
        owner = self.guest.node
        if which == "owner":
            return self.world.nodes[owner]
        return self.dice.choice([node for name, node in self.world.nodes.items() if name != owner])

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        self.world.at(seconds, do)

    def before(self, request: Request) -> None:
        kind = next((kind for kind, pattern in KINDS.items() if pattern.search(request.path)), "")
        if kind:
            self._seen[kind] += 1
            self._on_cue(kind, after=False)

    def after(self, request: Request, response: Response) -> None:
        kind = next((kind for kind, pattern in KINDS.items() if pattern.search(request.path)), "")
        if kind == "login" and response.status == 200 and response.body:
            self._secrets.update(re.findall(r'"(?:ticket|CSRFPreventionToken)":\s*"([^"]*)"', response.body.decode()))
        if kind:
            self._on_cue(kind, after=True)

    def _on_cue(self, kind: str, after: bool) -> None:
        for happening in self._cues.get(Cue(kind, self._seen[kind], after), ()):
            self._happen(happening)

    # What is demanded.

    def complaints(self) -> list[str]:
        """Return what the agent has done wrong, as sentences."""
        return list(self._complain())

    def _complain(self) -> Iterator[str]:
        schedule = self.schedule
        action = "cycle" if schedule.action == "reboot" and schedule.method == "cycle" else schedule.action
        if self.code in (0, 2):
            yield from LIES[action](self)
        spent = self.ended - self.began
        delay = float(schedule.options.get("delay", "0")) if schedule.action in ("off", "reboot") else 0.0
        limit = schedule.limit + (0.0 if "time_limit" in schedule.options else delay)
        if spent > limit + self.margin:
            yield f"the call took {spent:.2f} s, and its limit is {limit:g} s"
        yield from self._report()
        yield from self.promises(action, spent - delay)

    def _report(self) -> Iterator[str]:
        """Check the exit code, the one reason, and that no secret got out."""
        if self.code not in ((0, 1, 2) if self.schedule.action == "status" else (0, 1)):
            yield f"exit code {self.code}"
        # Of several guests one may have been fenced before another one was not.
        reasons = [reason for reason in re.findall(r" ERROR: (.*)", self.stderr) if not reason.startswith("fenced, but ")]
        if self.code == 1 and (len(reasons) - ("Please use '-h' for usage" in reasons) != 1 or not reasons[0].strip()):
            yield f"a failure with {len(reasons)} reasons: {reasons}"
        if self.code == 1 and self.stdout:
            yield f"a failure with {self.stdout!r} on stdout"
        if "defect" in self.stderr or "Traceback" in self.stderr:
            yield "a defect"
        for secret in self._secrets:
            if secret in self.stdout + self.stderr:
                yield f"the secret {secret!r} got out"

    def promises(self, action: str, spent: float) -> Iterator[str]:
        """Check that the call succeeds where nothing is in its way, and fails at once where it cannot."""
        schedule, theme = self.schedule, self.schedule.theme
        if theme == "offline" and action != "on":
            if self.code != 1:
                yield f"exit code {self.code}, and hypervisor {self.owner} was away all the time"
            elif self.owner not in self.stderr and schedule.limit > OFFLINE_SECONDS and schedule.options.get("plug") != NAME:
                yield f"the reason does not name {self.owner}"
            if spent > min(OFFLINE_SECONDS, schedule.limit) + MARGIN + 1:
                yield f"{spent:.2f} s until it said that {self.owner} is away"
        if theme in EASY and not SILENT.intersection(schedule.mishaps.values()) and not self.excused():
            if self.code == 1:
                yield f"a failure, and nothing was in the way: {self.stderr}"
            allowed = HA_SECONDS if schedule.ha else QUICK_SECONDS
            if theme != "calm":
                allowed += 10
            if spent > allowed + schedule.lock[1] + 10 * (schedule.action == "reboot"):
                yield f"a success that took {spent:.2f} s"

    def guests(self) -> list[Guest]:
        """Return the guests that the call is about."""
        plugs = self.schedule.options.get("plug", "").split(",")
        return [guest for vmid, guest in self.world.guests.items() if vmid == VMID or str(vmid) in plugs]

    def known_runs(self, guest: Guest) -> list[Run]:
        """Return the processes of a guest that an agent could know of.

        HA starts a guest elsewhere when its node's watchdog must have fired.  If it has not, Proxmox VE's own promise is broken; only
        somebody who reaches that node, by `ip` or by the address that the cluster tells, sees that the guest still runs there.
        """
        schedule, nodes = self.schedule, self.world.nodes
        deaf = any(each.what in {"api", "slow", "daemon"} for each in schedule.happenings) or schedule.storms or schedule.mishaps
        told = schedule.audit or schedule.credentials == "root"
        return [run for run in guest.runs if nodes[run.node].watchdog or (not deaf and (told or run.node in schedule.endpoints))]

    def excused(self) -> bool:
        """Tell whether success cannot be demanded: too little time, too few rights, or the only endpoint is what is away."""
        schedule = self.schedule
        if schedule.limit < 50 and schedule.action != "status":
            return True
        # A name is known while the nodes tell it; one of two guests may be where something is away.
        if "plug" in schedule.options:
            return True
        # HA stops its guests with QEMU's full 60 s before SIGTERM.
        if schedule.ha and (schedule.dies_at != QUIT or (not schedule.audit and schedule.credentials != "root")):
            return True
        return all(self.world.nodes[name].reach != ANSWERS for name in schedule.endpoints)

    def trace(self) -> str:
        """Return everything that happened, for somebody who wants to know why."""
        lines = [*self.lines, *self._history()]
        lines.sort(key=lambda line: line.at)
        return "\n".join([str(self.schedule), *map(str, lines), f"exit code {self.code}", self.stdout + self.stderr])

    def _history(self) -> Iterator[Line]:
        for run in self.guest.runs:
            yield Line(run.began, "# process %d begins on %s", (run.pid, run.node))
            if run.ended is not None:
                yield Line(run.ended, "# process %d ends on %s", (run.pid, run.node))
        for reset in self.guest.resets:
            yield Line(reset.at, "# process %d is reset on %s", (reset.pid, reset.node))
        yield Line(self.began, "= the call begins")
        yield Line(self.ended, "= the call ends")


class Simulation(Play):
    """A play in virtual time."""

    def __init__(self, schedule: Schedule) -> None:
        self.clock = SimulatedClock()
        super().__init__(schedule, self.clock.world_time)
        self.clock.world = self.world
        self.transport = SimulatedTransport(self.world, self.clock, self.network, self.lines)

    def run(self, agent: type[FencePve] = FencePve) -> Simulation:
        self.prepare()
        self.clock.spend(self.schedule.history)
        self.clock.reach()
        self.begin()
        self.call(agent, self.transport, self.clock)
        self.clock.reach()
        return self


# Themes in which the call has to succeed, but for a mishap that is a silence: one of 5 s is taken for the death of whoever was asked.
EASY = ("calm", "blip", "other away")
SILENT = {"late", "stalled"}


# What a success of each action says of the truth.


def was_off(play: Play, guest: Guest) -> Iterator[str]:
    if free_moment(play.known_runs(guest), play.began, play.ended) is None:
        yield f"LIE: success, and at every moment of the call a process of guest {guest.vmid} ran"


def off_is_true(play: Play) -> Iterator[str]:
    for guest in play.guests():
        yield from was_off(play, guest)


def cycle_is_true(play: Play) -> Iterator[str]:
    for guest in play.guests():
        reset = any(play.began <= reset.at <= play.ended for reset in guest.resets)
        started = any(play.began <= run.began <= play.ended and run.qmp != "inmigrate" for run in guest.runs)
        if guest.config.kind == "lxc":  # It has no reset: it is stopped and started.
            yield from was_off(play, guest)
        elif not reset and not started:
            yield f"LIE: success, and guest {guest.vmid} was neither reset nor started"


def ran(play: Play, guest: Guest) -> bool:
    return any(run.began <= play.ended and (run.ended is None or run.ended > play.began) for run in guest.runs)


def on_is_true(play: Play) -> Iterator[str]:
    for guest in play.guests():
        if not ran(play, guest):
            yield f"LIE: success, and no process of guest {guest.vmid} ran at any moment of the call"


def status_is_true(play: Play) -> Iterator[str]:
    if play.code == 2:
        yield from off_is_true(play)
    # One of several is enough.
    elif not any(ran(play, guest) for guest in play.guests()):
        yield "LIE: called on, and no process ran at any moment of the call"


LIES: Mapping[str, Callable[[Play], Iterator[str]]] = {
    "off": off_is_true, "reboot": off_is_true, "cycle": cycle_is_true, "on": on_is_true, "status": status_is_true,
}  # fmt: skip


# What can happen to the world.


def migrate(play: Play, live: bool, seconds: float, fails: str) -> None:
    target = play.node("other")
    if play.world.nodes[play.guest.node].quorate and target.on:
        play.world.migrate(VMID, target.name, live=live, seconds=seconds, fails=fails)


def die(play: Play, which: str) -> None:
    play.node(which).power = "dead"


def api(play: Play, which: str, reach: str, seconds: float) -> None:
    node = play.node(which)
    node.api = reach
    play.later(seconds, lambda: setattr(node, "api", ANSWERS))


def daemon(play: Play, which: str, reach: str, seconds: float) -> None:
    node = play.node(which)
    node.daemon = reach
    play.later(seconds, lambda: setattr(node, "daemon", ANSWERS))


def slow(play: Play, which: str, by: float, seconds: float) -> None:
    node = play.node(which)
    node.slow = by
    play.later(seconds, lambda: setattr(node, "slow", 0.0))


def isolate(play: Play, which: str, seconds: float) -> None:
    node = play.node(which)
    node.isolated = True
    play.later(seconds, lambda: setattr(node, "isolated", False))


def no_watchdog(play: Play, which: str) -> None:
    play.node(which).watchdog = False


def partition(play: Play, seconds: float) -> None:
    names = sorted(play.world.nodes)
    part = play.dice.sample(names, play.dice.randint(1, len(names) - 1))
    play.world.partition([part, [name for name in names if name not in part]])
    play.later(seconds, play.world.heal)


def stop_lies(play: Play, seconds: float) -> None:
    play.guest.stop_lies = True
    play.later(seconds, lambda: setattr(play.guest, "stop_lies", False))


def dies_at(play: Play, word: str) -> None:
    play.guest.dies_at = word


def silent(play: Play, seconds: float) -> None:
    play.guest.silent = True
    play.later(seconds, lambda: setattr(play.guest, "silent", False))


def clock(play: Play, which: str, ahead: float) -> None:
    play.node(which).clock_skew = ahead


def start(play: Play) -> None:
    node = play.world.nodes[play.guest.node]
    if node.on and node.quorate:
        worker = power.vzstart if play.guest.config.kind == "lxc" else power.qmstart
        play.world.spawn(node, "qmstart", str(VMID), "root@pam", play.guest, worker)


def crash(play: Play) -> None:
    """Let the guest's foremost process end: its own doing, or the kernel's."""
    living = play.guest.living()
    if living:
        play.world.end(living[0])


def shut_down(play: Play, seconds: float) -> None:
    play.guest.shutdown_seconds = seconds
    play.world.shut_down(VMID)


def lock(play: Play, kind: str, seconds: float) -> None:
    play.guest.locks_for(kind, seconds)


def not_telling(play: Play) -> None:
    play.world.telling = False


HAPPENINGS: Mapping[str, Callable[..., None]] = {
    "migrate": migrate, "die": die, "api": api, "daemon": daemon, "slow": slow, "isolate": isolate, "no watchdog": no_watchdog,
    "partition": partition, "stop lies": stop_lies, "dies at": dies_at, "silent": silent, "clock": clock, "start": start, "crash": crash,
    "shut down": shut_down, "lock": lock, "not telling": not_telling,
}  # fmt: skip
