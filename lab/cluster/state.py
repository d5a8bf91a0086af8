"""How the cluster stands, in its own words."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from lab.cluster.settings import Setting
from lab.machine import plan, ssh
from lab.machine.room import NotSo, Room, alive
from lab.report.runs import Condition

ASK_SECONDS = 20.0
# A question costs an emulated node a second of its time, which it needs for what is waited for.
PAUSE_SECONDS = 4.0
FENCES = {f"fence-{name}": name for name in plan.NODES}


@dataclass(frozen=True)
class State:
    """What one node knows: of each node its condition, of each resource the node where it runs and has not failed, or None.

    `left` are the resources that have something on a node, were it only a stop that failed.
    """

    nodes: Mapping[str, Condition]
    resources: Mapping[str, str | None]
    failures: tuple[str, ...]
    left: tuple[str, ...] = ()

    @property
    def active(self) -> str | None:
        """Return the node where all of the service runs."""
        places = {place for name, place in self.resources.items() if name not in FENCES}
        return places.pop() if len(places) == 1 else None


def condition(node: ElementTree.Element) -> Condition:
    said = {name: value == "true" for name, value in node.attrib.items()}
    if said.get("unclean"):
        return Condition.UNCLEAN
    if not said.get("online") or said.get("pending"):
        return Condition.OFFLINE
    return Condition.STANDBY if said.get("standby") else Condition.ONLINE


def place(resource: ElementTree.Element) -> str | None:
    good = resource.get("role") == "Started" and resource.get("failed") == "false" and resource.get("pending") is None
    nodes = [node.get("name") for node in resource.iter("node")]
    return nodes[0] if good and len(nodes) == 1 else None


def failure(found: ElementTree.Element) -> str:
    told = {name: found.get(name, "") for name in ("op_key", "node", "exitstatus", "exitreason")}
    return f"{told['op_key']} on {told['node']}: {told['exitstatus']}" + (f" ({told['exitreason']})" if told["exitreason"] else "")


def parse(text: str) -> State:
    """Return what the XML of crm_mon says.  Raises ParseError."""
    tree = ElementTree.fromstring(text)
    nodes = {str(node.get("name")): condition(node) for node in tree.findall("./nodes/node")}
    resources = {str(resource.get("id")): place(resource) for resource in tree.findall("./resources//resource")}
    left = [str(resource.get("id")) for resource in tree.findall("./resources//resource") if resource.get("active") == "true"]
    return State(nodes, resources, tuple(failure(found) for found in tree.findall("./failures/failure")), tuple(left))


def read(lab: Room) -> State:
    """Ask the nodes in turn.  Raises NotSo when none answers."""
    why = []
    for node in plan.NODES.values():
        done = ssh.run(lab, node, "crm_mon --one-shot --inactive --output-as=xml", within=ASK_SECONDS)
        if done.returncode == 0:
            try:
                return parse(done.stdout)
            except ElementTree.ParseError as error:
                why.append(f"{node.name}: crm_mon's answer cannot be read: {error}")
        else:
            why.append(f"{node.name}: {(done.stderr or done.stdout).strip()[-200:] or f'exit code {done.returncode}'}")
    raise NotSo("no node tells how the cluster stands: " + "; ".join(why))


def troubles(state: State, setting: Setting) -> list[str]:
    """Return what is not as it should be."""
    found = [f"{name} is {state.nodes[name].value if name in state.nodes else 'unknown'}" for name in plan.NODES
             if state.nodes.get(name) is not Condition.ONLINE]  # fmt: skip
    found += [f"{name} does not run" for name in (*setting.resources(), *FENCES) if state.resources.get(name) is None]
    if not found and state.active is None:
        found.append("the service is spread over both nodes")
    return [*found, *state.failures]


def await_healthy(lab: Room, setting: Setting, within: float) -> State:
    """Wait until nothing is wrong, and return how it stands.  Raises NotSo with what is wrong."""
    until = time.monotonic() + within
    while True:
        try:
            state = read(lab)
            wrong = troubles(state, setting)
            if not wrong:
                return state
        except NotSo as error:
            wrong = [str(error)]
        if time.monotonic() > until or not alive(lab.inner):
            raise NotSo(f"the cluster is not healthy after {within:.0f} s: {'; '.join(wrong)}")
        time.sleep(PAUSE_SECONDS)
