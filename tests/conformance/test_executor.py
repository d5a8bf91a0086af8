"""The executor: what an agent is given, what is made of its answer, and what becomes of its processes."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ocf_py.testing import Executor, WrongBehaviour, processes
from ocf_py.testing.executor import RSCTMP, last_reason, ocf_code, readable_interval

Script = Callable[[str], Path]
REPORTER = """#!{python} -I
import json, os, signal, sys
json.dump({{
    "environ": dict(os.environ), "argv": sys.argv, "pid": os.getpid(), "group": os.getpgrp(), "session": os.getsid(0),
    "cwd": os.getcwd(), "umask": os.umask(0), "uid": os.getuid(),
    "descriptors": {{name: os.readlink("/proc/self/fd/" + name) for name in os.listdir("/proc/self/fd") if name in "012"}},
    "more": [name for name in os.listdir("/proc/self/fd") if int(name) > 3],
    "pipe": signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN and "python" or "default",
}}, sys.stdout)
"""


@pytest.fixture
def script(tmp_path: Path) -> Script:
    def write(text: str) -> Path:
        path = tmp_path / "provider" / "Agent"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    return write


def shell(script: Script, body: str, **options: object) -> Executor:
    return Executor(script(f"#!/bin/sh\n{body}\n"), check=False, **options)  # type: ignore[arg-type]


@pytest.fixture
def reporter(script: Script) -> Path:
    return script(REPORTER.format(python=sys.executable))


def environ(reporter: Path, action: str, profile: str = "execd", **options: object) -> dict[str, str]:
    node = Executor(reporter, {"size": 3}, instance="rsc", profile=profile, check=False)
    found: dict[str, str] = json.loads(node.call(action, **options).stdout)["environ"]  # type: ignore[arg-type]
    return found


def test_execd_names_the_resource_and_the_action(reporter: Path) -> None:
    found = environ(reporter, "start", timeout=40.0)
    assert {name: found[name] for name in found if name.startswith("OCF_RES")} == {
        "OCF_RESOURCE_INSTANCE": "rsc",
        "OCF_RESOURCE_PROVIDER": "provider",
        "OCF_RESOURCE_TYPE": "Agent",
        "OCF_RESKEY_size": "3",
        "OCF_RESKEY_crm_feature_set": "3.16.1",
        "OCF_RESKEY_CRM_meta_name": "start",
        "OCF_RESKEY_CRM_meta_on_node": "node1",
        "OCF_RESKEY_CRM_meta_on_node_uuid": "1",
        "OCF_RESKEY_CRM_meta_timeout": "40000",
    }
    assert (found["OCF_RA_VERSION_MAJOR"], found["OCF_RA_VERSION_MINOR"], found["OCF_ROOT"]) == ("1", "1", "/usr/lib/ocf")
    assert found["LC_ALL"] == "C"
    assert "OCF_CHECK_LEVEL" not in found


def test_a_recurring_monitor_has_an_interval_and_a_probe_has_none(reporter: Path) -> None:
    recurring = environ(reporter, "monitor", interval=11.0, level=10)
    assert (recurring["OCF_RESKEY_CRM_meta_interval"], recurring["OCF_CHECK_LEVEL"]) == ("11000", "10")
    probe = environ(reporter, "monitor")
    assert "OCF_RESKEY_CRM_meta_interval" not in probe
    assert "OCF_CHECK_LEVEL" not in probe


def test_metadata_is_asked_without_parameters(reporter: Path) -> None:
    for profile in ("execd", "crm_resource", "pcs"):
        assert not [name for name in environ(reporter, "meta-data", profile) if name.startswith("OCF_RESKEY")]


def test_pcs_gives_next_to_nothing(reporter: Path) -> None:
    found = environ(reporter, "validate-all", "pcs")
    assert not {"PATH", "LANG", "HOME", "OCF_CHECK_LEVEL", "HA_LOGFACILITY"} & set(found)
    assert (found["LC_ALL"], found["OCF_RESOURCE_INSTANCE"], found["OCF_OUTPUT_FORMAT"]) == ("C", "test", "xml")
    with pytest.raises(ValueError, match="pcs runs only validate-all and meta-data"):
        environ(reporter, "start", "pcs")


def test_crm_resource_traces_when_asked(reporter: Path) -> None:
    quiet, traced = (environ(reporter, "monitor", profile) for profile in ("crm_resource", "crm_resource -VV"))
    assert quiet["HA_logfacility"] == traced["HA_logfacility"] == "none"
    assert "OCF_TRACE_RA" not in quiet
    assert (traced["OCF_TRACE_RA"], traced["OCF_TRACE_FILE"], traced["HA_debug"]) == ("1", "/dev/stderr", "1")


def test_ocf_tester_gives_no_version(reporter: Path) -> None:
    found = environ(reporter, "monitor", "ocf_tester")
    assert not [name for name in found if name.startswith("OCF_RA_VERSION")]
    assert found["OCF_RESKEY_CRM_meta_interval"] == "0"
    assert found["__OCF_ACTION"] == "monitor"


def test_bare_is_bare(script: Script) -> None:
    node = shell(script, "exec /usr/bin/env", profile="bare")
    # The shell itself sets these.
    assert {line.partition("=")[0] for line in node.call("monitor").stdout.splitlines()} <= {"PWD", "OLDPWD", "_", "SHLVL"}


def test_an_agent_runs_as_a_daemons_child(reporter: Path) -> None:
    """Own process group, the executor's session, /dev/null and two pipes, nothing else; SIGPIPE as Python itself sets it."""
    kept = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(kept, True)
    try:
        found = json.loads(Executor(reporter, check=False).start().stdout)
    finally:
        os.close(kept)
    assert found["group"] == found["pid"]
    assert found["session"] == os.getsid(0)
    assert found["descriptors"]["0"] == "/dev/null"
    assert all(found["descriptors"][name].startswith("pipe:") for name in "12")
    assert found["more"] == []
    assert found["argv"][1:] == ["start"]
    assert found["umask"] == 0o026


def test_sigpipe_has_its_default_effect(script: Script) -> None:
    node = shell(script, "grep SigIgn /proc/self/status")
    ignored = int(node.start().stdout.split()[1], 16)
    assert not ignored & (1 << 12)


def test_only_what_is_meant_is_added_or_left_out(reporter: Path) -> None:
    node = Executor(reporter, {"size": 3}, check=False, environment={"HA_SBIN_DIR": "/x"}, meta={"globally-unique": "true"})
    found = json.loads(node.start(without=["OCF_ROOT"], environment={"MORE": "1"}, parameters={}).stdout)["environ"]
    assert (found["HA_SBIN_DIR"], found["MORE"], found["OCF_RESKEY_CRM_meta_globally_unique"]) == ("/x", "1", "true")
    assert "OCF_ROOT" not in found
    assert "OCF_RESKEY_size" not in found


def test_the_last_exit_reason_counts() -> None:
    assert last_reason("noise\nocf-exit-reason:first\nocf-exit-reason:second\nnoise\n") == "second"
    assert last_reason("tag: ocf-exit-reason:in the middle") == "in the middle"
    assert last_reason("no reason\n") == ""
    assert last_reason("ocf-exit-reason:first\nocf-exit-reason:\n") == ""


@pytest.mark.parametrize("status, code", [(0, 0), (7, 7), (9, 9), (10, 1), (99, 1), (127, 1), (189, 1), (190, 190), (191, 191), (192, 1)])
def test_an_unknown_exit_status_is_an_error(script: Script, status: int, code: int) -> None:
    assert ocf_code(status) == code
    result = shell(script, f"exit {status}").monitor()
    assert (result.status, result.code) == (status, code)


def test_durations_read_as_in_pacemakers_messages() -> None:
    shown = {0: "0s", 0.5: "500ms", 1: "1000ms", 1.5: "1.500s", 20: "20s", 60: "60s", 61: "1m1000ms", 90: "1m30s", 7200: "2h"}
    shown[90061.5] = "1d1h1m1.500s"
    assert {seconds: readable_interval(seconds) for seconds in shown} == shown


def test_at_its_timeout_an_agent_loses_group_and_reason(script: Script) -> None:
    node = shell(script, "sleep 300 & echo ocf-exit-reason:too late >&2; sleep 300")
    result = node.start(timeout=1.0)
    assert (result.code, result.timed_out, result.status) == (1, True, -9)
    assert result.reason == "Resource agent did not complete within 1000ms"
    assert result.survivors == []
    assert 1.0 <= result.seconds < 4.0


def test_crm_resource_kills_the_agent_alone(script: Script) -> None:
    result = shell(script, "sleep 300 & wait", profile="crm_resource").start(timeout=0.5)
    assert result.reason == "Resource agent did not exit within specified timeout"
    assert [process.command for process in result.left] == ["sleep"]
    processes.kill(result.left)


def test_an_action_can_be_killed_on_the_way(script: Script) -> None:
    result = shell(script, "sleep 300").kill_after(0.2, "monitor")
    assert (result.code, result.killed, result.timed_out, result.status) == (1, True, False, -9)
    assert result.reason == "Resource agent interrupted by Killed signal"
    assert shell(script, "exit 7").kill_after(5.0, "monitor").code == 7


def test_whoever_keeps_the_pipes_does_not_hold_up_the_result(script: Script) -> None:
    result = shell(script, "setsid sleep 300 & echo done").call("meta-data")
    assert result.seconds < 5.0
    assert result.stdout == "done\n"
    assert [(process.command, process.holds_output) for process in result.left] == [("sleep", True)]
    processes.kill(result.left)


def test_much_output_is_read_to_the_end(script: Script) -> None:
    result = shell(script, "head -c 3000000 /dev/zero | tr '\\0' x; echo ocf-exit-reason:late >&2; exit 1").monitor()
    assert len(result.stdout) == 3_000_000
    assert result.reason == "late"


def test_an_agent_that_cannot_be_executed(tmp_path: Path, script: Script) -> None:
    assert Executor(tmp_path / "missing", check=False).start().code == 5
    path = script("exit 7")
    assert Executor(path, check=False).monitor().code == 7, "execvp() hands a file without #! to the shell"
    path.chmod(0o644)
    assert Executor(path, check=False).start().code == 4


def test_the_log_is_caught(script: Script) -> None:
    node = shell(script, 'echo "to the file" >>"$HA_LOGFILE"')
    assert node.start().log == ("to the file",)
    assert node.start().log == ("to the file",)


def test_syslog_is_caught_where_nobody_listens(script: Script) -> None:
    python = "import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.sendto(b'<30>to syslog', '/dev/log')"
    node = shell(script, f'/usr/bin/python3 -c "{python}"')
    assert "to syslog" in node.start().log
    # Between two actions nobody has to wait for a reader.
    assert not os.path.exists("/dev/log")


def test_an_agent_that_logs_much_does_not_wait_for_a_reader(script: Script) -> None:
    python = "import syslog; [syslog.syslog(str(n)) for n in range(3000)]"
    result = shell(script, f'/usr/bin/python3 -c "{python}"').start()
    assert (result.code, len(result.log)) == (0, 3000)


def test_execd_makes_the_state_directory(script: Script) -> None:
    shell(script, "exit 0")
    assert os.path.isdir(RSCTMP)


def test_several_actions_side_by_side(script: Script) -> None:
    node = shell(script, "sleep 0.5")
    began = time.monotonic()
    under_way = [node.begin("monitor") for _ in range(5)]
    assert [call.finish().code for call in under_way] == [0] * 5
    assert time.monotonic() - began < 5 * 0.5


# Verdicts, which an executor makes unless it is told not to.


@pytest.mark.parametrize(
    "body, action, rule",
    [
        ("exit 7", "stop", "code"),
        ("exit 77", "monitor", "code"),
        ("exit 0", "bogus", "code"),
        ("exit 1", "start", "reason missing"),
        ("exit 190", "monitor", "reason missing"),
        ("echo ocf-exit-reason:no >&2", "start", "reason without failure"),
        ("echo ocf-exit-reason:a >&2; echo ocf-exit-reason:b >&2; exit 1", "start", "several reasons"),
        ("printf 'ocf-exit-reason:gro\\303\\237\\n' >&2; exit 1", "start", "reason form"),
        ("printf 'ocf-exit-reason:%201d\\n' 1 >&2; exit 1", "start", "reason form"),
        ("echo hello", "monitor", "stdout"),
        ("echo hello >&2", "monitor", "stderr"),
        ("printf 'Traceback (most recent call last):\\n' >&2; echo ocf-exit-reason:x >&2; exit 1", "start", "traceback"),
        ("kill -TERM $$", "start", "signal"),
        ("sleep 9", "start", "time"),
        ("sleep 9 >/dev/null 2>&1 &", "monitor", "survivor"),
    ],
)
def test_each_verdict_has_its_fault(script: Script, body: str, action: str, rule: str) -> None:
    node = Executor(script(f"#!/bin/sh\n{body}\n"), timeout=1.0)
    with pytest.raises(WrongBehaviour) as caught:
        node.call(action)
    assert rule in {problem.rule for problem in caught.value.problems}
    processes.kill(caught.value.result.left)


@pytest.mark.parametrize(
    "body, action",
    [
        ("exit 0", "start"),
        ("exit 7", "monitor"),
        ("echo ocf-exit-reason:broken >&2; exit 1", "monitor"),
        ("echo ocf-exit-reason:slow >&2; exit 190", "monitor"),
        ("echo ocf-exit-reason:no such action >&2; exit 3", "bogus"),
        ("echo text", "meta-data"),
    ],
)
def test_a_blameless_agent_is_not_blamed(script: Script, body: str, action: str) -> None:
    Executor(script(f"#!/bin/sh\n{body}\n")).call(action)
