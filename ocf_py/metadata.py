"""The metadata of an agent as OCF 1.1 XML, and in the older dialect that ocf-tester's DTD knows.  Loaded by meta-data only.

Dialects and what refuses what: docs/decisions.md.  Text, not a tree: importing an XML library takes longer than the whole action.
"""

from __future__ import annotations

import os

from .outcomes import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .actions import Action
    from .agent import Agent
    from .parameters import Parameter

OCF_TESTER = "ocf-tester"


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def described(doc: str) -> tuple[str, str]:
    """Return the first sentence and the whole of a docstring, without its indentation."""
    lines = [line.strip() for line in doc.strip().splitlines()]
    return lines[0].rstrip("."), "\n".join(lines)


def xml(cls: type[Agent], dialect: str = "") -> bytes:
    """Return the metadata.

    The standard dialect is strict OCF 1.1, which pcs and crm_resource accept.  `ocf-tester` states the same facts with what the
    1.0 DTD of the resource-agents knows: no unique-group, reloadable, select or deprecated.
    """
    old = dialect == OCF_TESTER
    shortdesc, longdesc = described(cls.__doc__ or "")
    lines = ['<?xml version="1.0"?>']
    if old:
        lines.append('<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">')
    lines += [
        f'<resource-agent name="{escaped(cls.name)}" version="{escaped(cls.version)}">',
        f"<version>{'1.0' if old else '1.1'}</version>",
        f'<longdesc lang="en">\n{escaped(longdesc)}\n</longdesc>',
        f'<shortdesc lang="en">{escaped(shortdesc)}</shortdesc>',
        "<parameters>",
    ]
    for parameter in cls.parameters.values():
        lines += parameter_xml(parameter, old)
    lines += ["</parameters>", "<actions>"]
    lines += [action_xml(action, old) for action in cls.actions if not (old and action.name == "reload-agent")]
    lines += ['<action name="meta-data" timeout="10s" />', '<action name="validate-all" timeout="20s" />']
    lines += ["</actions>", "</resource-agent>", ""]
    return "\n".join(lines).encode()


def parameter_xml(parameter: Parameter, old: bool) -> list[str]:
    attributes = f'name="{parameter.name}"'
    if parameter.unique_group:
        attributes += ' unique="1"' if old else f' unique="1" unique-group="{escaped(parameter.unique_group)}"'
    elif old:
        attributes += ' unique="0"'
    if parameter.required:
        attributes += ' required="1"'
    if parameter.reloadable and not old:
        attributes += ' reloadable="1"'
    lines = [f"<parameter {attributes}>"]
    if parameter.replaced_by and not old:
        lines.append(f'<deprecated><replaced-with name="{parameter.replaced_by}" /></deprecated>')
    lines += [
        f'<longdesc lang="en">\n{escaped(parameter.longdesc)}\n</longdesc>',
        f'<shortdesc lang="en">{escaped(parameter.shortdesc)}</shortdesc>',
    ]
    default = f' default="{escaped(parameter.default)}"' if parameter.default is not None else ""
    options = getattr(parameter, "options", ())
    if options and not old:
        lines.append(f'<content type="select"{default}>')
        lines += [f'<option value="{escaped(option)}" />' for option in options]
        lines.append("</content>")
    else:
        lines.append(f'<content type="{"string" if options else parameter.content_type}"{default} />')
    return [*lines, "</parameter>"]


def action_xml(action: Action, old: bool) -> str:
    attributes = f'name="{action.name}" timeout="{action.timeout}"'
    if action.is_monitor:
        attributes += f' interval="{action.interval}" depth="{action.level}"'
        if action.role:
            attributes += f' role="{action.role}"'
    return f"<action {attributes} />"


def usage(cls: type[Agent], name: str) -> str:
    """Return what the agent can do, for a person."""
    names = list(dict.fromkeys([action.name for action in cls.actions] + ["validate-all", "meta-data", "usage"]))
    lines = [f"usage: {name} {{{'|'.join(names)}}}", "", described(cls.__doc__ or "")[0] + ".", "", "Parameters, from OCF_RESKEY_<name>:"]
    for parameter in cls.parameters.values():
        default = "required" if parameter.required else f"default {parameter.default!r}" if parameter.default is not None else "no default"
        lines.append(f"  {parameter.name}: {parameter.shortdesc} ({default})")
    return "\n".join([*lines, ""])


def write(text: bytes) -> None:
    """Write to stdout as bytes: the locale has no say in it.  Raises Error."""
    try:
        while text:
            text = text[os.write(1, text) :]
    except OSError as error:
        raise Error(f"cannot write to stdout: {error.strerror}") from None
