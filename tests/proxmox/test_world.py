"""The modelled cluster in time: power, locks, HA, quorum and migrations, as clients of the API see them and as they were."""

from __future__ import annotations

import json

import pytest

from lab.proxmox.guests import NEVER, QUIT, SIGKILL, SIGTERM, Run
from lab.proxmox.migration import ABORTED, KILLED
from lab.proxmox.world import Memory, World
from tests.proxmox.asking import Lab, as_root, data, logged_in

LOCK_FILE = "can't lock file '/var/lock/qemu-server/lock-121.conf' - got timeout"


def ended(lab: Lab, upid: str, within: float = 90.0) -> tuple[str, float]:
    """Wait for a task and return its exit status and the seconds that it took, to a tenth."""
    began = lab.moment
    while lab.world.tasks[upid].running and lab.moment < began + within:
        lab.wait(0.1)
    task = lab.task(upid)
    return task.get("exitstatus", "running"), round(lab.moment - began, 1)


def alive(lab: Lab, vmid: int = 121) -> list[str]:
    return [run.node for run in lab.world.guests[vmid].living()]


def off_for_an_instant(runs: list[Run], begin: float, end: float) -> bool:
    """Tell whether there was a moment between two at which no process of the guest lived."""
    moments = [begin, *(run.ended for run in runs if run.ended is not None and begin <= run.ended <= end)]
    return any(not any(run.lived_at(moment) for run in runs) for moment in moments)


# Stop, start, reset.


# At which word the process goes; the parameters; how the task ends, after which time; what lives on.
@pytest.mark.parametrize("dies_at, stop_seconds, params, exitstatus, seconds, lives", [
    (QUIT, 1.0, {}, "OK", 1.1, []),
    (QUIT, 3.4, {}, "OK", 4.1, []),
    (QUIT, 70.0, {"timeout": "5"}, "OK", 6.1, []),
    (QUIT, 1.0, {"timeout": "0"}, "OK", 1.1, []),
    (SIGTERM, 1.0, {"timeout": "5"}, "OK", 6.1, []),
    (SIGTERM, 1.0, {}, "OK", 61.1, []),
    (SIGKILL, 1.0, {"timeout": "5"}, "OK", 16.1, []),
    (NEVER, 1.0, {"timeout": "5"}, "OK", 16.1, ["pve1"]),
])  # fmt: skip
def test_a_stop_takes_its_time(
    dies_at: str, stop_seconds: float, params: dict[str, str], exitstatus: str, seconds: float, lives: list[str],
) -> None:  # fmt: skip
    lab = logged_in()
    guest = lab.world.guests[121]
    guest.dies_at, guest.stop_seconds = dies_at, stop_seconds
    told, took = ended(lab, lab.power(121, "stop", **params))
    assert told == exitstatus and took == pytest.approx(seconds, abs=0.2)
    assert alive(lab) == lives
    assert lab.status(121)["status"] == ("running" if lives else "stopped")


def test_a_stop_that_lies() -> None:
    lab = logged_in()
    lab.world.guests[121].stop_lies = True
    assert ended(lab, lab.power(121, "stop"))[0] == "OK"
    assert lab.status(121)["status"] == "running"


def test_a_process_that_survives_sigkill_with_its_disks_in_files_is_forgotten_by_its_node() -> None:
    lab = as_root()
    lab.world.guests[121].dies_at, lab.world.guests[121].storage_holds = NEVER, False
    assert ended(lab, lab.power(121, "stop", timeout="5"))[0] == "OK"
    assert lab.status(121)["status"] == "stopped" and alive(lab) == ["pve1"]
    assert ended(lab, lab.power(121, "start"))[0] == "timeout waiting on systemd"


def test_nothing_has_happened_yet_when_a_request_is_answered() -> None:
    lab = logged_in()
    upid = lab.power(121, "stop", timeout="0")
    assert (lab.task(upid)["status"], lab.status(121)["status"]) == ("running", "running")


# What is asked of a guest in which state, and what comes of it: an error at once, or how the task ends.
@pytest.mark.parametrize("state, order, params, answer", [
    ("running", "stop", {}, "OK"),
    ("stopped", "stop", {}, "OK"),
    ("running", "start", {}, "VM 121 already running"),
    ("stopped", "start", {}, "OK"),
    ("running", "reset", {}, "OK"),
    ("stopped", "reset", {}, "500 VM 121 not running"),
    ("backup", "stop", {}, "VM is locked (backup)"),
    ("snapshot", "stop", {}, "VM is locked (snapshot)"),
    ("migrate", "stop", {}, "VM is locked (migrate)"),
    ("snapshot", "reset", {}, "VM is locked (snapshot)"),
    ("backup", "start", {}, "OK"),
    ("snapshot", "start", {}, "VM is locked (snapshot)"),
    ("flock", "stop", {}, LOCK_FILE),
    ("flock", "reset", {}, LOCK_FILE),
    ("template", "start", {}, "you can't start a vm if it's a template"),
    ("template", "stop", {}, "OK"),
    ("silent", "stop", {}, "OK"),
    ("silent", "reset", {}, "VM 121 qmp command 'system_reset' failed - got timeout"),
    ("broken", "start", {}, "start failed: QEMU exited with code 1"),
    ("absent", "stop", {}, "unable to find configuration file for VM 121 on node 'pve1'"),
    ("absent", "start", {}, "Configuration file 'nodes/pve1/qemu-server/121.conf' does not exist"),
    ("absent", "reset", {}, "500 unable to find configuration file for VM 121 on node 'pve1'"),
    ("backup", "stop", {"skiplock": "1"}, "OK"),
    ("snapshot", "reset", {"skiplock": "1"}, "OK"),
    ("flock", "stop", {"skiplock": "1"}, LOCK_FILE),
    ("inquorate", "start", {}, "500 cluster not ready - no quorum?"),
    ("inquorate", "stop", {}, "OK"),
])  # fmt: skip
def test_orders(state: str, order: str, params: dict[str, str], answer: str) -> None:
    lab = as_root()
    guest = lab.world.guests[121]
    if state in {"stopped", "broken", "template"} or (state == "inquorate" and order == "start"):
        lab.world.crash(121)
    if state in {"backup", "snapshot", "migrate"}:
        guest.lock = state
    if state == "flock":
        guest.locks_for("flock", 60)
    if state == "template":
        guest.change(template=True)
    if state == "silent":
        guest.silent = True
    if state == "broken":
        guest.start_fails = "start failed: QEMU exited with code 1"
    if state == "absent":
        guest.change(node="pve2")
    if state == "inquorate":
        lab.world.qdevice_votes = 0
        lab.world.partition([{"pve1"}, {"pve2"}])
    response = lab.ask("POST", f"/nodes/pve1/qemu/121/status/{order}", **params)
    if response.status != 200:
        assert f"{response.status} {response.reason}" == answer
    else:
        assert ended(lab, data(response))[0] == answer


def test_a_reset_keeps_the_process_and_is_remembered() -> None:
    lab = logged_in()
    pid = lab.status(121)["pid"]
    assert ended(lab, lab.power(121, "reset"))[0] == "OK"
    assert lab.status(121)["pid"] == pid
    (reset,) = lab.world.resets(121)
    assert (reset.node, reset.pid) == ("pve1", pid)


def test_a_lock_file_is_waited_for() -> None:
    lab = logged_in()
    lab.world.guests[121].locks_for("flock", 4)
    told, took = ended(lab, lab.power(121, "stop"))
    assert told == "OK" and took == pytest.approx(5.2, abs=0.3)
    lab.world.guests[222].locks_for("flock", 60)
    told, took = ended(lab, lab.power(222, "stop"))
    assert told == LOCK_FILE.replace("121", "222") and took == pytest.approx(10.1, abs=0.3)


def test_a_backup_unlocks_in_the_end() -> None:
    lab = logged_in()
    lab.world.guests[121].locks_for("backup", 4)
    assert lab.status(121)["lock"] == lab.row(121)["lock"] == "backup"
    lab.wait(5)
    assert "lock" not in lab.status(121)


def test_two_stops_at_once_do_no_harm() -> None:
    lab = logged_in()
    one, two = lab.power(121, "stop"), lab.power(121, "stop")
    assert ended(lab, one)[0] == ended(lab, two)[0] == "OK"


def test_a_shutdown_that_is_not_obeyed_holds_the_lock_file_until_it_is_overruled() -> None:
    lab = logged_in()
    pending = lab.world.shut_down(121, "pacemaker@pve")
    lab.wait(1)
    assert ended(lab, lab.power(121, "stop"))[0] == LOCK_FILE
    assert ended(lab, lab.power(121, "stop", **{"overrule-shutdown": "1"}))[0] == "OK"
    assert pending.exitstatus == "received interrupt"


def test_a_shutdown_is_obeyed_or_not() -> None:
    lab = logged_in()
    lab.world.guests[121].shutdown_seconds = 4.0
    assert ended(lab, lab.power(121, "shutdown"))[0] == "OK" and alive(lab) == []
    assert ended(lab, lab.power(222, "shutdown", timeout="5"))[0] == "VM quit/powerdown failed - got timeout"
    assert alive(lab, 222) == ["pve2"]


def test_anothers_shutdown_is_not_overruled_without_sys_modify() -> None:
    lab = logged_in()
    lab.world.shut_down(121)
    lab.wait(1)
    assert ended(lab, lab.power(121, "stop", **{"overrule-shutdown": "1"}))[0] == LOCK_FILE


@pytest.mark.parametrize("running, order, answer", [
    (True, "stop", "vzstop OK"),
    (False, "stop", "500 CT 300 not running"),
    (False, "start", "vzstart OK"),
    (True, "start", "500 CT 300 already running"),
    (True, "reset", "501 Method 'POST /nodes/pve1/lxc/300/status/reset' not implemented"),
])  # fmt: skip
def test_containers(running: bool, order: str, answer: str) -> None:
    lab = as_root()
    lab.world.add_guest(300, "box", "pve1", kind="lxc", running=running)
    response = lab.ask("POST", f"/nodes/pve1/lxc/300/status/{order}")
    if response.status != 200:
        assert f"{response.status} {response.reason}" == answer
    else:
        exitstatus, _ = ended(lab, data(response))
        assert f"{lab.task(data(response))['type']} {exitstatus}" == answer
        assert lab.status(300, kind="lxc")["status"] == ("stopped" if order == "stop" else "running")


def test_a_container_that_does_not_die_keeps_its_task_waiting() -> None:
    lab = as_root()
    lab.world.add_guest(300, "box", "pve1", kind="lxc").dies_at = NEVER
    assert ended(lab, lab.power(300, "stop", kind="lxc"), within=120)[0] == "running"
    assert lab.ask("POST", "/nodes/pve1/lxc/300/status/stop", timeout="5").status == 400


def test_a_real_back_end_has_the_last_word_on_what_runs() -> None:
    power = Memory()
    moment = 0.0
    world = World(lambda: moment, power)
    world.add_node("pve1")
    world.add_guest(121, "rhel1", "pve1")
    assert power.running(121) == world.runs(121)[0].pid
    moment = 5.0
    power.stop(121)
    world.advance()
    assert world.runs(121)[0].ended == 5.0
    pid = power.start(121)
    world.advance()
    assert [(run.pid, run.ended) for run in world.runs(121)][1:] == [(pid, None)]


# Quorum and what each node knows.


# Parts of the network, the QDevice's votes, and who is quorate.
@pytest.mark.parametrize("parts, votes, quorate", [
    ([{"pve1", "pve2"}], 1, {"pve1", "pve2"}),
    ([{"pve1"}, {"pve2"}], 1, {"pve1"}),
    ([{"pve1"}, {"pve2"}], 0, set()),
])  # fmt: skip
def test_quorum(parts: list[set[str]], votes: int, quorate: set[str]) -> None:
    lab = Lab()
    lab.world.qdevice_votes = votes
    lab.world.partition(parts)
    assert {name for name, node in lab.world.nodes.items() if node.quorate} == quorate
    lab.world.heal()
    assert all(node.quorate for node in lab.world.nodes.values())


def test_corosync_takes_a_while_to_miss_a_node() -> None:
    lab = as_root()
    lab.world.token_seconds = 4
    lab.world.nodes["pve1"].power = "dead"
    assert [row["online"] for row in lab.get("/cluster/status", "pve2")[1:]] == [1, 1]
    lab.wait(5)
    assert [row["online"] for row in lab.get("/cluster/status", "pve2")[1:]] == [0, 1]
    assert lab.get("/cluster/status", "pve2")[0]["quorate"] == 1


def test_a_part_without_quorum_knows_what_was() -> None:
    lab = as_root()
    lab.world.nodes["pve2"].isolated = True
    lab.world.guests[222].change(node="pve1", lock="backup")
    assert (lab.row(222, "pve1")["node"], lab.row(222, "pve2")["node"]) == ("pve1", "pve2")
    assert "lock" not in lab.row(222, "pve2")
    assert lab.status(222, "pve2", "pve2")["status"] == "running"
    lab.world.nodes["pve2"].isolated = False
    assert lab.row(222, "pve2")["node"] == "pve1"


def test_the_list_of_guests_is_behind() -> None:
    lab = logged_in()
    lab.wait(15)
    lab.world.crash(121)
    assert (lab.row(121)["status"], lab.status(121)["status"]) == ("running", "stopped")
    lab.wait(10)
    assert lab.row(121)["status"] == "stopped"


def test_a_dead_nodes_guests_run_on_in_the_list_for_five_minutes() -> None:
    lab = logged_in()
    lab.wait(15)
    lab.world.nodes["pve2"].power = "dead"
    assert alive(lab, 222) == []
    lab.wait(280)
    assert lab.row(222)["status"] == "running" and lab.get("/nodes")[1]["status"] == "offline"
    lab.wait(30)
    assert lab.row(222)["status"] == "unknown" and "name" not in lab.row(222)


def test_a_dying_node_ends_its_tasks_and_guests() -> None:
    lab = logged_in()
    lab.world.guests[121].dies_at = NEVER
    upid = lab.power(121, "stop")
    lab.wait(3)
    lab.world.nodes["pve1"].power = "dead"
    assert alive(lab) == [] and lab.world.runs(121)[0].ended == lab.moment
    lab.wait(60)
    lab.world.nodes["pve1"].power = "on"
    assert lab.task(upid)["exitstatus"] == "unexpected status"
    assert lab.status(121)["status"] == "stopped" and lab.world.guests[121].flocks == {}


# HA.


def ha_lab(seed: int = 0) -> Lab:
    lab = as_root()
    lab.world.guests[121].ha = "started"
    lab.world.guests[121].change(ha_state="started")
    lab.wait(seed)
    return lab


@pytest.mark.parametrize("phase", range(0, 20, 3))
def test_a_stop_by_ha_is_queued_at_once_and_done_later(phase: int) -> None:
    lab = ha_lab(phase)
    assert lab.status(121)["ha"] == {"managed": 1, "state": "started"}
    began = lab.moment
    upid = lab.power(121, "stop")
    told, took = ended(lab, upid)
    assert told == "OK" and took < 1 and lab.task(upid)["type"] == "hastop"
    assert alive(lab) == ["pve1"]
    while alive(lab):
        lab.wait(0.1)
    assert 1 < lab.moment - began < 25
    lab.wait(120)
    assert alive(lab) == []
    assert lab.status(121)["ha"] == {"managed": 1, "state": "stopped"} and lab.world.guests[121].ha == "stopped"


def test_a_guest_that_ha_stopped_starts_through_ha() -> None:
    lab = ha_lab()
    lab.power(121, "stop")
    lab.wait(60)
    upid = lab.power(121, "start")
    assert ended(lab, upid)[0] == "OK" and lab.task(upid)["type"] == "hastart"
    lab.wait(30)
    assert alive(lab) == ["pve1"]


def test_ha_restarts_what_ended_by_itself() -> None:
    lab = ha_lab()
    lab.world.crash(121)
    assert lab.status(121)["status"] == "stopped"
    lab.wait(15)
    assert lab.status(121)["status"] == "running" and len(lab.world.runs(121)) == 2


def test_ha_does_not_see_a_reset() -> None:
    lab = ha_lab()
    assert lab.task(lab.power(121, "reset"))["type"] == "qmreset"


def test_a_shutdown_cannot_be_overruled_for_an_ha_guest() -> None:
    answer = ha_lab().ask("POST", "/nodes/pve1/qemu/121/status/stop", **{"overrule-shutdown": "1"})
    assert json.loads(answer.body or b"")["errors"] == {"overrule-shutdown": "Not applicable for HA resources."}


def test_an_ignored_guest_is_stopped_without_ha() -> None:
    lab = ha_lab()
    lab.world.guests[121].ha = "ignored"
    assert lab.task(lab.power(121, "stop"))["type"] == "qmstop"


def test_a_stop_by_ha_that_fails_is_an_error() -> None:
    lab = ha_lab()
    lab.world.guests[121].dies_at = NEVER
    lab.power(121, "stop")
    lab.wait(150)
    assert lab.status(121)["ha"]["state"] == "error" and alive(lab) == ["pve1"]


def test_without_quorum_a_stop_by_ha_cannot_even_be_queued() -> None:
    lab = ha_lab()
    lab.world.qdevice_votes = 0
    lab.world.partition([{"pve1"}, {"pve2"}])
    exitstatus, _ = ended(lab, lab.power(121, "stop"))
    assert exitstatus == "command 'ha-manager crm-command stop vm:121 0' failed: exit code 255"
    assert alive(lab) == ["pve1"]


def test_ha_recovers_the_guests_of_a_dead_node_after_two_minutes() -> None:
    lab = ha_lab()
    lab.world.nodes["pve1"].power = "dead"
    lab.wait(75)
    assert lab.row(121, "pve2")["node"] == "pve1" and lab.row(121, "pve2")["hastate"] == "fence"
    lab.wait(75)
    assert lab.row(121, "pve2")["node"] == "pve2" and alive(lab) == ["pve2"]
    first, second = lab.world.runs(121)
    assert first.ended is not None and second.began - first.ended > 110


def test_a_node_that_comes_back_before_recovery_starts_its_guests_again() -> None:
    lab = ha_lab()
    lab.world.nodes["pve1"].power = "dead"
    lab.wait(80)
    lab.world.nodes["pve1"].power = "on"
    lab.wait(30)
    assert alive(lab) == ["pve1"] and lab.status(121)["ha"]["state"] == "started"


def test_an_isolated_node_runs_its_guest_until_the_watchdog_fires_and_then_says_stopped_while_it_runs_elsewhere() -> None:
    lab = ha_lab()
    lab.world.guests[121].change(lock="backup")
    lab.world.nodes["pve1"].isolated = True
    lab.wait(50)
    assert alive(lab) == ["pve1"] and lab.status(121, "pve1", "pve1")["status"] == "running"
    lab.wait(15)
    assert alive(lab) == [] and lab.world.nodes["pve1"].reach == "black hole"
    lab.wait(95)
    assert alive(lab) == ["pve2"] and lab.world.guests[121].lock == ""
    assert lab.status(121, "pve1", "pve1")["status"] == "stopped"
    assert lab.row(121, "pve1")["node"] == "pve1" and lab.row(121, "pve2")["node"] == "pve2"
    assert lab.get("/cluster/status", "pve1")[0]["quorate"] == 0


def test_a_watchdog_that_does_not_fire_leaves_two_processes() -> None:
    lab = ha_lab()
    lab.world.nodes["pve1"].watchdog = False
    lab.world.nodes["pve1"].isolated = True
    lab.wait(160)
    assert alive(lab) == ["pve1", "pve2"]


def test_a_node_without_ha_guests_has_no_watchdog() -> None:
    lab = logged_in()
    lab.world.nodes["pve1"].isolated = True
    lab.wait(300)
    assert alive(lab) == ["pve1"]


# Migrations.


def test_a_live_migration_hands_over() -> None:
    lab = as_root()
    began = lab.moment
    task = lab.world.migrate(121, "pve2", seconds=8)
    lab.wait(0.5)
    assert lab.status(121, "pve1")["lock"] == "migrate" and alive(lab) == ["pve1"]
    lab.wait(4)
    assert alive(lab) == ["pve1", "pve2"] and lab.status(121)["status"] == "running"
    assert lab.ask("GET", "/nodes/pve2/qemu/121/status/current").status == 500
    lab.wait(4.8)
    # The configuration has moved, the source's process is not gone yet, the lock still stands.
    assert lab.status(121, "pve2")["lock"] == "migrate" and alive(lab) == ["pve1", "pve2"]
    assert lab.ask("GET", "/nodes/pve1/qemu/121/status/current").status == 500
    lab.wait(2)
    assert task.exitstatus == "OK" and alive(lab) == ["pve2"] and "lock" not in lab.status(121, "pve2")
    assert not off_for_an_instant(lab.world.runs(121), began, lab.moment)


def test_a_stop_at_the_source_meets_the_lock_file_and_one_just_after_the_hand_over_the_lock() -> None:
    lab = as_root()
    lab.world.migrate(121, "pve2", seconds=20)
    lab.wait(1)
    assert ended(lab, lab.power(121, "stop", "pve1", skiplock="1"))[0] == LOCK_FILE
    while lab.world.guests[121].node == "pve1":
        lab.wait(0.05)
    assert ended(lab, lab.power(121, "stop", "pve2"))[0] == "VM is locked (migrate)"
    assert alive(lab) == ["pve1", "pve2"] or alive(lab) == ["pve2"]


def test_a_stop_ordered_before_the_hand_over_finds_the_guest_gone() -> None:
    lab = as_root()
    lab.world.migrate(121, "pve2", seconds=5)
    lab.wait(1)
    assert ended(lab, lab.power(121, "stop", "pve1"))[0] == "unable to find configuration file for VM 121 on node 'pve1'"
    assert alive(lab) == ["pve2"]


@pytest.mark.parametrize("fault", [ABORTED, KILLED, "target dies", "source isolated"])
def test_a_migration_that_fails_leaves_the_guest_where_it_was(fault: str) -> None:
    lab = as_root()
    task = lab.world.migrate(121, "pve2", seconds=6, fails=fault if fault in {ABORTED, KILLED} else "")
    lab.wait(3)
    if fault == "target dies":
        lab.world.nodes["pve2"].power = "dead"
    if fault == "source isolated":
        lab.world.nodes["pve1"].isolated = True
    lab.wait(10)
    assert alive(lab) == ["pve1"] and lab.world.guests[121].node == "pve1"
    assert task.exitstatus == ("unexpected status" if fault == KILLED else "migration aborted")
    assert lab.world.guests[121].lock == ("migrate" if fault in {KILLED, "source isolated"} else "")
    assert lab.world.guests[121].flocks == {}
    if fault == KILLED:
        assert ended(lab, lab.power(121, "stop"))[0] == "VM is locked (migrate)"


def test_without_quorum_nothing_migrates() -> None:
    lab = as_root()
    lab.world.nodes["pve1"].isolated = True
    task = lab.world.migrate(121, "pve2")
    lab.wait(1)
    assert task.exitstatus == "cluster not ready - no quorum?" and lab.world.guests[121].lock == ""


def test_a_source_that_dies_takes_both_processes_along() -> None:
    lab = as_root()
    lab.world.migrate(121, "pve2", seconds=6)
    lab.wait(3)
    lab.world.nodes["pve1"].power = "dead"
    assert alive(lab) == [] and lab.world.guests[121].lock == "migrate"


def test_a_stopped_guest_moves_without_a_process() -> None:
    lab = as_root()
    lab.world.crash(121)
    task = lab.world.migrate(121, "pve2", live=False, seconds=2)
    lab.wait(4)
    assert task.exitstatus == "OK" and lab.status(121, "pve2")["status"] == "stopped" and len(lab.world.runs(121)) == 1


def test_a_running_container_is_off_for_a_moment_when_it_moves() -> None:
    lab = as_root()
    lab.world.add_guest(300, "box", "pve1", kind="lxc")
    began = lab.moment
    lab.world.migrate(300, "pve2", seconds=2)
    lab.wait(5)
    assert alive(lab, 300) == ["pve2"] and off_for_an_instant(lab.world.runs(300), began, lab.moment)


# The model itself.


def test_the_same_seed_gives_the_same_world() -> None:
    def history() -> list[tuple[str, float, float | None]]:
        lab = ha_lab()
        lab.power(121, "stop")
        lab.wait(60)
        return [(run.node, run.began, run.ended) for run in lab.world.runs(121)]

    assert history() == history()


def test_events_happen_at_their_own_time_however_late_they_are_looked_at() -> None:
    lab = logged_in()
    began = lab.moment
    lab.power(121, "stop", timeout="5")
    lab.wait(3600)
    run = lab.world.runs(121)[0]
    assert run.ended == pytest.approx(began + 1.02) and run.lived_at(began + 1) and not run.lived_at(began + 1.1)


def test_many_guests_cost_little() -> None:
    lab = as_root()
    for vmid in range(1000, 3000):
        lab.world.add_guest(vmid, f"vm{vmid}", "pve2")
    lab.wait(60)
    assert len(lab.get("/cluster/resources", type="vm")) == 2002
