"""The metadata, read by an XML parser and by the schemas of those who use it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

import ocf_py as ocf
from ocf_py import metadata
from ocf_py.testing import Executor
from tests.framework.conftest import PUPPET, MakePuppet

INSTALLED = Path("/usr/lib/ocf/resource.d/lab")
EXAMPLES = PUPPET.parent.parent / "conformance" / "examples"
AGENTS = [PUPPET, *sorted(EXAMPLES.iterdir()), *sorted(path for path in INSTALLED.iterdir() if path.is_file())]


class Odd(ocf.Agent):
    """Say <what> & "how".

    More: a < b.
    """

    name, version = "odd", "2.0"
    needed = ocf.string("Needed", "Must be <given>.", required=True, unique_group="place")
    size = ocf.integer("Size & more", default=3, reloadable=True)
    flag = ocf.boolean("Flag", default=True)
    kind = ocf.choice("Kind", options=("a", 'b"'), default="a")
    patience = ocf.duration("Patience", default="10s")
    old = ocf.string("Old", replaced_by="size")

    @ocf.monitor(timeout="20s", interval="10s", role="Unpromoted")
    @ocf.monitor(timeout="20s", interval="9s", role="Promoted")
    def observe(self) -> ocf.State:
        return ocf.STOPPED

    @ocf.monitor(level=10, timeout="30s", interval="60s")
    def look(self) -> None:
        return

    @ocf.action(timeout="40s")
    def start(self) -> None:
        return

    @ocf.action(timeout="50s")
    def stop(self) -> None:
        return

    @ocf.action(timeout="20s")
    def reload_agent(self) -> None:
        return


def parsed(dialect: str = "") -> ElementTree.Element:
    return ElementTree.fromstring(metadata.xml(Odd, dialect))


def attributes(element: ElementTree.Element) -> list[dict[str, str]]:
    return [dict(child.attrib) for child in element]


def test_the_whole_is_ocf_1_1() -> None:
    root = parsed()
    assert (root.tag, root.attrib, root.findtext("version")) == ("resource-agent", {"name": "odd", "version": "2.0"}, "1.1")
    assert [child.tag for child in root] == ["version", "longdesc", "shortdesc", "parameters", "actions"]
    assert root.findtext("shortdesc") == 'Say <what> & "how"'
    assert (root.findtext("longdesc") or "").strip() == 'Say <what> & "how".\n\nMore: a < b.'


def test_parameters() -> None:
    parameters = parsed().find("parameters")
    assert parameters is not None
    assert attributes(parameters) == [
        {"name": "needed", "unique": "1", "unique-group": "place", "required": "1"},
        {"name": "size", "reloadable": "1"}, {"name": "flag"}, {"name": "kind"}, {"name": "patience"}, {"name": "old"},
    ]  # fmt: skip
    contents = [content.attrib for content in parameters.iter("content")]
    assert contents == [
        {"type": "string"}, {"type": "integer", "default": "3"}, {"type": "boolean", "default": "yes"}, {"type": "select", "default": "a"},
        {"type": "string", "default": "10s"}, {"type": "string"},
    ]  # fmt: skip
    assert [option.get("value") for option in parameters.iter("option")] == ["a", 'b"']
    assert [replaced.get("name") for replaced in parameters.iter("replaced-with")] == ["size"]
    assert [(text.text or "").strip() for text in parameters.iter("longdesc")][:2] == ["Must be <given>.", "Size & more"]


def test_actions() -> None:
    actions = parsed().find("actions")
    assert actions is not None
    assert attributes(actions) == [
        {"name": "start", "timeout": "40s"},
        {"name": "stop", "timeout": "50s"},
        {"name": "monitor", "timeout": "20s", "interval": "9s", "depth": "0", "role": "Promoted"},
        {"name": "monitor", "timeout": "20s", "interval": "10s", "depth": "0", "role": "Unpromoted"},
        {"name": "monitor", "timeout": "30s", "interval": "60s", "depth": "10"},
        {"name": "reload-agent", "timeout": "20s"},
        {"name": "meta-data", "timeout": "10s"},
        {"name": "validate-all", "timeout": "20s"},
    ]


def test_the_dialect_of_ocf_tester_states_the_same_facts_with_fewer_words() -> None:
    text = metadata.xml(Odd, metadata.OCF_TESTER).decode()
    for word in ("unique-group", "reloadable", "reload-agent", "deprecated", "select", "option"):
        assert word not in text
    new, old = parsed(), ElementTree.fromstring(text)
    assert old.findtext("version") == "1.0"
    for tag in ("parameter", "longdesc", "shortdesc"):
        assert [child.get("name") or child.text for child in old.iter(tag)] == [child.get("name") or child.text for child in new.iter(tag)]
    assert [child.get("default") for child in old.iter("content")] == [child.get("default") for child in new.iter("content")]


def test_the_locale_has_no_say(puppet: MakePuppet) -> None:
    texts = {puppet().node.meta_data(environment={"LC_ALL": locale}).stdout for locale in ("C", "xx_YY", "de_DE.ISO-8859-1")}
    assert len(texts) == 1


def test_usage(puppet: MakePuppet) -> None:
    for action in ("usage", "help"):
        result = puppet().node.call(action)
        assert result.code == 0
        assert "  size: Size (default '1')\n" in result.stdout
        assert "  directory: Directory (required)\n" in result.stdout
        assert "  word: Word (no default)\n" in result.stdout


# What upstream's schemas say of it.

RNG, RESOURCE_AGENTS = ["xmllint", "--noout", "--relaxng"], "/usr/share/resource-agents"
DTD = ["xmllint", "--noout", "--path", RESOURCE_AGENTS, "--dtdvalid", f"{RESOURCE_AGENTS}/ra-api-1.dtd"]
# Who reads it -> the dialect for it, and the command that judges a file.
VALIDATORS = {
    "pcs, OCF 1.1": ("", [*RNG, "/usr/share/pcs/data/ocf-1.1.rng"]),
    "pcs, OCF 1.0": (metadata.OCF_TESTER, [*RNG, "/usr/share/pcs/data/ocf-1.0.rng"]),
    "resource-agents": (metadata.OCF_TESTER, [*RNG, f"{RESOURCE_AGENTS}/metadata.rng"]),
    "ocf-tester": (metadata.OCF_TESTER, DTD),
}


def judged(text: str, command: list[str], file: Path) -> subprocess.CompletedProcess[str]:
    file.write_text(text)
    return subprocess.run([*command, str(file)], capture_output=True, text=True)


@pytest.mark.cluster
@pytest.mark.parametrize("validator", list(VALIDATORS))
@pytest.mark.parametrize("agent", AGENTS, ids=[path.name for path in AGENTS])
def test_upstreams_schemas_accept_it(agent: Path, validator: str, tmp_path: Path) -> None:
    dialect, command = VALIDATORS[validator]
    text = Executor(agent).meta_data(environment={"OCF_PY_METADATA_DIALECT": dialect}).stdout
    found = judged(text, command, tmp_path / "metadata.xml")
    assert found.returncode == 0, found.stderr + text


@pytest.mark.cluster
@pytest.mark.parametrize("validator", list(VALIDATORS))
def test_upstreams_schemas_accept_odd_texts_and_refuse_others(validator: str, tmp_path: Path) -> None:
    dialect, command = VALIDATORS[validator]
    text = metadata.xml(Odd, dialect).decode()
    found = judged(text, command, tmp_path / "metadata.xml")
    assert found.returncode == 0, found.stderr
    assert judged(text.replace("<longdesc", "<longish").replace("</longdesc", "</longish"), command, tmp_path / "wrong.xml").returncode != 0


@pytest.mark.cluster
@pytest.mark.parametrize("agent", AGENTS, ids=[path.name for path in AGENTS])
def test_pacemaker_shows_it(agent: Path) -> None:
    provider = Path("/usr/lib/ocf/resource.d/shown")
    provider.mkdir(exist_ok=True)
    copy = provider / agent.name
    copy.write_bytes(agent.read_bytes())
    copy.chmod(0o755)
    try:
        ran, described = (
            subprocess.run([*command, f"ocf:shown:{agent.name}"], capture_output=True, text=True)
            for command in (["crm_resource", "--show-metadata"], ["pcs", "resource", "describe", "--full"])
        )
    finally:
        copy.unlink()
        provider.rmdir()
    assert (ran.returncode, f'<resource-agent name="{agent.name}"' in ran.stdout) == (0, True), ran.stderr
    assert (described.returncode, described.stdout.startswith(f"ocf:shown:{agent.name} - ")) == (0, True), described.stderr
