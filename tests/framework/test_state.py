"""The memory of an instance: what is written comes back, whole or not at all, and never from another boot."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ocf_py as ocf
from ocf_py import state

# What os.environ can hold: any bytes but NUL, undecodable ones as surrogates.
VALUES = st.binary(max_size=80).map(os.fsdecode)
NAMES = st.from_regex(r"[a-z.]{1,12}", fullmatch=True)


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of a few pages."""
    point = tmp_path / "tiny"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tiny", str(point)], check=True)
    yield point
    subprocess.run(["umount", str(point)], check=True)


@given(st.dictionaries(NAMES, VALUES))
def test_facts_come_back(facts: dict[str, str]) -> None:
    assert state.decode(state.encode(facts)) == facts


@pytest.mark.parametrize("value", ["\\", "\\n", "\\\\n", "\n", "\0", "\1", "\1\\", "a b ", "", "\r", "\u2028", "\x85"])
def test_what_looks_like_an_escape_comes_back(value: str) -> None:
    assert state.decode(state.encode({"a": value, "b": "after"})) == {"a": value, "b": "after"}


@given(st.binary())
def test_any_bytes_are_read_without_a_complaint(text: bytes) -> None:
    assert all(isinstance(value, str) for value in state.decode(text).values())


@given(VALUES, VALUES)
def test_file_names_are_safe_and_apart(one: str, other: str) -> None:
    name = state.file_name(os.fsencode(one).decode("latin-1"))
    assert name
    assert name.isascii()
    assert "/" not in name
    assert (name == state.file_name(os.fsencode(other).decode("latin-1"))) == (one == other or {one, other} == {"", "%"})


@pytest.mark.parametrize(
    "text, name", [("p:0", "p:0"), ("/dev/sdb", "%2Fdev%2Fsdb"), ("..", ".."), ("ä", "%C3%A4"), ("", "%"), ("100%", "100%25")]
)
def test_file_name(text: str, name: str) -> None:
    assert state.file_name(text) == name


def test_memory(tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "er" / "state")
    memory = state.Memory(path)
    assert (memory.get("a"), memory.get("a", "none"), list(memory)) == ("", "none", [])
    memory.update(a="1", b="two words")
    assert os.listdir(tmp_path / "deep" / "er") == ["state"]
    again = state.Memory(path)
    assert (again.get("a"), again.get("b")) == ("1", "two words")
    again.update(a=None)
    assert state.Memory(path).get("a", "gone") == "gone"
    again.replace({"given.x": "1", "given.y": "2", "other": "3"})
    assert state.Memory(path).section("given.") == {"x": "1", "y": "2"}
    again.forget()
    assert os.listdir(tmp_path / "deep" / "er") == []
    assert state.Memory(path).get("other") == ""


def test_nothing_is_written_where_nothing_changed(tmp_path: Path) -> None:
    memory = state.Memory(str(tmp_path / "state"))
    memory.update(a="1")
    before = os.stat(tmp_path / "state")
    memory.update(a="1")
    state.Memory(str(tmp_path / "state")).update(a="1")
    assert os.stat(tmp_path / "state") == before


def test_another_boot_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(state.encode({"boot": "0" * 36, "a": "1"}))
    memory = state.Memory(str(path))
    assert memory.get("a") == ""
    memory.update(b="2")
    assert state.decode(path.read_bytes()) == {"boot": state.boot_id(), "b": "2"}


def test_a_full_file_system_loses_nothing_that_was_there(tiny: Path) -> None:
    memory = state.Memory(str(tiny / "state"))
    memory.update(a="before")
    with pytest.raises(OSError, match="No space"), open(tiny / "ballast", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(ocf.CannotRecord, match=r"^cannot record in .*/tiny: No space left on device$"):
        memory.update(a="after")
    assert sorted(os.listdir(tiny)) == ["ballast", "state"]
    assert state.Memory(str(tiny / "state")).get("a") == "before"
    os.truncate(tiny / "ballast", os.stat(tiny / "ballast").st_size - 4096)
    with pytest.raises(ocf.CannotRecord):
        memory.update(a="a page and more" * 400)
    assert state.Memory(str(tiny / "state")).get("a") == "before"
    with pytest.raises(ocf.CannotRecord):
        state.make_directory(str(tiny / ("x" * 300)))


def test_killed_while_writing(tmp_path: Path) -> None:
    """What a killed action has left half written is no fact, and goes with the rest."""
    memory = state.Memory(str(tmp_path / "state"))
    memory.update(a="1")
    (tmp_path / "state.4711").write_bytes(b"boot x\na 2")
    assert state.Memory(str(tmp_path / "state")).get("a") == "1"
    memory.forget()
    assert os.listdir(tmp_path) == []
