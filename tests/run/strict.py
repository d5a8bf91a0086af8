"""A pytest plugin that fails a run in which a test was skipped or expected to fail.

What a root cannot run is deselected by its marker, where everybody can see it; a skip hides that a behaviour is shown nowhere.
"""

from __future__ import annotations

import pytest

LEFT_OUT = ("skipped", "xfailed", "xpassed")


class Strict:
    def __init__(self) -> None:
        self.left_out: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped or hasattr(report, "wasxfail"):
            self.left_out.append(f"{report.nodeid}: {reason(report)}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.left_out.append(f"{report.nodeid}: {reason(report)}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.left_out and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.left_out:
            terminalreporter.section("left out, which fails the run", red=True)
            for line in self.left_out:
                terminalreporter.line(line)


def reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    return str(getattr(report, "wasxfail", "")) or "no reason given"


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Strict(), "ocf-strict")
