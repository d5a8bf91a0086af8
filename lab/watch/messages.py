"""The messages of Pacemaker's log that tell of a run, as version 2.1.5 writes them; 2.1.10 (RHEL 9) has the same words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LINE = re.compile(
    r"(?P<at>\d+\.\d+) \w{3} +\d+ [\d:.]+ \S+ pacemaker-(?P<daemon>controld|fenced|schedulerd) *\[\d+\] \([^)]*\)\s+\w+: (?P<text>.*)"
)  # fmt: skip
INTERVAL = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

# The controller, of operations on its own node.
BEGUN = re.compile(r"Requesting local execution of (?P<action>\S+) operation for (?P<resource>\S+) on \S+ \| .*\bop_key=(?P<key>\S+)")
ENDED = re.compile(
    r"Result of (?P<action>\S+) operation for (?P<resource>\S+) on \S+: (?P<outcome>[^(|]+?)(?: \((?P<reason>.*)\))? "
    r"\| (?:CIB update \d+, )?graph action (?:un)?confirmed; call=-?\d+ key=(?P<key>\S+)(?: rc=(?P<code>\d+))?$"
)  # fmt: skip

# The fencer: first of the node that has to bring the fencing about, then of the one that has the device, then of all nodes.
REQUESTED = re.compile(r"Requesting peer fencing \((?:off|reboot)\) targeting (?P<target>\S+) \| id=(?P<id>\w+)")
DELAYED = re.compile(r"Delaying '(?:off|reboot)' action targeting (?P<target>\S+) using \S+ for (?P<seconds>\S+)")
CALLED = re.compile(r"Operation '(?:off|reboot)' \[\d+\] targeting (?P<target>\S+) using \S+ now running")
STDERR = re.compile(r"\S+\[(?P<pid>\d+)\] stderr: \[ (?:[\d-]+ [\d:,]+ [A-Z]+: )?(?P<text>\S.*?) \]$")
RETURNED = re.compile(
    r"Operation '(?:off|reboot)' (?:\[(?P<pid>\d+)\] )?targeting (?P<target>\S+) using \S+ "
    r"(?:returned (?P<code>\d+)|could not be executed: (?P<status>[^(|]+?))(?: \((?P<reason>.*?)\))?(?:, retrying.*)? \| "
)  # fmt: skip
FINISHED = re.compile(
    r"Operation '(?:off|reboot)' targeting (?P<target>\S+) by .+? for \S+?(?P<merged> \(merged\))?: (?P<exit>[^(|]+?) "
    r"\((?P<status>.*)\) \| id=(?P<id>\w+)"
)  # fmt: skip

# The controller of membership, the scheduler of what follows.
MEMBERSHIP = re.compile(r"Node (?P<node>\S+) state is now (?P<state>member|lost) ")
TO_BE_FENCED = re.compile(r"Cluster node (?P<node>\S+) (?:will be fenced|is unclean): ")
STATUS = re.compile(r"(?:Node )?(?P<node>\S+) is (?P<state>online|standby|shutting down)$")


@dataclass(frozen=True)
class Line:
    """A line of the log of `node`; `at` is the host's time."""

    at: float
    node: str
    daemon: str
    text: str

    @property
    def source(self) -> str:
        return f"pacemaker.log of {self.node}"


def read(node: str, log: Iterable[str]) -> Iterator[Line]:
    """Yield what is a message among lines that have the host's time before them."""
    for text in log:
        match = LINE.match(text)
        if match:
            yield Line(float(match["at"]), node, match["daemon"], match["text"].rstrip())


def seconds(interval: str) -> float:
    """Return the length of an interval as Pacemaker writes it, "1m30s" or "500ms"."""
    return sum(float(number) * UNITS[unit] for number, unit in INTERVAL.findall(interval))
