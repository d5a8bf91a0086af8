"""The scenarios, one below the other.  Titles and numbers of repeats are in lab.report.scenarios, which the report shares."""

from __future__ import annotations

import math
import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lab.cluster import settings
from lab.cluster.settings import Layout
from lab.machine import plan
from lab.machine.room import NotSo
from lab.report.runs import Bound, Profile
from lab.scenarios import paths
from lab.scenarios.stage import Stage

FAIL, QUEUE = "fail", "queue"

# Seconds between two monitors of pg-db, and the longest that pgsql-storage waits for I/O, in all profiles of the lab.
INTERVAL = {Profile.DOCUMENT: 30.0, Profile.RECOMMENDED: 10.0}
IO_TIMEOUT = 20.0
FENCE_MARGIN = 5.0
# A process that is stopped answers no SQL: the longest that a monitor waits for that, by what Pacemaker lets it.
MONITOR_TIMEOUT = 40.0
# The longest that the lab document's pcmk_delay_base and pcmk_delay_max let the fencing of a node wait.
STATIC_DELAY = {"rhel1": 0.0, "rhel2": 30.0}

POSTMASTER = "pgrep -o -u postgres -x postgres"
LOAD_SQL = """DO $$ BEGIN CREATE TABLE IF NOT EXISTS lab_load (filling text); COMMIT; FOR turn IN 1..600 LOOP
    INSERT INTO lab_load SELECT repeat('x', 1000) FROM generate_series(1, 300); COMMIT; PERFORM pg_sleep(0.3);
    END LOOP; END $$"""
PSQL = f"{settings.BINARIES}/psql -X -q -h {plan.VIP} -U {settings.USER} -d {settings.DATABASE}"
LOAD_SECONDS = 240
# A file system does not give its last blocks to fallocate; dd takes them one by one. The server is to meet the end of them itself, and
# a checkpoint that ends meanwhile gives some back.
TOO_MUCH = "DROP TABLE IF EXISTS lab_filling; CREATE TABLE lab_filling AS SELECT repeat('x', 1000) FROM generate_series(1, 300)"
FILL = f"""cd {settings.MAIN.mount} || exit 1
fallocate -l $(( $(df --output=avail -B1 . | tail -1) - (4 << 20) )) filler
for rest in 1 2 3 4 5 6; do
  dd if=/dev/zero of=filler.$rest bs=4k status=none 2>/dev/null
  said=$({PSQL} -c "{TOO_MUCH}" 2>&1)
  case $said in *'No space left'*) exit 0 ;; esac
done
echo "the server has room: $said" >&2
exit 1"""


@dataclass(frozen=True)
class Play:
    """One scenario.  Times are seconds after the injection."""

    ident: str
    inject: Callable[[Stage], None]
    watch: float  # It is looked at so long at most, and writes are to be acknowledged again by then.
    least: float = 30.0  # It is looked at so long at least.
    failover: bool = True  # False: nothing may fail over.
    in_place: bool = True  # False: nor may any operation of a resource fail, or a resource be stopped.
    noticed: float | None = None  # The cluster is to notice within one monitor interval and so many seconds more.
    named: bool = False  # A fencing that fails is to be told, with its reason.
    spares: tuple[Profile, ...] = ()  # In these profiles the active node must not be the one that is fenced.
    fence_call: bool = False  # The fence device is to be called within monitor interval + io_timeout + 5 s.
    mended: float = math.inf  # The fault is taken back then,
    mended_when_fenced: bool = False  # or when a node is fenced; in any case at the end.
    active: Mapping[Profile, str] = field(default_factory=dict)  # The node that is to have the service; without: whichever has it.
    retry: str = FAIL  # no_path_retry
    layout: Layout = Layout.ONE
    prepare: Callable[[Stage], None] | None = None
    kinds: tuple[str, ...] = ("",)  # What its runs are in turn.

    def bound(self, profile: Profile, active: str) -> Bound:
        delay = STATIC_DELAY[active] if profile is Profile.DOCUMENT else 0.0
        called = INTERVAL[profile] + IO_TIMEOUT + FENCE_MARGIN + delay if self.fence_call else None
        noticed = None if self.noticed is None else INTERVAL[profile] + self.noticed
        spared = active if profile in self.spares else None
        return Bound(self.watch, self.failover, spared, called, noticed=noticed, named=self.named, in_place=self.in_place)


def standby(stage: Stage) -> None:
    stage.on(stage.standby, f"pcs node standby {stage.active}", f"pcs node standby {stage.active}", f"pcs node unstandby {stage.active}")


def both_paths(stage: Stage) -> None:
    stage.pull(stage.active, *(network.name for network in plan.STORAGE))


# Which path is lost, and whether there is load on it.
USED, LOADED, IDLE = "the path in use", "the path in use, under load", "the idle path"


def load(stage: Stage) -> None:
    """Begin the load of the kind that has it; it ends by itself, if nobody ends it."""
    if stage.kind == LOADED:
        run = f"systemd-run --quiet --unit=lab-load --property=RuntimeMaxSec={LOAD_SECONDS} {PSQL} -c {shlex.quote(LOAD_SQL)}"
        stage.props.append(lambda: stage.shell(stage.active, f"systemctl stop lab-load; {PSQL} -c 'DROP TABLE IF EXISTS lab_load'"))
        stage.shell(stage.active, run)


def one_path(stage: Stage) -> None:
    way = stage.path_in_use()
    stage.pull(stage.active, paths.other(way) if stage.kind == IDLE else way)


def find_postmaster(stage: Stage) -> None:
    stage.postmaster = stage.shell(stage.active, POSTMASTER).strip()


def kill(stage: Stage) -> None:
    stage.on(stage.active, "kill -9 of the postmaster", f"kill -9 {stage.postmaster}")


def stop_process(stage: Stage) -> None:
    """Whoever is killed meanwhile does not go on, and its number may be another's: the signal goes to what is stopped."""
    resume = "for pid in $(pgrep -u postgres -x postgres -r T); do kill -CONT $pid; done"
    stage.on(stage.active, "SIGSTOP of the postmaster", f"kill -STOP {stage.postmaster}", resume)


def fill(stage: Stage) -> None:
    """Fill the file system of the database; it is emptied on whichever node has it by then."""

    def empty() -> None:
        troubles = []
        for node in plan.NODES:
            try:
                stage.shell(node, f"rm -f {settings.MAIN.mount}/filler*")
            except (NotSo, subprocess.SubprocessError) as error:  # One that is off must not keep the other one from it.
                troubles.append(str(error))
        if troubles:
            raise NotSo("; ".join(troubles))

    stage.do(f"{stage.active}: {settings.MAIN.mount} filled up", lambda: stage.shell(stage.active, FILL), empty)


def freeze(stage: Stage) -> None:
    mount = settings.MAIN.mount
    stage.on(stage.active, f"{mount} frozen", f"fsfreeze --freeze {mount}", f"fsfreeze --unfreeze {mount}")


def power_off_unseen(stage: Stage) -> None:
    stage.api_away()
    stage.power_off(stage.active)


def power_cut(stage: Stage) -> None:
    for node in (stage.active, stage.standby):
        stage.power_off(node, back=True)


ALL = tuple(Profile)
# Only the fencing of rhel2 waits under the lab document's profile: runs in which the active node is fenced are comparable on one node only.
DELAYED = {Profile.DOCUMENT: "rhel2"}

PLAYS = {
    play.ident: play for play in (
        Play("S1", standby, watch=300, least=40),
        # Under the lab document's delays rhel1 loses every partition: it is the active node here, and the standby node in S2b.
        Play("S2a", lambda stage: stage.pull(stage.active, "link"), watch=300, least=60, active=dict.fromkeys(ALL, "rhel1"),
             spares=(Profile.RECOMMENDED,), mended_when_fenced=True),
        Play("S2b", lambda stage: stage.pull(stage.standby, "link"), watch=300, least=60, active=dict.fromkeys(ALL, "rhel2"),
             spares=ALL, in_place=False, mended_when_fenced=True),
        Play("S3", lambda stage: stage.power_off(stage.active), watch=300, active=DELAYED),
        Play("S4", kill, watch=300, prepare=find_postmaster),
        Play("S5", both_paths, watch=360, mended_when_fenced=True, active=DELAYED),
        Play("S6", both_paths, watch=300, retry=QUEUE, fence_call=True, mended_when_fenced=True, active=DELAYED),
        Play("S7", one_path, watch=180, least=60, failover=False, in_place=False, prepare=load, kinds=(USED, LOADED, IDLE)),
        # A disk that hangs, hangs for both nodes; it goes on when the node is fenced, as if the trouble had been the node's.
        Play("S8", lambda stage: stage.lun("wal", "hangs", hang=True), watch=300, retry=QUEUE, layout=Layout.THREE,
             noticed=IO_TIMEOUT + FENCE_MARGIN, mended_when_fenced=True, active=DELAYED),
        # Commits need only pg_wal: the client may notice nothing, and who sees only what the client sees, nothing either.
        Play("S9", lambda stage: stage.lun("tablespace", "hangs", hang=True), watch=300, least=120, retry=QUEUE, layout=Layout.THREE,
             noticed=IO_TIMEOUT + FENCE_MARGIN, mended_when_fenced=True, active=DELAYED),
        Play("S10", stop_process, watch=400, least=90, noticed=MONITOR_TIMEOUT + FENCE_MARGIN, prepare=find_postmaster),
        Play("S11", lambda stage: stage.lun("cluster1", "1.5 s for each request", seconds=1.5), watch=240, least=90, failover=False,
             in_place=False, mended=60),
        # Writes may fail meanwhile, and so may the server, which is then started again in place.
        Play("S12", fill, watch=300, least=120, failover=False, mended=90),
        # Longer than a fencing is let to take, and than the monitor of the device that it may have to wait for before.
        Play("S13", power_off_unseen, watch=540, least=180, named=True, active=DELAYED, mended=150),
        Play("S14", power_cut, watch=600, least=60, mended=10),
        Play("S15", lambda stage: stage.san_off(), watch=720, least=200, mended=180),
        Play("S16", freeze, watch=240, least=75, failover=False, in_place=False, mended=30),
    )
}  # fmt: skip
