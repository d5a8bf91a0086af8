"""A manual page as troff with the macros of man(7): text is escaped here and nowhere else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import datetime, timezone

# Characters that troff reads as something else, or shows as another one.
SPECIAL = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}


def plain(text: str) -> str:
    """Return a text that troff shows as it is."""
    lines = ["".join(SPECIAL.get(character, character) for character in line) for line in text.splitlines()]
    return "\n".join(f"\\&{line}" if line.startswith(".") else line for line in lines)


def bold(text: str) -> str:
    return f"\\fB{plain(text)}\\fP"


def marked(text: str) -> str:
    """Return a text of Markdown, of which it knows `code`, **bold** and *italic*."""
    found, at = [], 0
    for span in re.finditer(r"`([^`]+)`|\*\*([^*]+)\*\*|\*(\w[^*]*)\*", text):
        found += [plain(text[at : span.start()]), f"\\fI{plain(span[3])}\\fP" if span[3] else bold(span[1] or span[2])]
        at = span.end()
    return "".join([*found, plain(text[at:])])


class Page:
    """A page that is written from top to bottom."""

    def __init__(self, name: str, section: int, version: str, collection: str, summary: str) -> None:
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        moment = datetime.fromtimestamp(int(epoch), timezone.utc) if epoch else datetime.now(timezone.utc)
        head = f'.TH "{plain(name.upper())}" {section} "{moment:%Y\\-%m\\-%d}" "ocf\\-lab\\-agents {plain(version)}" "{plain(collection)}"'
        # No hyphenation: names of parameters and commands are copied from here.
        self._lines = [head, ".nh", ".ad l"]
        self.section("NAME")
        self._lines.append(f"{plain(name)} \\- {plain(summary)}")

    def section(self, title: str) -> None:
        self._lines.append(f'.SH "{plain(title)}"')

    def subsection(self, title: str) -> None:
        self._lines.append(f'.SS "{plain(title)}"')

    def text(self, *paragraphs: str) -> None:
        """Add paragraphs, which may have `code`, **bold** and *italic* in them."""
        for paragraph in paragraphs:
            self._lines += [".PP", marked(" ".join(paragraph.split()))]

    def entry(self, term: str, *paragraphs: str) -> None:
        """Add a term and what is said of it, indented."""
        first, *more = [marked(" ".join(paragraph.split())) for paragraph in paragraphs]
        self._lines += [".TP", bold(term), first]
        for paragraph in more:
            self._lines += [".IP", paragraph]

    def example(self, lines: Iterable[str]) -> None:
        self._lines += [".PP", ".RS 4", ".nf", *(plain(line) for line in lines), ".fi", ".RE"]

    def __str__(self) -> str:
        return "\n".join([*self._lines, ""])
