"""The manual pages hold what the declarations hold, and the messages that they explain are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fence_lab import metadata
from fence_lab.options import ACTIONS
from fence_lab.pve import FencePve
from lab.manpages import pages, troff
from ocf_py.agent import Agent

TREE = Path(__file__).resolve().parents[2]
PAGES = pages.all_pages()


def shown(page: str) -> str:
    """Return a page's text without the macros and escapes of troff."""
    text = re.sub(r"\\f[BIP]|\\&|^\.(TP|PP|IP|RS 4|RE|nf|fi)$", "", PAGES[page], flags=re.MULTILINE)
    for character, written in troff.SPECIAL.items():
        text = text.replace(written, character)
    return text


def test_there_is_a_page_for_everything_that_is_installed() -> None:
    names = {path.name for path in (TREE / "agents").iterdir() if path.is_file()}
    assert {f"ocf_lab_{name}.7" for name in names} | {"fence_pve.8", "ocf_py.7"} == set(PAGES)


@pytest.mark.parametrize("agent", pages.RESOURCE_AGENTS, ids=lambda agent: agent.name)
def test_a_resource_agents_page_has_every_parameter_and_level(agent: type[Agent]) -> None:
    text = shown(f"ocf_lab_{agent.name}.7")
    for parameter in agent.parameters.values():
        assert f"\n{parameter.name}\n{' '.join(parameter.longdesc.split())}\n" in text
        if parameter.default:
            assert f"default {parameter.default}" in text
    for action in agent.actions:
        assert f"\n{pages.action_title(action)}\n" in text
        if action.level:
            assert f"interval={action.interval} timeout={action.timeout} OCF_CHECK_LEVEL={action.level}" in text
    assert f"\npcs resource create pg-{'db' if agent.name == 'pgsql-storage' else 'lvm'} ocf:lab:{agent.name} " in text


def test_the_fence_agents_page_has_every_option_action_and_message() -> None:
    text = shown("fence_pve.8")
    for option in metadata.in_order(FencePve.options()):
        assert f"\n{option.name}\n{option.mixed}\n" in text
        assert " ".join(option.help.split()) in text
    assert all(action in text for action in ACTIONS)
    told = [message for _, rows in pages.messages("fencing.md") for message, _ in rows]
    assert len(told) > 30
    assert all(f"\n{message}\n" in text for message in told)
    assert "\npcs stonith create " in text


@pytest.mark.parametrize("agent", pages.RESOURCE_AGENTS, ids=lambda agent: agent.name)
def test_every_exit_reason_is_one_of_the_code(agent: type[Agent]) -> None:
    source = "".join(path.read_text() for path in sorted((TREE / "agents" / "ocf_lab").glob("*.py")))
    reasons = list(pages.reasons(agent))
    assert len(reasons) > 15
    for reason, _ in reasons:
        assert f"\n{reason}\n" in shown(f"ocf_lab_{agent.name}.7")
        for part in filter(None, (part.strip(" :();…") for alternative in reason.split(" or ") for part in alternative.split("…"))):
            assert part in source, reason


def test_text_is_shown_as_it_is() -> None:
    assert troff.plain(".x 'y' -z \\n") == "\\&.x \\(aqy\\(aq \\-z \\en"
    assert troff.marked("a `b-c` **d** *e* f") == "a \\fBb\\-c\\fP \\fBd\\fP \\fIe\\fP f"
    assert troff.marked("3 * 4 * 5") == "3 * 4 * 5"


def test_pages_are_the_same_for_the_same_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert pages.all_pages() == pages.all_pages()
    assert '"1970\\-01\\-02"' in pages.all_pages()["ocf_py.7"]
