"""Checks of every answer that the agent has given to the other checks.  They come last."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from . import verdicts
from .executor import REASON_KEPT, Result
from .subject import Problems, Subject, check

SHOWN = 4


def told(result: Result) -> str:
    return f"{result.action}{f' of level {result.level}' if result.level else ''}"


def grouped(problems: Iterable[tuple[str, str]]) -> Problems:
    """Yield each text once, with the actions that it was said of."""
    actions: dict[str, list[str]] = {}
    for action, text in problems:
        seen = actions.setdefault(text, [])
        if action not in seen:
            seen.append(action)
    for text, names in list(actions.items())[:SHOWN]:
        yield f"{', '.join(names)}: {text}"
    if len(actions) > SHOWN:
        yield f"and {len(actions) - SHOWN} more"


def every(subject: Subject, judge: Callable[[Result], Iterable[verdicts.Problem]], *rules: str) -> Problems:
    """Yield what a verdict finds in the results of actions that ended by themselves."""
    ended = [result for result in subject.results if not result.timed_out and not result.killed and result.status >= 0]
    found = ((result, problem) for result in ended for problem in judge(result) if problem.rule in rules)
    yield from grouped((told(result), problem.text) for result, problem in found)


@check(90, "end in time")
def in_time(subject: Subject) -> Problems:
    """Every action ends within the time that its metadata advertises."""
    late = [result for result in (*subject.results, *subject.strange) if result.timed_out]
    yield from grouped((told(result), f"killed after {result.timeout:g} s") for result in late)


@check(91, "legal codes")
def legal_codes(subject: Subject) -> Problems:
    """R14: each action gives the codes that the standard has for it."""
    yield from every(subject, verdicts.code, "code")


@check(92, "no signals")
def no_signals(subject: Subject) -> Problems:
    """R14: an agent that dies of a signal has said nothing."""
    dead = [result for result in (*subject.results, *subject.strange) if result.status < 0 and not result.timed_out and not result.killed]
    yield from grouped((told(result), f"died of signal {-result.status}") for result in dead)


@check(93, "no traceback")
def no_traceback(subject: Subject) -> Problems:
    """A traceback is for the author, not for the administrator."""
    yield from every(subject, verdicts.output, "traceback")


@check(94, "no process left behind")
def no_strays(subject: Subject) -> Problems:
    """S4: what only looks, or ends something, leaves nothing running, in its process group or outside."""
    yield from grouped((action, f"left {process.command} behind") for action, process in subject.strays)


@check(95, "nothing outlives stop", needs=("stop", "no process left behind"))
def nothing_outlives_stop(subject: Subject) -> Problems:
    """R5: after stop nothing that the agent has started is active."""
    subject.stopped()
    yield from [f"{process} is left" for process in subject.remains()]


@check(96, "output let go", must=False)
def output_let_go(subject: Subject) -> Problems:
    """S4: a service does not keep the pipes through which its agent speaks."""
    observers = {process for _, process in subject.strays}
    held = [(result, process) for result in subject.results for process in result.left if process.holds_output and process not in observers]
    yield from grouped((told(result), f"{process.command} keeps the agent's stdout or stderr") for result, process in held)


@check(97, "quiet stdout", must=False)
def quiet_stdout(subject: Subject) -> Problems:
    """Only meta-data and usage print."""
    yield from every(subject, verdicts.output, "stdout")


@check(98, "reason of a failure", must=False)
def reason_of_failure(subject: Subject) -> Problems:
    """R15: a failure says why.  3 is clear enough, and so is the 5 of a probe."""
    ended = [result for result in subject.results if not result.timed_out and not result.killed and result.status == result.code]
    clear = [result for result in ended if result.code == 3 or (result.code == 5 and result.action == "monitor" and not result.interval)]
    silent = [result for result in ended if verdicts.failed(result) and not result.reason.strip() and result not in clear]
    yield from grouped((told(result), f"answered {result.code} without an exit reason") for result in silent)


@check(99, "no reason without failure", must=False)
def no_reason_without_failure(subject: Subject) -> Problems:
    """R15: a success is silent."""
    yield from every(subject, verdicts.reason, "reason without failure")


@check(100, "form of the reason", must=False)
def form_of_reason(subject: Subject) -> Problems:
    """R15: one reason, one line, printable, short."""
    yield from every(subject, verdicts.reason, "several reasons", "reason form")


@check(101, "length of the reason", must=False)
def length_of_reason(subject: Subject) -> Problems:
    """Pacemaker up to 3.0.1 cuts a reason off without a sign."""
    for result in subject.results:
        size = len(result.reason.encode(errors="surrogateescape"))
        if size > REASON_KEPT:
            yield f"{told(result)}: {size} bytes, of which {REASON_KEPT} are kept: {result.reason!r}"
