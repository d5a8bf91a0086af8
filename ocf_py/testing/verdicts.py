"""What is wrong with one result, whatever the agent is for.

The rules are those of OCF 1.1 and of Pacemaker: see `legal_codes`, and the names in `Problem.rule`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .executor import Result

REASON_LIMIT = 200
FAILURES = frozenset({1, 2, 4, 5, 6})
DEGRADED = frozenset({190, 191})
LOOKS = ("monitor", "status")
MAY_PRINT = ("meta-data", "usage", "help")
# Each action that the standard defines, and what it may answer.  3 says that the agent does not have the action.
LEGAL = {
    "start": FAILURES | {0},
    "stop": FAILURES | {0},
    "monitor": FAILURES | DEGRADED | {0, 7, 8, 9},
    "status": FAILURES | DEGRADED | {0, 7, 8, 9},
    "validate-all": FAILURES | {0, 3},
    "promote": FAILURES | {0, 3, 7},
    "demote": FAILURES | {0, 3, 7},
    "reload": FAILURES | {0, 3, 7},
    "reload-agent": FAILURES | {0, 3, 7},
    "migrate_to": FAILURES | {0, 3, 7},
    "migrate_from": FAILURES | {0, 3, 7},
    "recover": FAILURES | {0, 3},
    "notify": frozenset({0, 3}),
    "meta-data": FAILURES | {0, 3},
    "usage": frozenset({0, 3}),
    "help": frozenset({0, 3}),
}


@dataclass(frozen=True)
class Problem:
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


class WrongBehaviour(AssertionError):
    """An agent broke a rule.  `result` and `problems` tell which."""

    def __init__(self, result: Result, problems: list[Problem]) -> None:
        super().__init__("\n".join([*map(str, problems), str(result)]))
        self.result, self.problems = result, problems


def demand(result: Result, *, allow_stuck: bool = False) -> None:
    """Raise `WrongBehaviour` when a result breaks a rule."""
    problems = list(find(result, allow_stuck=allow_stuck))
    if problems:
        raise WrongBehaviour(result, problems)


def find(result: Result, *, allow_stuck: bool = False) -> Iterator[Problem]:
    """Yield what is wrong with a result.  An action that the test itself killed is judged by what it left unsaid only."""
    if result.timed_out:
        yield Problem("time", f"killed at its timeout of {result.timeout:g} s")
        return
    if result.killed:
        return
    if result.status < 0:
        yield Problem("signal", f"died of signal {-result.status}")
        return
    yield from code(result)
    yield from reason(result)
    yield from output(result)
    left = [process for process in result.left if not (allow_stuck and process.stuck)]
    if left:
        yield Problem("survivor", f"left behind: {', '.join(map(str, left))}")


def legal_codes(action: str) -> frozenset[int]:
    """Return what an action may answer; one that the standard does not know, 3."""
    return LEGAL.get(action, frozenset({3}))


def code(result: Result) -> Iterator[Problem]:
    if result.status not in legal_codes(result.action):
        yield Problem("code", f"{result.action} may not answer {result.status}")


def failed(result: Result) -> bool:
    """Tell whether a result needs an exit reason: a failure, a degraded state, an action that the agent does not have.

    7 is what a monitor looks for, and a failure of anything else.
    """
    return result.code not in (0, 7, 8) or (result.code == 7 and result.action not in LOOKS)


def reason(result: Result) -> Iterator[Problem]:
    # The trace of a shell agent shows the prefix wherever the agent mentions it.
    reasons = [result.reason] if result.traced and result.reason else [] if result.traced else result.reasons
    if failed(result) and not result.reason.strip():
        yield Problem("reason missing", f"{result.action} answered {result.code} without an exit reason")
    # A recurring monitor that finds the resource gone may say how it knows; a probe's 7 is good news.
    silent = result.code in (0, 8) or (result.code == 7 and result.action in LOOKS and not result.interval)
    if silent and reasons and not result.traced:
        yield Problem("reason without failure", f"{result.action} answered {result.code} with the exit reason {reasons[-1]!r}")
    if len(reasons) > 1:
        yield Problem("several reasons", f"{len(reasons)} exit reasons, of which Pacemaker keeps the last: {reasons}")
    for text in reasons[-1:]:
        yield from form(text)


def form(text: str) -> Iterator[Problem]:
    """Judge the words of an exit reason: ASCII that can be printed, short enough for a status line."""
    size = len(text.encode(errors="surrogateescape"))
    if size > REASON_LIMIT:
        yield Problem("reason form", f"{size} bytes, more than {REASON_LIMIT}")
    if not (text.isascii() and text.isprintable()):
        yield Problem("reason form", f"not printable ASCII: {text!r}")
    if text != text.strip():
        yield Problem("reason form", f"blanks around it: {text!r}")


def output(result: Result) -> Iterator[Problem]:
    if result.stdout and result.action not in MAY_PRINT:
        yield Problem("stdout", f"{result.action} printed {result.stdout[:80]!r}")
    if "Traceback (most recent call last)" in result.stdout + result.stderr:
        yield Problem("traceback", result.stderr.strip().splitlines()[-1] if result.stderr.strip() else "on stdout")
    if not result.may_log:
        # pcs shows the user every line of stderr, and a line after the reason is one that the reason broke into.
        noise = [line for line in result.stderr.splitlines() if line.strip() and not line.startswith("ocf-exit-reason:")]
        if noise:
            yield Problem("stderr", f"more than exit reasons: {noise[0]!r}")
