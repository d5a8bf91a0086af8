"""Where log lines go, and that no secret goes with them."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import re
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fence_lab import logs
from fence_lab.errors import FenceError
from tests.fence.strip import Device, run

SECRETS = ["sesame", "pass word", 'quo"te', "back\\slash", "um/lä+ut=&%", "new\nline", "c2VjcmV0", "PVE:u@r:6A0B::si/g+n0==", "x"]


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    logs.forget()
    yield
    logs.forget()


def forms(secret: str) -> dict[str, str]:
    """Return how others may write a secret, in their own way rather than in that of the code."""
    forms = {"raw": secret, "repr": repr(secret)[1:-1], "exception": repr(KeyError(secret))}
    if len(secret) > 3:
        forms |= {
            "url": f"//u:{quote(secret, safe='')}@pve1/", "form": "password=" + quote_plus(secret), "path": quote(secret),
            "lower": re.sub("%..", lambda found: found.group().lower(), quote(secret, safe="")), "json": json.dumps({"password": secret}),
            "bytes": repr(secret.encode()), "base64": base64.b64encode(secret.encode()).decode(), "hex": secret.encode().hex(),
            **{f"Basic {len(user)}": base64.b64encode(f"{user}:{secret}".encode()).decode() for user in ("r", "ro", "roo", "root@pam")},
        }  # fmt: skip
    return forms


@pytest.mark.parametrize(
    "secret, form", [pytest.param(secret, form, id=f"{secret!r}-{name}") for secret in SECRETS for name, form in forms(secret).items()]
)
def test_every_form_is_masked(secret: str, form: str) -> None:
    logs.hide(secret)
    shown = logs.masked(form)
    assert shown != form
    assert "****" in shown
    assert secret not in shown


def test_secrets_become_known_side_by_side() -> None:
    """Several hypervisors give their tickets at the same time; on a slow machine a node's fencing once failed over that."""
    logs.forget()
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for turn in range(20):
            secrets = [f"ticket-{turn}-{number}" for number in range(8)]
            with ThreadPoolExecutor(len(secrets)) as pool:
                list(pool.map(logs.hide, secrets))
            assert logs.masked(" ".join(secrets)) == " ".join(["****"] * len(secrets))
    finally:
        sys.setswitchinterval(switching)
        logs.forget()


def test_secrets_are_forgotten_beside_threads_that_were_given_up() -> None:
    """What an action has given up learns secrets and logs still while the next one, in the same process, begins."""
    over = threading.Event()

    def late(number: int) -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            logs.hide(f"ticket-{number}-{turn}")
            logs.masked("nothing secret")

    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as pool:
            threads = [pool.submit(late, number) for number in range(2)]
            until = time.monotonic() + 1
            while time.monotonic() < until and not any(thread.done() for thread in threads):
                logs.forget()
            over.set()
            for thread in threads:
                thread.result()
    finally:
        sys.setswitchinterval(switching)


def test_masking_leaves_the_rest() -> None:
    logs.hide("sesame", "sesame-longer", "")
    assert logs.masked("open sesame-longer, sesame and x!") == "open ****, **** and x!"
    logs.forget()
    assert logs.masked("open sesame") == "open sesame"


@settings(deadline=None)
@given(st.text(min_size=4).filter(lambda secret: "*" not in secret), st.text(max_size=9), st.text(max_size=9))
def test_no_secret_leaves_in_any_handler(secret: str, before: str, after: str) -> None:
    logs.forget()
    logs.hide(secret)
    stderr = io.StringIO()
    log = logs.opened("fence_test", stderr, verbose=True)
    template = before.replace("%", "%%")
    try:
        raise FenceError(before + secret + after)
    except FenceError:
        log.debug(template + " %s %r", secret, after + secret, exc_info=True)
    logs.closed(log)
    assert secret not in stderr.getvalue()


def test_a_message_is_one_line_and_a_traceback_is_not() -> None:
    stderr = io.StringIO()
    log = logs.opened("fence_test", stderr, verbose=True)
    log.warning("%s", "two\r\nlines \x1b[31m\N{LINE SEPARATOR}of\0it")
    try:
        raise FenceError("for the author")
    except FenceError:
        log.debug("traceback", exc_info=True)
    logs.closed(log)
    first, second, *traceback = stderr.getvalue().splitlines()
    assert first.endswith(" WARNING: two lines [31m of it")
    assert second.endswith(" DEBUG: traceback")
    assert traceback[0].startswith("Traceback")
    assert traceback[-1].endswith("FenceError: for the author")


def test_levels() -> None:
    for verbose, expected in ((False, ["WARNING", "ERROR"]), (True, ["DEBUG", "INFO", "WARNING", "ERROR"])):
        stderr = io.StringIO()
        log = logs.opened("fence_test", stderr, verbose=verbose)
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            log.log(level, "text")
        logs.closed(log)
        assert [line.split()[2].rstrip(":") for line in stderr.getvalue().splitlines()] == expected


@pytest.fixture
def syslog(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[socket.socket]:
    monkeypatch.setattr(logs, "DEVICE", str(tmp_path / "log"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "log"))
        listener.setblocking(False)
        yield listener


def received(listener: socket.socket) -> list[str]:
    found = []
    try:
        while True:
            found.append(listener.recv(100000).decode())
    except BlockingIOError:
        return found


def test_syslog_gets_what_stderr_gets_even_if_quiet(syslog: socket.socket) -> None:
    run("action=status", "plug=9", "quiet=1", "unknown=sesame")
    warning, error = received(syslog)
    assert warning.startswith("<12>")
    assert warning.endswith(f" fence_strip[{os.getpid()}]: Parse error: Ignoring unknown option 'unknown'")
    assert error.startswith("<11>")
    assert error.endswith(": no plug 9")


def test_syslog_that_takes_nothing_is_done_without(syslog: socket.socket) -> None:
    began = time.monotonic()
    log = logs.opened("fence_test", None)
    for number in range(2000):
        log.error("line %d", number)
    logs.closed(log)
    assert len(received(syslog)) < 2000
    assert time.monotonic() - began < 30


def test_a_line_too_long_for_syslog_is_cut(syslog: socket.socket) -> None:
    log = logs.opened("fence_test", None)
    log.error("ü" * 100000)
    logs.closed(log)
    line = syslog.recv(100000)
    assert b"fence_test" in line
    assert 7000 < len(line) <= 8000


def test_a_stream_that_is_gone_is_done_without() -> None:
    stderr = io.StringIO()
    log = logs.opened("fence_test", stderr)
    stderr.close()
    log.error("nobody listens")
    logs.closed(log)


def test_the_debug_file_has_everything_and_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "debug"
    path.write_text("before\n")
    path.chmod(0o666)
    ended = run("action=off", "plug=1", f"debug_file={path}", "delay=1", device=Device(login=lambda: None))
    assert (ended.code, ended.stderr) == (0, "")
    before, delay = path.read_text().splitlines()
    assert before == "before"
    assert " INFO: Delay 2 second(s)" in delay
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    run("action=status", "plug=9", f"debug={tmp_path}/new")
    assert (tmp_path / "new").read_text().endswith("ERROR: no plug 9\n")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "name, reason",
    [("missing/file", "No such file"), ("link", "symbolic links"), ("directory", "directory"), ("pipe", "No such device"),
     ("null", "regular")],
)  # fmt: skip
def test_a_debug_file_that_cannot_be_is_no_reason_not_to_fence(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    path = "/dev/null" if name == "null" else str(tmp_path / name)
    ended = run("action=off", "plug=1", f"debug_file={path}")
    assert (ended.code, ended.stdout) == (0, "Success: Powered OFF\n")
    assert f"Unable to create file {path}" in ended.stderr
    assert reason in ended.stderr
    assert (tmp_path / "target").read_text() == ""


def test_a_debug_file_that_hangs_does_not_keep_the_action(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe with a reader is no regular file; one whose open blocks stands for a disk that does not answer."""
    monkeypatch.setattr(logs, "PATIENCE", 0.1)
    real = os.open
    let_go: list[bool] = []

    def stuck(path: str, flags: int, mode: int = 0o777) -> int:
        while path.endswith("stuck") and not let_go:
            time.sleep(0.01)
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", stuck)
    ended = run("action=off", "plug=1", f"debug_file={tmp_path}/stuck")
    let_go.append(True)
    assert (ended.code, ended.stdout) == (0, "Success: Powered OFF\n")
    assert "it does not answer" in ended.stderr


def test_secrets_are_in_no_place_at_any_level(tmp_path: Path, syslog: socket.socket) -> None:
    def login() -> None:
        raise RuntimeError("POST password=open%20sesame&x=1 failed", {"Cookie": "open sesame"})

    ended = run("action=off", "plug=1", "password=open sesame", "passwrd=open sesame", "verbose=1", f"debug_file={tmp_path}/debug",
                device=Device(login=login))  # fmt: skip
    places = [ended.stdout, ended.stderr, (tmp_path / "debug").read_text(), "".join(received(syslog))]
    assert all("Traceback" in place for place in places[1:])
    assert all("****" in place for place in places[1:])
    assert not any("sesame" in place for place in places)
