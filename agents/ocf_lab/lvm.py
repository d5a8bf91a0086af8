"""LVM commands: bounded, recorded, and answered for.  What they say becomes a VolumeGroup or a sentence for the administrator."""

from __future__ import annotations

import os
import re

from ocf_py.outcomes import CommandFailed, DeadlineExceeded, Error, Hung, NotInstalled

from . import block, candidates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocf_py.agent import Agent
    from ocf_py.commands import Finished

CONFIGURATION = "/etc/lvm"
HOSTNAME = "/etc/hostname"
LOCKS = "/run/lock/lvm"  # lvm.conf(5), global/locking_dir
BESIDE = ("WARNING", "Fix duplicate", "File descriptor", "Reading ")  # So begins what LVM says beside the cause of a failure.
WRITER, READER = "lvm", "lvm.report"  # The targets under which a command is recorded: one of each at a time.
# A comment, a string, a sign or a name in LVM's configuration.
WORD = re.compile(r"""\#[^\n]*|"(?:\\.|[^"\\])*"|'[^']*'|[{}=,\[\]]|[^\s"'{}=,\[\]#]+""")
CHANGE_PART = 0.8  # Of the time that is left, for a command that changes something: the rest is for undoing what it has not finished.
READ_ONLY = ("--foreign", "--nolocking", "--readonly")
SETTINGS = ("global/system_id_source", "local/system_id", "activation/volume_list", "activation/auto_activation_volume_list",
            "devices/use_devicesfile", "devices/devicesfile", "global/use_lvmlockd")  # fmt: skip


class NotFound(Error):
    """LVM sees no VG of this name; the text says what it said."""


class VolumeGroup:
    """A VG as LVM reports it, whoever owns it."""

    __slots__ = ("autoactivation", "clustered", "exported", "lock_type", "lvs", "missing", "name", "owner", "pvs", "skipped", "snapshots",
                 "tags", "unseen", "uuid")  # fmt: skip

    def __init__(self, report: dict[str, Any]) -> None:
        group = report["vg"][0]
        self.name, self.uuid = group["vg_name"], group["vg_uuid"].replace("-", "")
        self.owner, self.lock_type, self.tags = group["vg_systemid"], group["vg_lock_type"], group["vg_tags"].split(",")
        self.exported, self.clustered = bool(group["vg_exported"]), bool(group["vg_clustered"])
        self.autoactivation = bool(group["vg_autoactivation"])
        self.pvs: list[dict[str, str]] = report["pv"]
        self.missing = [pv["pv_uuid"] for pv in self.pvs if pv["pv_missing"]]
        # Others that are called missing are there again, and the metadata say so of them until vgextend --restoremissing.
        self.unseen = {pv["pv_uuid"].replace("-", "") for pv in self.pvs if pv["pv_name"] == "[unknown]"}
        self.skipped = {lv["lv_name"] for lv in report["lv"] if lv.get("lv_skip_activation")}
        self.snapshots = {lv["lv_name"] for lv in report["lv"] if "thicksnapshot" in lv.get("lv_role", "").split(",")}
        # A cache pool that caches nothing is no volume: LVM never activates it (tools/toollib.c, lv_change_activate).
        self.lvs = {lv["lv_name"]: lv["lv_uuid"].replace("-", "") for lv in report["lv"] if lv.get("lv_layout") != "cache,pool"}

    @property
    def mode(self) -> str:
        """Return the access mode that the metadata speaks of, "" where they speak of none."""
        if self.lock_type not in ("", "none"):
            return "lvmlockd"
        return "clvmd" if self.clustered else "system_id" if self.owner else ""


class Lvm:
    """LVM for one VG.  `narrowing` are options for every command: which devices it may see.

    `own` is the system id, and `configured` are settings, once they were asked for.
    """

    def __init__(self, agent: Agent, vg: str) -> None:
        self.agent, self.vg = agent, vg
        self.narrowing: list[str] = []
        self.own = ""
        self.configured: dict[str, str] = {}

    def change(self, command: str, *words: str, within: float | None = None) -> Finished:
        """Run a command that writes to the VG or activates.  Raises Error with what LVM says."""
        within = self.agent.deadline.left() * CHANGE_PART if within is None else within
        return self._run(command, *self.narrowing, *words, target=WRITER, writes=True, within=within)

    def ask(self, *words: str, within: float | None = None, target: str = READER) -> str:
        return self._run(*words, target=target, writes=False, within=within).out

    def _run(self, *argv: str, target: str, writes: bool, within: float | None) -> Finished:
        name = argv[1] if argv[0] == "lvm" else argv[0]
        try:
            return self.agent.run(*argv, target=target, writes=writes, within=within)
        except CommandFailed as error:
            raise CommandFailed(f"{name}: {said(error.finished)}", error.finished) from None
        except (DeadlineExceeded, Hung) as error:
            holder = lock_holder(self.vg)
            error.args = (f"{error}; the lock of VG {self.vg} is held by {holder}" if holder else str(error),)
            raise

    def report(self, within: float | None = None) -> VolumeGroup:
        """Return the VG, whoever owns it.

        Raises NotFound where LVM sees none, or more than one; NotInstalled where LVM is too old; Error where it does not answer.
        """
        import json

        fields = {"vg": "vg_name,vg_uuid,vg_systemid,vg_lock_type,vg_exported,vg_clustered,vg_tags,vg_autoactivation",
                  "pv": "pv_name,pv_uuid,pv_missing", "lv": "lv_name,lv_uuid,lv_layout,lv_role,lv_skip_activation", "pvseg": "vg_name",
                  "seg": "vg_name"}  # fmt: skip
        words = [word for name, wanted in fields.items() for word in ("--configreport", name, "-o", wanted)]
        try:
            out = self.ask("lvm", "fullreport", *READ_ONLY, "--reportformat", "json", *self.narrowing, *words, self.vg, within=within)
            return VolumeGroup(json.loads(out)["report"][0])
        except CommandFailed as error:
            # "Unrecognised field", "unrecognized option": LVM lists all fields before it says so.
            if "nrecogni" in getattr(error.finished, "err", ""):
                raise NotInstalled("this node's LVM is too old: it has to know --devices and autoactivation (2.03.12 or later)") from None
            raise NotFound(str(error)) from None
        except (ValueError, LookupError) as error:
            raise Error(f"lvm fullreport answered what cannot be read ({type(error).__name__})") from None

    def owner(self, within: float) -> str:
        """Return the VG's system id as it is on the disks.  Raises Error."""
        return self.ask("vgs", *READ_ONLY, *self.narrowing, "--noheadings", "-o", "vg_systemid", self.vg, within=within).strip()

    def namesakes(self, seen: candidates.Seen, within: float) -> str:
        """Return what is to be done where more than one VG has this name, "" where none has: LVM takes the one that is not foreign.

        A disk that LVM is told not to see does not count: a copy may be hidden so.
        """
        holding = [one for one in seen.of(self.vg) if one.vg_uuid]
        if len({one.vg_uuid for one in holding}) > 1:
            words = ("lvm", "pvs", *READ_ONLY, *self.narrowing, "--noheadings", "-o", "pv_uuid")
            visible = self.ask(*words, within=within).replace("-", "").split()
            holding = [one for one in holding if one.pv_uuid in visible]
        groups = {one.vg_uuid: one for one in holding}
        which = ", ".join(f"{identifier} on {one.path}" for identifier, one in sorted(groups.items()))
        return f"{len(groups)} VGs are called {self.vg} (vgrename UUID NEWNAME renames one): {which}" if len(groups) > 1 else ""

    def own_id(self) -> str:
        """Return this node's system id, "" where it has none.  LVM is asked where its files do not plainly say that it is the host name."""
        self.own = self.own or host_id() or self.ask("lvm", "systemid", target="lvm.config").partition("system ID:")[2].strip()
        return self.own

    def settings(self) -> dict[str, str]:
        """Return the settings of lvm.conf that keep a volume group from being found or activated; {} where LVM does not say."""
        if self.configured:
            return self.configured
        try:
            out = self.ask("lvmconfig", "--typeconfig", "full", *SETTINGS, within=5.0, target="lvm.config")
        except CommandFailed as error:
            # A setting that has no default and is not set makes it fail after it has shown the others.
            out = getattr(error.finished, "out", "")
        except Error:
            return {}
        pairs = [line.partition("=") for line in out.splitlines() if "=" in line]
        self.configured = {name.strip(): value.strip().strip('"') for name, _, value in pairs}
        return self.configured


def host_id() -> str:
    """Return the host name where that is this node's system id beyond doubt, else "" (lvmsystemid(7))."""
    found: set[str] = set()
    for path in (f"{CONFIGURATION}/{name}" for name in block.listing(CONFIGURATION) if name.endswith(".conf")):
        try:
            with open(path) as file:
                found.update(values(file.read(), "global/system_id_source"))
        except (OSError, ValueError):
            return ""
    name = os.uname().nodename
    # LVM leaves out other characters, and takes no name that other machines have too (lib/commands/toolcontext.c).
    plain = name[:1].isalnum() and all(c.isascii() and (c.isalnum() or c in "+_.-") for c in name) and not name.startswith("localhost")
    return name if found == {'"uname"'} and plain else ""


def values(text: str, setting: str) -> list[str]:
    """Return what a file in LVM's format sets "section/name" to, as it is written there, each time that it does (lvm.conf(5))."""
    words = [word for word in WORD.findall(text) if not word.startswith("#")]
    sections: list[str] = []
    found = []
    for before, word, after in zip(["", *words], words, [*words[1:], ""]):
        if word == "{":
            sections.append(before)
        elif word == "}":
            del sections[-1:]
        elif word == "=" and "/".join([*sections, before]) == setting:
            found.append(after)
    return found


def said(finished: object) -> str:
    """Return the cause among what LVM has printed: the first line that is no warning."""
    err, out, code = getattr(finished, "err", ""), getattr(finished, "out", ""), getattr(finished, "code", 0)
    lines = [line.strip() for line in (err or out).splitlines() if line.strip()]
    causes = [line for line in lines if not line.startswith(BESIDE) and ": open failed: " not in line] or lines
    return " ".join(causes[:1]) or f"exit code {code}"


def lock_holder(vg: str) -> str:
    """Return the processes that hold LVM's lock of a VG, "" where there are none: everything else waits for them without limit."""
    try:
        inode = os.stat(f"{LOCKS}/V_{vg}").st_ino
        with open("/proc/locks") as file:
            lines = [line.split() for line in file]
    except OSError:
        return ""
    pids = [line[4] for line in lines if len(line) > 5 and line[1] != "->" and line[5].rpartition(":")[2] == str(inode)]
    return f"process {', '.join(pids)}" if pids else ""


def why_not_found(vg: str, seen: candidates.Seen, settings: dict[str, str]) -> str:
    """Return the reason, with what to do, why LVM does not see a VG."""
    holding = seen.of(vg)
    listed = candidates.devices_file(settings)
    unlisted = [one.path for one in holding if listed is not None and one.pv_uuid not in listed]
    if unlisted:
        return f"{unlisted[0]} is not in LVM's devices file: lvmdevices --adddev {unlisted[0]}"
    if len({one.pv_uuid for one in holding}) < len(holding):
        return f"{holding[0].path} and {holding[1].path} have one PV identifier: a copy? Hide one (lvmdevices, or a filter in lvm.conf)"
    if holding:
        return f"{holding[0].path} holds it, and LVM does not see it: a filter in lvm.conf?"
    if trouble := seen.trouble(vg):
        return trouble
    return f"none of the {len(seen.answered)} disks of this node holds it; is the storage connected?"


def why_no_id(settings: dict[str, str]) -> str:
    source = settings.get("system_id_source", "none")
    if source in ("", "none"):
        return 'this node has no system id: set system_id_source = "uname" in lvm.conf'
    return f"this node has no system id: system_id_source is {source}, which gives none (host name {os.uname().nodename})"


def why_not_active(vg: str, settings: dict[str, str]) -> str:
    """Return the setting that keeps an LV from being activated although LVM did not complain."""
    listed = settings.get("volume_list")
    if listed is not None and f'"{vg}"' not in listed:
        return f"; volume_list in lvm.conf does not contain it: {listed}"
    return ""


def transient_name(owner: str, own: str) -> str:
    """Return a hint where the VG belongs to this node's lasting name, and this node goes by another one at the moment."""
    lasting = lasting_name(own)
    return f"; the host name {own} is transient: hostnamectl set-hostname {lasting}" if lasting and lasting == owner else ""


def lasting_name(own: str) -> str:
    """Return the name that this node has after its next boot where its system id is another name, "" where it is not."""
    try:
        with open(HOSTNAME) as file:
            lines = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    except OSError:
        return ""
    # LVM takes no name that other machines have too.
    lasting = "" if not lines or lines[0].startswith("localhost") else lines[0]
    return lasting if own == os.uname().nodename != lasting else ""
