"""The smoke lab: two nodes booted, a killed postmaster and storage that stops answering, both survived with our agents.

    python3 -m tests.lab.smoke RESULTS

A part of `make test` that runs on the machine itself, with what its own python3 has; it tells the runner of its steps as pytest does
of tests.  Runs, and the logs of what went wrong, are kept in the directory RESULTS.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

from lab import roots, setup
from lab.cluster.settings import Setting
from lab.machine import room
from lab.machine.room import NotSo, Room
from lab.report import runs, verdict
from lab.report.runs import Agents, Profile
from lab.scenarios import runner, start
from lab.watch import standing
from tests.run.runner import MARK, counted

SCENARIOS = ("S4", "S6")
SETTING = Setting(Agents.LAB, Profile.RECOMMENDED)

T = TypeVar("T")


class Steps:
    """Does one thing after the other and tells what became of each; `doing` says where the cluster stands, for when it goes wrong."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.began = time.monotonic()
        self.doing: Callable[[], str] = str

    def step(self, name: str, do: Callable[[], T]) -> T | None:
        """Return what `do` does, or None if it went wrong."""
        began, done, outcome = time.monotonic(), None, "passed"
        self._tell(begins=f"lab::{name}")
        try:
            done = do()
        except Exception:  # noqa: BLE001 - whatever it is, it is what became of the step
            outcome = "failed"
            print(f"{name}: {traceback.format_exc()}\n{self.where()}", flush=True)
        except KeyboardInterrupt:  # So the runner says that the time is over.
            print(f"{name}: interrupted\n{self.where()}", flush=True)
            raise
        self.counts[outcome] += 1
        self._tell(ends=f"lab::{name}", outcome=outcome, seconds=round(time.monotonic() - began, 2))
        return done

    def where(self) -> str:
        try:
            return self.doing()
        except Exception as error:  # noqa: BLE001 - it must not hide what went wrong before
            return f"where the cluster stands cannot be told: {error}"

    def close(self) -> int:
        """Say how many went how; return the exit code."""
        print(f"===== {counted(self.counts)} in {time.monotonic() - self.began:.2f}s =====", flush=True)
        return 0 if set(self.counts) == {"passed"} else 1

    @staticmethod
    def _tell(**event: object) -> None:
        print(MARK + json.dumps(event), flush=True)


def begin(leaving: ExitStack) -> Room:
    if found := setup.lacking():
        raise NotSo(" ".join(found))
    return leaving.enter_context(start.held(SETTING))


def ready(lab: Room) -> bool:
    start.ready(lab, SETTING)
    return True


def perform(lab: Room, ident: str, results: Path) -> Path:
    """Make one run.  Raises NotSo unless it meets all that its scenario demands, and whatever kept it from being made.

    What was seen of one that was not made or not ended is kept in results/IDENT: the next one begins with an empty directory.
    """
    roots.fresh(runner.DIRECTORY)  # Nothing of an earlier run may pass for this one's.
    try:
        path = runner.run(lab, ident, SETTING, results)
    except BaseException:
        shutil.copytree(runner.DIRECTORY, results / ident)
        raise
    if failings := verdict.failings(runs.load(path.read_text())):
        raise NotSo("; ".join(failings))
    return path


def end(leaving: ExitStack) -> None:
    leaving.close()
    if room.process() is not None:
        raise NotSo("the lab is still there")


def smoke(steps: Steps, results: Path) -> None:
    with ExitStack() as leaving:
        lab = steps.step("up", partial(begin, leaving))
        if lab is not None:
            steps.doing = partial(standing, lab)
            if steps.step("configured", partial(ready, lab)):
                for ident in SCENARIOS:
                    steps.step(ident, partial(perform, lab, ident, results))
            steps.doing = str
            steps.step("down", partial(end, leaving))


def main() -> int:
    results = roots.fresh(Path(sys.argv[1]))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    steps = Steps()
    try:
        smoke(steps, results)
    finally:
        for log in room.DIRECTORY.glob("*.log"):
            shutil.copy(log, results)
    return steps.close()


if __name__ == "__main__":
    sys.exit(main())
