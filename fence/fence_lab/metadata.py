"""Metadata, manual page and help of an agent.  Loaded only when one of them is asked for.

The XML is what fence-agents' lib/metadata.rng allows, which is less than OCF 1.1, and must not have a <version>: pcs takes one with
version 1.1 for OCF 1.1.  Text, not a tree: importing an XML library takes longer than the whole action.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fence_lab.options import ACTIONS, Option, Options

if TYPE_CHECKING:
    from fence_lab.agent import FenceAgent

COLUMN, WIDTH = 34, 100


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def quoted(text: str) -> str:
    """Return a text for an attribute."""
    return escaped(text).replace('"', "&quot;").replace("'", "&apos;")


def in_order(options: Options) -> list[Option]:
    return sorted((option for option in options.values() if not option.ignored), key=lambda option: (option.order, option.name))


def xml(cls: type[FenceAgent], options: Options, *, manpage: bool = False) -> str:
    """Return the metadata; with `manpage` the same for fence-agents' fence2man.xsl, which takes the description for troff."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in cls.LONGDESC.strip().split("\n\n")]
    longdesc = "\n.P\n".join(map(troff, paragraphs)) if manpage else "\n\n".join(paragraphs)
    # A former name is a parameter of its own, sorted by that name.
    named = sorted(((option.order, name, option) for option in in_order(options) for name in option.names), key=lambda entry: entry[:2])
    lines = [
        '<?xml version="1.0" ?>',
        f'<resource-agent name="{quoted(cls.NAME)}" shortdesc="{quoted(cls.SHORTDESC)}" >',
        f"<longdesc>{escaped(longdesc)}</longdesc>",
        f"<vendor-url>{escaped(cls.VENDOR_URL)}</vendor-url>",
        "<parameters>",
        *(line for _, name, option in named for line in parameter(option, name)),
        "</parameters>",
        "<actions>",
        # A node that is fenced must not be powered on as soon as a cluster starts, which is what automatic="1" means.
        *(f'\t<action name="{action}" automatic="0"/>' if action == "on" else f'\t<action name="{action}" />' for action in ACTIONS),
        "</actions>",
        "</resource-agent>",
        "",
    ]
    return "\n".join(lines)


def troff(text: str) -> str:
    text = text.replace("\\", "\\e")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def parameter(option: Option, name: str) -> Iterator[str]:
    replacing = ' deprecated="1"' if name in option.old else f' obsoletes="{option.old[0]}"' if option.old else ""
    default = "" if option.default is None else f'default="{quoted(option.default)}" '
    yield f'\t<parameter name="{name}" unique="0" required="{option.required:d}"{replacing}>'
    yield f'\t\t<getopt mixed="{quoted(option.mixed)}" />'
    if option.choices:
        yield f'\t\t<content type="select" {default} >'
        yield from (f'\t\t\t<option value="{quoted(choice)}" />' for choice in option.choices)
        yield "\t\t</content>"
    else:
        yield f'\t\t<content type="{option.kind}" {default} />'
    yield f'\t\t<shortdesc lang="en">{escaped(option.help)}</shortdesc>'
    yield "\t</parameter>"


def usage(cls: type[FenceAgent], options: Options) -> str:
    """Return the help: the options of the command line, and what stands on stdin instead."""
    lines = ["Usage:", f"\t{cls.NAME} [options]", "Options:"]
    for option in in_order(options):
        text = option.usage or option.help
        if option.name == "action":
            text = "Action: " + ", ".join(action + (" (default)" if action == option.default else "") for action in ACTIONS)
        elif option.default is not None and "efault" not in text and option.kind != "boolean":
            text += f" (default {option.default})"
        wrapped = textwrap.wrap(text, WIDTH - COLUMN, break_long_words=False, break_on_hyphens=False)
        first = "   " + option.mixed
        if len(first) >= COLUMN:
            lines.append(first)
            first = ""
        lines += [start.ljust(COLUMN) + part for start, part in zip([first, *[""] * len(wrapped)], wrapped)]
    lines += ["Without any, name=value lines are read from stdin, with the long names and _ for -.", ""]
    return "\n".join(lines)
