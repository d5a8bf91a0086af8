"""The demonstration itself, inside a root: two databases, two agents, one hang.

    python3 -m lab.demo.show --output DIRECTORY

`python3 -m lab.demo` makes the root and calls this.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path

from lab.demo import picture, table
from lab.demo.node import Failed, Node
from lab.demo.record import Call, Plan, Side, Story
from lab.demo.syslog import Syslog
from lab.demo.writer import Writer
from ocf_py.testing.logs import is_private
from tests.faults.disk import DiskError
from tests.faults.processes import CommandFailed
from tests.postgres import bin_directory

STOCK, OURS = "ocf:heartbeat:pgsql", "ocf:lab:pgsql-storage"
GREEN, AMBER, RED, BOLD = "32", "33", "31", "1"
AFTERWARDS = 3.0  # How long the clients go on writing at the end.


class Terminal:
    """Says what happens, when, and to whom; in colours where a person reads it on a terminal."""

    def __init__(self) -> None:
        self.zero: float | None = None
        self.quiet = False
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def say(self, text: str, colour: str = "") -> None:
        moment = "" if self.zero is None else f"{time.monotonic() - self.zero:+5.0f} s  "
        painted = f"\033[{colour}m{text}\033[0m" if colour and self._colours else text
        if not self.quiet:
            print(moment + painted, flush=True)

    def call(self, side: Side, call: Call) -> None:
        """Tell of a call that has ended, and beside it what the client sees at that time."""
        took = f"{(call.ended or 0) - call.began:.1f} s"
        verdict = "ok" if call.good else f"FAILED ({call.code})" if call.failed else f"degraded ({call.code})"
        text = f"{side.name:<5}  {call.action:<7} {verdict}, {took}"
        self.say(f"{text:<42}{self.client(side)}", GREEN if call.good else RED if call.failed else AMBER)
        if call.reason:
            self.say(f"{'':7}{call.reason}", RED if call.failed else AMBER)

    def client(self, side: Side) -> str:
        assert self.zero is not None
        last = side.last_answer()
        silent = 0.0 if last is None else time.monotonic() - self.zero - last
        return f"its client: no write answered for {silent:.0f} s" if silent > 1 else "its client: writes are answered"


def versions() -> str:
    """Return what is under test, as the programs themselves say."""
    server = output_of(str(bin_directory() / "postgres"), "--version").split()[2]
    package = output_of("dpkg-query", "-W", "-f", "${Version}", "resource-agents")  # Epoch, version, Debian's revision.
    return f"PostgreSQL {server}, resource-agents {package.rpartition(':')[2].partition('-')[0]}"


def output_of(*command: str) -> str:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failed(f"{command[0]} does not tell its version: {error}") from None


def play(plan: Plan, output: Path, stack: ExitStack, terminal: Terminal) -> Story:
    """Run the demonstration.  Raises Failed, DiskError or CommandFailed."""
    stack.enter_context(Syslog(output / "node.log"))
    story = Story(plan, [Side("stock", STOCK), Side("ours", OURS)], plan.heal, plan.heal, versions())
    terminal.say("Setting up two disks, with an XFS and a PostgreSQL server on each: one under each agent", BOLD)
    nodes = [Node(side, 5433 + number, plan, stack, terminal.call) for number, side in enumerate(story.sides)]
    for node in nodes:
        node.first_start()
        terminal.say(f"{node.side.name:<5}  {node.side.agent} has started its server on {node.disk.device}")
    zero = terminal.zero = time.monotonic() + plan.healthy
    pace = f"a row every {plan.every * 1000:.0f} ms, each agent's monitor runs every {plan.interval:g} s, io_timeout={plan.patience()}"
    terminal.say(f"A client of each server writes {pace}", BOLD)
    writer = Writer([(node.side, node.address()) for node in nodes], zero, plan.every)
    for node in nodes:
        node.guard(zero)
    sleep_until(zero)
    if not all(side.acknowledged() for side in story.sides):
        raise Failed("the clients cannot write though the disks are well")
    for node in nodes:
        node.disk.hang()
    story.hung = time.monotonic() - zero
    terminal.say("Both disks stop answering: what is asked of them now waits, as on a SAN without paths that queues", RED)
    sleep_until(zero + plan.watch)
    for node in nodes:
        node.order_stop()
    if waiting := [side.name for side in story.sides if not side.noticed()]:
        terminal.say(f"{' and '.join(waiting):<5}  no monitor has noticed in {plan.watch:.0f} s, so a person orders a stop", AMBER)
    sleep_until(zero + plan.heal)
    for side in story.sides:
        if not side.stop(plan.heal):
            terminal.say(f"{side.name:<5}  the stop has no end yet", RED)
    story.healed = time.monotonic() - zero
    for node in nodes:
        node.disk.heal()
    terminal.say("Both disks answer again", BOLD)
    for node in nodes:
        node.settle()
        node.start_again()
    time.sleep(AFTERWARDS)
    story.end = time.monotonic() - zero
    writer.stop()
    for node in nodes:
        node.final_stop()
    return story


def sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m lab.demo.show", description="Show two agents on storage that stops answering")
    parser.add_argument("--output", type=Path, required=True, help="directory for the table and the picture")
    for item in fields(Plan):
        kind = type(item.default)
        parser.add_argument(f"--{item.name.replace('_', '-')}", type=kind, default=item.default, help=f"default: {item.default}")
    return parser.parse_args()


def main() -> int:
    given = vars(arguments())
    output: Path = given.pop("output")
    if os.geteuid() != 0 or not is_private("/dev"):
        sys.exit("This belongs into a root of its own: python3 -m lab.demo makes one.")
    terminal = Terminal()
    try:
        with ExitStack() as stack:
            try:
                story = play(Plan(**given), output, stack, terminal)
            except KeyboardInterrupt:
                terminal.say("Interrupted: ending the servers and the disks")
                terminal.quiet = True
                raise
    except KeyboardInterrupt:
        return 130
    except (Failed, DiskError, CommandFailed) as error:
        print(f"The demonstration stopped: {error}", file=sys.stderr, flush=True)
        return 1
    text = table.render(story)
    (output / "table.txt").write_text(text)
    (output / "timeline.svg").write_text(picture.render(story))
    print(f"\n{text}\nNobody was fenced here: what would have followed is told from what the agents answered.\n")
    print(f"Picture of the time line: {output / 'timeline.svg'}", flush=True)
    return 1 if any(side.lost() for side in story.sides) else 0


if __name__ == "__main__":
    sys.exit(main())
