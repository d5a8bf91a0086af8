"""The stand-in through the stock fence_pve of Debian, which others wrote for the real thing and which talks by libcurl."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.proxmox.server import Standin
from tests.fence.standin import STOCK, Outcome, login, repaired_library, run_agent

pytestmark = pytest.mark.cluster

AUTO = {"pve_node_auto": 1, "plug": 121}


def fence(standin: Standin, action: str, **more: object) -> Outcome:
    return run_agent(STOCK, {**login(standin), **AUTO, "action": action, **more})


def wait_for(ready: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.02)


def power(standin: Standin, vmid: int = 121) -> str:
    with standin.lock:
        return "on" if standin.world.guests[vmid].living() else "off"


def test_status_off_on(standin: Standin) -> None:
    for action, code, stdout, after in (
        ("status", 0, "Status: ON\n", "on"),
        ("off", 0, "Success: Powered OFF\n", "off"),
        ("off", 0, "Success: Already OFF\n", "off"),
        ("status", 2, "Status: OFF\n", "off"),
        ("on", 0, "Success: Powered ON\n", "on"),
        ("monitor", 0, "", "on"),
    ):
        outcome = fence(standin, action)
        assert (outcome.code, outcome.stdout, power(standin)) == (code, stdout, after), f"{action}: {outcome.stderr}"


@pytest.mark.parametrize("node", ["pve1", "pve2"])
def test_reboot_makes_a_new_process(standin: Standin, node: str) -> None:
    vmid = {"pve1": 121, "pve2": 222}[node]
    outcome = fence(standin, "reboot", plug=vmid)
    assert (outcome.code, outcome.stdout) == (0, "Success: Rebooted\n"), outcome.stderr
    with standin.lock:
        first, second = standin.world.runs(vmid)
        assert first.ended is not None and first.ended < second.began and second.ended is None


def test_cycle_resets_the_same_process(standin: Standin) -> None:
    outcome = fence(standin, "reboot", method="cycle")
    assert (outcome.code, outcome.stdout) == (0, "Success: Rebooted\n"), outcome.stderr
    wait_for(lambda: bool(standin.world.resets(121)))  # the agent does not wait for the task
    with standin.lock:
        (run,) = standin.world.runs(121)
        assert run.ended is None and [reset.pid for reset in standin.world.resets(121)] == [run.pid]


def test_lists(standin: Standin, tmp_path: Path) -> None:
    repaired = repaired_library(tmp_path)
    for action, stdout in (("list", "121,rhel1\n222,rhel2\n"), ("list-status", "121,rhel1,UNKNOWN\n222,rhel2,UNKNOWN\n")):
        outcome = run_agent(STOCK, {**login(standin), **AUTO, "action": action}, environment=repaired)
        assert (outcome.code, outcome.stdout) == (0, stdout), outcome.stderr


def test_a_container(standin: Standin) -> None:
    with standin.lock:
        standin.world.add_guest(300, "box", "pve2", kind="lxc")
        standin.world.grant("/vms/300", "pacemaker@pve", "VM.Audit", "VM.PowerMgmt")
    outcome = fence(standin, "reboot", plug=300, vmtype="lxc")
    assert (outcome.code, outcome.stdout) == (0, "Success: Rebooted\n"), outcome.stderr
    assert len(standin.world.runs(300)) == 2


@pytest.mark.parametrize("options, told", [
    ({"password": "wrong"}, "Unable to connect/login to fencing device"),
    ({"ssl_insecure": 0, "ssl_secure": 1}, ""),
    ({"plug": 999}, "Unable to obtain correct plug status or plug is not available"),
    ({"ipport": 1}, "Connection failed"),
], ids=["password", "insecure is insecure whatever it says", "plug", "port"])  # fmt: skip
def test_what_it_makes_of_errors(standin: Standin, options: dict[str, object], told: str) -> None:
    outcome = fence(standin, "status", **options)
    assert told in outcome.stderr and outcome.code == (1 if told else 0)


def test_it_verifies_against_the_systems_authorities(standin: Standin) -> None:
    options = {**login(standin), **AUTO, "action": "status"}
    del options["ssl_insecure"]
    outcome = run_agent(STOCK, options)
    assert outcome.code == 1 and "Connection failed" in outcome.stderr
    authorities = Path("/etc/ssl/certs/ca-certificates.crt")
    before = authorities.read_bytes()
    try:
        # The root is a copy; still, what comes after this test gets it back.
        authorities.write_bytes(before + standin.ca_file.read_bytes())
        outcome = run_agent(STOCK, options)
    finally:
        authorities.write_bytes(before)
    assert (outcome.code, outcome.stdout) == (0, "Status: ON\n"), outcome.stderr
