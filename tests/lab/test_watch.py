"""What is made of Pacemaker's log: of real ones, of version 2.1.5, with the names of the nodes and resources of the lab.

Each directory of test_watch_logs is the raw material of a watch, less the lines that have nothing to say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab import watch
from lab.report.runs import Call, Condition, Database, Event, Fence, NodeState, Power, Service, Step, Vip, in_order
from lab.watch import follow, messages, parse

LOGS = Path(__file__).parent / "test_watch_logs"
RHEL1, RHEL2 = "pacemaker.log of rhel1", "pacemaker.log of rhel2"
STATUS = "the cluster's status"
HYPERVISOR = "hypervisor"
UNREACHABLE = ("hypervisor pve2 is unreachable and offline in its cluster; state of VM 222 (rhel2) unknown: "
               "198.51.100.11:8006: no answer within 4 s; 198.51.100.13:8006: no answer within 4 s")  # fmt: skip


def began(name: str) -> float:
    return float((LOGS / name / "pacemaker-rhel1.log").read_text().split()[0])


def events(name: str) -> tuple[Event, ...]:
    """Return the events of a watch, in seconds from its begin."""
    return watch.events(LOGS / name, began(name))


def parsed(name: str, **other: Any) -> tuple[Event, ...]:
    """Return the same with another history, or with other words in the logs."""
    directory = LOGS / name
    history = other.get("history", json.loads((directory / follow.HISTORY).read_text()))
    logs = {node: (directory / f"pacemaker-{node}.log").read_text() for node in ("rhel1", "rhel2")}
    for before, after in other.get("words", {}).items():
        assert any(before in text for text in logs.values())
        logs = {node: text.replace(before, after) for node, text in logs.items()}
    return parse.events({node: text.splitlines() for node, text in logs.items()}, history, began(name), "rhel1", began(name))


def steps(found: tuple[Event, ...]) -> list[tuple[float, str, Step]]:
    return [(fence.at, fence.target, fence.step) for fence in in_order(found, Fence)]


def conditions(found: tuple[Event, ...], node: str) -> list[tuple[float, Condition]]:
    return [(state.at, state.condition) for state in in_order(found, NodeState) if state.node == node]


# Operations


def test_each_operation_has_its_begin_its_end_its_code_and_its_reason() -> None:
    calls = [call for call in in_order(events("monitors"), Call) if call.node == "rhel1"]
    assert [(call.at, call.ended, call.action, call.code, call.reason) for call in calls] == [
        (0.044, 0.116, "start", 0, ""), (0.14, 0.288, "monitor", 0, ""), (4.308, 4.308, "monitor", 190, "slow: (write) 2.1 s"),
        (20.384, 20.384, "monitor", 0, ""), (28.212, 28.224, "probe", 0, ""), (28.24, 28.396, "monitor", 0, ""),
        (32.456, 32.456, "monitor", 1, "storage hang: write on /x (D)"), (32.488, 32.584, "stop", 0, ""),
        (32.616, 32.684, "start", 0, ""), (32.704, 32.916, "monitor", 1, "storage hang: write on /x (D)"),
        (53.956, 53.964, "probe", 0, ""), (53.976, 53.988, "monitor", 0, ""),
        (57.992, 62.992, "monitor", 1, "Timed Out after 5s: Resource agent did not complete within 5s"), (63.024, 63.036, "stop", 0, ""),
        (87.384, 87.408, "start", 1, "cannot start: (no) reason | yet"), (87.436, 87.46, "stop", 0, ""),
    ]  # fmt: skip
    assert {(call.resource, call.source) for call in calls} == {("pg-db", RHEL1)}
    assert [call.at for call in calls if call.failed] == [32.456, 32.704, 57.992, 87.384]


def test_a_probe_that_finds_nothing_says_so() -> None:
    probes = [call for call in in_order(events("unreachable"), Call) if call.action == "probe"]
    assert [(call.node, call.code, call.reason, call.failed) for call in probes] == [("rhel2", 7, "not running", False)]


def test_what_ends_with_its_node_has_no_end() -> None:
    """The stop fails 32 ms after its begin: its node is let lose its power in between."""
    whole = [call for call in in_order(events("stop-failed"), Call) if (call.node, call.action) == ("rhel1", "stop")]
    cut = [call for call in in_order(parsed("stop-failed", words={"Result of stop operation for pg-db on rhel1": ""}), Call)
           if (call.node, call.action) == ("rhel1", "stop")]  # fmt: skip
    assert [(call.at, call.ended, call.code) for call in whole] == [(5.34, 5.372, 1)]
    assert [(call.at, call.ended, call.code) for call in cut] == [(5.34, None, None)]


def test_a_call_that_its_node_did_not_end_is_told_though_the_node_does_it_again() -> None:
    again = "Requesting local execution of stop operation for pg-db on rhel2 | transition_key=1:1:0:x op_key=pg-db_stop_0"
    line = messages.Line(5.0, "rhel2", "controld", again)
    later = messages.Line(9.0, "rhel2", "controld", again)
    assert [(call.at, call.ended) for call in parse.calls([line, later])] == [(5.0, None), (9.0, None)]


def test_fence_devices_are_no_part_of_the_service() -> None:
    text = (LOGS / "unreachable" / "pacemaker-rhel1.log").read_text()
    assert "Result of start operation for fence-rhel2 on rhel1: error" in text
    assert {call.resource for call in in_order(events("unreachable"), Call)} == {"pg-db"}


@pytest.mark.parametrize("interval, seconds", [("5s", 5), ("90s", 90), ("1m30s", 90), ("2m", 120), ("500ms", 0.5), ("1.250s", 1.25)])
def test_intervals_are_read(interval: str, seconds: float) -> None:
    assert messages.seconds(interval) == seconds


def test_a_new_version_without_the_number_of_an_update_is_read() -> None:
    """As 2.1.10 writes it."""
    newer = parsed("monitors", words={f"CIB update {number}, ": "" for number in (53, 55, 68)})
    assert newer == events("monitors")


# Fencing


def test_a_fencing_goes_from_the_request_to_its_confirmation() -> None:
    """The active node cannot stop its database; it asks the other one to fence it, and that one's device has a delay of 8 s."""
    found = events("stop-failed")
    assert steps(found) == [(5.392, "rhel1", Step.REQUESTED), (5.396, "rhel1", Step.DELAYED), (13.792, "rhel1", Step.CALLED),
                            (33.568, "rhel1", Step.CONFIRMED)]  # fmt: skip
    assert [fence.seconds for fence in in_order(found, Fence) if fence.step is Step.DELAYED] == [8.0]
    assert {fence.source for fence in in_order(found, Fence)} == {RHEL2}


def test_every_failed_attempt_is_told_with_the_agents_reason() -> None:
    """Nobody can reach the hypervisor.  The fencer calls an agent that fails twice, and Pacemaker begins anew until it can."""
    found = events("unreachable")
    attempt = [Step.REQUESTED, Step.DELAYED, Step.CALLED, Step.CALLED]
    assert [step for _, _, step in steps(found)] == [*attempt, Step.FAILED, *attempt, Step.FAILED, *attempt, Step.CONFIRMED]
    assert [fence.reason for fence in in_order(found, Fence) if fence.step is Step.FAILED] == [UNREACHABLE] * 2


def test_the_device_is_called_when_it_is_and_not_when_the_delay_ends() -> None:
    """The device was at its own monitor, against the same dead hypervisor."""
    first = [at for at, _, step in steps(events("unreachable")) if step in (Step.DELAYED, Step.CALLED)][:2]
    assert first == [17.748, 33.188]


def test_what_both_nodes_tell_is_told_once() -> None:
    logs = [(LOGS / "by-hand" / f"pacemaker-{node}.log").read_text() for node in ("rhel1", "rhel2")]
    assert [log.count("OK (complete) | id=7cad2454") for log in logs] == [1, 1]
    assert [log.count("Error occurred (complete) | id=4feac381") for log in logs] == [1, 1]
    assert [(at, step) for at, _, step in steps(events("by-hand")) if step in (Step.CONFIRMED, Step.FAILED)] == [
        (5.308, Step.CONFIRMED), (27.372, Step.FAILED), (46.056, Step.FAILED),
    ]  # fmt: skip


def test_a_request_that_fails_without_a_device_fails_once() -> None:
    words = {"Operation 'reboot' [338]": "", "Operation 'reboot' [355]": "", "Operation 'reboot' [68]": "", "Operation 'reboot' [82]": "",
             "Error occurred (complete)": "Error occurred (No fence device)"}  # fmt: skip
    failed = [(fence.at, fence.reason) for fence in in_order(parsed("by-hand", words=words), Fence) if fence.step is Step.FAILED]
    assert failed == [(46.056, "Error occurred (No fence device)")]


def test_a_request_that_was_merged_into_another_adds_nothing() -> None:
    merged = parsed("by-hand", words={"@rhel1: OK (complete) | id=7cad2454": "@rhel1 (merged): OK (complete) | id=7cad2455"})
    assert Step.CONFIRMED not in [step for _, _, step in steps(merged)]


def test_each_request_has_its_own_failure() -> None:
    """The second attempt is let fail without a device that could be called."""
    found = in_order(parsed("unreachable", words={"Operation 'reboot' [1846]": ""}), Fence)
    assert [fence.reason for fence in found if fence.step is Step.FAILED] == [UNREACHABLE, "Error occurred (complete)"]


def test_who_has_fenced_the_other_one_before_its_own_end_was_right() -> None:
    at = began("stop-failed")
    found = parsed("stop-failed", history={"power": [[at + 16.0, "rhel1", "off"], [at + 40.0, "rhel2", "off"]]})
    assert steps(found)[-1] == (33.568, "rhel1", Step.CONFIRMED)


def test_the_loser_of_a_partition_has_fenced_nobody() -> None:
    """Both nodes want to fence the other; rhel2 is shot while it waits for its delay."""
    text = (LOGS / "partition" / "pacemaker-rhel2.log").read_text()
    assert "Requesting peer fencing (off) targeting rhel1" in text
    found = events("partition")
    assert steps(found) == [(20.18, "rhel2", Step.REQUESTED), (20.18, "rhel2", Step.DELAYED), (21.996, "rhel2", Step.CALLED),
                            (24.068, "rhel2", Step.CONFIRMED)]  # fmt: skip
    assert conditions(found, "rhel1") == [(0.0, Condition.ONLINE)]


def test_a_loser_that_came_to_shooting_has() -> None:
    """Were the delay over, both would be shot: here its end is put before the loss of power."""
    words = {"Delaying 'off' action": "Operation 'off' [9]", "using fence-rhel1 for": "using fence-rhel1 now running with"}
    assert [step for _, target, step in steps(parsed("partition", words=words)) if target == "rhel1"] == [Step.REQUESTED, Step.CALLED]


def test_without_the_loss_of_power_nobody_is_the_loser() -> None:
    found = parsed("partition", history={"power": []})
    assert [(target, step) for _, target, step in steps(found) if target == "rhel1"] == [("rhel1", Step.REQUESTED), ("rhel1", Step.DELAYED)]


# Nodes


def test_a_node_that_loses_its_power_is_off_unclean_offline_booting_and_online() -> None:
    assert conditions(events("unreachable"), "rhel2") == [
        (0.0, Condition.ONLINE), (0.06, Condition.OFF), (17.712, Condition.UNCLEAN), (78.104, Condition.OFFLINE),
        (125.2, Condition.BOOTING), (132.44, Condition.ONLINE),
    ]  # fmt: skip
    assert conditions(events("unreachable"), "rhel1") == [(0.0, Condition.ONLINE)]


def test_a_node_that_cannot_stop_is_unclean_before_it_is_off() -> None:
    assert conditions(events("stop-failed"), "rhel1") == [
        (0.0, Condition.ONLINE), (5.384, Condition.UNCLEAN), (16.0, Condition.OFF), (33.568, Condition.OFFLINE),
        (47.5, Condition.BOOTING), (59.64, Condition.ONLINE),
    ]  # fmt: skip


def test_the_cluster_is_not_heard_of_a_node_that_boots() -> None:
    """The fence agent switches on again before the cluster has the loss and the confirmation."""
    at = began("stop-failed")
    history = {"power": [[at + 16.0, "rhel1", "off"], [at + 16.6, "rhel1", "on"]]}
    assert conditions(parsed("stop-failed", history=history), "rhel1") == [
        (0.0, Condition.ONLINE), (5.384, Condition.UNCLEAN), (16.0, Condition.OFF), (16.6, Condition.BOOTING), (59.64, Condition.ONLINE),
    ]  # fmt: skip


def test_standby_comes_and_goes() -> None:
    assert conditions(events("standby"), "rhel1") == [(0.0, Condition.ONLINE), (0.588, Condition.STANDBY), (3.248, Condition.ONLINE)]


LOST = "Node rhel2 state is now lost | nodeid=2 previous=member source=x"
MEMBER = "Node rhel2 state is now member | nodeid=2 previous=lost source=x"
TO_BE_FENCED = "Cluster node rhel2 will be fenced: pg-db failed there"
FENCED = "Operation 'reboot' targeting rhel2 by rhel1 for pacemaker-controld.2@rhel1: OK (complete) | id=7cad2454"


@pytest.mark.parametrize("said, conditions", [
    ([("controld", LOST)], [(0, Condition.UNCLEAN)]),
    # It leaves in order.
    ([("schedulerd", "rhel2 is shutting down"), ("controld", LOST)], [(1, Condition.OFFLINE)]),
    # The scheduler calls a node online each time before it finds again that it is to be fenced.
    ([("schedulerd", TO_BE_FENCED), ("schedulerd", "rhel2 is online"), ("schedulerd", TO_BE_FENCED)], [(0, Condition.UNCLEAN)]),
    ([("fenced", FENCED), ("controld", LOST)], [(0, Condition.OFFLINE)]),
    # A member is online when it has joined.
    ([("controld", LOST), ("controld", MEMBER), ("schedulerd", "rhel2 is pending"), ("schedulerd", "rhel2 is online")],
     [(0, Condition.UNCLEAN), (3, Condition.ONLINE)]),
    ([("controld", MEMBER), ("schedulerd", "rhel2 is online")], []),
    ([("attrd", LOST)], []),
])  # fmt: skip
def test_what_the_daemons_say_of_a_node_is_understood(said: list[tuple[str, str]], conditions: list[tuple[float, Condition]]) -> None:
    lines = [messages.Line(float(at), "rhel1", daemon, text) for at, (daemon, text) in enumerate(said)]
    _, *found = parse.conditions(lines, [], [], ["rhel2"], -1.0)
    assert [(state.at, state.condition) for state in found] == conditions


def test_a_node_whose_loss_nobody_noticed_is_online_when_it_is_a_member_again() -> None:
    """Both were cut off: what the other one said just before that it could notice is old."""
    lines = [messages.Line(2.5, "rhel1", "schedulerd", "rhel2 is online"), messages.Line(30.0, "rhel2", "controld", MEMBER),
             messages.Line(31.0, "rhel1", "schedulerd", "rhel2 is online")]  # fmt: skip
    switches = [parse.Switch(1.0, "rhel2", "off"), parse.Switch(2.0, "rhel2", "on")]
    assert [(state.at, state.condition) for state in parse.conditions(lines, switches, [], ["rhel2"], 0.0)] == [
        (0.0, Condition.ONLINE), (1.0, Condition.OFF), (2.0, Condition.BOOTING), (31.0, Condition.ONLINE),
    ]  # fmt: skip


def test_what_the_hypervisor_did_is_told() -> None:
    at = began("standby")
    history = {"power": [[at - 1, "rhel2", "on"], [at + 1, "rhel2", "off"], [at + 2, "rhel2", "on"], [at + 3, "rhel1", "reset"]]}
    assert in_order(parsed("standby", history=history), Power) == [
        Power(1.0, HYPERVISOR, "rhel2", False), Power(2.0, HYPERVISOR, "rhel2", True), Power(3.0, HYPERVISOR, "rhel1", False),
        Power(3.0, HYPERVISOR, "rhel1", True),
    ]  # fmt: skip


# The service


def test_the_database_stops_here_and_starts_there() -> None:
    assert in_order(events("standby"), Database)[:4] == [
        Database(0.0, STATUS, "rhel1", Service.ACCEPTING), Database(0.612, RHEL1, "rhel1", Service.DOWN),
        Database(1.136, RHEL2, "rhel2", Service.STARTING), Database(1.148, RHEL2, "rhel2", Service.ACCEPTING),
    ]  # fmt: skip


def test_the_address_goes_when_its_stop_begins_and_comes_when_its_start_is_done() -> None:
    assert in_order(parsed("standby", words={"pg-db": "pg-vip"}), Vip) == [
        Vip(0.0, STATUS, "rhel1"), Vip(0.612, RHEL1, None), Vip(1.148, RHEL2, "rhel2"), Vip(3.252, RHEL2, None), Vip(3.308, RHEL1, "rhel1"),
    ]  # fmt: skip


def test_the_stop_of_an_address_that_is_elsewhere_takes_it_from_nobody() -> None:
    stop = Call(1.0, RHEL2, "rhel2", "pg-vip", "stop", 2.0, 0)
    assert list(parse.addresses([stop], [], "rhel1", 0.0)) == [Vip(0.0, STATUS, "rhel1")]


def test_both_go_with_the_power() -> None:
    at = began("standby")
    found = parsed("standby", history={"power": [[at + 0.1, "rhel1", "off"]]}, words={"pg-db": "pg-vip"})
    assert in_order(found, Vip)[:2] == [Vip(0.0, STATUS, "rhel1"), Vip(0.1, HYPERVISOR, None)]
    found = parsed("standby", history={"power": [[at + 0.1, "rhel1", "off"]]})
    assert in_order(found, Database)[:2] == [
        Database(0.0, STATUS, "rhel1", Service.ACCEPTING), Database(0.1, HYPERVISOR, "rhel1", Service.DOWN),
    ]  # fmt: skip


def test_a_start_that_fails_brings_neither() -> None:
    databases = [(state.at, state.service) for state in in_order(events("monitors"), Database) if state.node == "rhel1"]
    assert databases[-2:] == [(87.384, Service.STARTING), (87.408, Service.DOWN)]
    vips = in_order(parsed("monitors", words={"pg-db": "pg-vip"}), Vip)
    assert vips[-1] == Vip(63.024, RHEL1, None)


def test_a_monitor_that_finds_no_server_says_that_it_is_down() -> None:
    words = {"error (storage hang: write on /x (D)) | CIB update 68, graph action unconfirmed; call=20 key=pg-db_monitor_4000 rc=1":
             "not running | CIB update 68, graph action unconfirmed; call=20 key=pg-db_monitor_4000 rc=7"}  # fmt: skip
    assert Database(32.456, RHEL1, "rhel1", Service.DOWN) in parsed("monitors", words=words)
    assert Database(32.456, RHEL1, "rhel1", Service.DOWN) not in events("monitors")


# The whole


def test_events_are_in_order_and_from_the_injection() -> None:
    at = began("stop-failed")
    early, late = watch.events(LOGS / "stop-failed", at), watch.events(LOGS / "stop-failed", at + 10)
    assert [event.at for event in early] == sorted(event.at for event in early)
    assert [round(event.at - 10, 3) for event in early] == [event.at for event in late]
    stops = [next(call.ended for call in in_order(found, Call) if call.action == "stop") for found in (early, late)]
    assert stops == [5.372, -4.628]


def test_what_is_no_watch_is_refused(tmp_path: Path) -> None:
    (tmp_path / follow.HISTORY).write_text('{"power": [], "requests": []}')
    (tmp_path / "pacemaker-rhel1.log").write_text("1795280001.000 something else\n")
    with pytest.raises(ValueError, match="no log that tells when the watch began"):
        watch.events(tmp_path, 0.0)
