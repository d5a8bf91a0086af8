"""The table of docs/decisions.md: what each action answers in each state of the volume group."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.lvm.conftest import IO_TIMEOUT, PATIENCE, MakeResource, Resource, resources
from tests.lvm.stack import OTHER, OWN, run

ACTIONS = ("probe", "monitor 0", "monitor 10", "monitor 20", "start", "stop")


def put(one: Resource, state: str) -> None:
    """Bring the resource into a state, by the agent where a start leads there."""
    group = one.group
    if state == "active":
        one.started()
    elif state == "partly active":
        one.started()
        run("lvchange", "-an", f"{group.name}/b")
    elif state == "suspended":
        one.started()
        run("dmsetup", "suspend", f"{group.name.replace('-', '--')}-a")
    elif state == "foreign":
        group.activate()
        group.give_away()
    elif state == "missing":
        group.disk.pull()


def act(one: Resource, action: str) -> tuple[int, str, float]:
    words = action.split()
    if words[0] == "monitor":
        result = one.node.monitor(level=int(words[1]))
    else:
        result = {"probe": one.node.probe, "start": one.node.start, "stop": one.node.stop}[words[0]]()
    return result.code, result.reason, result.seconds


FOREIGN = f"is owned by {OTHER} and active here"
TABLE = {
    "inactive": ((7, ""), (7, ""), (7, ""), (7, ""), (0, ""), (0, "")),
    "active": ((0, ""), (0, ""), (0, ""), (0, ""), (0, ""), (0, "")),
    "partly active": ((0, ""), (190, "1 of 2 LVs active, not"), (190, "1 of 2"), (190, "1 of 2"), (0, ""), (0, "")),
    "suspended": ((0, ""), (1, "is suspended for"), (1, "is suspended for"), (1, "is suspended for"), (1, "dmsetup resume"),
                  (1, "dmsetup resume")),
    "foreign": ((0, ""), (0, ""), (0, ""), (1, FOREIGN), (1, FOREIGN), (0, "")),
    "missing": ((7, ""), (7, ""), (7, ""), (7, ""), (1, "not found: none of the"), (0, "")),
}  # fmt: skip


class Standing:
    """A resource in a state, which the next test uses as well where the one before has left it as it was."""

    def __init__(self) -> None:
        self.state, self.leaving = "", ExitStack()

    def bring(self, state: str) -> Resource:
        if state != self.state:
            self.leaving.close()
            self.resource = self.leaving.enter_context(resources())()
            put(self.resource, state)
        self.state = ""
        return self.resource


@pytest.fixture(scope="module")
def standing() -> Iterator[Standing]:
    made = Standing()
    with made.leaving:
        yield made


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("state", TABLE)
def test_the_table(standing: Standing, state: str, action: str) -> None:
    one = standing.bring(state)
    before = one.group.active
    timeout = 30.0 if (state, action) == ("missing", "start") else 90.0
    one.node.timeout = timeout
    code, reason, seconds = act(one, action)
    wanted, words = TABLE[state][ACTIONS.index(action)]
    assert code == wanted, reason
    assert words in reason
    assert bool(reason) == bool(code not in (0, 7))
    if action == "stop" and not code:
        assert one.group.active == set()
    elif action == "start" and not code:
        assert one.group.active == {"a", "b"}
        assert one.group.owner == OWN
    else:
        assert one.group.active == before
    if (state, action) == ("suspended", "stop"):
        assert seconds < PATIENCE
    if state == "suspended" and action.startswith("monitor"):
        assert seconds < IO_TIMEOUT + PATIENCE
    if (state, action) == ("missing", "start"):
        assert seconds > timeout / 4, "storage that is away is waited for"
        assert seconds < timeout
        one.group.disk.plug()
    if state == "foreign" and action in ("start", "stop"):
        assert one.group.owner == OTHER
    if action not in ("start", "stop"):
        standing.state = state


def test_an_inactive_group_is_a_failure_where_failures_are_fenced(resource: MakeResource) -> None:
    one = resource()
    result = one.node.monitor(meta={"on_fail": "fence"})
    assert (result.code, "is not active on this node" in result.reason) == (1, True)
    assert one.node.probe(meta={"on_fail": "fence"}).code == 7


def test_storage_that_comes_back_is_waited_for(resource: MakeResource) -> None:
    one = resource()
    one.group.disk.pull()
    call = one.node.begin("start", timeout=90.0)
    time.sleep(8)
    one.group.disk.plug()
    assert call.finish().code == 0
    assert one.group.active == {"a", "b"}


def test_a_suspended_volume_is_a_warning_where_the_time_ends_first(resource: MakeResource) -> None:
    one = resource(io_timeout="60", io_slow_max="60").started()
    one.group.disk.heal()
    run("dmsetup", "suspend", f"{one.group.name.replace('-', '--')}-a")
    result = one.node.monitor(timeout=8.0)
    assert (result.code, "is suspended" in result.reason) == (190, True)
