"""What LVM's answers are taken for, and what is said where a volume group is not found or not activated."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from ocf_lab import access, candidates, lvm, lvm_activate, probe, shutdown, volumes
from ocf_py.commands import Finished
from ocf_py.deadline import Deadline
from ocf_py.outcomes import RUNNING, CommandFailed, DeadlineExceeded, Error, NotInstalled

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocf_lab.lvm_activate import LvmActivate
    from ocf_py.agent import Agent


def report(**changed: str) -> dict[str, list[dict[str, str]]]:
    """Return a report as `lvm fullreport --reportformat json` of 2.03.16 gives it."""
    group = {"vg_name": "vg", "vg_uuid": "RyuBTV-liWy-52eL-S6PJ-Gfp2-0NLe-CTMAnq", "vg_systemid": "rhel1", "vg_lock_type": "",
             "vg_exported": "", "vg_clustered": "", "vg_tags": "", "vg_autoactivation": "enabled", **changed}  # fmt: skip
    pvs = [{"pv_name": "/dev/loop0", "pv_uuid": "PyCnSy-D74e-awc6-A1XY-OWPh-y24k-bcivim", "pv_missing": ""},
           {"pv_name": "[unknown]", "pv_uuid": "POBNMc-NI6F-BpBu-oRAD-fUeP-6h29-NAFvM7", "pv_missing": "missing"}]  # fmt: skip
    return {"vg": [group], "pv": pvs, "lv": [{"lv_name": "a", "lv_uuid": "lg700a-SFGH-YWYE-1pH7-ivbM-B8sN-7PjuzH"}], "pvseg": [], "seg": []}


def test_a_report_becomes_a_group() -> None:
    group = lvm.VolumeGroup(report(vg_tags="one,two"))
    assert (group.uuid, group.owner, group.autoactivation) == ("RyuBTVliWy52eLS6PJGfp20NLeCTMAnq", "rhel1", True)
    assert (group.missing, len(group.pvs)) == (["POBNMc-NI6F-BpBu-oRAD-fUeP-6h29-NAFvM7"], 2)
    assert group.unseen == {"POBNMcNI6FBpBuoRADfUeP6h29NAFvM7"}
    assert group.lvs == {"a": "lg700aSFGHYWYE1pH7ivbMB8sN7PjuzH"}
    assert group.tags == ["one", "two"]
    assert group.skipped == set()


def test_volumes_that_lvm_passes_over_are_not_waited_for() -> None:
    """`lvcreate -k y`, which thin snapshots have by default; the field's value is that of 2.03.16."""
    told = report()
    told["lv"].append({"lv_name": "snap", "lv_uuid": "x", "lv_skip_activation": "skip activation"})
    assert lvm.VolumeGroup(told).skipped == {"snap"}


def test_a_cache_pool_that_caches_nothing_is_no_volume() -> None:
    """`lvconvert --splitcache` leaves one; LVM activates it never, and says nothing of that."""
    told = report()
    told["lv"].append({"lv_name": "fast", "lv_uuid": "x", "lv_layout": "cache,pool"})
    assert set(lvm.VolumeGroup(told).lvs) == {"a"}


def test_thick_snapshots_are_known() -> None:
    """Thin ones are volumes of their own; the fields' values are those of 2.03.16."""
    told = report()
    told["lv"] += [{"lv_name": "thick", "lv_uuid": "x", "lv_role": "public,snapshot,thicksnapshot"},
                   {"lv_name": "thin", "lv_uuid": "y", "lv_role": "public,snapshot,thinsnapshot"}]  # fmt: skip
    assert lvm.VolumeGroup(told).snapshots == {"thick"}


@pytest.mark.parametrize(
    "changed, mode",
    [
        ({}, "system_id"),
        ({"vg_systemid": ""}, ""),
        ({"vg_systemid": "", "vg_lock_type": "dlm"}, "lvmlockd"),
        ({"vg_systemid": "", "vg_lock_type": "sanlock"}, "lvmlockd"),
        ({"vg_systemid": "", "vg_lock_type": "idm"}, "lvmlockd"),
        ({"vg_lock_type": "none"}, "system_id"),
        ({"vg_systemid": "", "vg_clustered": "clustered"}, "clvmd"),
    ],
)
def test_l16_the_access_mode_of_the_metadata(changed: dict[str, str], mode: str) -> None:
    """The stock agent knows dlm alone, and refuses the other lock types on every node."""
    assert lvm.VolumeGroup(report(**changed)).mode == mode


@pytest.mark.parametrize(
    "err, cause",
    [
        ('  WARNING: VG two is missing PV x.\n  Volume group "nope" not found\n  Cannot process volume group nope\n',
         'Volume group "nope" not found'),
        ("  WARNING: lvmlockd process is not running.\n  Reading VG vg without a lock.\n  VG vg start failed\n", "VG vg start failed"),
        ("  WARNING: only this\n", "WARNING: only this"),
        ("  /dev/drbd0: open failed: Wrong medium type\n  Cannot access VG vg\n", "Cannot access VG vg"),
        ("", "exit code 5"),
    ],
)  # fmt: skip
def test_the_cause_among_what_lvm_prints(err: str, cause: str) -> None:
    assert lvm.said(Finished(["lvm"], 5, "", err, 0.1)) == cause


def candidate(number: int, pv: str, vg: str) -> candidates.Candidate:
    one = candidates.Candidate(f"7:{number}", f"loop{number}")
    one.pv_uuid, one.vg = pv, vg
    return one


def test_why_a_group_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = tmp_path / "system.devices"
    monkeypatch.setattr(candidates, "DEVICES", str(tmp_path))
    holding, other = candidate(201, "p" * 32, "vg"), candidate(202, "q" * 32, "other")
    listing.write_text(f"IDTYPE=x PVID={other.pv_uuid}\n")

    def why(*found: candidates.Candidate, **settings: str) -> str:
        return lvm.why_not_found("vg", candidates.Seen(list(found)), settings)

    assert "lvmdevices --adddev" in why(holding, other, use_devicesfile="1")
    assert "a filter in lvm.conf?" in why(holding, other, use_devicesfile="0")
    assert "one PV identifier" in why(holding, candidate(203, "p" * 32, "vg"), use_devicesfile="0")
    assert "none of the 1 disks" in why(other)
    assert "none of the 0 disks" in why()
    dead = candidates.Candidate("7:204", "loop204", {"other"})
    dead.trouble = probe.StorageError("I/O error: of somebody else's disk", probe.Place("disk", "loop204", "7:204"))
    assert "is the storage connected?" in why(dead)
    dead.holders = {"vg"}
    assert why(dead).startswith("I/O error")


@pytest.mark.parametrize("activate", [access.by_tag, access.locked])
def test_settings_that_lvm_does_not_tell_bar_no_node(activate: Callable[[LvmActivate, lvm.VolumeGroup, lvm.Lvm], None]) -> None:
    """InvalidHere and NotInstalled would: Pacemaker tries no other time on this node."""
    tool = cast("lvm.Lvm", SimpleNamespace(settings=dict))
    with pytest.raises(Error, match="does not tell its settings") as raised:
        activate(cast("LvmActivate", SimpleNamespace()), lvm.VolumeGroup(report()), tool)
    assert raised.type is Error


def test_hints() -> None:
    assert 'set system_id_source = "uname"' in lvm.why_no_id({})
    assert "machineid" in lvm.why_no_id({"system_id_source": "machineid"})
    assert "volume_list" in lvm.why_not_active("vg", {"volume_list": '["other"]'})
    assert lvm.why_not_active("vg", {"volume_list": '["vg"]'}) == ""
    assert lvm.why_not_active("vg", {}) == ""


def test_who_holds_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lvm, "LOCKS", str(tmp_path))
    assert lvm.lock_holder("vg") == ""
    with open(tmp_path / "V_vg", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert lvm.lock_holder("vg") == f"process {os.getpid()}"


class Answering:
    """An agent whose commands all end with 3 and these words."""

    def __init__(self, err: str) -> None:
        self.err = err

    def run(self, *argv: str, **_: object) -> Finished:
        raise CommandFailed("", Finished(list(argv), 3, "", self.err, 0.1))


class Saying:
    """An agent whose commands all end well and say this."""

    def __init__(self, out: str) -> None:
        self.out = out

    def run(self, *argv: str, **_: object) -> Finished:
        return Finished(list(argv), 0, self.out, "", 0.1)


def test_two_groups_of_one_name_are_told_apart() -> None:
    # No kernel has so many loop devices: their names would be told where they exist.
    first, second = candidate(900201, "p" * 32, "vg"), candidate(900202, "q" * 32, "vg")
    first.vg_uuid, second.vg_uuid = "one", "two"
    seen = candidates.Seen([first, second])
    listed = [f"  {'-'.join((pv[:6], *(pv[n : n + 4] for n in range(6, 26, 4)), pv[26:]))}\n" for pv in ("p" * 32, "q" * 32)]

    def told(vg: str, pvs: list[str]) -> str:
        return lvm.Lvm(cast("Agent", Saying("".join(pvs))), vg).namesakes(seen, 1.0)

    assert told("vg", listed) == "2 VGs are called vg (vgrename UUID NEWNAME renames one): one on /dev/7:900201, two on /dev/7:900202"
    assert told("vg", listed[:1]) == "", "the other is hidden from LVM"
    second.vg_uuid = "one"
    assert told("vg", listed) == ""
    assert told("other", listed) == ""


@pytest.mark.parametrize(
    "err, wanted",
    [
        ("  \n  Volume Group Fields\n    vg_all  - All\n  Unrecognised field: vg_autoactivation\n", NotInstalled),
        ("lvm: unrecognized option '--devices'\n  Error during parsing of command line.\n", NotInstalled),
        ('  Volume group "vg" not found\n', lvm.NotFound),
    ],
)
def test_an_lvm_that_is_too_old(err: str, wanted: type[Exception]) -> None:
    with pytest.raises(wanted):
        lvm.Lvm(cast("Agent", Answering(err)), "vg").report()


CONF = """
# global {{ system_id_source = "none" }}
devices {{
    scan = [ "/dev", 'a "b" {{' ]
}}
global {{
    # This configuration option has no default value.  system_id_source = "none"
    {0}
    umask = 63
}}
"""


@pytest.mark.parametrize(
    "files, known",
    [
        ({"lvm.conf": CONF.format('system_id_source = "uname"')}, True),
        ({"lvm.conf": 'global/system_id_source="uname"\n'}, True),
        ({"lvm.conf": CONF.format("umask = 7"), "lvmlocal.conf": 'global { system_id_source = "uname" }'}, True),
        ({"lvm.conf": CONF.format('system_id_source = "uname"'), "lvmlocal.conf": 'local { system_id = "a" }'}, True),
        ({"lvm.conf": CONF.format('system_id_source = "uname"'), "lvmlocal.conf": 'global { system_id_source = "none" }'}, False),
        ({"lvm.conf": CONF.format('system_id_source = "uname"\nsystem_id_source = "none"')}, False),
        ({"lvm.conf": CONF.format('system_id_source = "uname"'), "lvm_tag.conf": 'global/system_id_source = "lvmlocal"'}, False),
        ({"lvm.conf": CONF.format('system_id_source = "machineid"')}, False),
        ({"lvm.conf": CONF.format('# system_id_source = "uname"')}, False),
        ({"lvm.conf": 'local { system_id_source = "uname" }'}, False),
        ({"lvm.conf": 'x = "global/system_id_source = \\"uname\\""'}, False),
        ({"lvm.conf": ""}, False),
        ({}, False),
    ],
)
def test_a_system_id_that_is_the_host_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], known: bool) -> None:
    monkeypatch.setattr(lvm, "CONFIGURATION", str(tmp_path))
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert lvm.host_id() == (os.uname().nodename if known else "")


@pytest.mark.parametrize("name", ["localhost", "localhost.localdomain", "-node", "node_ä", "a b", ""])
def test_host_names_that_lvm_changes_or_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(lvm, "CONFIGURATION", str(tmp_path))
    (tmp_path / "lvm.conf").write_text('global/system_id_source = "uname"')
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", name, "", "", "")))
    assert lvm.host_id() == ""


def test_lvm_is_asked_where_its_files_do_not_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lvm, "CONFIGURATION", str(tmp_path))
    assert lvm.Lvm(cast("Agent", Saying("  system ID: from-a-file\n")), "vg").own_id() == "from-a-file"
    assert lvm.Lvm(cast("Agent", Saying("  system ID: \n")), "vg").own_id() == ""


@pytest.mark.parametrize("mode, left", [("lvmlockd", "the lockspace of VG vg is left"), ("tagging", "the tag of VG vg is left")])
def test_what_cannot_be_given_back_fails_no_stop(monkeypatch: pytest.MonkeyPatch, mode: str, left: str) -> None:
    monkeypatch.setattr(volumes, "scan", list)
    warnings: list[str] = []
    agent = SimpleNamespace(
        run=Answering("  VG vg stop failed\n").run, vgname="vg", tag="pacemaker", vg_access_mode=mode, deadline=Deadline.after(10.0),
        log=SimpleNamespace(warning=warnings.append),
    )  # fmt: skip
    access.release(cast("LvmActivate", agent), lvm.Lvm(cast("Agent", agent), "vg"), False)
    [warning] = warnings
    assert left in warning


def test_the_shutdown_is_ordered_also_where_systemd_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdown, "SYSTEMD", str(tmp_path))
    monkeypatch.setattr(shutdown, "DROP_IN", str(tmp_path / "resource-agents-deps.target.d/99-LVM-activate.conf"))
    told: list[str] = []

    def run(*argv: str, **_: object) -> None:
        told.append(argv[-1])
        raise DeadlineExceeded("systemctl is slow")

    agent = cast("Agent", SimpleNamespace(run=run))
    assert "slow to take the order" in shutdown.order(agent)
    assert Path(shutdown.DROP_IN).read_text() == "[Unit]\nAfter=blk-availability.service\n"
    assert told == ["blk-availability.service", "daemon-reload"]
    assert shutdown.order(agent) == ""


def test_a_transient_host_name_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is written to the disks, and after."""
    monkeypatch.setattr(lvm, "HOSTNAME", str(tmp_path / "hostname"))
    name = os.uname().nodename
    assert lvm.lasting_name(name) == "", "there is no such file"
    (tmp_path / "hostname").write_text("rhel1\n")
    assert (lvm.lasting_name(name), lvm.lasting_name("from-a-file")) == ("rhel1", "")
    assert ("hostnamectl set-hostname rhel1" in lvm.transient_name("rhel1", name), lvm.transient_name("rhel2", name)) == (True, "")
    warnings: list[str] = []
    agent = SimpleNamespace(
        run=Saying("").run, majority_pvs=False, deadline=Deadline.after(10.0), log=SimpleNamespace(info=str, warning=warnings.append)
    )
    access.take_over(cast("LvmActivate", agent), lvm.VolumeGroup(report(vg_systemid="rhel2")), name, lvm.Lvm(cast("Agent", agent), "vg"))
    [warning] = warnings
    assert f"VG vg gets a transient host name for its owner: hostnamectl set-hostname {name} makes it last" in warning
    for text in ("# set by the installer\n\nrhel1\n", "rhel1"):
        (tmp_path / "hostname").write_text(text)
        assert lvm.lasting_name(name) == "rhel1"
    (tmp_path / "hostname").write_text("localhost.localdomain\n")
    assert lvm.lasting_name(name) == "", "LVM would take no such name"
    (tmp_path / "hostname").write_text(f"{name}\n")
    assert lvm.lasting_name(name) == ""


@pytest.mark.parametrize(
    "said, tries",
    [("Logical volume vg/a in use.", 2), ("Logical volume vg/a is used by another device.", 2), ("Volume group vg not found", 1)],
)
def test_a_stop_is_patient_with_what_is_open(monkeypatch: pytest.MonkeyPatch, said: str, tries: int) -> None:
    """By udev, or by a partition table that somebody maps for a moment (lib/activate/activate.c)."""
    monkeypatch.setattr(lvm_activate, "OPEN_SECONDS", 0.3)
    told: list[float] = []

    def deactivate(tool: lvm.Lvm, within: float) -> None:
        told.append(within)
        raise Error(said)

    agent = SimpleNamespace(deadline=Deadline.after(10.0), deactivate=deactivate)
    assert lvm_activate.LvmActivate.deactivate_patiently(cast("LvmActivate", agent), cast("lvm.Lvm", None)) == said
    assert len(told) == tries


class Read:
    """A read as `reads` returns it: answered, answered late, or not answered."""

    def __init__(self, text: str = "", answered: bool = True) -> None:
        self.problem = probe.Ailing(text, probe.Place("LV", "vg/a")) if text else None
        self.error = None if answered else self.problem

    def trouble(self) -> probe.Trouble | None:
        return self.problem


@pytest.mark.parametrize("rounds, error", [
    ([[Read()]], ""),
    ([[Read("slow: read took 2 s")]], ""),
    ([[Read(), Read("storage slow: read unanswered", answered=False)], [Read(), Read()]], ""),
    ([[Read("overloaded", answered=False)]] * 9, "active, but not readable: overloaded"),
])  # fmt: skip
def test_a_start_has_read_every_volume(monkeypatch: pytest.MonkeyPatch, rounds: list[list[Read]], error: str) -> None:
    monkeypatch.setattr(lvm_activate, "PAUSE_SECONDS", 0.1)
    told: list[str] = []
    coming = iter(rounds)
    agent = SimpleNamespace(
        deadline=Deadline.after(1.0), reads=lambda _: next(coming), guards=SimpleNamespace(run=lambda *_: None),
        log=SimpleNamespace(warning=told.append),
    )  # fmt: skip

    def verify() -> None:
        lvm_activate.LvmActivate.verify_reads(cast("LvmActivate", agent), [])

    if error:
        with pytest.raises(Error, match=error):
            verify()
        return
    verify()
    assert not list(coming), "and no more often than it has to"
    assert told == [one.problem.args[0] for one in rounds[-1] if one.problem]


@pytest.mark.parametrize("there", [True, False])
def test_a_volume_that_is_removed_while_it_is_read_is_no_failure(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    """An old volume, or a backup's snapshot: what has needed it does not any more."""
    volume = SimpleNamespace(device="253:7", path="vg/old", present=lambda: there)
    gone = probe.StorageError("I/O error: ENODEV No such device: LV vg/old", probe.Place("LV", "vg/old", "253:7"))
    one = SimpleNamespace(place=gone.place, trouble=lambda: gone)
    for name in ("is_snapshot", "incomplete"):
        monkeypatch.setattr(volumes, name, lambda _: False)
    agent = SimpleNamespace(
        watched=SimpleNamespace(active=lambda: [volume], probes_beneath=lambda _: [], name_disks=lambda _: None), reads=lambda _: [one],
        lvname="", guards=SimpleNamespace(run=lambda *_: None),
    )  # fmt: skip

    def look() -> object:
        return lvm_activate.LvmActivate.readable(cast("LvmActivate", agent))

    if there:
        with pytest.raises(probe.StorageError, match="ENODEV"):
            look()
    else:
        assert repr(look()) == repr(RUNNING.degraded(str(gone)))


@pytest.mark.parametrize("own, known, owner, verdict", [
    ("rhel1", "rhel1", "rhel1", ""), ("", "rhel1", "rhel1", "190"), ("dhcp-7", "rhel1", "rhel1", "190"), ("", "", "rhel2", "190"),
    ("rhel1", "rhel1", "rhel2", "1"), ("", "rhel1", "rhel2", "1"), ("rhel1", "", "rhel2", "1"), ("rhel1", "rhel1", "", "190"),
])  # fmt: skip
def test_who_owns_the_group(monkeypatch: pytest.MonkeyPatch, own: str, known: str, owner: str, verdict: str) -> None:
    """By what the disks say, this node's system id now, and the one that it had at the start."""
    monkeypatch.setattr(volumes, "physical", lambda _: ["8:0"])
    agent = SimpleNamespace(
        tool=SimpleNamespace(own_id=lambda: own, owner=lambda _: owner, narrowing=[]), vgname="vg", deadline=Deadline.after(5.0),
        watched=SimpleNamespace(active=lambda: [SimpleNamespace(device="253:0")]), memory={"own": known},
        vg_access_mode=lvm_activate.SYSTEM_ID,
    )  # fmt: skip

    def look() -> object:
        return lvm_activate.LvmActivate.owned(cast("LvmActivate", agent))

    if verdict == "1":
        with pytest.raises(Error, match=f"owned by {owner} and active here"):
            look()
    else:
        assert bool(look()) is (verdict == "190")
