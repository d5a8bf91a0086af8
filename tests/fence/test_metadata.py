"""Metadata, manual page and help: what ClusterLabs' fence_pve declares is in ours, and the tools of fence-agents accept it."""

from __future__ import annotations

import io
import re
import subprocess
import time
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest

from fence_lab import metadata, options
from fence_lab.agent import FenceAgent
from fence_lab.clock import Clock
from fence_lab.pve import FencePve
from tests.fence.strip import Cycling, Strip

STOCK = "/usr/share/ocf-lab/stock/fence_pve"
RELAXNG = Path("/usr/share/cluster/relaxng")
ACTIONS = ["on", "off", "reboot", "status", "list", "list-status", "monitor", "metadata", "manpage", "validate-all"]


class Parameter(NamedTuple):
    attributes: dict[str, str]
    forms: str
    content: dict[str, str]
    choices: list[str]
    description: str


def parameters(xml: str) -> dict[str, Parameter]:
    found = {}
    for node in ET.fromstring(xml).iter("parameter"):
        getopt, content, shortdesc = node
        found[node.attrib["name"]] = Parameter(node.attrib, getopt.attrib["mixed"], content.attrib,
                                               [option.attrib["value"] for option in content], shortdesc.text or "")  # fmt: skip
    return found


def said(agent: type[FenceAgent], *argv: str) -> str:
    stdout, stderr = io.StringIO(), io.StringIO()
    assert agent.run(argv, io.StringIO(), stdout, stderr, {}, Clock()) == 0
    assert stderr.getvalue() == ""
    return stdout.getvalue()


# name: forms on the command line, type, default, required, former name (tests/data/metadata/fence_pve.xml of fence-agents 4.17).
UPSTREAM = {
    "action": ("-o, --action=[action]", "string", "reboot", "1", ""),
    "ip": ("-a, --ip=[ip]", "string", None, "1", "ipaddr"),
    "ipport": ("-u, --ipport=[port]", "integer", "8006", "0", ""),
    "method": ("-m, --method=[method]", "select", "onoff", "0", ""),
    "password": ("-p, --password=[password]", "string", None, "0", "passwd"),
    "password_script": ("-S, --password-script=[script]", "string", None, "0", "passwd_script"),
    "plug": ("-n, --plug=[id]", "string", None, "1", "port"),
    "ssl": ("-z, --ssl", "boolean", "1", "0", ""),
    "ssl_insecure": ("--ssl-insecure", "boolean", None, "0", ""),
    "ssl_secure": ("--ssl-secure", "boolean", None, "0", ""),
    "username": ("-l, --username=[name]", "string", "root@pam", "1", "login"),
    "pve_node": ("-N, --pve-node=[node_name]", "string", None, "0", ""),
    "pve_node_auto": ("-A, --pve-node-auto", "boolean", None, "0", ""),
    "vmtype": ("--vmtype", "string", "qemu", "1", ""),
    "nodename": ("--nodename", "string", None, "0", "node_name"),
    "quiet": ("-q, --quiet", "boolean", None, "0", ""),
    "verbose": ("-v, --verbose", "boolean", None, "0", ""),
    "verbose_level": ("--verbose-level", "integer", None, "0", ""),
    "debug_file": ("-D, --debug-file=[debugfile]", "string", None, "0", "debug"),
    "version": ("-V, --version", "boolean", None, "0", ""),
    "help": ("-h, --help", "boolean", None, "0", ""),
    "plug_separator": ("--plug-separator=[char]", "string", ",", "0", ""),
    "separator": ("-C, --separator=[char]", "string", ",", "0", ""),
    "delay": ("--delay=[seconds]", "second", "0", "0", ""),
    "disable_timeout": ("--disable-timeout=[true/false]", "string", None, "0", ""),
    "login_timeout": ("--login-timeout=[seconds]", "second", "5", "0", ""),
    "power_timeout": ("--power-timeout=[seconds]", "second", "20", "0", ""),
    "power_wait": ("--power-wait=[seconds]", "second", "0", "0", ""),
    "shell_timeout": ("--shell-timeout=[seconds]", "second", "3", "0", ""),
    "stonith_status_sleep": ("--stonith-status-sleep=[seconds]", "second", "1", "0", ""),
    "retry_on": ("--retry-on=[attempts]", "integer", "1", "0", ""),
    "gnutlscli_path": ("--gnutlscli-path=[path]", "string", "/usr/bin/gnutls-cli", "0", ""),
}


@pytest.mark.parametrize("name", UPSTREAM)
def test_fence_pve_declares_what_upstream_declares(name: str) -> None:
    forms, kind, default, required, old = UPSTREAM[name]
    ours = parameters(said(FencePve, "-o", "metadata"))
    content = {"type": kind} | ({} if default is None else {"default": default})
    attributes = {"name": name, "unique": "0", "required": required}
    assert ours[name].attributes == attributes | ({"obsoletes": old} if old else {})
    assert (ours[name].forms, ours[name].content) == (forms, content)
    if old:
        assert ours[old].attributes == attributes | {"name": old, "deprecated": "1"}
        assert ours[old][1:] == ours[name][1:]


def test_additions_are_named() -> None:
    """Whoever adds an option of his own to fence_pve, or to the base, writes it down here."""
    names = set(parameters(said(FencePve, "-o", "metadata"))) - set(UPSTREAM) - {old for *_, old in UPSTREAM.values()}
    assert names == {"ca_file", "fingerprint", "time_limit", "token", "token_script", "vm_name", "vm_uuid"}
    table = FencePve.options()
    assert all(table[name].added for name in names)


@pytest.mark.parametrize("agent", [FencePve, Strip, Cycling])
def test_actions_are_stocks_and_on_is_not_automatic(agent: type[FenceAgent]) -> None:
    root = ET.fromstring(said(agent, "-o", "metadata"))
    assert [node.attrib["name"] for node in root.iter("action")] == ACTIONS
    assert [node.attrib.get("automatic") for node in root.iter("action")] == ["0"] + [None] * 9
    assert [node.tag for node in root] == ["longdesc", "vendor-url", "parameters", "actions"]


def test_the_order_is_stocks() -> None:
    names = list(parameters(said(FencePve, "-o", "metadata")))
    table = FencePve.options()
    assert names == sorted(names, key=lambda name: ((table.named(name) or options.IP).order, name))
    assert names[:4] == ["action", "ip", "ipaddr", "ipport"]


def test_only_what_can_cycle_offers_it() -> None:
    assert parameters(said(Strip, "-o", "metadata"))["method"].choices == ["onoff"]
    assert parameters(said(Cycling, "-o", "metadata"))["method"].choices == ["onoff", "cycle"]


@pytest.mark.parametrize("argv", [["-o", "metadata"], ["-o", "META-DATA"], ["--action=metadata", "-n", "1", "--delay=99"], ["-Vometadata"]])
def test_metadata_by_all_its_names(argv: list[str]) -> None:
    assert said(Strip, *argv) == said(Strip, "-o", "metadata")


def test_text_is_escaped() -> None:
    root = ET.fromstring(said(Strip, "-o", "metadata"))
    assert root.findtext("longdesc") == "It is <here> & nowhere.\n\n.Not in troff either: \\fB."
    assert (ET.fromstring(said(Strip, "-o", "manpage")).findtext("longdesc") or "").endswith("\n.P\n\\&.Not in troff either: \\efB.")
    assert metadata.quoted("\"'<>&") == "&quot;&apos;&lt;&gt;&amp;"


@pytest.mark.parametrize("agent", [FencePve, Strip])
def test_help_shows_every_option(agent: type[FenceAgent]) -> None:
    text = said(agent, "-h")
    assert text.startswith(f"Usage:\n\t{agent.NAME} [options]\nOptions:\n   -o, --action=[action]")
    assert text == said(agent, "--help", "-o", "status") == said(agent, "-o", "metadata", "-h")
    assert max(map(len, text.splitlines())) <= 100
    for option in agent.options().values():
        assert (f"   {option.mixed}" in text) == (not option.ignored)


def test_version() -> None:
    assert re.fullmatch(r"[0-9.]+\n", said(Strip, "-V"))
    assert said(Strip, "--version", "-o", "off") == said(Strip, "-V")


# From here on with the programs of fence-agents.


def output(*command: str, given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, stdin=None if given else subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


def of_stock() -> str:
    # It complains, at its end, of the stdout that it has closed itself.
    return subprocess.run([STOCK, "-o", "metadata"], stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout


@pytest.mark.cluster
def test_nothing_of_the_installed_stock_agent_is_missing() -> None:
    xml = output("/usr/sbin/fence_pve", "-o", "metadata")
    ours, stock = parameters(xml), parameters(of_stock())
    differing = {name: [field for field in Parameter._fields if name not in ours or getattr(ours[name], field) != getattr(parameter, field)]
                 for name, parameter in stock.items()}  # fmt: skip
    assert {name: fields for name, fields in differing.items() if fields} == {}
    actions = [[node.attrib for node in ET.fromstring(text).iter("action")] for text in (xml, of_stock())]
    assert actions[0] == actions[1]


@pytest.mark.cluster
@pytest.mark.parametrize("action", ["metadata", "manpage"])
def test_the_schema_of_fence_agents_accepts_it(tmp_path: Path, action: str) -> None:
    for agent in (FencePve, Strip, Cycling):
        (tmp_path / "xml").write_text(said(agent, "-o", action))
        output("xmllint", "--noout", "--relaxng", str(RELAXNG / "metadata.rng"), str(tmp_path / "xml"))


@pytest.mark.cluster
def test_upstreams_check_of_the_metadata_itself() -> None:
    """make/agentpycheck.mk: the metadata without the content of *_path and *_file, which differ between builds, line by line."""
    program = r'BEGIN {store=-1} /name=".*_path"/ || /name=".*_file"/ {store=2} {if (store!=0) {print}; store--}'
    ours = output("awk", program, given=output("/usr/sbin/fence_pve", "-o", "metadata")).splitlines()
    stock = subprocess.run(["sh", "-c", f"{STOCK} -o metadata 2>/dev/null | awk '{program}'"], capture_output=True, text=True).stdout
    stock_lines = [line for line in stock.splitlines() if "longdesc" not in line]
    assert len(stock_lines) > 150
    rest = iter(ours)
    assert [line for line in stock_lines if line not in rest] == []


@pytest.mark.cluster
def test_the_manual_page_and_the_cluster_schema_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "xml").write_text(output("/usr/sbin/fence_pve", "-o", "manpage"))
    page = output("xsltproc", str(RELAXNG / "fence2man.xsl"), str(tmp_path / "xml"))
    assert ".B -n, --plug=[id]" in page
    assert "fence_pve - Fencing agent for the Proxmox Virtual Environment" in page
    schema = output("xsltproc", str(RELAXNG / "fence2rng.xsl"), str(tmp_path / "xml"))
    output("xmllint", "--nsclean", "--noout", "-", given=re.sub(" rha:(description|name)=", r" \1=", schema))


@pytest.mark.cluster
def test_upstreams_check_of_the_delay() -> None:
    """make/agentpycheck.mk: a delay comes before everything that fails, with options that are not this agent's, and 10.00 s are waited."""
    lines = "delay=10\n login=test\npasswd=test\nipaddr=test\nport=1\nmanaged=1\ndevices=test\nsession_url=http://test.test\nemail=test@test.test\n"
    began = time.monotonic()
    done = subprocess.run(["/usr/sbin/fence_pve"], input=f"{lines}ping_targets=localhost", capture_output=True, text=True, timeout=60)
    assert time.monotonic() - began >= 10
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
