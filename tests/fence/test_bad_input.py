"""fence_pve with bad input: one line that says what to do, no guest touched, no value shown that may be a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.proxmox import faults
from lab.proxmox.certificates import Authority
from tests.fence import running
from tests.fence.running import TOKEN, USER, Agent, Options, Outcome, Scene, Scenes, Stage

pytestmark = pytest.mark.once

stage = running.stage

OFF, IS_ON = "Success: Powered OFF\n", "Status: ON\n"
SOON, GIVES_UP = 20.0, 20.0
USAGE = "Please use '-h' for usage"

SCENES = Scenes()


def one_line(outcome: Outcome) -> None:
    """Assert that the reason is one line, but for the hint at the usage that the stock agents give, too."""
    reasons = [text for text in outcome.levels("ERROR") if text != USAGE]
    assert len(reasons) == 1, outcome
    assert 0 < len(reasons[0]) < 400, outcome


# Options that nothing can be done with: options, what the reason has to name.
WRONG: list[tuple[Options, str]] = [
    ({"ip": None}, "fence address"),
    ({"ip": ""}, "fence address"),
    ({"ip": ","}, "ip"),
    ({"ip": "127.0.0.11:99999"}, "99999.*range"),
    ({"ip": "127.0.0.11:0"}, "range"),
    ({"ip": "https://pve1.example.com"}, "host name"),
    ({"ip": "root@127.0.0.11"}, "host name"),
    ({"ip": "127.0.0.11/24"}, "host name"),
    ({"username": ""}, "login name"),
    ({"password": None}, "password"),
    ({"password": ""}, "password"),
    ({"plug": None}, "plug"),
    ({"plug": ""}, "plug"),
    ({"plug": " , "}, "plug"),
    ({"ipport": "0"}, "ipport.*range"),
    ({"ipport": "65536"}, "ipport.*range"),
    ({"ipport": "-1"}, "ipport"),
    ({"ipport": "8006x"}, "ipport"),
    ({"ipport": "٨٠٠٦"}, "ipport"),
    ({"ipport": ""}, "ipport"),
    ({"ipport": "9" * 5000}, "ipport"),
    ({"method": "soft"}, "method.*onoff.*cycle"),
    ({"vmtype": "vmware"}, "vmtype.*qemu.*lxc"),
    ({"delay": "soon"}, "delay"),
    ({"delay": "1.5"}, "delay"),
    ({"time_limit": "0"}, "time-limit"),
    ({"time_limit": "1m"}, "time-limit"),
    ({"delay": "20", "time_limit": "10"}, "delay=20.*time_limit=10"),
    ({"power_timeout": "-5"}, "power-timeout"),
    ({"retry_on": "twice"}, "retry-on"),
    ({"fingerprint": "AB:CD"}, "fingerprint.*SHA-256"),
    ({"fingerprint": ":".join(["AB"] * 20)}, "fingerprint.*SHA-256"),
    ({"ssl_insecure": "1"}, "ssl_insecure.*ca_file"),
    ({"plug": "121,222", "vm_name": "rhel1"}, "vm_name"),
    ({"plug": "121,222", "vm_uuid": "11111111-2222-3333-4444-555555555555"}, "vm_uuid"),
    ({"username": b"pace\xffmaker@pve"}, "username.*UTF-8"),
    ({"ip": b"127.0.0.11\xc3"}, "ip.*UTF-8"),
    ({"vm_name": "rhel\0"}, "vm-name.*NUL"),
    ({"action": "explode"}, "explode"),
]


def wrong(number: int, options: Options, reason: str) -> Scene:
    def play(agent: Agent) -> None:
        # Bytes that are no text ride behind the options.
        raw = {name: value for name, value in options.items() if isinstance(value, bytes)}
        more = b"".join(name.encode() + b"=" + value + b"\n" for name, value in raw.items())
        given = {name: value for name, value in options.items() if name not in raw}
        action = str(given.pop("action", "off"))
        outcome = agent(action, more=more, **given)
        outcome.expect(1, reason, within=SOON)
        one_line(outcome)
        if action == "off":
            agent("validate-all", more=more, **given).expect(1, reason, within=SOON)
        assert agent.api.asked == []

    return Scene(f"{number}-{'-'.join(options)}", play)


@pytest.mark.parametrize("scene", [wrong(number, *row) for number, row in enumerate(WRONG)], ids=str)
def test_options_that_nothing_can_be_done_with(stage: Stage, scene: Scene) -> None:
    stage(scene)


@SCENES.on()
def all_faults_at_once(agent: Agent) -> None:
    """validate-all tells everything, so that nobody has to ask again after each correction."""
    outcome = agent("validate-all", ipport="x", vmtype="y", delay="z", plug=None)
    outcome.expect(1, "ipport", "vmtype", "delay", "plug", within=SOON)
    assert agent.api.asked == []


@SCENES.on()
def validation_of_what_is_right(agent: Agent) -> None:
    """Pacemaker validates with a plug and a node that there need not be."""
    ways: list[Options] = [{}, {"plug": "node1", "nodename": "node1"}, {"password": None, "token": f"{USER}!fence={TOKEN}"}]
    for options in ways:
        outcome = agent("validate-all", **options)
        outcome.expect(0, within=SOON)
        assert outcome.stderr == "", outcome
    assert agent.api.asked == []


# Input that something can be done with.


@SCENES.on()
def unknown_keys(agent: Agent) -> None:
    agent.secrets |= {"Topmost-Secret", "Second-Secret"}
    outcome = agent("status", more="x_api_token=Topmost-Secret\nSecond-Secret\noption=off\n=Topmost-Secret\n")
    outcome.expect(0, "unknown option 'x_api_token'", "'option'", stdout=IS_ON, within=SOON)
    assert len(outcome.levels("WARNING")) == 4, outcome


@SCENES.on()
def what_the_fencer_sends_besides(agent: Agent) -> None:
    """Nothing of it is a reason for a warning in every monitor's log."""
    outcome = agent("status", more="nodename=rhel1\ndisable_timeout=true\nverbose=0\n\n# comment\n")
    outcome.expect(0, stdout=IS_ON, within=SOON)
    assert outcome.stderr == "", outcome


@SCENES.on()
def bytes_that_are_no_text(agent: Agent) -> None:
    agent("status", more=b"\xff\xfe\x00=\x80\n\xc3\n").expect(0, "line", stdout=IS_ON, within=SOON)


@SCENES.on()
def line_ends_of_another_system(agent: Agent) -> None:
    agent("status", plug=None, more=b"   plug = 999\r\nplug=121\r\n\r\n").expect(0, stdout=IS_ON, within=SOON)


@SCENES.on()
def quotes_and_old_names(agent: Agent) -> None:
    agent("status", ip=None, username=None, plug=None, more=f'ipaddr="127.0.0.11"\nlogin="{USER}"\nport="121"\n').expect(
        0, stdout=IS_ON, within=SOON)  # fmt: skip


@SCENES.on()
def the_last_of_several_holds(agent: Agent) -> None:
    agent("status", plug="999", more="plug=222\nplug=121\n").expect(0, stdout=IS_ON, within=SOON)


@SCENES.on()
def a_very_long_line(agent: Agent) -> None:
    agent("status", more="x" * 1_000_000 + "\n").expect(0, stdout=IS_ON, within=SOON)


@SCENES.on()
def words_of_the_command_line(agent: Agent) -> None:
    agent.secrets.add("stray-secret")
    words = agent.words("status")
    outcome = agent("status", words=[*words, "stray-secret"])
    outcome.expect(0, "Unused arguments", stdout=IS_ON, within=SOON)
    for bad, reason in ((["--no-such=stray-secret"], "no-such"), (["--pass"], "unique prefix"), (["-Q"], "-Q"), (["-p"], "-p.*argument"),
                        (["--ssl-insecure=1"], "ssl-insecure.*argument"), ([b"--plug=\xff"], "UTF-8|\\?")):  # fmt: skip
        outcome = agent("status", words=[*words, *bad])
        outcome.expect(1, reason, within=SOON)
        one_line(outcome)


# Truth and its opposite.

YES, NO = ("1", "yes", "on", "true", "TRUE"), ("0", "no", "off", "false", "No")


@SCENES.on()
def no_means_no(agent: Agent) -> None:
    """The stock agent takes any value for yes (D7)."""
    for text in NO:
        agent("status", ca_file=None, ssl_insecure=text).expect(1, "certificate", within=SOON)
    agent("status", ca_file=None, ssl="0").expect(1, "certificate", within=SOON)
    agent("status", ca_file=None, ssl_insecure="maybe").expect(1, "ssl_insecure", "certificate", within=SOON)
    agent("status", quiet="0", plug="999").expect(1, "999", within=SOON)


@SCENES.on()
def yes_means_yes(agent: Agent) -> None:
    for text in YES:
        agent("status", ca_file=None, ssl_insecure=text).expect(0, stdout=IS_ON, within=SOON)


@SCENES.on()
def quiet(agent: Agent) -> None:
    """Silence on stderr is what was asked for; the system log has the reason."""
    process = agent.begin("status", quiet="1", plug="999")
    with pytest.raises(AssertionError, match="no reason is given"):
        process.end()


# Certificates.


@SCENES.on()
def an_authority_that_nobody_knows(agent: Agent) -> None:
    agent("status", ca_file=None).expect(1, r"127\.0\.0\.11:\d+: .*certificate", "ca_file", within=SOON)
    assert agent.api.asked == [], "nothing is sent to somebody whom nobody knows"


@SCENES.on()
def an_expired_certificate(agent: Agent) -> None:
    leaf = agent.standin.authority.expired_leaf("pve1", "127.0.0.11")
    agent.standin.certify("pve1", leaf)
    for action in ("off", "monitor"):
        outcome = agent(action)
        outcome.expect(1, r"127\.0\.0\.11:\d+: .*certificate has expired", "renew", within=SOON)
        one_line(outcome)
    assert agent.api.asked == []
    agent("status", ca_file=None, fingerprint=leaf.fingerprint).expect(0, stdout=IS_ON, within=SOON)
    agent("status", ca_file=None, ssl_insecure=1).expect(0, stdout=IS_ON, within=SOON)


@SCENES.on()
def one_certificate_of_two_has_expired(agent: Agent) -> None:
    agent.standin.certify("pve1", agent.standin.authority.expired_leaf("pve1", "127.0.0.11"))
    agent("monitor", plug="222", ip="127.0.0.11,127.0.0.12").expect(0, r"127\.0\.0\.11:\d+.*expired", within=SOON)
    agent("off", plug="222", ip="127.0.0.11,127.0.0.12").expect(0, stdout=OFF, within=SOON)


@SCENES.on()
def a_certificate_for_another_name(agent: Agent) -> None:
    agent.standin.certify("pve1", agent.standin.authority.leaf("elsewhere", "127.0.0.99"))
    agent("status").expect(1, r"certificate is not made out for 127\.0\.0\.11", within=SOON)


@SCENES.on()
def another_cluster_s_authority(agent: Agent) -> None:
    directory = agent.directory / "other"
    directory.mkdir()
    agent("status", ca_file=Authority(directory).file).expect(1, "certificate", "ca_file", within=SOON)


@SCENES.on()
def an_authority_from_before_proxmox_ve_9(agent: Agent) -> None:
    directory = agent.directory / "old"
    directory.mkdir()
    authority = Authority(directory, old=True)
    agent.standin.certify("pve1", authority.leaf("pve1", "127.0.0.11"))
    agent("status", ca_file=authority.file).expect(0, stdout=IS_ON, within=SOON)


@SCENES.on()
def fingerprints(agent: Agent) -> None:
    right, other = agent.standin.fingerprint("pve1"), agent.standin.fingerprint("pve2")
    assert right != other
    wrong = agent("status", ca_file=None, fingerprint=other)
    wrong.expect(1, r"127\.0\.0\.11:\d+: .*fingerprint", right, within=SOON)
    one_line(wrong)
    assert agent.api.asked == []
    for text in (right, right.lower(), right.replace(":", ""), f"{other},{right}", f"{other} {right}"):
        agent("status", ca_file=None, fingerprint=text).expect(0, stdout=IS_ON, within=SOON)
    agent("off", ca_file=None, fingerprint=f"{other},{right}", ip="127.0.0.11,127.0.0.12").expect(0, stdout=OFF, within=SOON)


@SCENES.on()
def a_ca_file_that_is_none(agent: Agent) -> None:
    empty, directory = agent.directory / "empty.pem", agent.directory / "directory"
    empty.touch()
    directory.mkdir()
    for path in (Path("/nowhere/ca.pem"), empty, directory, Path("/etc/passwd")):
        outcome = agent("off", ca_file=path)
        outcome.expect(1, f"ca_file {path}", within=SOON)
        one_line(outcome)
    assert agent.api.asked == []


# Who else may answer.


@SCENES.on()
def a_proxy_s_page(agent: Agent) -> None:
    for fault in (faults.html(200, "OK"), faults.html(502, "Bad Gateway"), faults.html(404, "Not Found"), faults.html(403, "Forbidden"),
                  faults.redirect("https://portal.example/login")):  # fmt: skip
        with agent.standin.disturbed(fault):
            outcome = agent("off", time_limit=8)
            outcome.expect(1, r"127\.0\.0\.11:\d+", "is this address a Proxmox VE node", within=GIVES_UP)
            one_line(outcome)
    assert agent.runs()


@SCENES.on()
def plain_http(agent: Agent) -> None:
    agent.standin.disturb(faults.no_tls(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"))
    outcome = agent("off")
    outcome.expect(1, r"127\.0\.0\.11:\d+: .*(HTTPS|TLS)", within=SOON)
    one_line(outcome)


@SCENES.on()
def a_second_factor(agent: Agent) -> None:
    agent.world.add_user(USER, running.PASSWORD, tfa=True)
    for action in ("off", "monitor"):
        outcome = agent(action)
        outcome.expect(1, f"{USER}.*(second factor|TFA).*token", within=SOON)
        one_line(outcome)
    agent.world.add_token(USER, "fence", TOKEN)
    agent("monitor", password=None, token=f"{USER}!fence={TOKEN}").expect(0, within=SOON)


# The machine's own settings.


@SCENES.on()
def settings_for_other_programs(agent: Agent) -> None:
    netrc = agent.directory / "netrc"
    netrc.write_text("machine 127.0.0.11 login somebody password else\n")
    environment = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9",
                   "REQUESTS_CA_BUNDLE": "/nowhere", "CURL_CA_BUNDLE": "/nowhere", "NETRC": str(netrc), "PYTHONPATH": "/nowhere",
                   "PYTHONWARNINGS": "error", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}  # fmt: skip
    outcome = agent("off", environment=environment)
    outcome.expect(0, stdout=OFF, within=SOON)
    assert outcome.stderr == "", outcome


@SCENES.on()
def debug_files_that_cannot_be(agent: Agent) -> None:
    """No reason not to fence."""
    target, link = agent.directory / "target", agent.directory / "link"
    target.write_text("kept")
    link.symlink_to(target)
    for path in (Path("/nowhere/debug"), agent.directory, link, Path("/dev/full")):
        agent("status", debug_file=path).expect(0, f"{path}", stdout=IS_ON, within=SOON)
    assert target.read_text() == "kept"


@SCENES.on()
def a_debug_file_that_others_could_read(agent: Agent) -> None:
    path = agent.directory / "old.log"
    path.write_text("before\n")
    path.chmod(0o644)
    outcome = agent("status", debug_file=path)
    assert (outcome.debug_mode, outcome.debug.startswith("before\n")) == (0o600, True)


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_what_comes_of(stage: Stage, scene: Scene) -> None:
    stage(scene)
