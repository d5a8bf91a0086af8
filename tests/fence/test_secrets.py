"""Secrets: where they may come from, and that they are in no output, at no level, in no file and in no list of processes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.proxmox import faults
from tests.fence import running
from tests.fence.running import PASSWORD, TOKEN, USER, Agent, Options, Outcome, Scene, Scenes, Stage, cmdlines, forms

pytestmark = pytest.mark.once

stage = running.stage

IS_ON, OFF = "Status: ON\n", "Success: Powered OFF\n"
SOON = 20.0
FULL_TOKEN = f"{USER}!fence={TOKEN}"

SCENES = Scenes()


def kept(agent: Agent, name: str, text: str) -> Path:
    path = agent.directory / name
    path.write_text(text)
    path.chmod(0o600)
    return path


def script(agent: Agent, text: str) -> Path:
    path = kept(agent, "script", f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


# Where a secret may come from: options that say so.
SOURCES: dict[str, Callable[[Agent], Options]] = {
    "password": lambda agent: {},
    "@file": lambda agent: {"password": f"@{kept(agent, 'password', PASSWORD)}"},
    "@file with a line's end": lambda agent: {"password": f"@{kept(agent, 'password', PASSWORD + chr(10) + 'other')}"},
    "password_script": lambda agent: {"password": None, "password_script": f"cat {kept(agent, 'password', PASSWORD)}"},
    "passwd_script": lambda agent: {"password": None, "passwd_script": script(agent, f"cat {kept(agent, 'password', PASSWORD)}")},
    "a script before a value": lambda agent: {"password": "obsolete-one", "password_script": f"cat {kept(agent, 'password', PASSWORD)}"},
    "passwd": lambda agent: {"password": None, "passwd": PASSWORD},
    "in quotes": lambda agent: {"password": f'"{PASSWORD}"'},
    "token": lambda agent: {"password": None, "token": FULL_TOKEN},
    "token's secret": lambda agent: {"password": None, "username": f"{USER}!fence", "token": TOKEN},
    "token as password": lambda agent: {"username": f"{USER}!fence", "password": TOKEN},
    "token @file": lambda agent: {"password": None, "token": f"@{kept(agent, 'token', FULL_TOKEN)}"},
    "token_script": lambda agent: {"password": None, "token_script": f"cat {kept(agent, 'token', FULL_TOKEN)}"},
}


def from_source(source: str) -> Scene:
    def play(agent: Agent) -> None:
        agent.secrets.add("obsolete-one")
        options = SOURCES[source](agent)
        agent("status", verbose="1", **options).expect(0, stdout=IS_ON, within=SOON)
        agent("off", **options).expect(0, stdout=OFF, within=SOON)
        # A token needs no login, and leaves none in the log of the server.
        by_token = "token" in source
        assert bool(agent.calls("POST", "/access/ticket")) is not by_token
        assert any("authorization" in request.headers for _, request in agent.api.asked) is by_token

    return Scene(source, play)


@pytest.mark.parametrize("scene", [from_source(source) for source in SOURCES], ids=str)
def test_a_source(stage: Stage, scene: Scene) -> None:
    stage(scene)


# A secret that cannot be had: options, what the reason names.
BAD_SOURCES: dict[str, tuple[Options, str]] = {
    "no such file": ({"password": "@/nowhere/password"}, "password.*/nowhere/password"),
    "a directory": ({"password": "@/tmp"}, "password.*/tmp"),
    "an empty file": ({"password": "@/dev/null"}, "password.*/dev/null"),
    "a script that fails": ({"password": None, "password_script": "echo Half-A-Secret; exit 3"}, "password_script.*3"),
    "a script that fails, beside a password": ({"password_script": "echo Half-A-Secret >&2; exit 3"}, "password_script.*3"),
    "a script that says nothing": ({"password": None, "password_script": "true"}, "password_script"),
    "a script that is none": ({"password": None, "password_script": "/nowhere/script"}, "password_script"),
    "a script that never ends": ({"password": None, "time_limit": 6, "password_script": "echo Half-A-Secret; sleep 100"},
                                 "password_script"),
    "a script that speaks no UTF-8": ({"password": None, "password_script": r"printf 'Half-A-Secret\377'"}, "password_script.*UTF-8"),
    "a token without a name": ({"password": None, "token": "Half-A-Secret"}, "token.*USER@REALM!NAME"),
    "a token of somebody else": ({"password": None, "username": f"{USER}!fence", "token": "root@pam!x=Half-A-Secret"}, "root@pam"),
}


def from_bad_source(source: str) -> Scene:
    def play(agent: Agent) -> None:
        agent.secrets.add("Half-A-Secret")
        options, reason = BAD_SOURCES[source]
        agent("off", **options).expect(1, reason, within=SOON)
        assert agent.api.asked == []

    return Scene(source, play)


@pytest.mark.parametrize("scene", [from_bad_source(source) for source in BAD_SOURCES], ids=str)
def test_a_source_that_gives_nothing(stage: Stage, scene: Scene) -> None:
    stage(scene)


# Each level of each way in which something can go right and wrong.  `Agent.judge` looks for the secrets.
LEVELS: dict[str, Options] = {
    "verbose": {"verbose": "1"},
    "verbose_level=1": {"verbose_level": "1"},
    "verbose_level=2": {"verbose_level": "2"},
    "verbose_level=9": {"verbose_level": "9"},
}
COURSES: dict[str, Callable[[Agent], object]] = {
    "well": lambda agent: None,
    "login refused": lambda agent: agent.world.add_user(USER, "another"),
    "no right": lambda agent: agent.grant("/vms/121"),
    "connection reset": lambda agent: agent.standin.disturb(faults.reset(9).at(path="ticket|resources")),
    "page": lambda agent: agent.standin.disturb(faults.html(200, "OK")),
    "garbage": lambda agent: agent.standin.disturb(faults.garbage()),
    "a header of many": lambda agent: agent.standin.disturb(faults.raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n")),
    "an expired certificate": lambda agent: agent.standin.certify("pve1", agent.standin.authority.expired_leaf("pve1", "127.0.0.11")),
    "refusing": lambda agent: setattr(agent.world.nodes["pve1"], "api", "refusing"),
    "relogin": lambda agent: agent.standin.disturb(faults.empty(401, "permission denied - invalid PVE ticket").at(
        path="resources", times=1)),
}  # fmt: skip


def at_all_levels(course: str) -> Scene:
    def play(agent: Agent) -> None:
        COURSES[course](agent)
        credentials: tuple[Options, ...] = ({}, {"password": None, "token": FULL_TOKEN})
        for credential in credentials:
            outcome = agent("off", time_limit=8, verbose_level=2, **credential)
            assert " DEBUG: " in outcome.stderr, outcome

    return Scene(course, play)


@pytest.mark.parametrize("scene", [at_all_levels(course) for course in COURSES], ids=str)
def test_no_output_has_a_secret(stage: Stage, scene: Scene) -> None:
    stage(scene)


@SCENES.on()
def what_is_said_at_the_highest_levels(agent: Agent) -> None:
    for options in LEVELS.values():
        outcome = agent("off", **options)
        assert outcome.code == 0, outcome
        # Something has to have been said, or nothing was shown by this.
        assert "POST" in outcome.stderr and "POST" in outcome.syslog and "POST" in outcome.debug, outcome
        for name in ("PVEAuthCookie", "PVEAPIToken"):
            assert not re.search(rf"{name}=[^*\s]", outcome.stderr + outcome.syslog + outcome.debug), outcome
        agent.world.begin(agent.world.guests[121], agent.world.nodes["pve1"])


@SCENES.on()
def an_answer_that_repeats_what_was_sent(agent: Agent) -> None:
    ways: list[tuple[str, Options]] = [
        (PASSWORD, {}), (TOKEN, {"password": None, "token": FULL_TOKEN}),
        (TOKEN, {"password": None, "username": f"{USER}!fence", "token": TOKEN}),
    ]  # fmt: skip
    for secret, options in ways:
        body = json.dumps({"data": None, "message": f"what is {secret}?", "errors": {"password": f"{secret} is bad"}}).encode()
        with agent.standin.disturbed(faults.text(body, 400, f"no {secret}")):
            agent("off", verbose_level=2, **options).expect(1, within=SOON)


@SCENES.on()
def v_and_vv(agent: Agent) -> None:
    """On the command line the user shows the password; the agent does not repeat it."""
    for flags in (["-v"], ["-vv"], ["-v", "-v", "-v"]):
        outcome = agent("status", words=[*agent.words("status"), *flags])
        outcome.expect(0, "GET", stdout=IS_ON, within=SOON)
    agent("status", words=[*agent.words("status", plug="999"), "-vv"]).expect(1, "999", within=SOON)


@SCENES.on()
def passwords_that_are_hard_to_hide(agent: Agent) -> None:
    for password in ("päss wörd", "a b+c%20d", "x" * 300, 'say "no"', r"back\slash\n", "%s%d{0}", "status stop 121"):
        with agent.changing() as world:
            world.add_user(USER, password)
        agent.secrets.add(password)
        outcome = agent("status", password=password, verbose_level=2)
        assert (outcome.code, outcome.stdout) == (0, IS_ON), outcome
        outcome = agent("status", password=f"{password}?", verbose_level=2)
        assert outcome.code == 1, outcome
        agent.secrets.discard(password)


@SCENES.on()
def a_password_in_the_wrong_place(agent: Agent) -> None:
    """Somebody has mixed up the lines of the configuration.  The server's address and the user's name are shown in messages."""
    agent.secrets.add("Wrong-Place-77")
    for name in ("ipport", "delay", "method", "time_limit", "retry_on", "ssl_insecure", "verbose_level", "fingerprint", "vmtype",
                 "no_such"):  # fmt: skip
        misplaced: Options = {name: "Wrong-Place-77"}
        outcome = agent("status", **misplaced)
        assert outcome.code in (0, 1), outcome


@SCENES.on()
def a_defect_of_ours(agent: Agent) -> None:
    """Even a traceback of the interpreter's own would hold no secret: nothing of a request is in any exception."""
    agent.standin.disturb(faults.text(b"\xff" * 5000 + PASSWORD.encode(), 200, "OK").at(path="resources"))
    outcome = agent("off", time_limit=8, verbose_level=9)
    assert outcome.code == 1, outcome


# What `ps` shows.


def watched(agent: Agent, **options: Any) -> tuple[Outcome, set[str]]:
    """Run an action that takes a moment at each answer, and return what could be seen of its processes."""
    for node in agent.world.nodes.values():
        node.slow = 0.15
    under_way = agent.begin("off", **options)
    with cmdlines(under_way.process.pid) as seen:
        outcome = under_way.end()
    assert outcome.code == 0, outcome
    assert any("fence_pve" in line for line in seen), seen
    return outcome, seen


def hidden(agent: Agent, seen: set[str]) -> None:
    for secret in (PASSWORD, TOKEN, *agent.api.secrets):
        for form in forms(secret):
            assert not [line for line in seen if form in line]


@SCENES.on()
def processes(agent: Agent) -> None:
    _, seen = watched(agent)
    hidden(agent, seen)
    assert len(seen) <= 2, "fenced without another program"


@SCENES.on()
def processes_with_a_script(agent: Agent) -> None:
    path = kept(agent, "password", PASSWORD)
    _, seen = watched(agent, password=None, password_script=f"sleep 0.3; cat {path}; sleep 0.3")
    assert any("sleep" in line for line in seen), seen
    hidden(agent, seen)


@SCENES.on()
def processes_with_a_file(agent: Agent) -> None:
    _, seen = watched(agent, password=None, token=f"@{kept(agent, 'token', FULL_TOKEN)}")
    hidden(agent, seen)


@SCENES.on()
def processes_where_the_user_showed_it(agent: Agent) -> None:
    """The test that the ones above can fail."""
    under_way = agent.begin("status", words=agent.words("status"))
    with cmdlines(under_way.process.pid) as seen:
        under_way.end()
    assert any(PASSWORD in line for line in seen)


@SCENES.on()
def what_a_script_gets_to_see(agent: Agent) -> None:
    """A script for the token is not told the password."""
    record = agent.directory / "environment"
    agent("status", token_script=f"env >{record}; echo '{FULL_TOKEN}'").expect(0, stdout=IS_ON, within=SOON)
    assert PASSWORD not in record.read_text()


@SCENES.on()
def files_left_behind(agent: Agent) -> None:
    """Nothing is written but the debug file."""
    before = {path for place in ("/tmp", "/var/tmp", "/run", "/root") for path in Path(place).glob("*")}
    agent("off").expect(0, stdout=OFF, within=SOON)
    after = {path for place in ("/tmp", "/var/tmp", "/run", "/root") for path in Path(place).glob("*")}
    assert after <= before | {Path("/tmp/hypothesis")}
    assert sorted(path.name for path in agent.directory.iterdir() if path.suffix not in (".pem", ".key")) == ["debug.1", "stdin.1"]


@SCENES.on()
def under_another_umask(agent: Agent) -> None:
    before = os.umask(0)
    try:
        outcome = agent("status")
    finally:
        os.umask(before)
    assert outcome.debug_mode == 0o600


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_secrets(stage: Stage, scene: Scene) -> None:
    stage(scene)
