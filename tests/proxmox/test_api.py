"""The API's answers: what is told to whom, every form of error, and calls that a node hands on to another."""

from __future__ import annotations

import json

import pytest

from lab.proxmox.api import Unanswered
from lab.proxmox.world import World
from tests.proxmox.asking import AUDIT, POWER, Lab, as_root, data, logged_in

VM = "/nodes/pve1/qemu/121"
STOP, START, RESET, CURRENT = f"{VM}/status/stop", f"{VM}/status/start", f"{VM}/status/reset", f"{VM}/status/current"
UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"


# Who asks, what, and the answer: status, reason phrase, errors by parameter.
@pytest.mark.parametrize("who, method, path, params, status, reason, errors", [
    ("user", "GET", "/nowhere", {}, 501, "Method 'GET /nowhere' not implemented", None),
    ("user", "PUT", CURRENT, {}, 501, f"Method 'PUT {CURRENT}' not implemented", None),
    ("user", "GET", "/cluster/status", {}, 403, "Permission check failed (/, Sys.Audit)", None),
    ("user", "GET", "/nodes/pve1/status", {}, 403, "Permission check failed (/nodes/pve1, Sys.Audit)", None),
    # Rights come before existence, and before the form of parameters.
    ("user", "GET", "/nodes/pve1/qemu/999/status/current", {}, 403, "Permission check failed (/vms/999, VM.Audit)", None),
    ("user", "POST", "/nodes/pve1/qemu/x/status/stop", {}, 403, "Permission check failed (/vms/x, VM.PowerMgmt)", None),
    ("root", "GET", "/nodes/pve1/qemu/x/status/current", {}, 400, "Parameter verification failed.",
     {"vmid": "type check ('integer') failed - got 'x'"}),
    ("root", "GET", "/nodes/pve1/qemu/99/status/current", {}, 400, "Parameter verification failed.",
     {"vmid": "invalid format - value does not look like a valid VM ID\n"}),
    ("root", "GET", "/nodes/pve1/qemu/999/status/current", {}, 500,
     "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist", None),
    ("root", "GET", "/nodes/pve2/qemu/121/status/current", {}, 500,
     "Configuration file 'nodes/pve2/qemu-server/121.conf' does not exist", None),
    ("root", "GET", "/nodes/pve1/lxc/121/status/current", {}, 500, "Configuration file 'nodes/pve1/lxc/121.conf' does not exist", None),
    ("root", "POST", "/nodes/pve2/qemu/121/status/reset", {}, 500, "unable to find configuration file for VM 121 on node 'pve2'", None),
    ("root", "GET", "/nodes/pve3/qemu/121/status/current", {}, 500,
     "hostname lookup 'pve3' failed - failed to get address info for: pve3: Name or service not known", None),
    ("user", "POST", STOP, {"timeout": "soon"}, 400, "Parameter verification failed.",
     {"timeout": "type check ('integer') failed - got 'soon'"}),
    ("user", "POST", STOP, {"timeout": "-1"}, 400, "Parameter verification failed.", {"timeout": "value must have a minimum value of 0"}),
    ("user", "POST", STOP, {"overrule-shutdown": "yes"}, 400, "Parameter verification failed.",
     {"overrule-shutdown": "type check ('boolean') failed - got 'yes'"}),
    ("user", "POST", STOP, {"force": "1"}, 400, "Parameter verification failed.", {"force": UNKNOWN}),
    ("user", "POST", STOP, {"vmid": "222"}, 400, "Parameter verification failed.",
     {"vmid": "duplicate parameter (already defined in URI) with conflicting values!"}),
    ("user", "POST", STOP, {"skiplock": "1"}, 400, "Parameter verification failed.", {"skiplock": "Only root may use this option."}),
    ("user", "POST", START, {"skiplock": "1"}, 400, "Parameter verification failed.", {"skiplock": "Only root may use this option."}),
    ("user", "POST", RESET, {"skiplock": "1"}, 400, "Parameter verification failed.", {"skiplock": "Only root may use this option."}),
    ("user", "POST", STOP, {"keepActive": "1"}, 400, "Parameter verification failed.", {"keepActive": "Only root may use this option."}),
    ("token", "POST", STOP, {"skiplock": "1"}, 400, "Parameter verification failed.", {"skiplock": "Only root may use this option."}),
    ("user", "GET", "/cluster/resources", {"type": "guest"}, 400, "Parameter verification failed.",
     {"type": "value 'guest' does not have a value in the enumeration 'vm, storage, node, sdn'"}),
    ("user", "GET", "/nodes/pve1/tasks/UPID:x/status", {}, 400, "Parameter verification failed.", {"upid": "unable to parse worker upid"}),
    ("user", "GET", "/nodes/pve1/tasks/UPID:pve1:0001E240:00A1B2C3:66F0A1F0:qmstop:121:pacemaker@pve:/status", {}, 400,
     "Parameter verification failed.", {"upid": "no such task"}),
    # Fine, although they look like the ones above.
    ("user", "POST", STOP, {"skiplock": "0", "timeout": "0", "overrule-shutdown": "1"}, 200, "OK", None),
    ("root", "POST", STOP, {"skiplock": "1"}, 200, "OK", None),
    ("user", "POST", STOP, {"vmid": "121", "node": "pve1"}, 200, "OK", None),
    ("user", "GET", "//nodes/pve1//qemu/121/status/current/", {"_dc": "1"}, 200, "OK", None),
])  # fmt: skip
def test_answers(who: str, method: str, path: str, params: dict[str, str], status: int, reason: str, errors: dict[str, str] | None) -> None:
    lab = Lab()
    if who == "token":
        lab.world.add_token("root@pam", "t", "secret", privsep=False)
        lab.use_token("root@pam!t", "secret")
    else:
        lab.login(*{"user": ("pacemaker@pve", "right"), "root": ("root@pam", "root")}[who])
    answer = lab.ask(method, path, **params)
    assert (answer.status, answer.reason, answer.delay) == (status, reason, 0.0)
    body = json.loads(answer.body or b"")
    assert body.get("errors") == errors
    assert (body["data"] is None) == (status != 200)
    if status != 200:
        assert body["message"].startswith(reason)


def test_older_servers_put_no_text_into_the_body() -> None:
    lab = logged_in()
    lab.world.error_message = False
    assert lab.ask("GET", "/cluster/status").body == b'{"data":null}'
    assert json.loads(lab.ask("POST", STOP, force="1").body or b"") == {"data": None, "errors": {"force": UNKNOWN}}


def test_older_servers_do_not_know_how_to_overrule_a_shutdown() -> None:
    lab = logged_in()
    lab.world.overrule_shutdown = False
    answer = lab.ask("POST", STOP, **{"overrule-shutdown": "1"})
    assert (answer.status, json.loads(answer.body or b"")["errors"]) == (400, {"overrule-shutdown": UNKNOWN})
    assert lab.post(STOP)


# What is told to whom.


def test_a_user_without_sys_audit_sees_all_nodes_but_no_numbers() -> None:
    lab = logged_in()
    for rows in (lab.get("/nodes"), lab.get("/cluster/resources", type="node")):
        assert [(row["node"], row["status"], row["level"], "maxcpu" in row) for row in rows] == [
            ("pve1", "online", "", False), ("pve2", "online", "", False)]  # fmt: skip
    assert len(lab.get("/nodes")[0]["ssl_fingerprint"].split(":")) == 32
    lab.world.grant("/nodes/pve2", "pacemaker@pve", "Sys.Audit")
    assert ["maxcpu" in row for row in lab.get("/nodes")] == [False, True]


def test_resources_without_a_type_are_guests_and_nodes() -> None:
    lab = logged_in()
    assert [row["id"] for row in lab.get("/cluster/resources")] == ["qemu/121", "qemu/222", "node/pve1", "node/pve2"]
    assert lab.get("/cluster/resources", type="storage") == []


def test_guests_without_vm_audit_are_left_out() -> None:
    lab = logged_in()
    lab.world.add_guest(300, "secret", "pve1")
    assert [row["vmid"] for row in lab.get("/cluster/resources", type="vm")] == [121, 222]
    assert [row["vmid"] for row in lab.get("/nodes/pve1/qemu")] == [121]
    lab.world.grant("/vms", "pacemaker@pve")
    lab.world.grant("/vms/121", "pacemaker@pve")
    assert lab.get("/nodes/pve1/qemu") == []


def test_a_guests_row_and_status() -> None:
    lab = logged_in()
    lab.wait(100)
    row = lab.row(121)
    expected = {"id": "qemu/121", "type": "qemu", "vmid": 121, "node": "pve1", "name": "rhel1", "status": "running", "template": 0}
    assert expected.items() <= row.items()
    status = lab.status(121)
    expected = {"vmid": 121, "name": "rhel1", "status": "running", "qmpstatus": "running", "ha": {"managed": 0}, "uptime": 100}
    assert expected.items() <= status.items()
    assert status["pid"] == lab.world.runs(121)[0].pid
    assert "lock" not in status and "template" not in status
    config = lab.get(f"{VM}/config")
    assert (config["name"], config["smbios1"]) == ("rhel1", f"uuid={lab.world.guests[121].config.uuid}")


def test_a_stopped_guest_has_no_pid() -> None:
    lab = logged_in()
    lab.world.crash(121)
    status = lab.status(121)
    assert (status["status"], status["qmpstatus"], status["uptime"], "pid" in status) == ("stopped", "stopped", 0, False)


def test_a_paused_guest_runs_but_the_list_says_what_qemu_says() -> None:
    lab = logged_in()
    lab.world.runs(121)[0].qmp = "paused"
    lab.wait(15)
    assert (lab.status(121)["status"], lab.status(121)["qmpstatus"], lab.row(121)["status"]) == ("running", "paused", "paused")


def test_containers_are_listed_apart() -> None:
    lab = as_root()
    lab.world.add_guest(300, "box", "pve1", kind="lxc")
    assert [row["vmid"] for row in lab.get("/nodes/pve1/lxc")] == [300]
    assert [row["vmid"] for row in lab.get("/nodes/pve1/qemu")] == [121]
    assert lab.get("/nodes/pve1/lxc/300/config")["hostname"] == "box"
    assert "qmpstatus" not in lab.status(300, kind="lxc")
    lab.wait(15)
    assert lab.row(300)["id"] == "lxc/300"


def test_templates_and_locks_are_told() -> None:
    lab = as_root()
    lab.world.add_guest(300, "golden", "pve1", template=True, lock="clone")
    lab.wait(15)
    assert lab.row(300).items() >= {"template": 1, "lock": "clone", "status": "stopped"}.items()
    assert lab.status(300).items() >= {"template": 1, "lock": "clone", "status": "stopped"}.items()
    assert lab.get("/nodes/pve1/qemu/300/config").items() >= {"template": 1, "lock": "clone"}.items()


def test_ha_status() -> None:
    lab = as_root()
    lab.world.guests[121].ha = "started"
    quorum, service = lab.get("/cluster/ha/status/current")
    assert (quorum["quorate"], service["sid"], service["state"], service["node"]) == (1, "vm:121", "started", "pve1")
    lab.world.guests[121].ha = "ignored"
    assert lab.status(121)["ha"] == {"managed": 0} and lab.row(121)["hastate"] == "ignored"


def test_a_nodes_own_status() -> None:
    assert as_root().get("/nodes/pve2/status")["pveversion"].startswith("pve-manager/9.2.11/")


def test_cluster_status() -> None:
    lab = as_root()
    cluster, one, two = lab.get("/cluster/status", "pve2")
    assert (cluster["name"], cluster["quorate"], cluster["nodes"]) == ("lab", 1, 2)
    assert [(row["name"], row["ip"], row["online"], row["local"]) for row in (one, two)] == [
        ("pve1", "127.0.0.11", 1, 0), ("pve2", "127.0.0.12", 1, 1)]  # fmt: skip


def test_a_single_host_has_no_cluster() -> None:
    lab = Lab()
    lab.world = World(lambda: lab.moment)
    lab.world.add_node("alone")
    lab.api = type(lab.api)(lab.world)
    lab.login("root@pam", "root", "alone")
    (row,) = lab.get("/cluster/status", "alone")
    assert (row["type"], row["name"], row["online"]) == ("node", "alone", 1)
    assert lab.world.nodes["alone"].quorate


# Tasks.


def test_a_task_is_told_to_who_started_it() -> None:
    lab = logged_in()
    upid = lab.power(121, "stop")
    task = lab.task(upid)
    assert (task["status"], task["type"], task["id"], task["user"], task["node"]) == ("running", "qmstop", "121", "pacemaker@pve", "pve1")
    assert "exitstatus" not in task and upid.split(":")[2] == f"{task['pid']:08X}"
    lab.wait(5)
    assert (lab.task(upid)["status"], lab.task(upid)["exitstatus"]) == ("stopped", "OK")
    assert lab.get(f"/nodes/pve1/tasks/{upid}/log")[-1]["t"] == "TASK OK"
    assert [row["upid"] for row in lab.get("/nodes/pve1/tasks", vmid="121")] == [upid]


def test_a_token_sees_its_own_tasks_and_its_owner_sees_them_too() -> None:
    lab = Lab()
    lab.use_token()
    by_token = lab.power(121, "stop")
    assert (lab.task(by_token)["user"], lab.task(by_token)["tokenid"]) == ("pacemaker@pve", "fence")
    lab.login()
    assert lab.task(by_token)
    by_user = lab.power(222, "stop")
    lab.use_token()
    answer = lab.ask("GET", f"/nodes/pve2/tasks/{by_user}/status")
    assert (answer.status, answer.reason) == (403, "Permission check failed (/nodes/pve2, Sys.Audit)")


def test_a_task_is_known_at_its_own_node_only() -> None:
    lab = logged_in()
    upid = lab.power(222, "stop")
    answer = lab.ask("GET", f"/nodes/pve1/tasks/{upid}/status")
    assert json.loads(answer.body or b"")["errors"] == {"upid": "no such task"}


def test_the_clock_of_a_tasks_node_may_be_ahead() -> None:
    lab = logged_in()
    lab.world.nodes["pve2"].clock_skew = 90
    first, second = lab.task(lab.power(121, "stop")), lab.task(lab.power(222, "stop"))
    assert second["starttime"] - first["starttime"] == 90


# One node asked for another.


@pytest.mark.parametrize("fault, status, reason, delay", [
    ({"power": "dead"}, 595, "Connection timed out", 30.0),
    ({"api": "black hole"}, 595, "Connection timed out", 30.0),
    ({"api": "unreachable"}, 595, "No route to host", 3.0),
    ({"power": "dead", "api": "unreachable"}, 595, "No route to host", 3.0),
    ({"api": "refusing"}, 595, "Connection refused", 0.01),
    ({"isolated": True}, 595, "Connection timed out", 30.0),
    ({"slow": 40}, 596, "Connection timed out", 30.0),
    ({"daemon": "refusing"}, 595, "Connection refused", 0.01),
    ({"daemon": "hung"}, 596, "Connection timed out", 30.0),
])  # fmt: skip
def test_a_call_that_does_not_reach_the_other_node(fault: dict[str, object], status: int, reason: str, delay: float) -> None:
    lab = logged_in()
    for name, value in fault.items():
        setattr(lab.world.nodes["pve2"], name, value)
    answer = lab.ask("GET", "/nodes/pve2/qemu/222/status/current")
    assert (answer.status, answer.reason, answer.body, answer.delay) == (status, reason, None, delay)
    # What is answered by the node that was asked does not care.
    for path in ("/version", "/nodes", "/cluster/resources", "/access/permissions"):
        assert lab.ask("GET", path).delay == 0.0


def test_rights_are_checked_before_the_call_is_handed_on() -> None:
    lab = logged_in()
    lab.world.nodes["pve2"].power = "dead"
    lab.world.grant("/vms/222", "pacemaker@pve", AUDIT)
    answer = lab.ask("POST", "/nodes/pve2/qemu/222/status/stop")
    assert (answer.status, answer.reason, answer.delay) == (403, f"Permission check failed (/vms/222, {POWER})", 0.0)


def test_parameters_are_checked_by_the_node_that_answers() -> None:
    lab = logged_in()
    lab.world.nodes["pve2"].slow = 1.5
    answer = lab.ask("POST", "/nodes/pve2/qemu/222/status/stop", force="1")
    assert (answer.status, answer.delay) == (400, 1.5)


def test_a_slow_node_is_slow_at_both_ends() -> None:
    lab = logged_in()
    lab.world.nodes["pve1"].slow, lab.world.nodes["pve2"].slow = 0.5, 2.0
    assert [lab.ask("GET", "/nodes/pve2/qemu/222/status/current", entry).delay for entry in ("pve1", "pve2")] == [2.5, 2.0]


def test_what_was_handed_on_too_slowly_is_done_all_the_same() -> None:
    lab = logged_in()
    lab.world.nodes["pve2"].slow = 31
    assert lab.ask("POST", "/nodes/pve2/qemu/222/status/stop").status == 596
    lab.wait(5)
    lab.world.nodes["pve2"].slow = 0
    assert lab.status(222)["status"] == "stopped"


def test_a_name_that_resolves_is_taken_for_a_node() -> None:
    lab = logged_in()
    lab.world.hosts["rhel1"] = "refusing"
    answer = lab.ask("GET", "/nodes/rhel1/qemu/121/status/current")
    assert (answer.status, answer.reason, answer.body) == (595, "Connection refused", None)


def test_a_client_of_a_node_that_does_not_answer() -> None:
    lab = logged_in()
    for fault, reach in (("black hole", "black hole"), ("unreachable", "unreachable"), ("refusing", "refusing")):
        lab.world.nodes["pve1"].api = fault
        with pytest.raises(Unanswered, match=reach):
            lab.ask("GET", "/version")
    lab.world.nodes["pve1"].api = "up"
    lab.world.nodes["pve1"].power = "dead"
    with pytest.raises(Unanswered, match="black hole"):
        lab.ask("GET", "/version")


def test_qemu_that_does_not_answer_makes_a_status_late_and_keeps_it_running() -> None:
    lab = logged_in()
    lab.world.guests[121].silent = True
    answer = lab.ask("GET", CURRENT)
    assert (answer.delay, data(answer)["status"], data(answer)["qmpstatus"]) == (3.0, "running", "running")
