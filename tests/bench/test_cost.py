"""What the benchmark counts, shown by commands whose cost is known."""

from __future__ import annotations

import pytest

from lab.bench import cost
from lab.bench.cost import Command

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
# Burns half a second of CPU, by its own clock.
BURN = "import time\nwhile time.process_time() < 0.5: pass"
BURN_IN_CHILD = f"import os\nif os.fork() == 0:\n  {BURN.replace(chr(10), chr(10) + '  ')}\n  os._exit(0)\n"


def python(text: str, name: str = "test", leaves: bool = False) -> Command:
    return Command(name, ("/usr/bin/python3", "-I", "-c", text), ENVIRONMENT, leaves=leaves)


@pytest.mark.parametrize("text, orphans", [
    (BURN, 0),
    (f"{BURN_IN_CHILD}os.wait()", 0),
    (BURN_IN_CHILD, 1),
], ids=["itself", "child", "orphan"])  # fmt: skip
def test_cpu_counts_whoever_uses_it(text: str, orphans: int) -> None:
    found = cost.run(python(text))
    assert 0.5 <= found.cpu < 1.0
    assert found.orphans == orphans


def test_cpu_of_what_a_command_leaves_is_not_waited_for() -> None:
    assert cost.run(python("import os, time\nif os.fork() == 0:\n  time.sleep(5)", leaves=True)).wall < 4.0


def test_a_command_that_fails_has_no_cost() -> None:
    with pytest.raises(cost.Failed, match="test ended with 3"):
        cost.run(python("raise SystemExit(3)"))


def test_runs_are_paired() -> None:
    costs = cost.interleaved([python("pass", "light"), python("sum(range(3_000_000))", "heavy")], 5)
    assert [len(runs) for runs in costs.values()] == [5, 5]
    ratio = cost.cpu_ratio(costs, "heavy", "light")
    assert ratio.low <= ratio.value <= ratio.high
    assert ratio.low > 1.5


@pytest.mark.parametrize("text, forks, execs", [
    ("pass", 0, 0),
    ("import os\nfor _ in range(3):\n  os.fork() or os._exit(0)\n  os.wait()", 3, 0),
    ("import os\nif os.fork() == 0:\n  os.fork() or os._exit(0)\n  os._exit(0)\nos.wait()", 2, 0),
    ("import subprocess\nsubprocess.run(['/bin/true'])", 1, 1),
    ("import threading\nt = threading.Thread(target=int)\nt.start()\nt.join()", 0, 0),
], ids=["none", "children", "grandchild", "program", "thread"])  # fmt: skip
def test_processes_and_programs_are_counted(text: str, forks: int, execs: int) -> None:
    found = cost.processes(python(text))
    assert (found.forks, found.execs) == (forks, execs)


def test_programs_are_named_in_turn_and_the_first_is_the_command() -> None:
    found = cost.programs(python("import subprocess\nsubprocess.run(['/bin/true'])\nsubprocess.run(['/bin/echo'])"))
    assert [path.rpartition("/")[2] for path in found] == ["python3", "true", "echo"]


def test_a_program_is_known_though_others_come_between_its_call_and_its_end() -> None:
    trace = """\
10 execve("/usr/bin/sh", ["sh"], 0x7ffd /* 3 vars */) = 0
11 execve("/usr/sbin/vgs", ["vgs", "--foreign"], 0x55 /* 3 vars */ <unfinished ...>
12 execve("/usr/local/sbin/tr", ["tr"], 0x55 /* 3 vars */) = -1 ENOENT (No such file or directory)
12 execve("/usr/bin/tr", ["tr"], 0x55 /* 3 vars */ <unfinished ...>
11 <... execve resumed>)             = 0
12 <... execve resumed>)             = 0
11 +++ exited with 0 +++
"""
    assert cost.executed(trace) == ["/usr/bin/sh", "/usr/sbin/vgs", "/usr/bin/tr"]
    assert cost.executed('execve("/bin/true", ["true"], 0x7ffd /* 3 vars */) = 0\n') == ["/bin/true"]


@pytest.mark.parametrize("text, read", [
    ("import os\nos.listdir('/sys/dev/block')", ["/sys/dev/block"]),
    ("import os\nos.listdir('/proc')", ["/proc"]),
    ("open('/proc/self/mountinfo').close()", ["/proc/self/mountinfo"]),
    ("open('/proc/self/stat').close()", []),
])  # fmt: skip
def test_lists_that_grow_with_the_machine_are_seen(text: str, read: list[str]) -> None:
    assert cost.lists(python(text)) == read


def test_memory_is_the_most_of_any_process() -> None:
    plain = cost.processes(python("pass")).memory
    child = cost.processes(python("import os\nif os.fork() == 0:\n  b = bytearray(50_000_000)\n  del b\n  os._exit(0)\nos.wait()")).memory
    assert 4_000 < plain < 30_000
    assert 45_000 < child - plain < 60_000
