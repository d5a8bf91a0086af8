"""The order and the rules of OCF actions, on a puppet: state in, action, state out, code and reason."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocf_py import lifecycle
from ocf_py.testing import Executor, Result
from tests.faults import processes
from tests.framework.conftest import PUPPET, RSCTMP, MakePuppet

STOPPING = "become stopped"


@pytest.mark.parametrize(
    "observe, action, code, reason, calls",
    [
        # Idempotent actions do nothing where nothing is to be done.
        ("running", "start", 0, "", "observe"),
        ("promoted", "start", 0, "", "observe"),
        ("stopped", "stop", 0, "", "observe"),
        ("promoted", "promote", 0, "", "observe"),
        ("running", "demote", 0, "", "observe"),
        # Actions that change are followed until it shows.
        ("stopped", "start", 0, "", "observe validate_here start observe"),
        ("running", "stop", 0, "", "observe stop observe"),
        ("promoted", "stop", 0, "", "observe stop observe"),
        ("running", "promote", 0, "", "observe promote observe"),
        ("promoted", "demote", 0, "", "observe demote observe"),
        ("stopped", "migrate_from", 0, "", "migrate_from observe"),
        ("running", "migrate_to", 0, "", "observe migrate_to"),
        ("running", "reload", 0, "", "observe reload"),
        ("running", "reload-agent", 0, "", "observe reload_agent"),
        # Without the resource there is nothing to change.
        ("stopped", "promote", 7, "cannot promote: the resource is not running", "observe"),
        ("stopped", "demote", 7, "cannot demote: the resource is not running", "observe"),
        ("stopped", "migrate_to", 7, "cannot migrate: the resource is not running", "observe"),
        ("stopped", "reload", 7, "cannot reload: the resource is not running", "observe"),
        ("stopped", "reload-agent", 7, "cannot reload: the resource is not running", "observe"),
        # Unknown is not stopped: start does not begin, stop does its work.
        ("Error cannot tell", "start", 1, "cannot tell", "observe"),
        ("Error cannot tell", "promote", 1, "cannot tell", "observe"),
        ("Error cannot tell", "stop", 0, "", "observe stop observe"),
        # Who has failed in the promoted role is demoted all the same.
        ("FailedPromoted broken", "demote", 0, "", "observe demote observe"),
        ("FailedPromoted broken", "stop", 0, "", "observe stop observe"),
        # notify tells nobody anything, and never fails.
        ("stopped", "notify", 0, "", "notify"),
        # Validation is not about the state.
        ("Error cannot tell", "validate-all", 0, "", ""),
    ],
)
def test_actions(puppet: MakePuppet, observe: str, action: str, code: int, reason: str, calls: str) -> None:
    one = puppet().lines(
        observe=observe, start="become running", stop=STOPPING, promote="become promoted", demote="become running",
        migrate_from="become running",
    )  # fmt: skip
    result = one.node.call(action)
    assert (result.code, result.reason, one.calls()) == (code, reason, calls.split())


@pytest.mark.parametrize(
    "observe, code, reason",
    [
        ("stopped", 7, ""),
        ("running", 0, ""),
        ("promoted", 8, ""),
        ("running slow: 2.1 s", 190, "slow: 2.1 s"),
        ("promoted slow: 2.1 s", 191, "slow: 2.1 s"),
        ("Error broken", 1, "broken"),
        ("FailedPromoted broken", 9, "broken"),
        ("NotRunning gone", 7, "gone"),
    ],
)
def test_a_probe_and_a_monitor_say_what_is(puppet: MakePuppet, observe: str, code: int, reason: str) -> None:
    one = puppet().lines(observe=observe)
    for result in (one.node.probe(check=code != 7), one.node.monitor(check=code != 7), one.node.call("status", check=False)):
        assert (result.code, result.reason) == (code, reason)


@pytest.mark.parametrize("error, probe", [("InvalidHere", 2), ("NotPermitted", 4), ("NotInstalled", 5)])
def test_what_a_monitor_or_a_stop_has_seen_never_bans(puppet: MakePuppet, error: str, probe: int) -> None:
    one = puppet().lines(observe=f"{error} no psql here")
    result = one.node.monitor()
    assert (result.code, result.reason) == (1, "no psql here")
    # Pacemaker masks these where nothing is known yet.
    assert one.node.probe().code == probe
    one.lines(stop=f"{error} no pg_ctl here")
    stopped = one.node.stop()
    assert (stopped.code, stopped.reason) == (1, "no pg_ctl here")
    one.lines(observe="stopped", start=f"{error} no pg_ctl here")
    assert one.node.start().code == probe


def test_stop_is_never_not_running(puppet: MakePuppet) -> None:
    assert puppet().lines(observe="running", stop="NotRunning what").node.stop().code == 1


# Levels.


@pytest.mark.parametrize(
    "level, observe, calls",
    [
        (0, "running", "observe"),
        (5, "running", "observe"),
        (10, "running", "observe look"),
        (15, "running", "observe look"),
        (20, "running", "observe look look_closely"),
        (99, "running", "observe look look_closely"),
        (10, "promoted", "observe look look_at_promoted"),
        (20, "stopped", "observe"),
    ],
)
def test_a_monitor_does_the_checks_of_its_level_and_role(puppet: MakePuppet, level: int, observe: str, calls: str) -> None:
    one = puppet().lines(observe=observe)
    one.node.monitor(level=level)
    assert one.calls() == calls.split()


@pytest.mark.parametrize("level", ["", "deep", "-1", "٣", "1e3"])
def test_a_malformed_level_is_0(puppet: MakePuppet, level: str) -> None:
    one = puppet().lines(observe="running")
    assert one.node.monitor(environment={"OCF_CHECK_LEVEL": level}).code == 0
    assert one.calls() == ["observe"]


def test_a_probe_does_no_checks(puppet: MakePuppet) -> None:
    one = puppet().lines(observe="running")
    assert one.node.probe(level=20).code == 0
    assert one.calls() == ["observe"]


@pytest.mark.parametrize(
    "observe, look, code, reason",
    [
        ("running", "running", 0, ""),
        ("running", "running 97 % full", 190, "97 % full"),
        ("running a", "running b", 190, "a; b"),
        ("promoted", "running 97 % full", 191, "97 % full"),
        ("running", "stopped", 7, ""),
        ("running", "Error silent", 1, "silent"),
        ("promoted", "Error silent", 9, "silent"),
        ("promoted", "NotInstalled psql", 9, "psql"),
        ("running", "NotInstalled psql", 1, "psql"),
        ("running", "KeyError x", 1, "internal error: KeyError: 'x' (puppet:"),
    ],
)
def test_what_a_check_finds(puppet: MakePuppet, observe: str, look: str, code: int, reason: str) -> None:
    result = puppet().lines(observe=observe, look=look).node.monitor(level=10)
    assert result.code == code
    assert result.reason.startswith(reason)
    assert bool(result.reason) == bool(reason)


# Validation.


@pytest.mark.parametrize(
    "parameters, level, code, reason",
    [
        ({}, None, 0, ""),
        ({"size": "10"}, None, 6, "size='10' is more than 9"),
        ({"size": "big", "directory": ""}, None, 6, "directory is required; size='big' is not an integer"),
        ({"word": "contradiction"}, None, 6, "word contradicts itself"),
        ({"unknown": "x"}, None, 0, ""),
    ],
)
def test_validation(puppet: MakePuppet, parameters: dict[str, str], level: int | None, code: int, reason: str) -> None:
    one = puppet()
    for profile in ("execd", "crm_resource", "pcs"):
        node = Executor(PUPPET, {**one.node.parameters, **parameters}, profile=profile)
        result = node.validate(level)
        assert (result.code, result.reason) == (code, reason)
    assert one.calls() == []


@pytest.mark.parametrize("level, calls", [(None, ""), (0, ""), (5, ""), (10, "validate_here"), (20, "validate_here")])
def test_the_node_is_looked_at_from_level_10_on(puppet: MakePuppet, level: int | None, calls: str) -> None:
    one = puppet().lines(validate_here="InvalidHere no such disk")
    result = one.node.validate(level)
    assert (result.code, one.calls()) == (2 if calls else 0, calls.split())


@pytest.mark.parametrize("action", ["start", "monitor", "promote", "reload-agent", "migrate_to"])
@pytest.mark.parametrize("parameters", [{"directory": ""}, {"size": "big"}, {"word": "contradiction"}])
def test_wrong_parameters_end_an_action_before_it_begins(puppet: MakePuppet, action: str, parameters: dict[str, str]) -> None:
    one = puppet().lines(observe="running")
    result = one.node.call(action, parameters={**one.node.parameters, **parameters})
    assert (result.code, one.calls()) == (6, [])


def test_notify_answers_0_whatever_comes(puppet: MakePuppet) -> None:
    one = puppet()
    for line in ("Error no", "KeyError no", "NotInstalled no", "exit 3"):
        one.lines(notify=line)
        result = one.node.notify()
        assert (result.code, result.reason) == (0, "")
        assert any("ERROR: notify: " in found for found in result.log)
    wrong = one.node.notify(parameters={"directory": "relative"})
    assert (wrong.code, wrong.reason) == (0, "")
    assert any("notify: directory='relative'" in line for line in wrong.log)


# Stop and its parameters.


def test_stop_with_wrong_parameters_uses_those_of_the_last_start(puppet: MakePuppet) -> None:
    one = puppet().lines(start="become running", stop=STOPPING)
    given_parameters = {**one.node.parameters, "password": "hunter2", "word": "two\\words"}
    assert one.node.start(parameters=given_parameters).code == 0
    one.calls()
    kept = (one.memory / "state").read_text()
    assert "hunter2" not in kept
    one.lines(stop=f"tell (self.directory, self.word, self.size, self.password) | {STOPPING}")
    for parameters in ({}, {"directory": "relative"}, {"directory": "", "size": "big"}):
        one.lines(observe="running")
        result = one.node.stop(parameters={**parameters, "password": "now"})
        assert (result.code, one.calls()) == (0, ["observe", "stop", "observe"])
        assert one.told() == (str(one.directory), "two\\words", 1, "now")
        assert any("using the parameters of the last start" in line for line in result.log)
        assert one.node.start(parameters=given_parameters).code == 0
        one.calls()


def test_stop_with_wrong_parameters_and_no_start_before(puppet: MakePuppet) -> None:
    one = puppet()
    result = one.node.stop(parameters={})
    assert (result.code, result.reason) == (0, "")
    assert any("directory is required; nothing was started here since boot" in line for line in result.log)
    left = Path("/tmp/puppet-left")
    left.touch()
    try:
        result = one.node.stop(parameters={})
    finally:
        left.unlink()
    assert (result.code, result.reason) == (1, "cannot tell what to stop: directory is required")


def test_a_clean_stop_forgets(puppet: MakePuppet) -> None:
    one = puppet().lines(start="become running", stop=STOPPING)
    assert one.node.start().code == 0
    assert (one.memory / "state").exists()
    assert one.node.stop().code == 0
    assert not one.memory.exists()


def test_a_start_that_cannot_be_remembered_is_no_start(puppet: MakePuppet) -> None:
    one = puppet().lines(start="become running")
    RSCTMP.mkdir(parents=True, exist_ok=True)
    one.memory.write_text("in the way")
    result = one.node.start()
    assert (result.code, one.calls()) == (1, ["observe", "validate_here"])
    assert result.reason == f"cannot record in {one.memory}: File exists"
    one.memory.unlink()


# What else an agent may do to itself.


@pytest.mark.parametrize(
    "line, code, reason",
    [
        ("KeyError x", 1, "internal error: KeyError: 'x' (puppet:"),
        ("exit 0", 1, "internal error: SystemExit: 0 (puppet:"),
        ("exit 7", 1, "internal error: SystemExit: 7 (puppet:"),
        ("KeyboardInterrupt", 1, "internal error: KeyboardInterrupt: (puppet:"),
        ("PermissionError no", 4, "not permitted: PermissionError: no (puppet:"),
        ("OSError no", 1, "internal error: OSError: no (puppet:"),
        ("run false", 1, "false exited 1"),
        ("run no-such-program", 5, "no-such-program is not installed"),
        ("Error two\\n lines ä", 1, "two\\n lines \\xe4"),
        ("RecursionError deep", 1, "internal error: RecursionError: deep (puppet:"),
        ("MemoryError", 1, "internal error: MemoryError:"),
    ],
)
def test_a_start_that_fails(puppet: MakePuppet, line: str, code: int, reason: str) -> None:
    result = puppet().lines(start=line).node.start()
    assert result.code == code
    assert result.reason.startswith(reason)


def test_a_start_whose_guarded_call_hangs(puppet: MakePuppet) -> None:
    result = puppet().lines(start="nap 0.3 60").node.start()
    told = re.match(r"nap: no answer for (\d+\.\d) s", result.reason)
    assert result.code == 1
    assert told and float(told[1]) >= 0.3


def test_a_bug_is_in_the_log_with_its_traceback(puppet: MakePuppet) -> None:
    result = puppet().lines(observe="KeyError x").node.monitor()
    assert any("Traceback (most recent call last)" in line for line in result.log)
    assert any("in obey" in line for line in result.log)


def test_what_is_not_permitted_bans_no_node_in_monitor_and_stop(puppet: MakePuppet) -> None:
    one = puppet().lines(observe="PermissionError no", stop="PermissionError no")
    assert (one.node.monitor().code, one.node.stop().code) == (1, 1)


@given(st.text())
def test_a_reason_is_one_short_line_of_printable_ascii(text: str) -> None:
    line = lifecycle.one_line(text)
    assert line.isascii()
    assert line.isprintable() or not line
    assert len(line) <= 200
    assert line == lifecycle.one_line(line)


def test_a_long_reason_keeps_its_beginning() -> None:
    assert lifecycle.one_line("cause " * 100) == ("cause " * 34)[:197] + "..."


# Bad input: the surroundings.


@pytest.mark.parametrize("arguments, reason", [([], "no action given; try usage"), (["bogus"], "unsupported action 'bogus'"),
                                               ([""], "no action given; try usage"), (["Start"], "unsupported action 'Start'"),
                                               (["reload agent"], "unsupported action 'reload agent'")])  # fmt: skip
def test_an_unknown_action(puppet: MakePuppet, arguments: list[str], reason: str) -> None:
    result = puppet().node.call("bogus", arguments=arguments)
    assert (result.code, result.reason) == (3, reason)


def test_further_arguments_are_ignored(puppet: MakePuppet) -> None:
    assert puppet().lines(observe="running").node.call("monitor", arguments=["monitor", "stop", "--help"]).code == 0


def test_another_version_of_ocf(puppet: MakePuppet) -> None:
    result = puppet().node.probe(environment={"OCF_RA_VERSION_MAJOR": "2"})
    assert (result.code, result.reason) == (1, "OCF version 2 is not supported by this agent, only 1 is")
    assert puppet().node.probe(without=["OCF_RA_VERSION_MAJOR", "OCF_RA_VERSION_MINOR"]).code == 7


def test_no_environment_at_all(puppet: MakePuppet) -> None:
    one = puppet(profile="bare")
    result = one.node.start()
    assert (result.code, result.reason) == (6, "directory is required")
    assert one.node.stop().code == 0
    assert one.node.meta_data().code == 0
    assert one.node.call("usage").stdout.startswith("usage: puppet {start|stop|")


@pytest.mark.parametrize(
    "environment, without",
    [
        ({}, ["PATH"]),
        ({"PATH": ""}, []),
        ({"LC_ALL": "xx_YY.nonsense", "LANG": "tr_TR.ISO-8859-9"}, []),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}, []),
        ({"PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere", "PYTHONSTARTUP": "/nowhere"}, []),
        ({"HA_RSCTMP": ""}, ["HA_RSCTMP"]),
        ({"OCF_RESKEY_CRM_meta_timeout": "soon", "OCF_RESKEY_CRM_meta_interval": "often"}, []),
        ({"HA_LOGFACILITY": "nonsense", "HA_LOGFILE": "/nowhere/log"}, []),
        ({"OCF_TRACE_RA": "1", "OCF_TRACE_FILE": "9", "HA_debug": "1"}, []),
    ],
)
def test_odd_environments(puppet: MakePuppet, environment: dict[str, str], without: list[str]) -> None:
    one = puppet().lines(start="run true | become running", stop=f"run true | {STOPPING}")
    for action in ("start", "monitor", "stop"):
        assert one.node.call(action, interval=10.0, environment=environment, without=without).code == 0


def test_undecodable_parameters(puppet: MakePuppet) -> None:
    result = puppet().node.start(environment={"OCF_RESKEY_size": os.fsdecode(b"\xff\xfe"), "OCF_RESKEY_word": os.fsdecode(b"\xff")})
    assert (result.code, result.reason) == (6, "size='\\udcff\\udcfe' is not an integer")


def test_a_user_other_than_root(puppet: MakePuppet) -> None:
    one = puppet()
    for path in (one.directory, *list(one.directory.parents)[:3]):
        path.chmod(0o777)
    assert one.node.meta_data(user="nobody").code == 0
    assert one.node.validate(user="nobody").code == 0
    result = one.node.start(user="nobody", environment={"HA_RSCTMP": "/run/not-ours"})
    assert (result.code, result.reason) == (1, f"cannot record in /run/not-ours/ocf_py/{one.node.instance}: Permission denied")


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 1 2"])
@pytest.mark.parametrize("action, code", [("monitor", 0), ("stop", 1)])
def test_closed_streams(puppet: MakePuppet, closed: str, action: str, code: int) -> None:
    """The numbers of closed streams must not become those of a record or a pipe, into which the reason would be written."""
    one = puppet().lines(observe="running | tell self.guarded('page', ocf.step, 'written')", stop="run sh -c | Error in vain")
    script = "".join(f"exec {number}{'<' if number == '0' else '>'}&-; " for number in closed.split()) + 'exec "$@"'
    result = one.node.call(action, interval=10.0, wrapper=["sh", "-c", script, "closed"], check=False)
    assert result.code == code
    page = (one.memory / "child.page").read_bytes()
    assert b"step written" in page
    assert b"ocf-exit-reason" not in page
    if code and "2" not in closed:
        assert result.reason.startswith("sh exited 2")


def test_metadata_with_nowhere_to_go(puppet: MakePuppet) -> None:
    full = puppet().node.call("meta-data", wrapper=["sh", "-c", 'exec "$@" >/dev/full', "full"])
    assert (full.code, full.reason) == (1, "cannot write to stdout: No space left on device")
    gone = puppet().node.call("meta-data", wrapper=["sh", "-c", '("$@"; echo $? >&2) | true', "gone"], check=False)
    assert "cannot write to stdout: Broken pipe" in gone.stderr
    assert gone.stderr.endswith("1\n")


def test_stderr_that_nobody_reads(puppet: MakePuppet) -> None:
    result = puppet().lines(observe="Error broken").node.call(
        "monitor", interval=10.0, wrapper=["sh", "-c", '("$@" 2>&1 >/dev/null; echo $?) 3>&1 >&3 | true; exit 0', "gone"], check=False
    )  # fmt: skip
    assert result.code == 0


def test_a_directory_that_is_gone(puppet: MakePuppet, tmp_path: Path) -> None:
    one = puppet().lines(observe="running | tell os.getcwd()")
    gone = tmp_path / "gone"
    script = f'mkdir {gone}; cd {gone}; rmdir {gone}; exec "$@"'
    assert one.node.monitor(wrapper=["sh", "-c", script, "gone"]).code == 0
    assert one.told() == "/"


def test_a_parent_that_ignores_its_children(puppet: MakePuppet) -> None:
    """SIGCHLD ignored is inherited through exec; the kernel then reaps by itself and a wait fails."""
    one = puppet().lines(observe="running", look="run true | nap 5 0")
    wrapper = ["/usr/bin/python3", "-c", "import os, signal, sys; signal.signal(17, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"]
    assert one.node.monitor(level=10, wrapper=wrapper).code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "action, lines",
    [
        ("monitor", {"observe": "sleep 30"}),
        ("start", {"start": "run sleep 30"}),
        ("start", {"start": "nap 20 30"}),
        ("stop", {"observe": "running", "stop": "run sleep 30"}),
        ("stop", {"observe": "nap 20 30", "stop": "become stopped"}),
    ],
)
def test_interrupted(puppet: MakePuppet, action: str, lines: dict[str, str], number: int) -> None:
    one = puppet().lines(**lines)
    under_way = one.node.begin(action, interval=10.0)
    assert processes.wait_until((one.directory / "calls").exists, 10)
    time.sleep(0.3)
    os.kill(under_way.pid, number)
    os.kill(under_way.pid, number)
    result = under_way.finish()
    assert (result.code, result.reason) == (1, f"interrupted by signal {number}")
    assert result.seconds < 8
    assert [process.pid for process in result.left if processes.alive(process.pid)] == []
    # The error of an observation is no reason not to stop; being told to end is.
    assert "stop" not in one.calls() or lines.get("stop") == "run sleep 30"


def test_a_second_signal_does_not_disturb_the_cleaning_up_after_the_first(puppet: MakePuppet) -> None:
    one = puppet()
    script = one.directory / "immune"
    script.write_text("#!/bin/sh\ntrap '' TERM\ntouch $1\nwhile :; do sleep 0.1; done\n")
    script.chmod(0o755)
    one.lines(start=f"run {script} {one.directory}/began")
    under_way = one.node.begin("start")
    assert processes.wait_until((one.directory / "began").exists, 10)
    os.kill(under_way.pid, signal.SIGTERM)
    time.sleep(0.25)
    os.kill(under_way.pid, signal.SIGTERM)
    result = under_way.finish()
    assert (result.code, result.reasons) == (1, ["interrupted by signal 15"])
    assert [process.pid for process in result.left if processes.alive(process.pid)] == []


def test_a_signal_to_the_whole_group_is_answered_once(puppet: MakePuppet) -> None:
    for _ in range(20):
        one = puppet().lines(observe="running", look="nap 5 0 | nap 5 0 | nap 5 0 | nap 5 0 | nap 5 0 | sleep 9")
        under_way = one.node.begin("monitor", level=10, interval=10.0)
        assert processes.wait_until(lambda one=one: "look" in one.called(), 10)  # type: ignore[misc]
        os.killpg(under_way.pid, signal.SIGTERM)
        result = under_way.finish()
        assert (result.code, result.reasons) == (1, ["interrupted by signal 15"])


def mounted_tiny(point: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tiny", str(point)], check=True)
    with pytest.raises(OSError, match="No space"), open(point / "ballast", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_no_space_for_records(puppet: MakePuppet, tmp_path: Path) -> None:
    point = tmp_path / "run"
    point.mkdir()
    mounted_tiny(point)
    one = puppet(environment={"HA_RSCTMP": str(point)}).lines(observe="running", look="nap 5 0", start="become running", stop=STOPPING)
    try:
        assert one.node.monitor().code == 0
        result: Result = one.node.monitor(level=10)
        assert result.code == 1
        assert result.reason == f"cannot record in {point}/ocf_py/{one.node.instance}: No space left on device"
        assert one.node.stop().code == 0
        again = one.node.start()
        assert (again.code, again.reason.rpartition(": ")[2]) == (1, "No space left on device")
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)
