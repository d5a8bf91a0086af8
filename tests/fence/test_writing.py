"""docs/writing-fence-agents.md does what it says: its agent fences, by a server that speaks the power strip's language."""

from __future__ import annotations

import base64
import json
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
import trustme

from fence_lab.options import Options

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "writing-fence-agents.md").read_text()
BLOCKS = [match.groups() for match in re.finditer(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]
[AGENT] = [text for _, name, text in BLOCKS if name == "file=fence_dli"]
PASSWORD = "open/sesame"


@dataclass
class PowerStrip:
    """What the strip's REST API shows of it: names and states, with the outlets counted from 0."""

    names: list[str] = field(default_factory=lambda: ["rhel1", "rhel2", "twin", "twin"])
    states: list[bool | None] = field(default_factory=lambda: [True, False, True, True])
    stuck: bool = False
    answer: bytes = b""
    asked: list[str] = field(default_factory=list)

    def get(self, path: str) -> tuple[int, object]:
        found = {"/restapi/relay/outlets/all;/name/": self.names, "/restapi/relay/outlets/all;/physical_state/": self.states}.get(path)
        return (404, None) if found is None else (200, found)

    def put(self, path: str, form: dict[str, list[str]]) -> int:
        match = re.fullmatch(r"/restapi/relay/outlets/(\d+)/state/", path)
        if not match or form.get("value") not in (["true"], ["false"]):
            return 404
        if not self.stuck:
            self.states[int(match[1])] = form["value"] == ["true"]
        return 204


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    strip: PowerStrip

    def log_message(self, format: str, *args: object) -> None:
        self.strip.asked.append(f"{self.command} {self.path}")

    def answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def admitted(self) -> bool:
        return self.headers.get("Authorization") == "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode()

    def do_GET(self) -> None:
        status, found = self.strip.get(self.path) if self.admitted() else (401, None)
        self.answer(status, self.strip.answer or json.dumps(found).encode())

    def do_PUT(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode())
        self.answer(self.strip.put(self.path, form) if self.admitted() and self.headers.get("X-CSRF") else 401)


@dataclass
class Desk:
    """The agent of the page, and a strip within its reach."""

    agent: Path
    strip: PowerStrip
    port: int
    ca_file: Path

    def run(self, *lines: str) -> subprocess.CompletedProcess[str]:
        given = [f"ip=localhost\nipport={self.port}\nca_file={self.ca_file}\npassword={PASSWORD}\n", *(f"{line}\n" for line in lines)]
        return subprocess.run([sys.executable, "-I", self.agent], input="".join(given), capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    authority, directory = trustme.CA(), tmp_path_factory.mktemp("certificates")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    return context, directory / "ca.pem"


@pytest.fixture
def desk(tmp_path: Path, certificates: tuple[ssl.SSLContext, Path]) -> Iterator[Desk]:
    (tmp_path / "fence_dli").write_text(AGENT)
    context, ca_file = certificates
    strip = PowerStrip()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"strip": strip})) as server:
        server.daemon_threads = False
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield Desk(tmp_path / "fence_dli", strip, server.server_address[1], ca_file)
        server.shutdown()
        thread.join()


def test_there_is_nothing_on_the_page_that_is_not_run() -> None:
    assert [(language, name) for language, name, _ in BLOCKS] == [("python", "file=fence_dli"), ("sh", None), ("sh", "cluster")]
    assert PAGE.count("```") == 2 * len(BLOCKS)


def test_the_agent_is_as_short_as_promised() -> None:
    assert len(AGENT.splitlines()) <= 60


@pytest.mark.parametrize(
    "lines, code, stdout, states",
    [
        (["action=status", "plug=1"], 0, "Status: ON\n", None),
        (["action=status", "plug=rhel2"], 2, "Status: OFF\n", None),
        (["action=off", "plug=1"], 0, "Success: Powered OFF\n", [False, False, True, True]),
        (["action=off", "plug=rhel2"], 0, "Success: Already OFF\n", None),
        (["action=on", "plug=rhel2"], 0, "Success: Powered ON\n", [True, True, True, True]),
        (["action=on", "plug=1"], 0, "Success: Already ON\n", None),
        (["action=reboot", "plug=1"], 0, "Success: Rebooted\n", [True, False, True, True]),
        (["action=reboot", "plug=1,3", "ssl_insecure=1", "ca_file="], 0, "Success: Rebooted\n", None),
        (["action=list"], 0, "1,rhel1\n2,rhel2\n3,twin\n4,twin\n", None),
        (["action=list-status", "separator=;"], 0, "1;rhel1;ON\n2;rhel2;OFF\n3;twin;ON\n4;twin;ON\n", None),
        (["action=monitor", "plug=rhel1"], 0, "", None),
        (["action=validate-all", "plug=node1", "nodename=node1"], 0, "", None),
    ],
)
def test_every_action_of_the_agent(desk: Desk, lines: list[str], code: int, stdout: str, states: list[bool] | None) -> None:
    before = list(desk.strip.states)
    done = desk.run(*lines)
    assert (done.returncode, done.stdout, done.stderr) == (code, stdout, "")
    assert desk.strip.states == (before if states is None else states)


def test_the_order_of_a_reboot(desk: Desk) -> None:
    desk.run("action=reboot", "plug=1")
    assert [line for line in desk.strip.asked if line.startswith("PUT")] == ["PUT /restapi/relay/outlets/0/state/"] * 2


@pytest.mark.parametrize(
    "lines, reason",
    [
        (["action=off", "plug=9"], "no outlet is called 9"),
        (["action=off", "plug=twin"], "several outlets are called twin"),
        (["action=monitor", "plug=9"], "plug 9 is not on the device"),
        (["action=monitor", "password=wrong"], "401 Unauthorized for GET all;/name; check username and password"),
        (["action=reboot", "plug=1", "method=cycle"], "valid choice for --method"),
        (["action=off", "plug=1", "ca_file="], "localhost"),
        (["action=off", "plug=1", "ipport=1"], "refused"),
    ],
)
def test_failures_have_a_reason_and_no_secret(desk: Desk, lines: list[str], reason: str) -> None:
    done = desk.run("verbose=1", *lines)
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr
    assert not any(secret in done.stderr for secret in (PASSWORD, base64.b64encode(f"admin:{PASSWORD}".encode()).decode()))
    assert not any(line.startswith("PUT") for line in desk.strip.asked)


def test_a_strip_that_says_yes_and_does_nothing_is_no_success(desk: Desk) -> None:
    desk.strip.stuck = True
    done = desk.run("action=off", "plug=1", "power_timeout=1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Timed out waiting to power OFF (plug 1)" in done.stderr


def test_an_answer_that_tells_nothing_is_no_state(desk: Desk) -> None:
    desk.strip.states[0] = None
    assert "the state of outlet 1 cannot be told" in desk.run("action=off", "plug=1").stderr
    desk.strip.answer = b"<html>"
    assert "something else than JSON" in desk.run("action=off", "plug=1").stderr


def test_the_commands_of_the_page(desk: Desk) -> None:
    [script] = [text for language, name, text in BLOCKS if (language, name) == ("sh", None)]
    try:
        done = subprocess.run(["sh", "-euc", script], cwd=desk.agent.parent, capture_output=True, text=True, timeout=60)
    finally:
        Path("/usr/sbin/fence_dli").unlink()
    assert done.returncode == 0, done.stderr
    assert "fence_dli [options]" in done.stdout
    assert '<resource-agent name="fence_dli"' in done.stdout


@pytest.mark.cluster
def test_pacemaker_and_pcs_find_the_agent(desk: Desk) -> None:
    [script] = [text for language, name, text in BLOCKS if name == "cluster"]
    try:
        done = subprocess.run(["sh", "-euc", f"install -m 755 fence_dli /usr/sbin/\n{script}"], cwd=desk.agent.parent, capture_output=True,
                              text=True, timeout=120)  # fmt: skip
    finally:
        Path("/usr/sbin/fence_dli").unlink()
    assert done.returncode == 0, done.stderr
    assert "Fence agent for power strips of Digital Loggers" in done.stdout
    assert "ca_file" in done.stdout


def test_the_page_names_what_there_is() -> None:
    """The names in the tables of the page are those of the code."""
    from fence_lab.agent import FenceAgent

    rows = re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE) + re.findall(r"^\| (`\w+\(.*?)\s\|", PAGE, re.MULTILINE)
    methods = {name for row in rows for name in re.findall(r"`(\w+)\(", row)}
    assert methods >= {"check", "login", "logout", "status", "set_power", "outlets", "cycle", "monitor", "power_off", "power_on"}
    assert all(callable(getattr(FenceAgent, name)) for name in methods)
    attributes = {name for row in rows for name in re.findall(r"`self\.(\w+)", row)}
    assert attributes <= set(FenceAgent.__annotations__) | set(vars(FenceAgent))
    table = Options.of(())
    assert {"delay"} <= set(table)
