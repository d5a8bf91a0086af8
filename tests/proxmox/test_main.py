"""python3 -m lab.proxmox: a cluster from the command line."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

COMMAND = [sys.executable, "-m", "lab.proxmox", "--port", "0"]
A = "127.0.0.21"
GUESTS = ("--node", f"a={A}", "--node", "b=127.0.0.22", "--guest", "100=web@a", "--guest", "101=db@b,lxc,stopped", "--dead", "b")


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_what_it_says_until_it_is_told_to_end(tmp_path: Path, ending: signal.Signals) -> None:
    with subprocess.Popen([*COMMAND, "--directory", str(tmp_path), *GUESTS], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        try:
            lines = [running.stdout.readline().rstrip() for _ in range(6)]
            address = re.sub("^.*(https://[^ ]*) .*$", r"\1", lines[2])
            answer = requests.get(f"{address}/api2/json/version", verify=str(tmp_path / "pve-root-ca.pem"), timeout=10)
        finally:
            running.send_signal(ending)
        rest = running.stdout.read()
        assert running.wait(10) == 0
    assert lines[0] == f"CA: {tmp_path}/pve-root-ca.pem"
    assert lines[2].startswith(f"node a: https://{A}:") and "(up)" in lines[2] and "(dead)" in lines[3]
    assert lines[4:] == ["guest 100: web, qemu on a, running", "guest 101: db, lxc on b, stopped"]
    assert answer.status_code == 401 and rest in ("", "a GET /version: 401\n")


@pytest.mark.parametrize("arguments, told", [
    (["--guest", "100=web@c"], "no ID=NAME@NODE with one of pve1, pve2"),
    (["--guest", "100=web@pve1,fast"], "no ID=NAME@NODE"),
    (["--node", "a"], "no NAME=VALUE"),
    (["--dead", "c"], "no node c, only pve1, pve2"),
    (["--node", "a=192.0.2.1"], "cannot serve"),
])  # fmt: skip
def test_what_it_cannot_do_it_says_in_a_line(arguments: list[str], told: str) -> None:
    ended = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)
    assert ended.returncode in (1, 2) and told in ended.stderr and ended.stderr.count("\n") == 1
