"""Test whether an agent does what OCF and Pacemaker expect of it.

    python3 -m ocf_py.testing.conformance AGENT -o name=value

Works on agents in any language.  The parameters have to be such that the resource can start and stop on this machine, which is
what happens to it, many times.  Whatever happens, the resource is stopped at the end.
"""

from __future__ import annotations

import argparse
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import checks_lifecycle, checks_results, checks_static, processes
from .subject import CHECKS, Check, NotApplicable, Subject

# The modules of checks register them; named here so that nobody takes an import for unused.
SOURCES = (checks_static, checks_lifecycle, checks_results)
OK, VIOLATION, ADVICE, NOT_APPLICABLE, SKIPPED = "ok", "VIOLATION", "advice", "n.a.", "skipped"
# What is started and stopped again is judged in this order; the numbers are only names.
LAST = ("advertised actions", "unadvertised actions")


@dataclass(frozen=True)
class Finding:
    """What one check came to."""

    check: Check
    verdict: str
    problems: tuple[str, ...]
    seconds: float

    @property
    def name(self) -> str:
        return self.check.name


@dataclass(frozen=True)
class Report:
    agent: Path
    ocf: str
    findings: tuple[Finding, ...]
    calls: int
    slowest_monitor: float
    not_stopped: str = ""

    def named(self, verdict: str) -> set[str]:
        return {finding.name for finding in self.findings if finding.verdict == verdict}

    def failed(self, strict: bool = False) -> bool:
        return bool(self.not_stopped or self.named(VIOLATION) or (strict and self.named(ADVICE)))


def ordered() -> list[Check]:
    """Return the checks in the order in which they run: those that look at all results come last."""
    last = [check for check in CHECKS if check.number >= 90]
    late = [check for check in CHECKS if check.name in LAST]
    first = sorted((check for check in CHECKS if check not in last and check not in late), key=lambda check: check.number)
    return [*first, *late, *sorted(last, key=lambda check: check.number)]


def conform(
    agent: Path, parameters: Mapping[str, str] | None = None, *, instance: str = "conformance", skip: Collection[str] = (),
    timeout: float | None = None, kills: int = 10, environment: Mapping[str, str] | None = None,
    progress: Callable[[Finding], object] = lambda finding: None,
) -> Report:  # fmt: skip
    """Run every check on an agent and stop the resource."""
    subject = Subject(agent.absolute(), parameters or {}, instance, timeout, kills, environment)
    findings: dict[str, Finding] = {}
    with processes.adopting_orphans(), interruptible():
        not_stopped = ""
        try:
            for check in ordered():
                finding = judged(check, subject, findings, skip)
                findings[check.name] = finding
                progress(finding)
        finally:
            not_stopped = brought_down(subject)
    monitors = [r.seconds for r in subject.results if r.action == "monitor" and not r.timed_out and not r.killed]
    ocf = subject.metadata.ocf if subject.metadata else "?"
    found = tuple(sorted(findings.values(), key=lambda finding: finding.check.number))
    return Report(agent, ocf, found, len(subject.results) + len(subject.strange), max(monitors, default=0.0), not_stopped)


def judged(check: Check, subject: Subject, findings: Mapping[str, Finding], skip: Collection[str]) -> Finding:
    began = time.monotonic()
    if check.name in skip or str(check.number) in skip:
        return Finding(check, SKIPPED, (), 0.0)
    broken = [name for name in check.needs if findings[name].verdict != OK]
    if broken:
        return Finding(check, NOT_APPLICABLE, (f"see {', '.join(broken)}",), 0.0)
    problems: list[str] = []
    verdict = OK
    try:
        problems.extend(check.run(subject))
    except NotApplicable as reason:
        if not problems:
            verdict, problems = NOT_APPLICABLE, [str(reason).split("\n", 1)[0]]
    if verdict == OK and problems:
        verdict = VIOLATION if check.must else ADVICE
    return Finding(check, verdict, tuple(problems), time.monotonic() - began)


def brought_down(subject: Subject) -> str:
    """Stop the resource and end what its agent left; return what is wrong if that failed."""
    subject.stopped_by_force()
    found = subject.monitor()
    processes.kill(subject.remains())
    subject.remains()
    return "" if found.code == 7 else f"the resource is not stopped: {found}"


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn signals that would end this process into an exit that stops the resource first."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def row(finding: Finding) -> str:
    head = f"{finding.check.number:>4} {finding.name:<30} {finding.verdict:<10} {finding.seconds:>6.2f}  "
    details = [line for problem in finding.problems for line in textwrap.wrap(problem, 100, break_on_hyphens=False) or [""]]
    return "\n".join([head + (details[0] if details else ""), *(" " * len(head) + line for line in details[1:])]).rstrip()


def summary(report: Report) -> str:
    counts = {verdict: len(report.named(verdict)) for verdict in (OK, VIOLATION, ADVICE, NOT_APPLICABLE, SKIPPED)}
    text = f"{report.agent.name} (OCF {report.ocf}): " + ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number)
    text += f"; {report.calls} calls, slowest monitor {report.slowest_monitor:.2f} s"
    return f"{text}\n{report.not_stopped}" if report.not_stopped else text


def pairs_of(option: str, given: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    wrong = [name for name, equals, _ in pairs if not equals]
    if wrong:
        raise SystemExit(f"{option} takes name=value, not {', '.join(wrong)}")
    return {name: value for name, _, value in pairs}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m ocf_py.testing.conformance", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("agent", type=Path, help="the agent's file")
    parser.add_argument("-o", action="append", default=[], metavar="NAME=VALUE", dest="parameters", help="a parameter of the resource")
    parser.add_argument("-e", action="append", default=[], metavar="NAME=VALUE", dest="environment", help="an environment variable to add")
    parser.add_argument("-n", default="conformance", metavar="NAME", dest="instance", help="the resource's name")
    parser.add_argument("--skip", action="append", default=[], metavar="CHECK", help="leave a check out, by name or number")
    parser.add_argument("--strict", action="store_true", help="exit non-zero on advice, too")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="for every action, instead of the advertised ones")
    parser.add_argument("--kills", type=int, default=10, metavar="N", help="how many times each action is killed (default 10)")
    given = parser.parse_args(argv)
    unknown = set(given.skip) - {check.name for check in CHECKS} - {str(check.number) for check in CHECKS}
    if unknown:
        parser.error(f"no such check: {', '.join(sorted(unknown))}; there are {', '.join(check.name for check in ordered())}")
    if not given.agent.is_file():
        parser.error(f"{given.agent} is not a file")
    print(f"{'':>4} {'check':<30} {'result':<10} {'s':>6}  detail", flush=True)
    report = conform(
        given.agent, pairs_of("-o", given.parameters), instance=given.instance, skip=given.skip, timeout=given.timeout, kills=given.kills,
        environment=pairs_of("-e", given.environment), progress=lambda finding: print(row(finding), flush=True),
    )  # fmt: skip
    print(summary(report))
    return int(report.failed(given.strict))


if __name__ == "__main__":
    sys.exit(main())
