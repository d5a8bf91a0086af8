"""LVM-activate with bad input: a clear single-line reason, the right code, nothing started."""

from __future__ import annotations

import pytest

from ocf_py.testing import Executor

AGENT = "/usr/lib/ocf/resource.d/lab/LVM-activate"
GOOD = {"vgname": "vg-cluster1", "vg_access_mode": "system_id"}

MALFORMED = {
    "vgname": ["vg/lv", "/dev/vg", "-vg", "..", "v g", "vg;reboot", "v" * 127, "vé", "a\nb"],
    "lvname": ["vg/lv", "snapshot0", "pvmove0", "a_rimage_0", "pool_tdata", "x_mlog", "lvmlock", "-lv", ".", "l v"],
    "vg_access_mode": ["systemid", "SYSTEM_ID", "none"],
    "activation_mode": ["exclusively", "shared"],
    "tag": ["@pacemaker", "a b", 'x"]}'],
    "partial_activation": ["maybe"],
    "degraded_activation": ["2"],
    "majority_pvs": ["-"],
    "io_timeout": ["0", "never", "0.5", "99999"],
    "io_slow": ["x"],
    "io_slow_max": ["soon", "2s"],
    "fence_on_io_error": ["perhaps"],
}


def single_line(reason: str) -> bool:
    return 0 < len(reason) <= 200 and reason.isascii() and reason.isprintable()


@pytest.mark.parametrize("name, value", [(name, value) for name, values in MALFORMED.items() for value in values])
def test_a_malformed_parameter(name: str, value: str) -> None:
    node = Executor(AGENT, {**GOOD, "io_timeout": "3s", name: value}, instance="bad")
    for action in (node.validate, node.start, node.probe, node.monitor):
        result = action()
        assert result.code == 6, str(result)
        assert name in result.reason
        assert single_line(result.reason)
    assert node.stop().code == 0, "nothing was ever started with it"


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_missing_parameter(name: str) -> None:
    given = {other: value for other, value in GOOD.items() if other != name}
    node = Executor(AGENT, given, instance="bad")
    assert (node.start().code, f"{name} is required" in node.start().reason) == (6, True)
    assert node.stop().code == 0


def test_options_that_contradict_each_other() -> None:
    both = Executor(AGENT, {**GOOD, "partial_activation": "true", "degraded_activation": "true"}, instance="bad").validate()
    assert (both.code, "contradict each other" in both.reason) == (6, True)
    tagged = Executor(AGENT, {**GOOD, "vg_access_mode": "tagging", "majority_pvs": "true"}, instance="bad").validate()
    assert (tagged.code, "majority_pvs" in tagged.reason) == (6, True)


@pytest.mark.parametrize("name", sorted(set(MALFORMED) - set(GOOD)))
def test_an_empty_parameter_is_one_that_was_not_given(name: str) -> None:
    node = Executor(AGENT, {**GOOD, name: ""}, instance="bad")
    assert node.validate().code == 0
    assert node.probe().code == 7
    assert node.monitor().code == 7
    assert node.stop().code == 0


def test_a_long_io_timeout_needs_no_io_slow_max() -> None:
    assert Executor(AGENT, {**GOOD, "io_timeout": "60s"}).validate().code == 0
    both = Executor(AGENT, {**GOOD, "io_timeout": "60s", "io_slow_max": "30s"}).validate()
    assert (both.code, "io_slow_max=30s is less" in both.reason) == (6, True)


def test_the_line_of_the_lab_document() -> None:
    given = {"vgname": "vg-cluster1", "lvname": "lv-cluster1", "activation_mode": "exclusive", "vg_access_mode": "system_id"}
    node = Executor(AGENT, given)
    assert node.validate().code == 0


def test_lvm_that_is_not_installed() -> None:
    result = Executor(AGENT, GOOD, environment={"OCF_TESTER_FAIL_HAVE_BINARY": "1"}).start()
    assert (result.code, "not installed" in result.reason) == (5, True)


def test_a_probe_runs_nothing() -> None:
    """A standby with dead paths answers a probe by what the kernel has in memory."""
    node = Executor(AGENT, GOOD, environment={"PATH": "/nowhere"})
    assert node.probe().code == 7
