"""What stonith_admin and pcs say to fence_pve; no cluster runs."""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

USER, PASSWORD = "pacemaker@pve", "s3cret"
STOCK = "/usr/share/ocf-lab/stock/fence_pve"
# The actions of a fence device that pcs does not take as an option of its own.
NOT_FOR_PCS = {"action", "help", "version"}
# Values for options that mean more than their type says.
VALUES = {
    "ip": "pve1.example.com", "ipport": "8443", "username": "pacemaker@pve", "password": "s3cret word", "password_script": "/bin/true",
    "plug": "121", "method": "cycle", "pve_node": "pve1", "vmtype": "qemu", "ssl_insecure": "0", "verbose_level": "1", "quiet": "0",
    "disable_timeout": "true", "debug_file": "/dev/null", "delay": "3", "plug_separator": ",",
}  # fmt: skip
BY_TYPE = {"boolean": "1", "integer": "2", "second": "4", "string": "x"}
GOOD = {"ip": "pve1.example.com", "username": USER, "password": PASSWORD, "plug": "121", "vmtype": "qemu"}
OLD_NAMES = {"ipaddr": "pve1.example.com", "login": USER, "passwd": PASSWORD, "port": "121", "vmtype": "qemu", "node_name": "pve1"}


def run(*command: str, within: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=within)


def words(options: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in options.items()]


def parameters(metadata: str) -> dict[str, ET.Element]:
    return {parameter.get("name", ""): parameter for parameter in ET.fromstring(metadata).iter("parameter")}


@pytest.fixture(scope="module")
def stock() -> dict[str, ET.Element]:
    return parameters(run(STOCK, "-o", "metadata").stdout)


def every_option(stock: dict[str, ET.Element], deprecated: bool) -> dict[str, str]:
    """Return a value for every option of the stock agent, by its new name, or by its old one where it has one."""
    chosen = {}
    for name, parameter in stock.items():
        new = next((each for each, other in stock.items() if other.get("obsoletes") == name), name)
        has_old = parameter.get("obsoletes") in stock
        kind = parameter.find("content")
        assert kind is not None
        if new in NOT_FOR_PCS or (has_old if deprecated else new != name):
            continue
        chosen[name] = VALUES.get(new) or BY_TYPE[kind.get("type", "")]
    return chosen


def test_stonith_admin_reads_the_metadata(stock: dict[str, ET.Element]) -> None:
    done = run("stonith_admin", "--metadata", "--agent", "fence_pve")
    assert done.returncode == 0, done.stdout
    ours = parameters(done.stdout)
    assert stock.keys() - ours.keys() == set()
    assert {"token", "ca_file", "fingerprint", "time_limit"} <= ours.keys()


@pytest.mark.parametrize(
    "options, code, said",
    [
        pytest.param(GOOD, 0, "succeeded", id="good"),
        pytest.param(OLD_NAMES, 0, "succeeded", id="old-names"),
        # Pacemaker gives the name of a node that it has made up where no plug is configured.
        pytest.param({**GOOD, "plug": ""}, 0, "succeeded", id="plug-of-Pacemaker"),
        pytest.param({**GOOD, "ip": ""}, 1, "enter fence address", id="no-address"),
        pytest.param({**GOOD, "ipport": "70000"}, 1, "port", id="port-out-of-range"),
        pytest.param({**GOOD, "vmtype": "vmware"}, 1, "vmtype", id="no-such-type"),
    ],
)
def test_stonith_admin_validates(options: dict[str, str], code: int, said: str) -> None:
    given = [word for pair in words({name: value for name, value in options.items() if value}) for word in ("--option", pair)]
    done = run("stonith_admin", "--validate", "--agent", "fence_pve", *given)
    assert done.returncode == code, done.stdout
    assert said in done.stdout
    assert PASSWORD not in done.stdout


def test_pcs_describes_the_agent() -> None:
    text = run("pcs", "stonith", "describe", "--full", "fence_pve").stdout
    names = parameters(run("stonith_admin", "--metadata", "--agent", "fence_pve").stdout).keys() - NOT_FOR_PCS
    assert {"ip", "plug", "pve_node_auto", "token"} <= names
    assert [name for name in sorted(names) if f"\n  {name}:" not in text and f"\n  {name} (" not in text] == []


@pytest.fixture
def cib(tmp_path: Path) -> Path:
    """Return a configuration of no cluster."""
    path = tmp_path / "cib.xml"
    path.write_text(run("cibadmin", "--empty").stdout)
    return path


def configured(cib: Path) -> dict[str, str]:
    """Return what is stored of the only fence device."""
    (device,) = ET.parse(cib).iter("primitive")
    assert (device.get("class"), device.get("type")) == ("stonith", "fence_pve")
    return {pair.get("name", ""): pair.get("value", "") for pair in device.iterfind("instance_attributes/nvpair")}


@pytest.mark.parametrize("deprecated", [False, True], ids=["new-names", "old-names"])
def test_pcs_creates_a_device_with_every_stock_option(cib: Path, stock: dict[str, ET.Element], deprecated: bool) -> None:
    options = every_option(stock, deprecated)
    assert len(options) >= 25
    assert ("port" in options, "plug" in options) == (deprecated, not deprecated)
    done = run("pcs", "-f", str(cib), "stonith", "create", "fence", "fence_pve", *words(options), "--agent-validation")
    assert done.returncode == 0, done.stdout
    assert ("is deprecated" in done.stdout) == deprecated
    assert configured(cib) == options


def test_pcs_creates_a_device_with_our_options(cib: Path) -> None:
    options = {"ip": "pve1,pve2:8443", "username": "pacemaker@pve!fence", "token": "c0ffee", "plug": "rhel1", "vmtype": "qemu",
               "ca_file": "/etc/pki/pve.pem", "vm_name": "rhel1", "time_limit": "40"}  # fmt: skip
    done = run("pcs", "-f", str(cib), "stonith", "create", "fence", "fence_pve", *words(options), "--agent-validation")
    assert done.returncode == 0, done.stdout
    assert configured(cib) == options


@pytest.mark.parametrize(
    "change, said",
    [
        pytest.param({"ipport": "70000"}, "port", id="port"),
        pytest.param({"vmtype": "vmware"}, "vmtype", id="type"),
        pytest.param({"fingerprint": "AB:CD"}, "fingerprint", id="fingerprint"),
    ],
)
def test_pcs_refuses_what_the_agent_refuses(cib: Path, change: dict[str, str], said: str) -> None:
    done = run("pcs", "-f", str(cib), "stonith", "create", "fence", "fence_pve", *words({**GOOD, **change}), "--agent-validation")
    assert done.returncode == 1, done.stdout
    assert said in done.stdout
    assert PASSWORD not in done.stdout
    assert list(ET.parse(cib).iter("primitive")) == []
