"""pgsql-storage killed at random instants of each action: the next stop and start succeed, and no row is lost.

How many instants: $OCF_LAB_KILLS; the suite's default keeps a run short, `OCF_LAB_KILLS=500` is the whole proof.
"""

from __future__ import annotations

import os
import random

import pytest

from ocf_py.testing import Result
from tests.agents.conftest import MakeGuarded

KILLS = int(os.environ.get("OCF_LAB_KILLS", "25"))
LONGEST = {"start": 0.6, "stop": 0.3, "monitor": 0.05, "validate-all": 0.05}


@pytest.mark.parametrize("action", sorted(LONGEST))
def test_killed_at_any_instant(guarded: MakeGuarded, action: str) -> None:
    one = guarded(settings="fsync = on\n").started()
    one.database.execute("CREATE TABLE kept (n int)")
    instants = random.Random(action)
    survived = 0
    for n in range(KILLS):
        one.database.execute(f"INSERT INTO kept VALUES ({n})")
        if action == "start":
            assert one.node.stop().code == 0
        result: Result = one.node.kill_after(instants.uniform(0.0, LONGEST[action]), action)
        survived += not result.killed
        assert one.node.stop().code == 0
        assert one.node.probe().code == 7
        assert one.node.start().code == 0
        assert one.node.monitor(level=0).code == 0
    assert survived < KILLS, "some calls were killed"
    assert one.database.execute("SELECT count(*), max(n) FROM kept") == [(KILLS, KILLS - 1)]
