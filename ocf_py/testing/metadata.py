"""Read an agent's metadata and judge its structure by the OCF version that it declares.

The rules for 1.1 are those of the standard's schema, for 1.0 what ocf-tester's document type and pcs agree on.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

# Where pcs keeps the schemas it judges agents by, and resource-agents the document type of ocf-tester.
SCHEMA_DIRECTORIES = ("/usr/share/pcs/data", "/usr/lib/pcs/data", "/usr/lib/pcsd/data")
DOCUMENT_TYPE = "/usr/share/resource-agents/ra-api-1.dtd"

MANDATORY_ACTIONS = ("start", "stop", "monitor", "meta-data")
TYPES = {"1.0": ("string", "integer", "boolean", "time"), "1.1": ("string", "integer", "boolean", "select")}
PARAMETER_ATTRIBUTES = {
    "1.0": {"name", "unique", "required"},
    "1.1": {"name", "unique", "required", "unique-group", "reloadable"},
}
PARAMETER_ELEMENTS = {"1.0": {"longdesc", "shortdesc", "content"}, "1.1": {"longdesc", "shortdesc", "content", "deprecated"}}
ACTION_ATTRIBUTES = {"name", "timeout", "interval", "start-delay", "depth", "role"}
AGENT_ELEMENTS = {"version", "longdesc", "shortdesc", "parameters", "actions", "special"}
ROLES = {"1.0": ("Master", "Slave", "Promoted", "Unpromoted"), "1.1": ("Promoted", "Unpromoted")}
BOOLEANS = ("1", "0", "true", "false", "yes", "no", "on", "off")
UNITS = {
    "us": 1e-6, "usec": 1e-6, "ms": 1e-3, "msec": 1e-3, "": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "hr": 3600.0,
}  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    name: str
    type: str
    required: bool
    default: str | None
    options: tuple[str, ...]
    replaces: str


@dataclass(frozen=True)
class Action:
    name: str
    timeout: float | None
    interval: float | None
    depth: int
    role: str


class Metadata:
    """What a meta-data action printed.  Raises ElementTree.ParseError when it is not XML."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.root = ElementTree.fromstring(text.strip().encode())
        self.name = self.root.get("name", "")
        declared = (self.root.findtext("version") or "").strip()
        # Agents older than OCF 1.1 often leave the element out; pcs reads them as 1.0.
        self.declared, self.ocf = declared, "1.1" if declared == "1.1" else "1.0"
        self.parameters = tuple(read_parameter(node) for node in self.root.iterfind("parameters/parameter"))
        self.actions = tuple(read_action(node) for node in self.root.iterfind("actions/action"))

    def advertises(self, name: str) -> bool:
        return any(action.name == name for action in self.actions)

    @property
    def levels(self) -> list[int]:
        return sorted({action.depth for action in self.actions if action.name == "monitor"})

    def timeout(self, name: str, level: int = 0) -> float | None:
        """Return the longest timeout advertised for an action, for a monitor of that level where it has one."""
        same = [action for action in self.actions if action.name == name and action.timeout]
        exact = [action for action in same if action.depth == level]
        return max((action.timeout for action in exact or same if action.timeout), default=None)

    def problems(self) -> Iterator[str]:
        """Yield every breach of the structure that the declared version asks for."""
        if self.root.tag != "resource-agent":
            yield f"the root element is {self.root.tag}, not resource-agent"
            return
        if not self.name:
            yield "resource-agent has no name"
        if self.declared not in ("", "1.0", "1.1"):
            yield f"unknown OCF version {self.declared!r}"
        for tag, number in Counter(node.tag for node in self.root).items():
            if tag not in AGENT_ELEMENTS:
                yield f"unknown element {tag}"
            elif number > 1 and not (self.ocf == "1.1" and tag.endswith("desc")):
                yield f"{number} elements {tag}"
        for name, number in Counter(parameter.name for parameter in self.parameters).items():
            if number > 1:
                yield f"parameter {name} is declared {number} times"
        for node in self.root.iterfind("parameters/parameter"):
            yield from (f"parameter {node.get('name')}: {text}" for text in self.parameter_problems(node))
        if self.root.find("actions") is None:
            yield "no actions"
        for node in self.root.iterfind("actions/action"):
            yield from (f"action {node.get('name')}: {text}" for text in self.action_problems(node))

    def parameter_problems(self, node: ElementTree.Element) -> Iterator[str]:
        if not node.get("name"):
            yield "no name"
        for attribute in set(node.attrib) - PARAMETER_ATTRIBUTES[self.ocf]:
            yield f"OCF {self.ocf} has no attribute {attribute}"
        for flag in {"unique", "required", "reloadable"} & set(node.attrib):
            if node.get(flag) not in ("0", "1"):
                yield f"{flag}={node.get(flag)!r} is neither 0 nor 1"
        for child in {child.tag for child in node} - PARAMETER_ELEMENTS[self.ocf]:
            yield f"OCF {self.ocf} has no element {child}"
        for tag in ("longdesc", "shortdesc"):
            if node.find(tag) is None:
                yield f"no {tag}"
        contents = node.findall("content")
        if len(contents) != 1:
            yield f"{len(contents)} elements content, not one"
        for content in contents:
            yield from self.content_problems(content)
        for replaced in node.iterfind("deprecated/replaced-with"):
            if replaced.get("name") not in {parameter.name for parameter in self.parameters}:
                yield f"replaced with {replaced.get('name')}, which is not declared"

    def content_problems(self, content: ElementTree.Element) -> Iterator[str]:
        kind, default, options = content.get("type", ""), content.get("default"), [o.get("value") for o in content.iterfind("option")]
        if kind not in TYPES[self.ocf]:
            yield f"OCF {self.ocf} has no type {kind!r}"
        if kind == "select" and not options:
            yield "a select without options"
        if kind != "select" and options:
            yield f"options in type {kind}"
        if kind == "select" and default is not None and default not in options:
            yield f"the default {default!r} is not one of the options"

    def action_problems(self, node: ElementTree.Element) -> Iterator[str]:
        if not node.get("name"):
            yield "no name"
        for attribute in set(node.attrib) - ACTION_ATTRIBUTES:
            yield f"no attribute {attribute} in OCF {self.ocf}"
        if node.get("timeout") is None:
            yield "no timeout"
        for attribute in ("timeout", "interval", "start-delay"):
            if node.get(attribute) is not None and seconds(node.get(attribute, "")) is None:
                yield f"{attribute}={node.get(attribute)!r} is not a time"
        if not node.get("depth", "0").isdigit():
            yield f"depth={node.get('depth')!r} is not a number"

    def advice(self) -> Iterator[str]:
        """Yield what is allowed and troubles administrators, pcs or other tools all the same."""
        if not self.declared:
            yield "no OCF version declared; Pacemaker and pcs read it as 1.0"
        for tag in ("longdesc", "shortdesc"):
            if not "".join(self.root.find(tag).itertext() if self.root.find(tag) is not None else ()).strip():  # type: ignore[union-attr]
                yield f"the agent has no {tag}"
        for node in self.root.iterfind("actions/action"):
            for attribute in ("timeout", "interval"):
                if node.get(attribute, "0").isdigit() and node.get(attribute, "0") != "0":
                    yield f"action {node.get('name')}: {attribute}={node.get(attribute)!r} has no unit"
            if node.get("role", "Promoted") not in ROLES[self.ocf]:
                yield f"action {node.get('name')}: role {node.get('role')!r} is not one of {', '.join(ROLES[self.ocf])}"
        for parameter in self.parameters:
            if parameter.required and parameter.default:
                yield f"parameter {parameter.name} is required and has a default"
            if parameter.type == "integer" and parameter.default and not re.fullmatch(r"[+-]?\d+", parameter.default):
                yield f"parameter {parameter.name}: the default {parameter.default!r} is no integer"
            if parameter.type == "boolean" and parameter.default and parameter.default.lower() not in BOOLEANS:
                yield f"parameter {parameter.name}: the default {parameter.default!r} is no boolean"

    def same_intervals(self) -> Iterator[str]:
        """Yield the monitors that Pacemaker could not tell apart: it knows an operation by its interval."""
        seen: dict[float, Action] = {}
        for action in self.actions:
            if action.name == "monitor" and action.interval:
                if action.interval in seen and (seen[action.interval].depth, seen[action.interval].role) != (action.depth, action.role):
                    yield f"the monitors of depth {seen[action.interval].depth} and {action.depth} share the interval {action.interval:g} s"
                seen.setdefault(action.interval, action)


def read_parameter(node: ElementTree.Element) -> Parameter:
    content = node.find("content")
    replaced = node.find("deprecated/replaced-with")
    return Parameter(
        node.get("name", ""), content.get("type", "") if content is not None else "", node.get("required") == "1",
        content.get("default") if content is not None else None,
        tuple(option.get("value", "") for option in content.iterfind("option")) if content is not None else (),
        replaced.get("name", "") if replaced is not None else "",
    )  # fmt: skip


def read_action(node: ElementTree.Element) -> Action:
    depth = node.get("depth", "0")
    return Action(
        node.get("name", ""), seconds(node.get("timeout", "")), seconds(node.get("interval", "")),
        int(depth) if depth.isdigit() else 0, node.get("role", ""),
    )  # fmt: skip


def seconds(text: str) -> float | None:
    """Return the seconds of a time in metadata ("20s", "1min", bare numbers are seconds), None when it is not one."""
    match = re.fullmatch(r"\s*(\d+)\s*([a-z]*)\s*", text)
    return int(match[1]) * UNITS[match[2]] if match and match[2] in UNITS else None


def schema_of(ocf: str) -> Path | None:
    """Return the schema that pcs has for a version, None where pcs is not installed."""
    return next((path for directory in SCHEMA_DIRECTORIES if (path := Path(directory) / f"ocf-{ocf}.rng").exists()), None)


def validator() -> str:
    """Return what can validate here: xmllint, lxml, or nothing."""
    return "xmllint" if shutil.which("xmllint") else "lxml" if importlib.util.find_spec("lxml") else ""


def schema_problems(text: str, schema: Path) -> Iterator[str]:
    """Yield what a RELAX NG schema or a document type has against metadata."""
    if validator() == "xmllint":
        yield from xmllint_problems(text, schema)
    else:
        yield from lxml_problems(text, schema)


def xmllint_problems(text: str, schema: Path) -> Iterator[str]:
    kind = "--dtdvalid" if schema.suffix == ".dtd" else "--relaxng"
    # The document may name a document type of its own, which has to be found and is not what is asked here.
    done = subprocess.run(
        ["xmllint", "--noout", "--nonet", kind, str(schema), "-"], input=text.encode(), capture_output=True, cwd=schema.parent, timeout=30,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}, check=False,
    )  # fmt: skip
    if done.returncode:
        lines = [line.partition(": ")[2] or line for line in done.stderr.decode(errors="replace").splitlines() if "error" in line]
        yield from lines[:5] or [f"xmllint ended with {done.returncode}"]


def lxml_problems(text: str, schema: Path) -> Iterator[str]:
    etree = importlib.import_module("lxml.etree")
    judge = etree.DTD(str(schema)) if schema.suffix == ".dtd" else etree.RelaxNG(file=str(schema))
    if not judge.validate(etree.fromstring(text.strip().encode())):
        yield from [str(entry.message) for entry in judge.error_log][:5]
