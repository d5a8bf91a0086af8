"""The commands of the client; `python3 -m lab.client --help` and the package's text name them."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import lab.client
from lab.client import audit, journal, ledger
from lab.client.session import Address
from lab.client.work import LEDGER, begun, until_signalled
from lab.client.writer import Plan

UNCLEAN, TROUBLE = 1, 2


def add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", required=True, help="the one address that the service has")
    parser.add_argument("--port", type=int, default=Address.port, help="(default %(default)s)")
    parser.add_argument("--user", default=Address.user, help="a superuser, who may read the host's name (default %(default)s)")
    parser.add_argument("--dbname", default=Address.dbname, help="(default %(default)s)")
    parser.add_argument("--wait", type=float, default=60.0, metavar="SECONDS", help="how long a server may take to be there (default 60)")


def writing(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab.client", description=lab.client.__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add_address(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the run's files go; it must not hold another run's")
    parser.add_argument("--seconds", type=float, help="how long to write; without: until SIGTERM")
    plan = Plan()
    for option, value, meaning in (
        ("every", plan.every, "seconds from row to row on kept sessions"),
        ("connect-every", plan.connect_every, "seconds from row to row with a connection for each"),
        ("connect-deadline", plan.connect_deadline, "seconds that a connection may take"),
        ("deadline", plan.deadline, "seconds that an INSERT may take"),
        ("probe-every", plan.probe_every, "seconds from probe to probe of the port"),
    ):
        parser.add_argument(f"--{option}", type=float, default=value, metavar="SECONDS", help=f"{meaning} (default {value:g})")
    parser.add_argument("--sessions", type=int, default=plan.sessions, help="sessions that each stream may have (default %(default)s)")
    parser.add_argument("--no-set-up", action="store_true", help="the table is there already, or the server is not")
    parser.add_argument("--synced", action="store_true", help="sync the ledger after each line, where the machine itself may crash")
    given = parser.parse_args(words)
    address = Address(given.host, given.port, given.user, given.dbname)
    plan = Plan(given.every, given.connect_every, given.connect_deadline, given.deadline, given.sessions, given.probe_every, given.seconds)
    system = "" if given.no_set_up else journal.set_up(address, given.wait)
    files = begun(address, given.out, plan, system=system, synced=given.synced)
    asyncio.run(until_signalled(address, *files, plan))
    return 0


def marking(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab.client mark", description="Note in a ledger what is done to the cluster now")
    parser.add_argument("directory", type=Path)
    parser.add_argument("name")
    given = parser.parse_args(words)
    ledger.mark(given.directory / LEDGER, given.name)
    return 0


def auditing(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab.client audit", description="Read everything back; 0: clean, 1: not, 2: not read")
    parser.add_argument("directory", type=Path)
    add_address(parser)
    parser.add_argument("--injected", type=float, metavar="SECONDS", help="when the fault came, in the run (default: its first mark)")
    parser.add_argument("--skew", type=float, default=audit.SKEW, metavar="SECONDS", help="how far clocks may differ (default %(default)s)")
    given = parser.parse_args(words)
    address = Address(given.host, given.port, given.user, given.dbname)
    history = ledger.read(given.directory / LEDGER)
    rows = journal.read(address, history.run, given.wait)
    found = audit.judge(history, rows, given.skew)
    injected = given.injected if given.injected is not None else next((at for at, _ in history.marks), None)
    gaps = {stream or "all": audit.disruption(history, injected or 0.0, stream) for stream in (None, *history.streams())}
    told = {"run": history.run, "injected": injected, "clean": found.clean, **asdict(found),
            "disruption": {stream: {"seconds": gap.seconds, **asdict(gap)} for stream, gap in gaps.items()}}  # fmt: skip
    (given.directory / "audit.json").write_text(json.dumps(told, indent=1) + "\n")
    print(audit.report(history, found, injected))
    system = history.head.get("system")
    if system and system != journal.identity(address, given.wait):
        print(f"another database cluster answers than the one that was written to, which was {system}")
        return UNCLEAN
    return 0 if found.clean else UNCLEAN


COMMANDS = {"mark": marking, "audit": auditing}


def main(words: Sequence[str]) -> int:
    try:
        if words and words[0] in COMMANDS:
            return COMMANDS[words[0]](words[1:])
        return writing(words)
    except (journal.Unanswered, ledger.Unreadable, OSError) as trouble:
        print(f"lab.client: {trouble}", file=sys.stderr)
        return TROUBLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
