"""A pytest plugin that tells the runner what happens, a line of JSON for each event, in place of pytest's dots.

`python -m pytest -p tests.run.events`; lines of events begin with MARK, everything else is pytest's own output.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

MARK = "\x1e"


class Events:
    def __init__(self, config: pytest.Config) -> None:
        self.terminal = config.get_terminal_writer()
        self.outcome, self.seconds = "passed", 0.0

    def tell(self, **event: object) -> None:
        self.terminal.line(MARK + json.dumps(event))
        self.terminal.flush()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.outcome, self.seconds = "passed", 0.0
        self.tell(begins=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds += report.duration
        if report.outcome != "passed" and self.outcome == "passed":
            self.outcome = "error" if report.failed and report.when != "call" else report.outcome

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.tell(ends=nodeid, outcome=self.outcome, seconds=round(self.seconds, 2))

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, str] | None:
        """Take the dots and letters away; the first word is what the closing line counts."""
        if isinstance(report, pytest.CollectReport) or hasattr(report, "wasxfail"):
            return None
        if report.when == "call" or report.skipped:
            return report.outcome, "", ""
        return ("error" if report.failed else ""), "", ""


@pytest.hookimpl(trylast=True)  # After the terminal reporter is there.
def pytest_configure(config: pytest.Config) -> None:
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    reporter.showfspath = False
    config.pluginmanager.register(Events(config), "ocf-events")
