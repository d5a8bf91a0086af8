"""Disks that LVM or the kernel does not show, as the stand-ins show it; a node would need filters or another table for that."""

from __future__ import annotations

from tests.lvm import fake
from tests.lvm.conftest import MakeResource, hurry


def test_a_disk_that_is_hidden_from_lvm_is_no_missing_one(resource: MakeResource) -> None:
    """It answers: to go on without it would be to leave it behind."""
    one = resource(disks=2, lvs=("a",), partial_activation="yes")
    path = one.group.disks[1].path
    with fake.state() as found:
        found["disks"].remove(path)
    result = one.node.start(**hurry(24))
    with fake.state() as found:
        found["disks"].append(path)
    assert (result.code, f"lvmdevices --adddev {path}" in result.reason, one.group.active) == (1, True, set()), result
    assert one.node.start().code == 0


def test_a_volume_beneath_which_nothing_is_left_has_no_owner_to_ask_for(resource: MakeResource) -> None:
    """LVM would take an empty list of devices for all of them."""
    one = resource(lvs=("a",)).started()
    [folder] = (fake.SYS / "block").glob("dm-*")
    for slave in (folder / "slaves").iterdir():
        slave.unlink()
    result = one.node.monitor(level=20)
    assert (result.code, "owner not checked: no disk is beneath" in result.reason) == (190, True), result
