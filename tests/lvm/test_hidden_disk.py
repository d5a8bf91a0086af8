"""A disk that LVM is told not to see, as the stand-ins show it; a node has its filters for that."""

from __future__ import annotations

from tests.lvm import fake
from tests.lvm.conftest import MakeResource


def test_a_disk_that_is_hidden_from_lvm_is_no_missing_one(resource: MakeResource) -> None:
    """It answers: to go on without it would be to leave it behind."""
    one = resource(disks=2, lvs=("a",), partial_activation="yes")
    path = one.group.disks[1].path
    with fake.state() as found:
        found["disks"].remove(path)
    result = one.node.start(timeout=24.0)
    with fake.state() as found:
        found["disks"].append(path)
    assert (result.code, f"lvmdevices --adddev {path}" in result.reason, one.group.active) == (1, True, set()), result
    assert one.node.start().code == 0
