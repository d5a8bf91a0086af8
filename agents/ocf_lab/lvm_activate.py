"""ocf:lab:LVM-activate, logical volumes on shared storage that is watched: its policy from top to bottom.

The mechanics are in the modules beside this one.  Those that only start, stop and level 20 need are imported there.
"""

from __future__ import annotations

import time

import ocf_py as ocf
from ocf_lab import block, probe, storage, volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from ocf_lab import candidates, lvm
    from ocf_py.deadline import Deadline

SYSTEM_ID, TAGGING, LVMLOCKD, CLVMD = "system_id", "tagging", "lvmlockd", "clvmd"
OWNER_SECONDS = 10.0
PAUSE_SECONDS = 1.0  # Between two looks of a start that waits for the storage.
OTHERS_SECONDS = 3.0  # How long a stop waits for disks that are not its own, before it keeps LVM from them.
OPEN_SECONDS = 5.0  # A volume that was unmounted a moment ago may still be open: udev looks at it.
RESUME_SECONDS = 2.0  # LVM suspends a volume for a moment while it changes it, as for a snapshot of a backup.
OPEN = (" in use", " used by")  # What LVM says of a volume that somebody has open, or that another device stands on.
REMOVABLE = ("linear", "striped")  # Targets without metadata or threads of their own: nothing is left to be written.


def fencing_needed(why: str) -> ocf.Error:
    """Return the error of a stop.  Pacemaker shows the last failure of a resource only, so it has to say what hangs as well."""
    return ocf.Error(f"stop incomplete, fencing needed: {why}")


class LvmActivate(ocf.Agent):
    """Activates logical volumes of shared storage on one node, and watches the storage under them.

    Takes the parameters of ocf:heartbeat:LVM-activate. Level 0 of the monitor looks at what the kernel says of the volumes.
    Level 10 reads from every volume past the page cache, and reports storage that hangs or fails within io_timeout, naming
    the devices down to the paths. Level 20 also asks whether the volume group is still this node's.

    A stop works when the disks are dead, as long as nothing of this node can reach them any more; where it can, the stop fails at once, so
    that the node is fenced then and not when the stop times out.

    With vg_access_mode=system_id, start turns off the autoactivation property of the volume group, as the stock agent does.
    """

    name = "LVM-activate"
    version = "0.1.0"
    commands = ("lvm", "lvchange", "vgchange", "dmsetup")

    # Parameters of ocf:heartbeat:LVM-activate.
    vgname = ocf.string("Volume group", "The name of the volume group.", required=True, check=volumes.lvm_name)
    lvname = ocf.string(
        "Logical volume",
        "Only this volume is activated. Where it is not set, all volumes of the group are. Resources of one volume group have to be on one "
        "node, which owns it.",
        check=volumes.volume_name,
    )
    vg_access_mode = ocf.choice(
        "What protects the volume group",
        "What keeps other nodes from the volume group: system_id, tagging, lvmlockd, or clvmd, which LVM has no more since version 2.03.",
        options=(LVMLOCKD, CLVMD, SYSTEM_ID, TAGGING),
        required=True,
    )
    activation_mode = ocf.choice(
        "Exclusive or shared",
        "Whether other nodes may activate the volumes at the same time. shared is for lvmlockd and clvmd, and cluster file systems.",
        options=("exclusive", "shared"),
        default="exclusive",
    )
    tag = ocf.string("Tag", "The tag of vg_access_mode=tagging.", default="pacemaker", check=volumes.tag_name)
    partial_activation = ocf.boolean("Activate what is left of volumes", "Activate volumes that miss physical volumes.", default=False)
    degraded_activation = ocf.boolean(
        "Activate degraded RAID", "Activate RAID volumes that miss physical volumes and have all their data.", default=False
    )
    majority_pvs = ocf.boolean(
        "The majority of physical volumes is enough",
        "With vg_access_mode=system_id, take the volume group over where most of its physical volumes are there (LVM 2.03.20 or later).",
        default=False,
    )

    # Parameters of this agent.
    io_timeout = ocf.duration_or_auto(
        "When unanswered I/O is a hang",
        "After how long an unanswered read means that the storage hangs. With auto this is, on iSCSI, the time that the loss of "
        "the path in use can take (recv_tmo + ping_tmo + recovery_tmo of the sessions, plus 5 s, plus the queueing time of a numeric "
        "no_path_retry), and 20 s elsewhere. Where the device has no path left, two seconds of silence are enough.",
        default="auto",
        at_least=1.0,
        at_most=600.0,
    )
    io_slow = ocf.duration(
        "When a slow read is worth a warning", "The resource is degraded when a read took longer. 0 turns it off.", default="1s"
    )
    io_slow_max = ocf.duration(
        "When slow reading is a failure",
        "How long a read may be unanswered though the device completes others. 0 means for ever. Where it is not set, io_timeout counts "
        "if that is longer.",
        default="30s",
    )
    fence_on_io_error = ocf.boolean(
        "Fence after I/O errors",
        "Let a stop fail, and so the node be fenced, where the storage answers with errors, though the volumes could be removed.",
        default=False,
    )

    def validate(self) -> None:
        if self.partial_activation and self.degraded_activation:
            raise ocf.Misconfigured("partial_activation and degraded_activation contradict each other: set one of them")
        if self.activation_mode == "shared" and self.vg_access_mode in (SYSTEM_ID, TAGGING):
            raise ocf.Misconfigured(f"activation_mode=shared contradicts vg_access_mode={self.vg_access_mode}, which is always exclusive")
        if self.majority_pvs and self.vg_access_mode != SYSTEM_ID:
            raise ocf.Misconfigured("majority_pvs is for vg_access_mode=system_id only")
        if self.io_slow_max and self.io_timeout and self.io_slow_max < self.io_timeout and self.environment.parameters.get("io_slow_max"):
            raise ocf.Misconfigured(f"io_slow_max={self.io_slow_max:g}s is less than io_timeout={self.io_timeout:g}s")

    def validate_here(self) -> None:
        if self.check_level >= 10:
            self.check_mode(self.find())

    # What and where.

    @property
    def watched(self) -> volumes.Volumes:
        settings = storage.Settings(self.io_timeout, self.io_slow, self.io_slow_max, 0.0, "read")
        return volumes.Volumes(self, settings, self.vgname, self.lvname)

    @property
    def what(self) -> str:
        return f"{self.vgname}/{self.lvname}" if self.lvname else f"VG {self.vgname}"

    @property
    def target(self) -> str:
        """What the commands of LVM are given."""
        return f"{self.vgname}/{self.lvname}" if self.lvname else self.vgname

    @property
    def tool(self) -> lvm.Lvm:
        from ocf_lab import lvm

        return lvm.Lvm(self, self.vgname)

    def observe(self) -> ocf.State:
        """Tell by sysfs alone whether volumes of this resource are here: no I/O, no LVM command."""
        if self.watched.active() or self.watched.here():
            return ocf.RUNNING
        if self.environment.interval and self.environment.meta.get("on_fail") == "fence":
            # Pacemaker fences for a failure, and takes "not running" for a clean state that needs none.
            raise ocf.Error(f"{self.what} is not active on this node")
        return ocf.STOPPED

    def nothing_left(self) -> bool:
        # Of a volume that cannot be there nothing is; what is active of the VG is another resource's.
        impossible = volumes.volume_name(self.environment.parameters.get("lvname", "")) is not None
        return not self.vgname or impossible or not self.watched.here()

    # Monitors.

    @ocf.monitor(timeout="40s", interval="30s")
    def present(self) -> ocf.State | None:
        """Look whether the volumes are all there, and not suspended."""
        suspended = self.await_resume()
        if suspended:
            return ocf.RUNNING.degraded(suspended)
        here = self.watched.active()
        known = self.memory.get("vg").partition(" ")[2]
        other = [volume.vg_uuid for volume in here if known and volume.vg_uuid != known]
        if other:
            return ocf.RUNNING.degraded(f"VG {self.vgname} ({other[0]}) is not the one that was started ({known}), and has only its name")
        active = {volume.uuid for volume in here}
        recorded = [volume for volume in self.watched.recorded() if volume.kind != volumes.SNAPSHOT]
        gone = [volume.path for volume in recorded if volume.uuid not in active]
        if gone:
            return ocf.RUNNING.degraded(f"{len(recorded) - len(gone)} of {len(recorded)} LVs active, not {', '.join(gone)}")
        return None

    def await_resume(self) -> str:
        """Wait for suspended volumes to be resumed; LVM suspends them for a moment when it changes them.

        Raises at io_timeout.  Returns what is suspended where the time of the action ends first, "" where nothing is.
        """
        while True:
            suspended = self.suspended()
            since = self.suspended_since(suspended)
            if not suspended:
                return ""
            seconds = time.monotonic() - since
            text = f"LV {suspended[0].path} is suspended for {seconds:.0f} s; dmsetup resume {suspended[0].name} resumes it"
            if seconds >= self.watched.limits().hung:
                raise ocf.Error(text)
            if self.deadline.left() < 0.5:
                return text
            time.sleep(0.1)

    def suspended(self) -> list[volumes.Volume]:
        return [volume for volume in self.watched.active() if block.suspended(volume.device)]

    def suspended_since(self, suspended: list[volumes.Volume]) -> float:
        """Return since when, by the clock of all monitors, volumes have been seen suspended."""
        noted = self.memory.get("suspended")
        now = time.monotonic()
        if bool(suspended) != bool(noted):
            try:
                self.memory.update(suspended=f"{now:.3f}" if suspended else None)
            except ocf.CannotRecord as error:
                self.log.warning(str(error))
        return float(noted) if noted else now

    @ocf.monitor(level=10, timeout="40s", interval="10s")
    def readable(self) -> ocf.State | None:
        """Read from every volume, past the page cache; read from what they lie on too, to say more."""
        # To open a suspended one would be to wait for it.
        active = [volume for volume in self.watched.active() if not block.suspended(volume.device)]
        state = ocf.RUNNING
        for volume in active:
            if volumes.incomplete(volume.device):
                state = state.degraded(f"LV {volume.path} is incomplete: a physical volume was missing when it was activated")
        probes = self.reads(active)
        read = {one.place.device for one in probes}
        beneath = [one for one in self.watched.probes_beneath(active) if one.place.device not in read]
        # A snapshot that has overflowed answers with errors, and nobody who needs the volumes has lost anything.
        excused = {volume.device for volume in active if volumes.is_snapshot(volume.device)} if not self.lvname else set()
        self.guards.run(*probes, *beneath)
        # Nor by a volume that somebody has removed meanwhile: what is missing is for level 0 to tell.
        excused.update(volume.device for volume in active if not volume.present())
        for trouble in sorted((found for one in probes if (found := one.trouble())), key=storage.severity):
            if trouble.fails and trouble.place.device not in excused:
                self.watched.name_disks(trouble)
                raise trouble
            state = state.degraded(str(trouble))
        if state is ocf.RUNNING:
            for trouble in (found for one in beneath if (found := one.trouble())):
                state = state.degraded(f"beneath: {trouble}")
        return state

    def reads(self, active: list[volumes.Volume]) -> list[volumes.DeviceProbe]:
        """Return the reads that have to be answered: of each volume, or, where part of it may be missing and is, of what the rest is on."""
        whole = [volume for volume in active if not (self.partial_activation and volumes.incomplete(volume.device))]
        return [*self.watched.probes(whole), *self.watched.probes_beneath(volume for volume in active if volume not in whole)]

    @ocf.monitor(level=20, timeout="60s", interval="60s")
    def owned(self) -> ocf.State | None:
        """Ask the disks whether the volume group is still this node's."""
        from ocf_lab import lvm

        if self.vg_access_mode != SYSTEM_ID:
            return None
        try:
            tool = self.tool
            own = tool.own_id()
            beneath = {lower for volume in self.watched.active() for lower in volumes.physical(volume.device)}
            if not beneath:
                # An empty list of devices would be all devices to LVM.
                raise ocf.Error(f"no disk is beneath the volumes of VG {self.vgname}")
            tool.narrowing = ["--devices", ",".join(sorted(block.node(device) for device in beneath))]
            owner = tool.owner(min(OWNER_SECONDS, self.deadline.left()))
        except ocf.Error as error:
            return ocf.RUNNING.degraded(f"owner not checked: {error}")
        known = self.memory.get("own")
        if owner and owner == own:
            return None
        if not owner:
            return ocf.RUNNING.degraded(f"VG {self.vgname} is owned by nobody: vgchange --systemid sets an owner")
        if owner == known or not (own or known):
            # Nobody else has taken it.
            hint = lvm.transient_name(owner, own) if own else ""
            was = f", and was {known} when the VG was started" if known else ""
            return ocf.RUNNING.degraded(f"VG {self.vgname} is owned by {owner}; the system id here is {own or 'none'}{was}{hint}")
        raise ocf.Error(f"VG {self.vgname} is owned by {owner} and active here, where the system id is {own or known}")

    # Start.

    @ocf.action(timeout="90s")
    def start(self) -> None:
        self.bring_up()

    def await_ready(self) -> None:
        """Complete what is only partly there, and refuse what another node owns."""
        self.bring_up()

    def bring_up(self) -> None:
        """Activate what is not active, and prove that it is there and can be read; undo what could not be proven."""
        from ocf_lab import access, shutdown

        before = self.watched.here()
        self.refuse_suspended()
        tool = self.tool
        group = self.find(tool)
        self.check_mode(group)
        self.memory.update(vg=f"{group.name} {group.uuid}")
        wanted = self.wanted(group)
        if not before and set(wanted or group.lvs) <= group.skipped:
            raise ocf.Error(f"LVM is told to skip the activation of {self.what}: lvchange -kn {self.target}")
        there = {volume.lv_uuid for volume in before if not volume.hidden}
        if before and group.mode == SYSTEM_ID and self.vg_access_mode == SYSTEM_ID:
            access.refuse_foreign(group, tool)
        if any(uuid not in there for uuid in wanted.values()):
            try:
                access.activate(self, group, tool)
                self.verify(wanted, tool)
            except ocf.Error:
                self.undo(bool(before), tool)
                raise
        else:
            if self.vg_access_mode == SYSTEM_ID:
                access.turn_autoactivation_off(self, group, tool)
            self.verify(wanted, tool)
        found = [volume for volume in self.watched.here() if not volume.hidden]
        for volume in found:
            volume.kind = volumes.SNAPSHOT if volumes.is_snapshot(volume.device) else volumes.PLAIN
        own = access.own_id(tool) if self.vg_access_mode == SYSTEM_ID else None
        self.watched.remember(found, suspended=None, own=own)
        self.memory.update(queueing=self.watched.queueing())
        problem = shutdown.order(self)
        if problem:
            self.log.warning(problem)

    def refuse_suspended(self) -> None:
        volume = self.still_suspended()
        if volume:
            raise ocf.Error(f"LV {volume.path} is suspended: dmsetup resume {volume.name}")

    def still_suspended(self) -> volumes.Volume | None:
        """Return a volume that is suspended for longer than LVM itself needs, None where there is none."""
        patience = self.deadline.at_most(RESUME_SECONDS)
        while True:
            found = next((volume for volume in self.watched.here() if block.suspended(volume.device)), None)
            if not found or not patience.left():
                return found
            time.sleep(0.1)

    def find(self, tool: lvm.Lvm | None = None) -> lvm.VolumeGroup:
        """Return the VG as the disks have it.  Waits for storage that is away until half of the time is over: after an outage of the whole
        SAN the service comes back by itself.  What answers with errors is not waited for: this may be the only node that has lost it.
        """
        from ocf_lab import candidates, lvm

        tool = tool or self.tool
        patience, told, wait = self.deadline.part(0.5), "", candidates.PATIENCE_SECONDS
        while True:
            seen = self.narrow(tool, patience.at_most(wait))
            # What was late may only be slow: the next look gives it the time that a hang takes.
            wait = self.watched.limits().hung
            if namesakes := tool.namesakes(seen, self.deadline.left() / 4):
                raise ocf.Error(namesakes)
            try:
                group = tool.report(within=max(patience.left(), self.deadline.left() / 4)) if seen.pvs else None
                problem = self.missing(group, seen, tool) if group else f"{self.what} not found: {lvm.why_not_found(self.vgname, seen, {})}"
                if group and not problem:
                    return group
            except lvm.NotFound as error:
                if "requires lvmlockd" in str(error):
                    raise ocf.InvalidHere(f"VG {self.vgname} is shared: it needs lvmlockd, and use_lvmlockd = 1 in lvm.conf") from None
                why = lvm.why_not_found(self.vgname, seen, tool.settings())
                problem = f"VG {self.vgname} not found: {why}"
                if seen.of(self.vgname):
                    raise ocf.Error(f"{problem} ({error})") from None
            except (ocf.Hung, ocf.DeadlineExceeded) as error:
                if not (trouble := seen.trouble(self.vgname)):
                    raise
                problem = f"{trouble}; {error}"
            # A look that is cut short would take every disk for silent.
            if patience.left() < PAUSE_SECONDS + candidates.PATIENCE_SECONDS or seen.lost(self.vgname):
                raise ocf.Error(problem)
            if problem != told:
                told = problem
                self.log.warning(f"waiting for the storage: {problem}")
            time.sleep(PAUSE_SECONDS)

    def narrow(self, tool: lvm.Lvm, within: Deadline, trusted: Collection[str] = ()) -> candidates.Seen:
        """Let LVM see only disks that answer, now or, if `trusted`, a moment ago: one that does not would hold up every command."""
        from ocf_lab import candidates

        found = candidates.find()
        candidates.examine(found, self.watched.limits(), self.guards, within)
        seen = candidates.Seen(found)
        # Where all have answered LVM is left to its own configuration.
        tool.narrowing = seen.narrowing(candidates.devices_file(tool.settings()), trusted) if seen.troubled else []
        return seen

    def missing(self, group: lvm.VolumeGroup, seen: candidates.Seen, tool: lvm.Lvm) -> str:
        """Return what is wrong with a VG that misses physical volumes, "" where that is nothing or is allowed."""
        if not group.missing:
            return ""
        text = f"{len(group.missing)} of {len(group.pvs)} PVs of VG {group.name} are missing"
        hidden = [one.path for one in seen.pvs if one.pv_uuid in group.unseen]
        if hidden:
            return f"{text}, and {hidden[0]} is one, which LVM does not see: lvmdevices --adddev {hidden[0]}, or a filter in lvm.conf"
        # A disk that answers with errors is as good as missing: LVM is kept from it, and neither reads nor writes it.
        if silent := seen.silent(group.name):
            return f"{text}, and this does not answer: {silent}"
        if self.partial_activation or self.degraded_activation or self.majority_pvs:
            self.log.warning(text)
            return ""
        # LVM does not change the owner of what misses a disk, but with --majoritypvs.
        foreign = self.vg_access_mode == SYSTEM_ID and group.owner != tool.own_id()
        allowing = "majority_pvs, from LVM 2.03.20 on," if foreign else "partial_activation, degraded_activation or majority_pvs"
        return f"{text}: {', '.join(group.missing)}; {allowing} would allow that"

    def check_mode(self, group: lvm.VolumeGroup) -> None:
        """Raise where the VG's metadata, or LVM's settings on this node, do not fit vg_access_mode."""
        if group.exported:
            raise ocf.Error(f"VG {group.name} is exported: vgimport {group.name}")
        if self.lvname and self.lvname not in group.lvs:
            raise ocf.Error(f"VG {group.name} has no LV {self.lvname}; it has {', '.join(sorted(group.lvs)) or 'none'}")
        if self.lvname in group.snapshots:
            raise ocf.Error(f"LV {self.what} is a snapshot, which LVM activates and deactivates with its origin only: use that as lvname")
        if not group.lvs:
            raise ocf.Error(f"VG {group.name} has no LV")
        if self.vg_access_mode not in (TAGGING, group.mode):
            found = f"its metadata speak of {group.mode}" if group.mode else "nothing protects it"
            hint = "; vgchange --systemid sets an owner" if self.vg_access_mode == SYSTEM_ID and not group.mode else ""
            raise ocf.Error(f"VG {group.name} cannot be used with vg_access_mode={self.vg_access_mode}: {found}{hint}")

    def wanted(self, group: lvm.VolumeGroup) -> dict[str, str]:
        """Return the LVs to be active, names and identifiers; LVM passes over what is flagged (-k y), as thin snapshots are."""
        if self.lvname:
            return {self.lvname: group.lvs[self.lvname]}
        return {name: uuid for name, uuid in group.lvs.items() if name not in group.skipped}

    def verify(self, wanted: dict[str, str], tool: lvm.Lvm) -> None:
        """Raise unless every wanted LV is here, not suspended, and can be read."""
        from ocf_lab import lvm

        here = [volume for volume in self.watched.here() if not volume.hidden]
        found = {volume.lv_uuid for volume in here}
        gone = [name for name, uuid in wanted.items() if uuid not in found]
        if gone:
            hint = lvm.why_not_active(self.vgname, tool.settings())
            raise ocf.Error(f"LV {self.vgname}/{gone[0]} did not become active{hint}")
        self.refuse_suspended()
        self.verify_reads([volume for volume in here if not volumes.is_snapshot(volume.device)])

    def verify_reads(self, here: list[volumes.Volume]) -> None:
        """Raise unless every volume answers a read; one that is slow, on storage that answers others, has half of the time for it."""
        patience = self.deadline.part(0.5)
        while True:
            probes = self.reads(here)
            self.guards.run(*probes)
            troubles = sorted((trouble for one in probes if (trouble := one.trouble())), key=storage.severity)
            unread = next((one.trouble() for one in probes if one.error is not None), None)
            failed = next((trouble for trouble in troubles if trouble.fails), unread if not patience.left() else None)
            if failed:
                raise ocf.Error(f"active, but not readable: {failed}")
            if not unread:
                break
            time.sleep(PAUSE_SECONDS)
        for trouble in troubles:
            self.log.warning(str(trouble))

    def undo(self, partly: bool, tool: lvm.Lvm) -> None:
        """Deactivate what this start has activated, unless something was active before it."""
        if partly or not self.watched.here():
            return
        try:
            self.deactivate(tool, within=self.deadline.left() / 2)
        except ocf.Error as error:
            self.log.warning(f"undoing the start: {error}")

    # Stop.

    @ocf.action(timeout="90s")
    def stop(self) -> None:
        """Deactivate; where the storage is dead, remove the devices of closed volumes without it."""
        from ocf_lab import access

        self.refuse_known()
        tool = self.tool
        here = self.watched.here()
        beneath = {lower for volume in here for lower in volumes.physical(volume.device)}
        parts = [part for volume in here for part in volumes.parts(volume.device)]
        why = broken = self.broken()
        if hang := self.watched.await_readers():
            raise fencing_needed(hang)
        if not broken or self.vg_access_mode == LVMLOCKD or not self.removable():
            self.narrow(tool, self.deadline.at_most(OTHERS_SECONDS), trusted=beneath)
            why = self.deactivate_patiently(tool)
        removing = bool(self.watched.here())
        if removing:
            if self.vg_access_mode == LVMLOCKD:
                raise fencing_needed(why)
            self.remove_devices(why)
        elif why and (left := [part for part in parts if part.present() and not part.held()]):
            raise fencing_needed(f"LV {left[0].path} is still active; {why}")
        if broken and self.fence_on_io_error:
            raise fencing_needed(f"{broken} (fence_on_io_error is set)")
        if (broken or removing) and not storage.settled(beneath, self.deadline):
            raise fencing_needed(f"I/O is still in flight after {why}")
        access.release(self, tool, bool(broken))

    def refuse_known(self) -> None:
        """Raise at once where it is known that nothing could be released."""
        stuck = self.watched.stuck()
        if stuck:
            raise fencing_needed(stuck)
        volume = self.still_suspended()
        if volume:
            raise fencing_needed(f"LV {volume.path} is suspended; dmsetup resume {volume.name} resumes it")
        self.refuse_writers()

    def refuse_writers(self) -> None:
        writers = self.watched.writers()
        if writers:
            child = writers[0]
            raise fencing_needed(f"process {child.pid} ({child.target}) of {child.age:.0f} s ago may still write")

    def broken(self) -> str:
        """Return the error with which the storage answers, "" where it is well.  Raises where it does not answer."""
        here = [volume for volume in self.watched.here() if not volume.hidden]
        probes = self.watched.probes_beneath(here)
        self.guards.run(*probes, deadline=self.deadline.part(0.6))
        troubles = sorted((found for one in probes if (found := one.trouble())), key=storage.severity)
        for trouble in troubles:
            if isinstance(trouble, probe.StorageHung) or trouble.unanswered:
                raise fencing_needed(str(trouble))
        return next((str(trouble) for trouble in troubles if trouble.fails), "")

    def deactivate(self, tool: lvm.Lvm, within: float) -> None:
        from ocf_lab import access

        words = ["--config", access.tagged(self)] if self.vg_access_mode == TAGGING else []
        # By the names that they have now: they may have been renamed.
        names = {volume.path if self.lvname else volume.vg for volume in self.watched.here() if not volume.hidden}
        tool.change("lvchange", "-an", *words, *(sorted(names) or [self.target]), within=within)

    def deactivate_patiently(self, tool: lvm.Lvm) -> str:
        """Deactivate, and again while volumes are open for a moment; return why that did not work."""
        wait = self.deadline.at_most(OPEN_SECONDS)
        while True:
            try:
                self.deactivate(tool, within=self.deadline.left() / 3)
            except (ocf.Hung, ocf.DeadlineExceeded) as error:
                return str(error)
            except ocf.Error as error:
                why = str(error)
            else:
                return ""
            if not wait.left() or not any(words in why for words in OPEN):
                return why
            time.sleep(0.5)

    def removable(self) -> bool:
        """Return whether the devices can be removed without LVM.  A mirror that has lost a leg cannot, and LVM deactivates it."""
        from ocf_lab import dm

        try:
            return all(dm.targets(self, volume) <= set(REMOVABLE) for volume in self.watched.here())
        except ocf.Error:
            return True  # Which remove_devices will find out, and say.

    def remove_devices(self, why: str) -> None:
        """Remove the devices of linear and striped volumes, which needs no disk.  Raises where one is open, or is of another kind."""
        from ocf_lab import dm

        self.refuse_writers()
        for volume in self.watched.here():
            try:
                users, kinds = dm.users(self, volume), dm.targets(self, volume)
                if not users and kinds and kinds <= set(REMOVABLE):
                    dm.remove(self, volume)
            except ocf.Error as error:
                raise fencing_needed(f"LV {volume.path}: {error}; {why}") from None
            if users:
                raise fencing_needed(f"LV {volume.path} is open: {users}; {why}")
            if not kinds or not kinds <= set(REMOVABLE):
                raise fencing_needed(f"LV {volume.path} ({', '.join(sorted(kinds))}) cannot be removed without its disks; {why}")
            self.log.warning(f"removed the device of LV {volume.path} without LVM: {why}")

    def confirm_stopped(self) -> None:
        """Raise while something that this node began may still write."""
        self.refuse_writers()
