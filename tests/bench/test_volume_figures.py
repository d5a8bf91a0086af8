"""What the benchmark of LVM-activate makes of what it has measured; measuring itself takes a node, and `make bench`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.bench import __main__ as bench
from lab.bench import many, report, volumes
from lab.bench.cost import Cost
from lab.bench.volumes import OURS, STOCK, monitor


def costs(ours: float, stock: float, runs: int = 3) -> dict[str, list[Cost]]:
    """Return runs beside a base of 0.1 s: ours at level 0, and ten times that for level 10; stock's alike."""
    cpu = {"base": 0.1, "meta-data": 0.12, "probe": 0.2, monitor(OURS, 0): ours, monitor(OURS, 10): 10 * ours,
           monitor(STOCK, 0): stock, monitor(STOCK, 10): 10 * stock}  # fmt: skip
    return {name: [Cost(seconds, 2 * seconds)] * runs for name, seconds in cpu.items()}


def shown(figures: Sequence[report.Figure]) -> dict[str, tuple[float, str]]:
    return {figure.what: (round(figure.number, 3), figure.verdict) for figure in figures}


def test_each_level_is_held_against_its_own_budget() -> None:
    found = shown(volumes.cpu(costs(0.17, 0.34)))
    assert found["monitor, level 0"] == (1.7, "ok")
    assert found["monitor, level 10"] == (17.0, "OVER")
    assert found["stock monitor, level 0"] == (3.4, "")
    assert found["monitor, level 0, against stock's"] == (0.5, "")
    assert found["meta-data"] == (1.2, "ok")
    assert shown(volumes.cpu(costs(0.19, 0.34)))["monitor, level 0"] == (1.9, "OVER")


def test_a_crowd_is_held_against_few_and_a_slower_machine_does_not_count() -> None:
    slower = {name: [Cost(2 * run.cpu, run.wall) for run in runs] for name, runs in costs(0.17, 0.34 * 4).items()}
    found = shown(volumes.crowd(costs(0.17, 0.34), slower))
    assert found["monitor, level 0"] == (1.0, "ok")
    assert found["stock monitor, level 0"] == (4.0, "")
    assert found["monitor, level 10, against stock's"] == (0.125, "")
    assert shown(volumes.crowd(costs(0.17, 0.34), costs(0.17 * 1.6, 0.34)))["monitor, level 0"] == (1.6, "OVER")


def test_starts_and_stops_are_compared_in_pairs() -> None:
    measured = {"start, ours": [Cost(0, 1.0), Cost(0, 9.0), Cost(0, 1.0)], "start, stock": [Cost(0, 4.0), Cost(0, 36.0), Cost(0, 2.0)],
                "stop, ours": [Cost(0, 3.0)], "stop, stock": [Cost(0, 2.0)]}  # fmt: skip
    found = shown(volumes.starts_and_stops(measured))
    assert found == {"time, start, against stock's": (0.25, ""), "time, stop, against stock's": (1.5, "")}


def test_commands_of_lvm_count_by_whichever_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lvm").touch()
    for name in ("vgs", "lvchange"):
        (tmp_path / name).symlink_to("lvm")
    (tmp_path / "dmsetup").touch()
    monkeypatch.setattr(volumes, "LVM", str(tmp_path / "lvm"))
    assert volumes.lvm_commands([str(tmp_path / name) for name in ("dmsetup", "lvm", "vgs", "vgs", "lvchange")]) == 4


def test_devices_are_those_of_volumes_of_another_group() -> None:
    fields = [device.split(",") for device in many.devices(3)]
    assert [name for name, *_ in fields] == ["elsewhere-lv0000", "elsewhere-lv0001", "elsewhere-lv0002"]
    assert len({uuid for _, uuid, *_ in fields}) == 3
    assert {(uuid[:4], len(uuid)) for _, uuid, *_ in fields} == {("LVM-", 68)}


def test_a_table_is_measured_where_it_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def here(module: str, options: Sequence[str], output: Path | None) -> int:
        asked.append((module, tuple(options), output))
        return 3

    monkeypatch.setitem(bench.TABLES, "volumes", (here, "lab.bench.volumes", ("--short",)))
    assert bench.measure("volumes", short=True, directory=tmp_path / "made") == 3
    assert bench.measure("volumes", short=False, directory=None) == 3
    assert asked == [("lab.bench.volumes", ("--short",), tmp_path / "made" / "volumes.json"), ("lab.bench.volumes", (), None)]
    assert (tmp_path / "made").is_dir()
