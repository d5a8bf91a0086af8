"""The runner itself: what must fail fails, what hangs ends, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run import __main__ as program
from tests.run import runner
from tests.run.__main__ import LAB, NODE, STOPPABLE, TABLE
from tests.style.sources import TREE

# The runner is the machine's business, not a root's: once is enough.
pytestmark = pytest.mark.lint

PLUGINS = ["-p", "tests.run.events", "-p", "tests.run.strict", "-p", "no:cacheprovider"]
PYTEST = [sys.executable, "-m", "pytest", *PLUGINS, "-c", "/dev/null"]
# The runner with parts that are given as NAME=COMMAND; what precedes stands for entering a root.
DRIVER = """
import sys
from pathlib import Path
from tests.run import runner
results, limit, alone, *parts = sys.argv[1:]
runner.GRACE, runner.QUIET = 6.0, 0.5
pairs = [part.split("=", 1) for part in parts]
parts = [runner.Part(name, f"shows {name}", ["sh", "-c", command], float(limit), name == alone) for name, command in pairs]
sys.exit(runner.run(parts, Path(results), jobs=2))
"""
LOOP = "while True:\n        time.sleep(0.1)"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "suite").mkdir()
    return tmp_path / "suite"


def part(suite: Path, name: str, *tests: str) -> str:
    """Write a test module; return the part that runs it, as the roots do."""
    module = suite / f"test_{name}.py"
    module.write_text("import os, signal, sys, time, pytest\n\n" + "\n\n".join(textwrap.dedent(test) for test in tests) + "\n")
    words = ["sh", "-c", STOPPABLE, "stoppable", *PYTEST, f"--rootdir={suite}", str(module)]
    return f"{name}=exec " + " ".join(f"'{word}'" for word in words)


def command(suite: Path, *parts: str, limit: float = 60, alone: str = "") -> list[str]:
    return [sys.executable, "-c", DRIVER, str(suite / "results"), str(limit), alone, *parts]


def run(suite: Path, *parts: str, limit: float = 60, alone: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(suite, *parts, limit=limit, alone=alone), cwd=TREE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=180)  # fmt: skip


GOOD = "def test_good(): pass"
XFAIL = "@pytest.mark.xfail(reason='not yet')\n"


def test_all_good(suite: Path) -> None:
    done = run(suite, part(suite, "one", GOOD, "def test_too(): pass"), part(suite, "two", GOOD))
    assert done.returncode == 0, done.stdout
    assert "test_one.py" in done.stdout
    assert "===== 3 passed in " in done.stdout.splitlines()[-1]
    assert "passed test_one.py::test_good" in (suite / "results" / "one.log").read_text()


@pytest.mark.parametrize(
    "tests, says, closing",
    [
        (["def test_bad(): assert 1 == 2", GOOD], "FAILED test_bad.py::test_bad", "1 failed, 2 passed"),
        (["@pytest.fixture\ndef x(): raise OSError\n", "def test_bad(x): pass"], "ERROR test_bad.py::test_bad", "1 passed, 1 error"),
        (["def test_bad(): pytest.skip('no disk here')", GOOD], "test_bad.py::test_bad: Skipped: no disk here", "2 passed, 1 skipped"),
        (["pytest.skip('no root', allow_module_level=True)"], "no root", "1 passed, 1 error"),
        ([XFAIL + "def test_bad(): assert 0", GOOD], "test_bad.py::test_bad: not yet", "2 passed, 1 skipped"),
        ([XFAIL + "def test_bad(): pass", GOOD], "test_bad.py::test_bad: not yet", "3 passed, 1 error"),
        (["@pytest.mark.parametrize('x', [])\ndef test_bad(x): pass", GOOD], "test_bad.py::test_bad", "2 passed, 1 skipped"),
        ([""], "no test ran (exit code 5)", "1 passed, 1 error"),
        (["def broken("], "SyntaxError", "1 passed, 1 error"),
        (["def test_bad(): os.kill(os.getpid(), 9)"], "no test ran (exit code -9)", "1 passed, 1 error"),
        (["def test_bad(): os._exit(0)"], "no test ran (exit code 0)", "1 passed, 1 error"),
        ([GOOD, "def test_bad(): os._exit(0)"], "failed (exit code 0)", "2 passed, 1 error"),
    ],
    ids=["failure", "error", "skip", "skipped-module", "xfail", "xpass", "no-parameters", "empty", "syntax", "killed", "quit", "quit-2nd"],
)
def test_all_parts_run_and_one_bad_one_fails_the_whole(suite: Path, tests: list[str], says: str, closing: str) -> None:
    done = run(suite, part(suite, "bad", *tests), part(suite, "good", GOOD))
    assert done.returncode == 1
    assert says in done.stdout
    assert "test_good.py" in done.stdout
    assert f"===== {closing} in " in done.stdout.splitlines()[-1], done.stdout


def test_a_part_that_cannot_begin_fails_the_whole(suite: Path) -> None:
    done = run(suite, "bad=echo debootstrap failed; exit 1", part(suite, "good", GOOD))
    assert done.returncode == 1
    assert "debootstrap failed" in done.stdout
    assert "no test ran (exit code 1)" in done.stdout


def test_a_hang_is_ended_and_named_and_its_test_cleans_up_where_it_listens(suite: Path) -> None:
    flag = suite / "cleaned"
    fixture = f"@pytest.fixture\ndef x():\n    yield\n    open({str(flag)!r}, 'w')\n"
    hung = part(suite, "hung", fixture, f"def test_hang(x):\n    {LOOP}")
    deaf = part(suite, "deaf", f"def test_deaf():\n    signal.signal(signal.SIGINT, signal.SIG_IGN)\n    {LOOP}")
    done = run(suite, hung, deaf, part(suite, "good", GOOD), limit=12)  # It takes some seconds to begin on a busy machine.
    assert done.returncode == 1
    assert "not done after 12 s, in test_hung.py::test_hang" in done.stdout
    assert "not done after 12 s, in test_deaf.py::test_deaf" in done.stdout
    assert "... in test_hung.py::test_hang for " in done.stdout
    assert "KeyboardInterrupt" in done.stdout  # Where it was is shown.
    assert flag.exists()
    assert "===== 1 passed, 2 error in " in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("order", [("one", "two", "heavy", "three"), ("heavy", "one", "two", "three")])
def test_a_part_that_wants_to_be_alone_is(suite: Path, order: tuple[str, ...]) -> None:
    journal = suite / "journal"
    note = f"def note(word):\n    with open({str(journal)!r}, 'a') as file:\n        file.write(word + '\\n')"
    test = "def test_it():\n    note('begin {0}')\n    time.sleep(1)\n    note('end {0}')"
    done = run(suite, *(part(suite, name, note, test.format(name)) for name in order), limit=150, alone="heavy")
    assert done.returncode == 0, done.stdout
    inside: set[str] = set()
    for what, _, name in (line.partition(" ") for line in journal.read_text().splitlines()):
        inside.symmetric_difference_update({name})
        assert what == "end" or "heavy" not in inside or inside == {"heavy"}
    assert not inside


@pytest.mark.parametrize("words, names", [
    ([], [NODE, *TABLE, LAB]), (["--", "-k", "startup"], list(TABLE)), ([LAB], [LAB]), (["style", NODE, "--", "-x"], ["style", NODE]),
])  # fmt: skip
def test_what_narrows_the_suite_boots_no_machine_but_one_named(
    words: list[str], names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def record(parts: list[runner.Part], *_: object) -> int:
        begun.extend(part.name for part in parts)
        return 0

    monkeypatch.setattr(sys, "argv", ["run", *words])
    monkeypatch.setattr(runner, "run", record)
    monkeypatch.setattr(program, "remove_leftovers", lambda: True)
    monkeypatch.chdir(TREE)
    assert program.main() == 0
    assert begun == names


def test_the_machines_are_bounded_and_the_lab_is_alone() -> None:
    node, lab = (program.part(name, 3600.0, []) for name in (NODE, LAB))
    assert (node.alone, lab.alone) == (False, True)
    assert (node.limit, lab.limit) == (3000.0, 1500.0)
    assert program.part(LAB, 60.0, []).limit == 60.0


def test_what_narrows_the_suite_reaches_the_node_and_is_refused_for_the_lab(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.part(NODE, 60.0, ["-k", "l5"]).command[-3:] == ["--", "-k", "l5"]
    monkeypatch.setattr(sys, "argv", ["run", LAB, "--", "-k", "l5"])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert (ended.value.code, "lab takes no arguments" in capsys.readouterr().err) == (2, True)


def test_what_a_part_is_narrowed_to_is_there() -> None:
    assert [path for paths in program.PATHS.values() for path in paths if not (TREE / path).exists()] == []


def test_arguments_take_the_place_of_what_a_part_is_narrowed_to() -> None:
    assert program.part("trixie", 60.0, []).command[-1].startswith("tests/")
    assert list(program.part("trixie", 60.0, ["-k", "startup"]).command[-4:]) == ["-m", program.EVERYWHERE, "-k", "startup"]


def processes(word: str) -> Iterator[int]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if word.encode() in file.read() and int(pid) != os.getpid():
                    yield int(pid)
        except OSError:
            pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_nothing(suite: Path, number: signal.Signals) -> None:
    flag = suite / "begun"
    hang = f"def test_hang():\n    open({str(flag)!r}, 'w')\n    os.system('sleep 600.{os.getpid()} &')\n    {LOOP}"
    runner = subprocess.Popen(command(suite, part(suite, "one", hang), part(suite, "two", hang), part(suite, "three", GOOD)), cwd=TREE,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)  # fmt: skip
    deadline = time.monotonic() + 60
    while not flag.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert flag.exists()
    runner.send_signal(number)
    output, _ = runner.communicate(timeout=30)
    assert runner.returncode == 128 + number
    assert f"interrupted by {number.name}" in output
    assert "three  not begun" in output
    assert list(processes(str(suite))) == []
    assert list(processes(f"600.{os.getpid()}")) == []
