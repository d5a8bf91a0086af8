"""Tools for testing resource agents: a simulated pacemaker-execd, verdicts, a state machine and a conformance tester.

Never imported by an agent at run time.
"""

from __future__ import annotations

from .executor import Call, Executor, Process, Result
from .verdicts import Problem, WrongBehaviour

__all__ = ["Call", "Executor", "Problem", "Process", "Result", "WrongBehaviour"]
