"""pgsql-storage killed at random instants of each action: the next stop and start succeed, and no row is lost.

How many instants: $OCF_LAB_KILLS; the suite's default keeps a run short, `OCF_LAB_KILLS=500` is the whole proof.
"""

from __future__ import annotations

import os

import pytest

from ocf_py.testing.kills import sweep
from tests.agents.conftest import MakeGuarded

pytestmark = pytest.mark.once

KILLS = int(os.environ.get("OCF_LAB_KILLS", "15"))


@pytest.mark.parametrize("action", ["start", "stop", "monitor", "validate-all"])
def test_killed_at_any_instant(guarded: MakeGuarded, action: str) -> None:
    one = guarded().started()
    one.database.execute("CREATE TABLE kept (n int)", "INSERT INTO kept SELECT generate_series(1, 1000)")

    def nothing_left() -> None:
        assert one.database.processes() == []

    result = sweep(one.node, action, KILLS, seed=len(action), verify=nothing_left)
    assert result.hits > KILLS // 3, result
    one.started()
    assert one.database.execute("SELECT count(*) FROM kept") == [(1000,)]
