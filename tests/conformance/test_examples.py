"""A small agent for each part of the contract that most resources do not need, made with ocf_py: what it does, and that it conforms."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocf_py.testing import Executor, conformance, kills

pytestmark = pytest.mark.once

EXAMPLES = Path(__file__).parent / "examples"
KILLS = {"start": 250, "stop": 150, "monitor": 100}
UNIQUE = {"globally_unique": "true", "clone": "0", "clone_max": "2", "clone_node_max": "2"}


def strictly_conforms(name: str, parameters: dict[str, str], environment: dict[str, str] | None = None) -> None:
    report = conformance.conform(EXAMPLES / name, parameters, environment=environment, kills=3)
    assert not report.failed(strict=True), "\n" + "\n".join(conformance.row(finding) for finding in report.findings)
    assert report.not_stopped == ""


def test_flag_file(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    node = Executor(EXAMPLES / "flag-file", {"file": flag})
    assert node.probe().code == 7
    assert node.start().code == 0
    assert flag.exists()
    assert [node.monitor(level).code for level in (0, 10, 20)] == [0, 0, 0]
    assert node.stop().code == 0
    assert not flag.exists()
    strictly_conforms("flag-file", {"file": str(flag)})


def test_promotable(tmp_path: Path, promotion_scores: tuple[dict[str, str], Path]) -> None:
    tools, scores = promotion_scores
    meta = {"promotable": "true", "clone": "0", "clone_max": "2", "notify": "true", "globally_unique": "false"}
    node = Executor(EXAMPLES / "promotable", {"directory": tmp_path, "score": 50}, instance="p:0", meta=meta, environment=tools)
    assert node.promote().code == 7
    assert node.start().code == 0
    assert node.monitor().code == 0
    assert node.promote().code == 0
    assert node.monitor().code == node.probe().code == 8
    assert node.demote().code == 0
    assert node.monitor().code == 0
    starting = {"notify_type": "post", "notify_operation": "start", "notify_start_uname": "node1 node2"}
    assert node.call("notify", meta=starting).code == 0
    assert (tmp_path / "notified").read_text() == "post-start node1 node2\n"
    assert node.stop().code == 0
    changes = ["--update 50", "--delete"]
    assert scores.read_text().splitlines() == [f"--promotion=p:0 --lifetime=reboot {change}" for change in changes]
    strictly_conforms("promotable", {"directory": str(tmp_path)}, tools)


def test_a_failing_notification_is_logged_and_answered_with_success(tmp_path: Path, promotion_scores: tuple[dict[str, str], Path]) -> None:
    node = Executor(EXAMPLES / "promotable", {"directory": tmp_path / "gone"}, environment=promotion_scores[0])
    result = node.notify()
    assert result.code == 0
    assert any("notify" in line and "No such file" in line for line in result.log)


def test_numbered_instances_of_a_globally_unique_clone_are_apart(tmp_path: Path) -> None:
    first, second = (Executor(EXAMPLES / "numbered", {"directory": tmp_path}, instance=f"n:{n}", meta=UNIQUE) for n in (0, 1))
    assert first.start().code == 0
    assert (first.monitor().code, second.monitor().code) == (0, 7)
    assert second.start().code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n:0", "n:1"]
    assert first.stop().code == 0
    assert (first.probe().code, second.probe().code) == (7, 0)
    assert second.stop().code == 0


def test_instances_of_an_anonymous_clone_are_one(tmp_path: Path) -> None:
    anonymous = {**UNIQUE, "globally_unique": "false"}
    first, plain = (Executor(EXAMPLES / "numbered", {"directory": tmp_path}, instance=name, meta=anonymous) for name in ("n:0", "n"))
    assert first.start().code == 0
    assert (first.monitor().code, plain.monitor().code) == (0, 0)
    assert plain.stop().code == 0
    assert first.probe().code == 7
    strictly_conforms("numbered", {"directory": str(tmp_path)})


def test_migratable(tmp_path: Path) -> None:
    here, there = (Executor(EXAMPLES / "migratable", {"directory": tmp_path}, node=name) for name in ("node1", "node2"))
    assert here.start().code == 0
    move = {"migrate_source": "node1", "migrate_target": "node2"}
    assert here.call("migrate_to", meta=move).code == 0
    assert here.probe().code == 7
    assert there.call("migrate_from", meta=move).code == 0
    assert there.monitor().code == 0
    # Pacemaker ends a migration with a stop at the source.
    assert here.stop().code == 0
    assert there.monitor().code == 0
    assert here.call("migrate_to", meta=move).code == 7
    failed = here.call("migrate_from", meta={"migrate_source": "node2", "migrate_target": "node1"})
    assert (failed.code, failed.reason) == (1, "nothing has arrived from node2")
    assert there.stop().code == 0
    strictly_conforms("migratable", {"directory": str(tmp_path)})


def test_reloadable(tmp_path: Path) -> None:
    file = tmp_path / "greeting"
    node = Executor(EXAMPLES / "reloadable", {"file": file, "greeting": "hello"})
    changed = {"file": file, "greeting": "good morning"}
    assert node.call("reload-agent").code == 7
    assert node.start().code == 0
    stale = node.monitor(10, parameters=changed)
    assert (stale.code, stale.reason) == (1, f"{file} says hello, not good morning")
    assert node.call("reload-agent", parameters=changed).code == 0
    assert node.monitor(10, parameters=changed).code == 0
    assert node.stop().code == 0
    strictly_conforms("reloadable", {"file": str(file)})


@pytest.mark.parametrize("action", sorted(KILLS))
def test_an_action_may_be_killed_at_any_instant(tmp_path: Path, action: str) -> None:
    node = Executor(EXAMPLES / "flag-file", {"file": tmp_path / "flag"})
    done = kills.sweep(node, action, KILLS[action])
    assert done.hits > KILLS[action] / 3


def test_the_kill_sweep_finds_an_agent_that_cannot_recover() -> None:
    node = Executor(EXAMPLES.parent / "broken" / "locked-out", instance="sweep")
    with pytest.raises(kills.NotRecovered, match=r"ms into start and a stop: start answered 1 .*another start is under way"):
        kills.sweep(node, "start", 20)
