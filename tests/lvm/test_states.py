"""The table of docs/decisions.md: what each action answers in each state of the volume group."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from tests.hurry import hurry
from tests.lvm.conftest import IO_TIMEOUT, PATIENCE, MakeResource, Resource, resources
from tests.lvm.stack import OTHER, OWN, run

pytestmark = pytest.mark.once

ACTIONS = ("probe", "monitor 0", "monitor 10", "monitor 20", "start", "stop")


def act(one: Resource, action: str, options: Mapping[str, Any]) -> tuple[int, str, float]:
    words = action.split()
    if words[0] == "monitor":
        result = one.node.monitor(level=int(words[1]), **options)
    else:
        result = {"probe": one.node.probe, "start": one.node.start, "stop": one.node.stop}[words[0]](**options)
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


# What leaves the state as it is comes first.
CELLS = [(state, action) for state in TABLE for action in (*ACTIONS[:-2], *(ACTIONS[:-3:-1] if state == "inactive" else ACTIONS[-2:]))]
# Where an action leads from a state; anything else leaves the state as it is.
AFTER = {("inactive", "start"): "active", ("active", "stop"): "inactive", ("partly active", "start"): "active",
         ("partly active", "stop"): "inactive", ("foreign", "stop"): "foreign, inactive"}  # fmt: skip
STARTED = ("active", "partly active", "suspended")


class Standing:
    """A resource that goes from state to state.  `state` is "" where a test has not come to its end."""

    def __init__(self) -> None:
        self.state, self.leaving = "", ExitStack()

    def bring(self, state: str) -> Resource:
        """Bring it into a state, by the agent where a start leads there."""
        before, self.state = self.state, ""
        if not before:
            self.leaving.close()
            self.resource, before = self.leaving.enter_context(resources())(), "inactive"
        if before != state:
            if before not in ("inactive", "active") or (before == "active" and state not in STARTED):
                self.take_back(before)
                before = "inactive"
            if before == "inactive" and state in STARTED:
                self.resource.started()
            self.change(state)
        return self.resource

    def take_back(self, state: str) -> None:
        group = self.resource.group
        if state == "suspended":
            run("dmsetup", "resume", group.mapped("a"))
        elif state == "missing":
            group.disk.plug()
        if group.active:
            group.deactivate()
        if state.startswith("foreign"):
            run("vgchange", "-y", "--config", f'local/extra_system_ids=["{OTHER}"]', "--systemid", OWN, group.name)
        shutil.rmtree("/run/resource-agents/ocf_py", ignore_errors=True)

    def change(self, state: str) -> None:
        group = self.resource.group
        if state == "partly active":
            run("lvchange", "-an", f"{group.name}/b")
        elif state == "suspended":
            run("dmsetup", "suspend", group.mapped("a"))
        elif state == "foreign":
            group.activate()
            group.give_away()
        elif state == "missing":
            group.disk.pull()


@pytest.fixture(scope="module")
def standing() -> Iterator[Standing]:
    made = Standing()
    with made.leaving:
        yield made


@pytest.mark.parametrize("state, action", CELLS)
def test_the_table(standing: Standing, state: str, action: str) -> None:
    one = standing.bring(state)
    before = one.group.active
    code, reason, seconds = act(one, action, hurry(24) if (state, action) == ("missing", "start") else {})
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
        assert seconds > 6, "storage that is away is waited for"
        assert seconds < 24 + PATIENCE
    if state == "foreign" and action in ("start", "stop"):
        assert one.group.owner == OTHER
    standing.state = AFTER.get((state, action), state)


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
    run("dmsetup", "suspend", one.group.mapped("a"))
    result = one.node.monitor(**hurry(6))
    assert (result.code, "is suspended" in result.reason) == (190, True)
