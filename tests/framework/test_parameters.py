"""Parameters: text to value, what is wrong in words, and what a declaration refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ocf_py as ocf
from ocf_py import parameters

TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=60)


def read(parameter: parameters.Parameter, text: str) -> Any:
    parameter.name = "p"
    values, wrong = parameters.parse_all({"p": parameter}, {"p": text})
    return wrong[0] if wrong else values["p"]


@pytest.mark.parametrize(
    "parameter, text, result",
    [
        (ocf.string("s"), "x", "x"),
        (ocf.string("s"), "", ""),
        (ocf.string("s", default="d"), "", "d"),
        (ocf.string("s"), "two\nlines", "p='two\\nlines' has a line break"),
        (ocf.string("s", check=lambda value: "is short" if len(value) < 3 else None), "ab", "p='ab' is short"),
        (ocf.string("s", required=True), "", "p is required"),
        (ocf.string("s", secret=True, check=lambda value: "is weak"), "hunter2", "p=its value is weak"),
        (ocf.path("p"), "/a/b/", "/a/b"),
        (ocf.path("p"), "/", "/"),
        (ocf.path("p"), "//", "/"),
        (ocf.path("p"), "a/b", "p='a/b' is not an absolute path"),
        (ocf.integer("i"), "", 0),
        (ocf.integer("i"), "-3", -3),
        (ocf.integer("i"), "+3", 3),
        (ocf.integer("i"), "007", 7),
        (ocf.integer("i"), "3.0", "p='3.0' is not an integer"),
        (ocf.integer("i"), " 3", "p=' 3' is not an integer"),
        (ocf.integer("i"), "-", "p='-' is not an integer"),
        (ocf.integer("i"), "٣", "p='٣' is not an integer"),
        (ocf.integer("i", at_least=1), "0", "p='0' is less than 1"),
        (ocf.integer("i", at_most=9), "10", "p='10' is more than 9"),
        (ocf.boolean("b"), "", False),
        (ocf.boolean("b", default=True), "", True),
        *((ocf.boolean("b"), word, True) for word in ("yes", "YES", "true", "1", "on", "ja")),
        *((ocf.boolean("b"), word, False) for word in ("no", "False", "0", "OFF")),
        (ocf.boolean("b", default=True), "nope", "p='nope' is neither yes nor no"),
        (ocf.choice("c", options=("a", "b")), "b", "b"),
        (ocf.choice("c", options=("a", "b")), "c", "p='c' is not one of a, b"),
        (ocf.duration("d"), "10", 10.0),
        (ocf.duration("d"), "10s", 10.0),
        (ocf.duration("d"), "0.5s", 0.5),
        (ocf.duration("d"), "500ms", 0.5),
        (ocf.duration("d"), "2min", 120.0),
        (ocf.duration("d"), "2m", 120.0),
        (ocf.duration("d"), "1h", 3600.0),
        (ocf.duration("d"), "3 sec", 3.0),
        (ocf.duration("d"), "-1", "p='-1' is not a time such as \"10s\""),
        (ocf.duration("d"), "1.2.3", "p='1.2.3' is not a time such as \"10s\""),
        (ocf.duration("d"), "s", "p='s' is not a time such as \"10s\""),
        (ocf.duration("d"), "auto", "p='auto' is not a time such as \"10s\""),
        (ocf.duration("d", at_least=1, at_most=60), "61s", "p='61s' is not between 1 s and 60 s"),
        (ocf.duration_or_auto("d"), "auto", None),
        (ocf.duration_or_auto("d"), "", None),
        (ocf.duration_or_auto("d", default="auto"), "7s", 7.0),
    ],
)
def test_text_to_value(parameter: parameters.Parameter, text: str, result: object) -> None:
    assert read(parameter, text) == result


def test_microseconds() -> None:
    assert read(ocf.duration("d"), "500000us") == read(ocf.duration("d"), "500000usec") == pytest.approx(0.5)


def test_a_long_value_leaves_room_for_the_rest() -> None:
    declared = {"a": ocf.integer("a"), "b": ocf.string("b", required=True)}
    assert parameters.parse_all(declared, {"a": "x" * 5000})[1] == [f"a='{'x' * 37}...' is not an integer", "b is required"]


def test_all_that_is_wrong_is_told_at_once() -> None:
    declared = {"a": ocf.integer("a"), "b": ocf.boolean("b", default="yes"), "c": ocf.path("c", required=True)}
    values, wrong = parameters.parse_all(declared, {"a": "1x", "b": "perhaps"})
    assert values == {"a": 0, "b": True, "c": ""}
    with pytest.raises(ocf.Misconfigured, match=r"^a='1x' is not an integer; b='perhaps' is neither yes nor no; c is required$"):
        parameters.complain(wrong)
    parameters.complain([])


@pytest.mark.parametrize(
    "given_values, value, wrong",
    [
        ({"new": "/n"}, "/n", []),
        ({"old": "/o"}, "/o", []),
        ({"old": "/o", "new": "/n"}, "/n", []),
        ({}, "", ["new is required"]),
        ({"old": "o"}, "", ["new='o' is not an absolute path"]),
    ],
)
def test_a_deprecated_name_still_gives_the_value(given_values: dict[str, str], value: str, wrong: list[str]) -> None:
    declared = {"old": ocf.string("old", replaced_by="new"), "new": ocf.path("new", required=True)}
    values, found = parameters.parse_all(declared, given_values)
    assert (values["new"], found) == (value, wrong)


@given(TEXT)
def test_any_text_is_a_value_or_wrong_in_one_way(text: str) -> None:
    for parameter in (ocf.string("s"), ocf.path("p"), ocf.integer("i"), ocf.boolean("b"), ocf.duration("d"), ocf.duration_or_auto("d"),
                      ocf.choice("c", options=("a",))):  # fmt: skip
        parameter.name = "p"
        values, wrong = parameters.parse_all({"p": parameter}, {"p": text})
        assert set(values) == {"p"}
        assert len(wrong) <= 1
        if wrong:
            assert values["p"] == parameter.absent()


@given(st.integers(min_value=-(10**30), max_value=10**30))
def test_integers_come_back(number: int) -> None:
    assert read(ocf.integer("i"), str(number)) == number


@given(TEXT)
def test_paths_are_absolute_and_have_no_slash_at_their_end(text: str) -> None:
    found = read(ocf.path("p"), "/" + text)
    assert found.startswith(("/", "p="))
    assert found == "/" or not found.endswith("/")


def test_digits_beyond_all_bounds_are_refused_or_read() -> None:
    assert read(ocf.duration("d"), "9" * 400) == f"p='{'9' * 37}...' is not between 0 s and 86400 s"
    assert isinstance(read(ocf.integer("i", at_most=5), "9" * 10000), str)


@pytest.mark.parametrize(
    "declare, match",
    [
        (lambda: ocf.string("s", required=True, default="x"), "a required parameter has no default"),
        (lambda: type("A", (), {"size": ocf.integer("i", default="big")}), r"A.size: its default is wrong: is not an integer"),
        (lambda: type("A", (), {"c": ocf.choice("c", options=("a",), default="b")}), r"A.c: its default is wrong"),
        (lambda: type("A", (), {"d": ocf.duration("d", default="5s", at_most=1)}), r"A.d: its default is wrong"),
    ],
)
def test_a_wrong_declaration_is_refused(declare: Any, match: str) -> None:
    # Python 3.11 and older wrap what __set_name__ raises.
    with pytest.raises((TypeError, RuntimeError)) as raised:
        declare()
    error = raised.value.__cause__ if isinstance(raised.value, RuntimeError) else raised.value
    assert isinstance(error, TypeError)
    assert re.search(match, str(error))


def test_a_value_is_set_by_the_cluster_only() -> None:
    class Holder:
        size = ocf.integer("i")

    with pytest.raises(AttributeError, match="parameter size is set by the cluster only"):
        setattr(Holder(), "size", 3)  # noqa: B010  A plain assignment is refused by mypy already.
