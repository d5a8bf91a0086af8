"""The demonstration, shortened, against the real thing; and its table and picture from stories that it does not tell every day."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab.demo import picture, table
from lab.demo.record import Call, Plan, Row, Side, Story
from tests.faults import leftovers

TREE = Path(__file__).resolve().parents[2]
SHORT = ["--healthy=4", "--watch=14", "--stop-watch=6", "--interval=2", "--io-timeout=4s"]
SVG = "{http://www.w3.org/2000/svg}"
LANES = {f"lane-{side}-{lane}" for side in ("stock", "ours") for lane in ("writes", "monitor", "stop")} | {"lane-disk"}
FENCING = "fencing needed"


def begin(output: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lab.demo.show", f"--output={output}", *words]
    return subprocess.Popen(command, cwd=TREE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def cells(text: str, subject: str) -> list[str]:
    """Return the cells of one line of the table, unwrapped."""
    found: list[list[str]] = []
    for line in text.splitlines():
        head, values = line[: table.SUBJECT].strip(), line[table.SUBJECT + 2 :]
        columns = [values[: table.VALUE].strip(), values[table.VALUE + 2 :].strip()]
        if head == subject:
            found = [columns]
        elif found and not head:
            found.append(columns)
        elif found:
            break
    assert found, f"the table has no line {subject!r}:\n{text}"
    return [" ".join(filter(None, column)) for column in zip(*found)]


def lanes(svg: str) -> dict[str, ElementTree.Element]:
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    return {group.get("id", ""): group for group in root.iter(f"{SVG}g")}


def words(lane: ElementTree.Element) -> str:
    return " ".join(text.text or "" for text in lane.iter(f"{SVG}text"))


@pytest.mark.cluster
def test_the_stock_agent_stays_green_and_ours_names_the_hang(tmp_path: Path) -> None:
    show = begin(tmp_path, *SHORT)
    said, _ = show.communicate(timeout=180)
    assert show.returncode == 0, said
    text = (tmp_path / "table.txt").read_text()
    assert text in said
    assert str(tmp_path / "timeline.svg") in said
    stock, ours = cells(text, "monitors during the hang")
    assert stock.endswith("x ok"), text
    assert int(stock.split()[0]) >= 3, text
    assert ours.endswith("1 x FAILED"), text
    assert cells(text, "hang noticed")[0].startswith("never")
    assert float(cells(text, "hang noticed")[1].split()[1]) <= 3 * (4 + 2 + 1)
    assert cells(text, "in these words")[0] == "-"
    assert cells(text, "in these words")[1].startswith('"storage hang: ')
    assert {cell.split()[0] for cell in cells(text, "writes answered meanwhile")} == {"0"}
    assert "ordered by hand" in cells(text, "stop")[0]
    assert "by the failed monitor" in cells(text, "stop")[1]
    assert FENCING in cells(text, "stop")[1]
    for cell in cells(text, "rows"):
        acknowledged, lost = (int(part.split()[0]) for part in cell.split(", "))
        assert acknowledged > 20
        assert lost == 0
    found = lanes((tmp_path / "timeline.svg").read_text())
    assert set(found) == LANES
    assert "never noticed" in words(found["lane-stock-monitor"])
    assert "storage hang: " in words(found["lane-ours-monitor"])
    assert "not answered" in words(found["lane-ours-writes"])
    assert leftovers.remove() == []
    assert not os.path.ismount("/mnt/stock")
    assert not os.path.ismount("/mnt/ours")


@pytest.mark.cluster
def test_an_interrupt_during_the_hang_leaves_nothing(tmp_path: Path) -> None:
    show = begin(tmp_path, "--healthy=2", "--interval=2")
    assert show.stdout
    try:
        said = []
        for line in show.stdout:
            said.append(line)
            if "stop answering" in line:
                break
        time.sleep(2)
        show.send_signal(signal.SIGINT)
        rest, _ = show.communicate(timeout=90)
    finally:
        show.kill()
    assert show.returncode == 130, [*said, rest]
    assert "Traceback" not in rest
    assert "Interrupted: ending" in rest
    assert not os.path.ismount("/mnt/stock")
    assert not os.path.ismount("/mnt/ours")
    assert "/mnt/ours" not in "".join(command_lines())


def command_lines() -> list[str]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            found.append(Path(f"/proc/{name}/cmdline").read_text(errors="replace"))
        except OSError:
            continue
    return found


def story() -> Story:
    """Make a story with a loss in it: rows 0 to 9 before the hang, 10 to 19 after, of which 12 was answered late and 3 lost."""
    plan = Plan(healthy=1.0, watch=5.0, stop_watch=5.0)
    sides = [Side("stock", "ocf:heartbeat:pgsql"), Side("ours", "ocf:lab:pgsql-storage")]
    for side in sides:
        side.rows = [Row(number, (number - 10) / 10, (number - 10) / 10 + 0.01 if number < 10 else None) for number in range(20)]
        side.rows[12].answered = 10.5
        side.found = side.acknowledged()
    sides[0].found.remove(3)
    return Story(plan, sides, healed=10.0, end=12.0, versions="PostgreSQL 15")


def test_a_lost_row_is_shown() -> None:
    told = story()
    assert cells(table.render(told), "rows") == ["11 acknowledged, 1 lost", "11 acknowledged, 0 lost"]
    assert "stock 11, lost 1; ours 11, lost 0" in picture.render(told)


def test_a_late_answer_is_none_during_the_hang() -> None:
    assert cells(table.render(story()), "writes answered meanwhile") == ["0 of 10", "0 of 10"]


def test_whoever_notices_gets_the_credit() -> None:
    """The verdicts come from what was seen, not from who is expected to win."""
    told = story()
    stock, ours = told.sides
    stock.calls = [Call("monitor", 0.5, 2.0, 1, "I/O <error> & more"), Call("stop", 2.0, 3.0, 1, "no")]
    ours.calls = [Call("monitor", 0.5, 0.6, 190, "slow"), Call("monitor", 3.0, 3.1, 0), Call("stop", 5.0, 10.5, 0)]
    ours.ordered = True
    text = table.render(told)
    assert cells(text, "hang noticed") == ["after 2.0 s", "never (watched for 5 s)"]
    assert cells(text, "in these words") == ['"I/O <error> & more"', "-"]
    assert cells(text, "monitors during the hang") == ["1 x FAILED", "1 x ok, 1 x degraded (slow)"]
    assert cells(text, "fencing would begin") == ["3.0 s after the hang", "not before 125 s, and only because a person looked"]
    assert "no end in the 5 s" in cells(text, "stop")[1]
    found = lanes(picture.render(told))
    assert "I/O <error> & more" in words(found["lane-stock-monitor"])
    assert "never noticed" in words(found["lane-ours-monitor"])
    assert "no end in 5 s" in words(found["lane-ours-stop"])


def test_a_stop_in_time_fences_nobody() -> None:
    told = story()
    told.sides[0].calls = [Call("monitor", 0.5, 2.0, 1, "gone"), Call("stop", 2.0, 3.0, 0)]
    assert cells(table.render(told), "stop")[0] == "by the failed monitor, at 2.0 s; done after 1.0 s"
    assert cells(table.render(told), "fencing would begin") == ["never", "never"]
    assert "no end" not in words(lanes(picture.render(told))["lane-stock-stop"])


def test_everything_is_within_the_picture() -> None:
    root = ElementTree.fromstring(picture.render(story()))
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    boxes = list(root.iter(f"{SVG}rect"))
    assert len(boxes) > 5
    for box in boxes:
        assert float(box.get("x", "0")) + float(box.get("width", "0")) <= width
        assert float(box.get("y", "0")) + float(box.get("height", "0")) <= height
