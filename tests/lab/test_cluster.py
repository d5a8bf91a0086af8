"""What the lab's cluster is made of: as pcs takes it, and as crm_mon tells it."""

from __future__ import annotations

import copy
import functools
import itertools
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab.cluster import configure, database, state, storage
from lab.cluster.settings import PGDATA, VOLUMES, Layout, Setting
from lab.machine import boot, plan, room, ssh
from lab.report.runs import Agents, Condition, Profile

SETTINGS = [Setting(*each) for each in itertools.product(Agents, Profile, Layout)]
DOCUMENT = Setting(Agents.STOCK, Profile.DOCUMENT)
OURS = Setting(Agents.LAB, Profile.RECOMMENDED)


class Inside(room.Room):
    """A lab that is the root in which the test runs."""

    def __init__(self) -> None:
        super().__init__(0, 0)

    def entering(self, command: Sequence[str]) -> list[str]:
        return list(command)

    def environment(self) -> dict[str, str]:
        return {"PATH": room.PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"}


@functools.cache
def once_by_pcs(setting: Setting) -> ElementTree.Element:
    return configure.made_by_pcs(Inside(), setting)


def made_by_pcs(setting: Setting) -> ElementTree.Element:
    """Return a configuration of one's own: pcs takes long over each, and more than one test looks at some."""
    return copy.deepcopy(once_by_pcs(setting))


def primitive(configuration: ElementTree.Element, name: str) -> ElementTree.Element:
    found = configuration.find(f".//primitive[@id='{name}']")
    assert found is not None, name
    return found


def pairs(element: ElementTree.Element, kind: str) -> dict[str, str]:
    return {pair.attrib["name"]: pair.attrib["value"] for pair in element.findall(f"{kind}/nvpair")}


@pytest.mark.cluster
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_pcs_and_pacemaker_take_every_setting(setting: Setting, tmp_path: Path) -> None:
    configuration = made_by_pcs(setting)
    assert [found.attrib["id"] for found in configuration.iter("primitive")] == [*state.FENCES, *setting.resources()]
    cib = ElementTree.Element("cib", {"crm_feature_set": "3.16.1", "validate-with": "pacemaker-3.9", "epoch": "1", "num_updates": "0",
                                      "admin_epoch": "0"})  # fmt: skip
    cib.append(configuration)
    ElementTree.SubElement(cib, "status")
    file = tmp_path / "cib.xml"
    file.write_text(ElementTree.tostring(cib, encoding="unicode"))
    checked = subprocess.run(["crm_verify", "--xml-file", str(file), "-V"], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.cluster
def test_the_document_s_cluster() -> None:
    configuration = made_by_pcs(DOCUMENT)
    second = pairs(primitive(configuration, "fence-rhel2"), "instance_attributes")
    assert second | {"ip": "pve2.lab.example", "pcmk_delay_base": "15s", "pcmk_delay_max": "30s", "plug": "222"} == second
    assert "pcmk_delay_base" not in pairs(primitive(configuration, "fence-rhel1"), "instance_attributes")
    server = primitive(configuration, "pg-db")
    assert (server.get("provider"), server.get("type")) == ("heartbeat", "pgsql")
    assert [op.get("interval") for op in server.findall("operations/op[@name='monitor']")] == ["30s"]
    assert pairs(server, "instance_attributes")["pgdata"] == PGDATA


@pytest.mark.cluster
def test_our_agents_need_no_word_on_monitors() -> None:
    configuration = made_by_pcs(OURS)
    server = primitive(configuration, "pg-db")
    assert (server.get("provider"), server.get("type")) == ("lab", "pgsql-storage")
    levels = {op.get("interval"): op.get("OCF_CHECK_LEVEL", "0") for op in server.findall("operations/op[@name='monitor']")}
    assert levels["10s"] == "0"
    assert pairs(server, "meta_attributes") == {"priority": "10"}
    options = configure.properties(configuration)
    assert options.find("nvpair[@name='priority-fencing-delay']") is not None
    fence = pairs(primitive(configuration, "fence-rhel2"), "instance_attributes")
    assert fence["ca_file"] == boot.CA_FILE
    assert "ssl_insecure" not in fence


@pytest.mark.cluster
def test_a_push_keeps_what_the_cluster_wrote_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    live = """<configuration><crm_config><cluster_property_set id="cib-bootstrap-options">
        <nvpair id="a" name="dc-version" value="2.1.5"/><nvpair id="b" name="maintenance-mode" value="true"/>
        </cluster_property_set></crm_config><nodes><node id="1" uname="rhel1"/></nodes>
        <resources><primitive id="old" class="ocf" provider="pacemaker" type="Dummy"/></resources><constraints/></configuration>"""
    pushed: list[str] = []

    def run(_room: room.Room, _node: plan.Node, shell: str, _within: float = 0, text: str = "") -> subprocess.CompletedProcess[str]:
        if "--replace" in shell:
            pushed.append(text)
        return subprocess.CompletedProcess([], 0, live, "")

    monkeypatch.setattr(ssh, "run", run)
    configure.push(Inside(), made_by_pcs(OURS), json.dumps({"agents": "lab"}))
    told = ElementTree.fromstring(pushed[0])
    assert [node.get("uname") for node in told.iter("node")] == ["rhel1"]
    assert "old" not in [found.get("id") for found in told.iter("primitive")]
    names = {pair.get("name") for pair in configure.properties(told)}
    assert names == {"dc-version", "load-threshold", "node-action-limit", "priority-fencing-delay", configure.MARK}
    ids = [element.get("id") for element in told.iter() if element.get("id")]
    assert len(ids) == len(set(ids))


STANDING = """<pacemaker-result api-version="2.25"><nodes>
  <node name="rhel1" online="{online}" standby="false" unclean="{unclean}" pending="false" type="member"/>
  <node name="rhel2" online="true" standby="false" unclean="false" pending="false" type="member"/></nodes>
  <resources>{resources}</resources>{failures}</pacemaker-result>"""


def standing(*, online: bool = True, unclean: bool = False, failed: str = "", failures: str = "") -> state.State:
    made = [f'<resource id="{name}" role="Started" active="true" failed="{str(name == failed).lower()}"><node name="rhel1"/></resource>'
            for name in (*state.FENCES, *DOCUMENT.resources())]  # fmt: skip
    said = {"online": str(online).lower(), "unclean": str(unclean).lower()}
    return state.parse(STANDING.format(**said, resources="".join(made), failures=failures))


def test_a_healthy_cluster_has_no_troubles() -> None:
    found = standing()
    assert (found.active, state.troubles(found, DOCUMENT)) == ("rhel1", [])


def test_each_trouble_is_named() -> None:
    assert state.troubles(standing(unclean=True), DOCUMENT) == ["rhel1 is unclean"]
    assert state.troubles(standing(online=False), DOCUMENT) == ["rhel1 is offline"]
    assert state.troubles(standing(failed="pg-fs"), DOCUMENT) == ["pg-fs does not run"]
    assert state.troubles(standing(), Setting(Agents.STOCK, Profile.DOCUMENT, Layout.THREE))[0] == "pg-lvm-wal does not run"
    failed = '<failures><failure op_key="pg-db_monitor_30000" node="rhel1" exitstatus="error" exitreason="gone" exitcode="1"/></failures>'
    assert state.troubles(standing(failures=failed), DOCUMENT) == ["pg-db_monitor_30000 on rhel1: error (gone)"]


def test_what_did_not_stop_is_left() -> None:
    text = STANDING.format(online="true", unclean="false", failures="", resources=(
        '<resource id="pg-lvm" role="Started" active="true" failed="true"><node name="rhel1"/></resource>'
        '<resource id="pg-vip" role="Stopped" active="false" failed="false"/>'))  # fmt: skip
    assert (state.parse(text).left, state.parse(text).resources) == (("pg-lvm",), {"pg-lvm": None, "pg-vip": None})


def test_a_resource_in_two_places_runs_in_none() -> None:
    text = STANDING.format(online="true", unclean="false", failures="", resources=(
        '<resource id="pg-vip" role="Started" failed="false"><node name="rhel1"/><node name="rhel2"/></resource>'))  # fmt: skip
    assert state.parse(text).resources == {"pg-vip": None}
    assert state.parse(text).nodes == {"rhel1": Condition.ONLINE, "rhel2": Condition.ONLINE}


@pytest.mark.parametrize("layout", Layout)
def test_the_shells_are_shell(layout: Layout) -> None:
    volumes = VOLUMES[layout]
    for text in (storage.making(volumes), storage.mounting(volumes), storage.unmounting(volumes), database.making(layout)):
        checked = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True, timeout=20)
        assert checked.returncode == 0, checked.stderr


def test_a_configuration_of_another_day_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    word = configure.mark(OURS)

    def run(*_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 0, word + "\n", "")

    monkeypatch.setattr(ssh, "run", run)
    assert configure.configured(Inside()) == OURS
    word = json.dumps({**json.loads(word), "recipe": "another"})
    assert configure.configured(Inside()) is None


def test_saved_disks_follow_the_setting() -> None:
    assert len({configure.recipe(setting) for setting in SETTINGS}) == len(SETTINGS)
