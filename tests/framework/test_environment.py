"""One reading of the executor's variables: every one of them missing, malformed, or as Pacemaker's tools give it."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocf_py.environment import Environment, milliseconds

NAMES = st.sampled_from(
    ["OCF_ROOT", "OCF_RESOURCE_INSTANCE", "OCF_RA_VERSION_MAJOR", "OCF_CHECK_LEVEL", "OCF_RESKEY_x", "OCF_RESKEY_OCF_CHECK_LEVEL",
     "OCF_RESKEY_CRM_meta_timeout", "OCF_RESKEY_CRM_meta_interval", "OCF_RESKEY_CRM_meta_globally_unique", "HA_debug", "HA_LOGFILE",
     "HA_LOGFACILITY", "HA_RSCTMP", "OCF_TRACE_RA", "OCF_TRACE_FILE", "PCMK_logfile", "PATH"]
)  # fmt: skip
VALUES = st.binary(max_size=40).map(os.fsdecode) | st.from_regex(r"[0-9]{1,30}", fullmatch=True)


def read(**variables: str) -> Environment:
    return Environment.read(variables, "/usr/lib/ocf/resource.d/lab/thing")


def test_nothing_at_all() -> None:
    found = read()
    assert (found.root, found.resource, found.type, found.provider, found.version) == ("/usr/lib/ocf", "default", "thing", "", "")
    assert (found.check_level, found.timeout, found.interval, found.rsctmp) == ("0", None, 0.0, "/run/resource-agents")
    assert (found.facility, found.log_file, found.debug_file, found.debug, found.trace) == (None, None, None, False, False)
    assert (found.parameters, found.meta, found.inherited) == ({}, {}, {})
    assert found.exit_reason_prefix == "ocf-exit-reason:"


def test_parameters_and_meta_attributes_are_apart() -> None:
    found = read(OCF_RESKEY_size="3", OCF_RESKEY_CRM_meta_timeout="20000", OCF_RESKEY_crm_feature_set="3.16.1", PATH="/bin", HOME="/root")
    assert found.parameters == {"size": "3", "crm_feature_set": "3.16.1"}
    assert found.meta == {"timeout": "20000"}
    assert found.timeout == 20.0


def test_programs_inherit_the_executors_words_and_no_parameter() -> None:
    found = read(OCF_ROOT="/r", HA_debug="1", PCMK_x="y", CIB_file="/c", OCF_RESKEY_password="secret", PATH="/evil", PYTHONPATH="/evil")
    assert found.inherited == {"OCF_ROOT": "/r", "HA_debug": "1", "PCMK_x": "y", "CIB_file": "/c"}


@pytest.mark.parametrize(
    "text, seconds",
    [("20000", 20.0), ("0", 0.0), ("1", 0.001), ("", None), (None, None), ("20s", None), ("-1", None), ("1.5", None), ("9" * 400, None),
     ("٣", None)],
)  # fmt: skip
def test_milliseconds(text: str | None, seconds: float | None) -> None:
    assert milliseconds(text) == seconds


@pytest.mark.parametrize(
    "resource, unique, instance, number",
    [
        ("db", "", "db", None),
        ("db:0", "", "db", 0),
        ("db:12", "false", "db", 12),
        ("db:1", "true", "db:1", 1),
        ("a:b", "", "a:b", None),
        ("a:b:3", "", "a:b", 3),
        (":3", "", "", 3),
    ],
)
def test_the_suffix_of_an_instance(resource: str, unique: str, instance: str, number: int | None) -> None:
    found = read(OCF_RESOURCE_INSTANCE=resource, OCF_RESKEY_CRM_meta_globally_unique=unique)
    assert (found.instance, found.instance_number) == (instance, number)


@pytest.mark.parametrize(
    "variables, level",
    [({"OCF_CHECK_LEVEL": "10"}, "10"), ({"OCF_RESKEY_OCF_CHECK_LEVEL": "20"}, "20"), ({"OCF_CHECK_LEVEL": ""}, "0"),
     ({"OCF_CHECK_LEVEL": "10", "OCF_RESKEY_OCF_CHECK_LEVEL": "20"}, "10")],
)  # fmt: skip
def test_the_check_level(variables: dict[str, str], level: str) -> None:
    assert read(**variables).check_level == level


@pytest.mark.parametrize(
    "variables, facility, log_file",
    [
        ({"HA_LOGFACILITY": "local1", "HA_LOGFILE": "/var/log/p.log"}, "local1", "/var/log/p.log"),
        ({"HA_logfacility": "none"}, "none", None),
        ({"PCMK_logfacility": "daemon", "PCMK_logfile": "/p"}, "daemon", "/p"),
        ({"HA_LOGFILE": "none"}, None, None),
        ({"HA_LOGFILE": "relative"}, None, None),
    ],
)
def test_where_the_log_goes(variables: dict[str, str], facility: str | None, log_file: str | None) -> None:
    found = read(**variables)
    assert (found.facility, found.log_file) == (facility, log_file)


@pytest.mark.parametrize("text, debug", [("", False), ("0", False), ("1", True), ("2", True), ("yes", True), ("no", False)])
def test_debug(text: str, debug: bool) -> None:
    assert read(HA_debug=text).debug is debug


@given(st.dictionaries(NAMES, VALUES))
def test_reading_never_raises(variables: dict[str, str]) -> None:
    found = Environment.read(variables, "x")
    assert found.timeout is None or 0 <= found.timeout < 1e13
    assert found.rsctmp
    assert isinstance(found.instance, str)


def test_it_is_frozen() -> None:
    with pytest.raises(AttributeError, match="timeout cannot be set"):
        read().timeout = 5.0


def test_lists() -> None:
    found = read(OCF_RESKEY_CRM_meta_notify_start_uname="node1  node2 ", OCF_RESKEY_CRM_meta_on_node="node1")
    assert (found.names("notify_start_uname"), found.names("notify_stop_uname"), found.node) == (["node1", "node2"], [], "node1")
