"""A puppet: an agent whose methods do what a test writes into files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from ocf_py.testing import Executor

# The machine that runs the suite may be busy: how long an example takes says nothing about it.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")

PUPPET = Path(__file__).parent / "puppet"
RSCTMP = Path("/run/resource-agents/ocf_py")


class Puppet:
    """The agent on a node, and the files that it obeys.  `node` is an Executor; `lines` writes what a method does."""

    def __init__(self, directory: Path, **more: Any) -> None:
        self.directory = directory
        self.node = Executor(PUPPET, {"directory": directory}, **more)

    def lines(self, **methods: str) -> Puppet:
        """Write what methods do, steps separated by "|"; observing, the puppet is what `observe` says, and stopped without it."""
        for method, text in methods.items():
            (self.directory / method).write_text(text.replace(" | ", "\n"))
        return self

    def called(self) -> list[str]:
        """Return the methods called so far."""
        calls = self.directory / "calls"
        return calls.read_text().split() if calls.exists() else []

    def calls(self) -> list[str]:
        """Return the methods called since the last question."""
        called = self.called()
        if called:
            (self.directory / "calls").unlink()
        return called

    def told(self) -> Any:
        return eval((self.directory / "told").read_text())  # noqa: S307  The puppet's repr().

    @property
    def memory(self) -> Path:
        return RSCTMP / self.node.instance


MakePuppet = Callable[..., Puppet]


@pytest.fixture
def puppet(tmp_path: Path) -> Iterator[MakePuppet]:
    """Make puppets, each with a directory and an instance name of its own; what they have recorded goes with the test."""
    made: list[Puppet] = []

    def make(**more: Any) -> Puppet:
        directory = tmp_path / f"puppet{len(made)}"
        directory.mkdir()
        made.append(Puppet(directory, **{"instance": f"puppet{os.getpid()}-{len(made)}", **more}))
        return made[-1]

    yield make
    for one in made:
        shutil.rmtree(one.memory, ignore_errors=True)
