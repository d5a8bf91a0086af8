"""The stand-in through proxmoxer, a client that others wrote for the real thing and that knows nothing of this one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from proxmoxer import AuthenticationError, ProxmoxAPI, ResourceException
from proxmoxer.tools import Tasks

from lab.proxmox.server import Standin

HOST = "127.0.0.11"

TOKEN_SECRET = "7a0ff5b2-5b4a-4a6f-9d0c-3d1a6a6d5b10"


@contextmanager
def client(standin: Standin, user: str = "pacemaker@pve", **credentials: str) -> Iterator[Any]:
    """Log in; proxmoxer leaves its session to the garbage collector."""
    api = ProxmoxAPI(HOST, port=standin.port, user=user, verify_ssl=str(standin.ca_file), **(credentials or {"password": "right"}))
    try:
        yield api
    finally:
        api._store["session"].close()


def with_token(standin: Standin) -> dict[str, str]:
    with standin.lock:
        standin.world.add_token("pacemaker@pve", "other", TOKEN_SECRET, privsep=False)
    return {"token_name": "other", "token_value": TOKEN_SECRET}


@pytest.fixture(params=["password", "token"])
def api(request: pytest.FixtureRequest, standin: Standin) -> Iterator[Any]:
    with client(standin, **(with_token(standin) if request.param == "token" else {"password": "right"})) as opened:
        yield opened


def finished(api: Any, upid: str) -> str:
    """Return how a task ended, by proxmoxer's own way to wait for it."""
    assert Tasks.decode_upid(upid)["upid"] == upid
    task = Tasks.blocking_status(api, upid, timeout=30, polling_interval=0.05)
    assert task["status"] == "stopped"
    return str(task["exitstatus"])


def test_version_nodes_and_guests(api: Any) -> None:
    assert api.version.get()["release"]
    assert {node["node"]: node["status"] for node in api.nodes.get()} == {"pve1": "online", "pve2": "online"}
    assert {guest["vmid"]: guest["node"] for guest in api.cluster.resources.get(type="vm")} == {121: "pve1", 222: "pve2"}
    assert [guest["name"] for guest in api.nodes("pve2").qemu.get()] == ["rhel2"]
    assert "VM.PowerMgmt" in api.access.permissions.get(path="/vms/121")["/vms/121"]


@pytest.mark.parametrize("node, vmid", [("pve1", 121), ("pve2", 222)], ids=["here", "at another node"])
def test_stop_and_start(api: Any, standin: Standin, node: str, vmid: int) -> None:
    with standin.lock:
        standin.world.guests[vmid].stop_seconds = standin.world.guests[vmid].start_seconds = 0.2
    guest = api.nodes(node).qemu(vmid).status
    assert guest.current.get()["status"] == "running"
    assert finished(api, guest.stop.post(timeout=5)) == "OK"
    assert guest.current.get()["status"] == "stopped"
    with standin.lock:
        assert standin.world.runs(vmid)[-1].ended is not None
    assert finished(api, guest.start.post()) == "OK"
    assert guest.current.get()["status"] == "running"


def test_reset(api: Any, standin: Standin) -> None:
    guest = api.nodes("pve1").qemu(121).status
    before = guest.current.get()
    assert finished(api, guest.reset.post()) == "OK"
    assert guest.current.get()["pid"] == before["pid"]
    with standin.lock:
        assert [reset.pid for reset in standin.world.resets(121)] == [before["pid"]]


@pytest.mark.parametrize("credentials", [
    {"password": "wrong"},
    {"user": "nobody@pve", "password": "right"},
], ids=["password", "user"])  # fmt: skip
def test_a_login_that_is_refused_takes_three_seconds(standin: Standin, credentials: dict[str, str]) -> None:
    began = time.monotonic()
    with pytest.raises(AuthenticationError, match="code: 401"), client(standin, **credentials):
        pass
    assert time.monotonic() - began > 2.9


def test_a_token_that_is_wrong(standin: Standin) -> None:
    with client(standin, token_name="other", token_value="0") as api, pytest.raises(ResourceException) as refused:
        api.version.get()
    assert refused.value.status_code == 401 and refused.value.content


@pytest.mark.parametrize("ask, status, told", [
    (lambda api: api.nodes("pve1").qemu(121).status.stop.post(skiplock=1), 400, "Only root may use this option"),
    (lambda api: api.nodes("pve1").qemu(121).status.stop.post(haste=1), 400, "property is not defined in schema"),
    (lambda api: api.nodes("pve1").qemu(999).status.stop.post(), 403, "Permission check failed (/vms/999, VM.PowerMgmt)"),
    (lambda api: api.nodes("pve2").qemu(121).status.current.get(), 500, "does not exist"),
    (lambda api: api.nodes("pve7").qemu(121).status.current.get(), 500, "hostname lookup 'pve7' failed"),
    (lambda api: api.cluster.status.get(), 403, "Permission check failed"),
    (lambda api: api.nonsense.get(), 501, ""),
], ids=["root only", "unknown parameter", "no right", "wrong node", "unknown node", "no audit", "unknown path"])  # fmt: skip
def test_errors_are_proxmoxers_exceptions(standin: Standin, ask: Callable[[Any], object], status: int, told: str) -> None:
    with client(standin) as api, pytest.raises(ResourceException) as refused:
        ask(api)
    assert refused.value.status_code == status
    assert told in f"{refused.value.content} {refused.value.errors}"


def test_types_are_checked_after_rights(standin: Standin) -> None:
    for user, password, status, told in (
        ("pacemaker@pve", "right", 403, "Permission check failed (/vms/x, VM.Audit)"),
        ("root@pam", "root", 400, "type check ('integer') failed - got 'x'"),
    ):
        with client(standin, user, password=password) as api, pytest.raises(ResourceException) as refused:
            api.nodes("pve1").qemu("x").status.current.get()
        assert refused.value.status_code == status and told in f"{refused.value.content} {refused.value.errors}"


def test_a_peer_that_refuses_is_a_proxys_error(standin: Standin) -> None:
    with client(standin) as api:
        standin.world.nodes["pve2"].api = "refusing"
        with pytest.raises(ResourceException) as refused:
            api.nodes("pve2").qemu(222).status.current.get()
        assert refused.value.status_code == 595 and "refused" in refused.value.content
        assert api.nodes("pve1").qemu(121).status.current.get()["status"] == "running"


def test_a_locked_guest(standin: Standin, api: Any) -> None:
    with standin.lock:
        standin.world.guests[121].lock = "backup"
    assert finished(api, api.nodes("pve1").qemu(121).status.stop.post()) == "VM is locked (backup)"
    assert api.nodes("pve1").qemu(121).status.current.get()["status"] == "running"
