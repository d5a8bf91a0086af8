"""Logins, tickets, tokens and rights."""

from __future__ import annotations

import json

import pytest

from lab.proxmox.access import EVERYTHING, Access, BadLogin
from tests.proxmox.asking import AUDIT, POWER, SECRET, Lab, as_root, data, logged_in


def test_a_login_gives_ticket_csrf_token_and_capabilities() -> None:
    found = Lab().login()
    assert found["username"] == "pacemaker@pve"
    assert found["ticket"].startswith("PVE:pacemaker@pve:6AB13B80::")
    assert found["CSRFPreventionToken"].startswith("6AB13B80:")
    assert found["cap"]["vms"] == {AUDIT: 1, POWER: 1}
    assert "clustername" not in found and "NeedTFA" not in found


def test_who_may_audit_the_cluster_learns_its_name() -> None:
    assert Lab().login("root@pam", "root")["clustername"] == "lab"


@pytest.mark.parametrize("userid, password", [
    ("pacemaker@pve", "wrong"),
    ("pacemaker@pve", ""),
    ("nobody@pve", "right"),
    ("pacemaker", "right"),
    ("off@pve", "right"),
])  # fmt: skip
def test_a_refused_login_is_late_and_says_nothing(userid: str, password: str) -> None:
    lab = Lab()
    lab.world.add_user("off@pve", "right", enabled=False)
    answer = lab.ask("POST", "/access/ticket", username=userid, password=password)
    assert (answer.status, answer.reason, answer.delay) == (401, "authentication failure", 3.0)
    assert json.loads(answer.body or b"") == {"data": None, "message": "authentication failure\n"}


def test_the_realm_may_be_given_apart() -> None:
    assert Lab().post("/access/ticket", username="pacemaker", realm="pve", password="right")["username"] == "pacemaker@pve"


def test_login_without_a_password_is_a_wrong_parameter() -> None:
    answer = Lab().ask("POST", "/access/ticket", username="pacemaker@pve")
    assert (answer.status, json.loads(answer.body or b"")["errors"]) == (400, {"password": "property is missing and it is not optional"})


def test_a_ticket_serves_as_password() -> None:
    lab = Lab()
    assert lab.login(password=lab.login()["ticket"])["username"] == "pacemaker@pve"


def test_a_ticket_holds_at_every_node_and_for_two_hours() -> None:
    lab = logged_in()
    assert lab.get("/version", "pve2")["version"] == "9.2.11"
    lab.wait(7100)
    assert lab.get("/version", "pve2")
    lab.wait(200)
    assert lab.ask("GET", "/version").status == 401


def test_a_ticket_of_a_clock_far_ahead_is_not_accepted_elsewhere() -> None:
    lab = Lab()
    lab.world.nodes["pve1"].clock_skew = 400
    lab.login()
    assert lab.ask("GET", "/version", "pve1").status == 200
    assert lab.ask("GET", "/version", "pve2").status == 401


def test_a_ticket_that_waits_for_a_second_factor_opens_nothing() -> None:
    lab = Lab()
    lab.world.add_user("careful@pve", "right", tfa=True)
    found = lab.login("careful@pve")
    assert found["NeedTFA"] == 1 and found["ticket"].startswith("PVE:!tfa!") and "cap" not in found
    assert lab.ask("GET", "/version").status == 401


@pytest.mark.parametrize("headers, reason", [
    ({}, "No ticket"),
    ({"cookie": "PVEAuthCookie=PVE:root@pam:6AB13B80::Zm9yZ2Vk"}, "Authentication failed!"),
    ({"cookie": "PVEAuthCookie=nonsense"}, "Authentication failed!"),
    ({"cookie": "OtherCookie=x"}, "No ticket"),
    ({"authorization": f"PVEAPIToken=pacemaker@pve!fence={SECRET[:-1]}"}, "Authentication failed!"),
    ({"authorization": f"PVEAPIToken=pacemaker@pve!gone={SECRET}"}, "Authentication failed!"),
    ({"authorization": f"PVEAPIToken=pacemaker@pve={SECRET}"}, "Authentication failed!"),
    ({"authorization": "PVEAPIToken=pacemaker@pve!fence"}, "Authentication failed!"),
    ({"authorization": f"PVEAPIToken=nobody@pve!fence={SECRET}"}, "Authentication failed!"),
])  # fmt: skip
def test_bad_credentials_are_answered_late_and_without_a_body(headers: dict[str, str], reason: str) -> None:
    lab = Lab(headers=headers)
    answer = lab.ask("GET", "/version")
    assert (answer.status, answer.reason, answer.body, answer.delay) == (401, reason, None, 3.0)


def test_older_servers_name_the_ticket() -> None:
    lab = Lab(headers={"cookie": "PVEAuthCookie=nonsense"})
    lab.world.bad_ticket = "permission denied - invalid PVE ticket"
    assert lab.ask("GET", "/version").reason == "permission denied - invalid PVE ticket"


def test_a_ticket_in_the_authorization_header_or_escaped_in_the_cookie_is_found() -> None:
    lab = Lab()
    ticket = lab.login()["ticket"]
    lab.headers = {"authorization": f"PVEAuthCookie={ticket}"}
    assert lab.get("/version")
    lab.headers = {"cookie": f"theme=dark; PVEAuthCookie={ticket.replace(':', '%3A').replace('=', '%3D')}; x=y"}
    assert lab.get("/version")


@pytest.mark.parametrize("token", ["", "6AB13B80:forged", "nonsense", "00000000:forged"])
def test_writing_needs_the_csrf_token(token: str) -> None:
    lab = logged_in()
    lab.headers["csrfpreventiontoken"] = token
    assert lab.get("/version")
    answer = lab.ask("POST", "/nodes/pve1/qemu/121/status/stop")
    assert (answer.status, answer.reason, answer.body, answer.delay) == (401, "Permission denied - invalid csrf token", None, 3.0)
    lab.wait(30)
    assert lab.status(121)["status"] == "running"


def test_a_token_needs_no_csrf_token_and_cannot_log_in() -> None:
    lab = Lab()
    lab.use_token()
    assert lab.power(121, "stop").endswith(":qmstop:121:pacemaker@pve!fence:")
    answer = lab.ask("POST", "/access/ticket", username="pacemaker@pve", password="right")
    assert answer.status == 403
    assert answer.reason == "Permission check failed (URI '/access/ticket' not available with API token, need proper ticket."


def test_a_disabled_user_loses_ticket_and_tokens() -> None:
    lab = logged_in()
    lab.world.access.users["pacemaker@pve"].enabled = False
    assert lab.ask("GET", "/version").status == 401
    lab.use_token()
    assert lab.ask("GET", "/version").status == 401


@pytest.mark.parametrize("privsep, of_user, of_token, rights", [
    (True, (AUDIT, POWER), (AUDIT, POWER), {AUDIT, POWER}),
    (True, (AUDIT, POWER), (AUDIT,), {AUDIT}),
    (True, (AUDIT,), (AUDIT, POWER), {AUDIT}),
    (True, (AUDIT, POWER), (), set()),
    (False, (AUDIT, POWER), (), {AUDIT, POWER}),
    (False, (), (AUDIT, POWER), set()),
])  # fmt: skip
def test_a_separated_token_has_what_both_have(privsep: bool, of_user: tuple[str, ...], of_token: tuple[str, ...], rights: set[str]) -> None:
    lab = Lab()
    lab.world.add_user("u@pve", "x")
    lab.world.add_token("u@pve", "t", "secret", privsep)
    lab.world.grant("/vms/121", "u@pve", *of_user)
    lab.world.grant("/vms/121", "u@pve!t", *of_token)
    lab.use_token("u@pve!t", "secret")
    assert set(lab.get("/access/permissions", path="/vms/121")["/vms/121"]) == rights


@pytest.mark.parametrize("grants, path, rights", [
    ([("/", True, (AUDIT,))], "/vms/121", {AUDIT}),
    ([("/", False, (AUDIT,))], "/vms/121", set()),
    ([("/vms", True, (AUDIT, POWER)), ("/vms/121", True, (AUDIT,))], "/vms/121", {AUDIT}),
    ([("/vms", True, (AUDIT, POWER)), ("/vms/121", True, ())], "/vms/121", set()),
    ([("/vms", True, (AUDIT, POWER)), ("/vms/121", True, ())], "/vms/122", {AUDIT, POWER}),
    ([("/vms/121", True, (AUDIT,))], "/vms/1210", set()),
    ([("/vms/121", True, (AUDIT,))], "/vms", set()),
])  # fmt: skip
def test_the_nearest_grant_replaces_those_above(grants: list[tuple[str, bool, tuple[str, ...]]], path: str, rights: set[str]) -> None:
    access = Access(0)
    lab = Lab()
    access.users["u@pve"] = lab.world.access.users["pacemaker@pve"]
    for where, propagate, privileges in grants:
        access.grant(where, "u@pve", *privileges, propagate=propagate)
    assert set(access.permissions("u@pve", path)) == rights


def test_a_pools_guests_have_its_rights_marked_as_not_holding_below() -> None:
    lab = Lab()
    lab.world.add_user("u@pve", "x")
    lab.world.add_pool("cluster", 121, 222)
    lab.world.grant("/pool/cluster", "u@pve", AUDIT, POWER)
    lab.world.grant("/vms/222", "u@pve")
    assert lab.login("u@pve", "x")["cap"]["vms"] == {AUDIT: 1, POWER: 1}
    # A right may be told as 0: that it is there at all is what counts.
    assert lab.get("/access/permissions")["/vms/121"] == {AUDIT: 0, POWER: 0}
    assert lab.get("/access/permissions", path="/vms/222") == {"/vms/222": {}}
    assert lab.power(121, "stop")


def test_a_right_that_does_not_hold_below_is_told_as_0() -> None:
    lab = Lab()
    lab.world.grant("/vms/121", "pacemaker@pve", AUDIT, propagate=False)
    lab.login()
    assert lab.get("/access/permissions", path="/vms/121") == {"/vms/121": {AUDIT: 0}}


def test_root_may_everything_but_its_separated_token_only_what_it_was_given() -> None:
    lab = as_root()
    assert set(lab.get("/access/permissions", path="/vms/999")["/vms/999"]) == set(EVERYTHING)
    lab.world.add_token("root@pam", "t", "secret")
    lab.use_token("root@pam!t", "secret")
    assert lab.get("/access/permissions", path="/vms/121") == {"/vms/121": {}}
    assert lab.ask("GET", "/cluster/status").status == 403


def test_the_tree_of_rights_leaves_out_paths_without_any() -> None:
    assert set(logged_in().get("/access/permissions")) == {"/vms/121", "/vms/222"}


def test_another_users_rights_are_not_told() -> None:
    lab = logged_in()
    answer = lab.ask("GET", "/access/permissions", userid="root@pam")
    assert (answer.status, answer.reason) == (403, "Permission check failed (/access, Sys.Audit)")
    assert lab.get("/access/permissions", userid="pacemaker@pve!fence", path="/vms/121")["/vms/121"] == {AUDIT: 1, POWER: 1}


def test_what_is_not_a_ticket_raises() -> None:
    access = Access(0)
    for text in ("", "::", "PVE:a::", "PVE:a:b:c::d", "\N{SNOWMAN}"):
        with pytest.raises(BadLogin):
            access.ticket_user(text, 0)


def test_a_lost_quorum_does_not_hinder_a_login() -> None:
    lab = Lab()
    lab.world.partition([{"pve1"}, {"pve2"}])
    assert not lab.world.nodes["pve2"].quorate
    assert data(lab.ask("POST", "/access/ticket", "pve2", username="pacemaker@pve", password="right"))["ticket"]
