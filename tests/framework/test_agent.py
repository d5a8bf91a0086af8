"""What a class declares, what is refused, and what an agent's methods can reach."""

from __future__ import annotations

from typing import Any

import pytest

import ocf_py as ocf
from tests.framework.conftest import MakePuppet


def declared(**attributes: Any) -> type[ocf.Agent]:
    """Make the least agent there can be, with attributes replaced, or left out where they are None."""

    @ocf.monitor(timeout="20s", interval="10s")
    def observe(self: ocf.Agent) -> ocf.State:
        return ocf.STOPPED

    @ocf.action(timeout="20s")
    def start(self: ocf.Agent) -> None:
        return

    @ocf.action(timeout="20s")
    def stop(self: ocf.Agent) -> None:
        return

    whole = {"__doc__": "Do nothing.", "name": "least", "observe": observe, "start": start, "stop": stop, **attributes}
    return type("Least", (ocf.Agent,), {name: value for name, value in whole.items() if value is not None})


def action(name: str) -> Any:
    def method(self: ocf.Agent) -> None:
        return

    method.__name__ = name
    return ocf.action(timeout="20s")(method)


def check(level: int, interval: str, role: str = "") -> Any:
    def method(self: ocf.Agent) -> None:
        return

    return ocf.monitor(level=level, timeout="20s", interval=interval, role=role)(method)


def test_the_least_agent() -> None:
    cls = declared()
    assert [(a.name, a.timeout, a.interval, a.level, a.method) for a in cls.actions] == [
        ("start", "20s", "", 0, "start"), ("stop", "20s", "", 0, "stop"), ("monitor", "20s", "10s", 0, "observe"),
    ]  # fmt: skip
    assert cls.parameters == {}


@pytest.mark.parametrize(
    "attributes, match",
    [
        ({"start": None}, "no action start is declared"),
        ({"stop": None}, "no action stop is declared"),
        ({"observe": None}, r"no action monitor is declared; observe\(\) is not written"),
        ({"__doc__": None}, "there is no docstring"),
        ({"__doc__": "  \n "}, "there is no docstring"),
        ({"promote": action("promote")}, "promote and demote are declared both or neither"),
        ({"migrate_to": action("migrate_to")}, "migrate_to and migrate_from are declared both or neither"),
        ({"reload_agent": action("reload_agent")}, "reload_agent and reloadable parameters are declared both or neither"),
        ({"size": ocf.integer("i", reloadable=True)}, "reload_agent and reloadable parameters are declared both or neither"),
        ({"look": check(10, "10s")}, "two monitors have the same interval"),
        ({"old": ocf.string("s", replaced_by="new")}, "old is replaced by new, which is not declared"),
    ],
)
def test_a_declaration_that_could_not_work_is_refused(attributes: dict[str, Any], match: str) -> None:
    with pytest.raises(TypeError, match=match):
        declared(**attributes)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(TypeError, match=r"^Least: no action start is declared; no action stop is declared; there is no docstring"):
        declared(start=None, stop=None, __doc__=None)


def test_a_class_without_a_name_is_a_part_to_be_used() -> None:
    class Part(ocf.Agent):
        size = ocf.integer("Size")

    class Whole(Part):
        """Do nothing."""

        name = "whole"
        word = ocf.string("Word")

        @ocf.monitor(timeout="20s", interval="10s")
        def observe(self) -> ocf.State:
            return ocf.STOPPED

        @ocf.action(timeout="20s")
        def start(self) -> None:
            return

        @ocf.action(timeout="20s")
        def stop(self) -> None:
            return

    class Without(Whole):
        """Do nothing, with less."""

        name = "without"
        size = None  # type: ignore[assignment]

    assert list(Whole.parameters) == ["size", "word"]
    assert list(Without.parameters) == ["word"]
    assert [a.name for a in Without.actions] == ["start", "stop", "monitor"]
    assert Part.parameters == {"size": Whole.parameters["size"]}
    assert ocf.Agent.parameters == {}


@pytest.mark.parametrize(
    "text, level", [("0", 0), ("9", 0), ("10", 10), ("19", 10), ("20", 20), ("1000", 20), ("", 0), ("x", 0), ("-10", 0), ("²", 0)]
)
def test_an_undeclared_level_is_rounded_down(puppet: MakePuppet, text: str, level: int) -> None:
    one = puppet().lines(observe="tell self.check_level")
    one.node.probe(environment={"OCF_CHECK_LEVEL": text})
    assert one.told() == level


def test_what_an_agent_can_reach(puppet: MakePuppet) -> None:
    expression = "(self.directory, self.size, self.word, self.instance, self.environment.node, self.guards.folder)"
    one = puppet(meta={"x-y": "z"}).lines(observe=f"tell {expression}")
    one.node.probe(parameters={**one.node.parameters, "size": "7"})
    assert one.told() == (str(one.directory), 7, "", one.node.instance, "node1", str(one.memory))


def test_guarded_returns_or_raises(puppet: MakePuppet) -> None:
    one = puppet().lines(observe="tell self.guarded('sum', sum, [1, 2, 3])")
    assert one.node.probe().code == 7
    assert one.told() == 6
    failed = one.lines(observe="tell self.guarded('stat', os.stat, '/nowhere')").node.probe()
    assert failed.code == 1
    assert failed.reason.startswith("internal error: FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'")


def test_guarded_as_another_user(puppet: MakePuppet) -> None:
    one = puppet().lines(observe="tell self.guarded('id', os.getuid, user=self.guarded('who', ocf.Account.look_up, 'nobody'))")
    assert "Account cannot be an answer of a guarded call" in one.node.probe().reason
    one.lines(observe="tell self.guarded('id', os.getuid, user=ocf.Account.look_up('nobody'))")
    assert one.node.probe().code == 7
    assert one.told() == 65534
