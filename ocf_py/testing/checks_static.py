"""Checks of the file and of the metadata, and of the conventions by which an agent is called."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from . import metadata as md
from .executor import Result
from .subject import RUNNING, NotApplicable, Problems, Subject, check, unlike

NOBODY = "nobody"
# A shell that takes something away and then becomes the agent.
CLOSED_STDIN = ("/bin/sh", "-c", 'exec "$@" <&-', "sh")
CWD_GONE = ("/bin/sh", "-c", 'd=$(mktemp -d) && cd "$d" && rmdir "$d" && exec "$@"', "sh")


def described(subject: Subject) -> md.Metadata:
    if subject.metadata is None:
        raise NotApplicable("there is no metadata")
    return subject.metadata


@check(10, "file")
def file(subject: Subject) -> Problems:
    """R1: a regular file that everybody may read and execute; ocf-tester and the controller run it as another user."""
    mode = subject.agent.stat().st_mode
    if not stat.S_ISREG(mode):
        yield f"{subject.agent} is no regular file"
    if mode & 0o555 != 0o555:
        yield f"mode {stat.S_IMODE(mode):o}, should be 755"


@check(11, "metadata")
def metadata(subject: Subject) -> Problems:
    """R7: meta-data prints XML and answers 0."""
    result = subject.call("meta-data")
    problems = list(unlike(result, 0))
    yield from problems
    if not problems:
        try:
            subject.metadata = md.Metadata(result.stdout)
        except ElementTree.ParseError as error:
            yield f"not XML: {error}"


@check(12, "metadata structure")
def structure(subject: Subject) -> Problems:
    """The elements and attributes of the declared OCF version."""
    yield from described(subject).problems()


@check(13, "metadata schema", needs=("metadata structure",))
def schema(subject: Subject) -> Problems:
    """The schema by which pcs decides whether it can use the agent."""
    found = described(subject)
    path = md.schema_of(found.ocf)
    if not path or not md.validator():
        raise NotApplicable("neither a schema of pcs nor a validator" if not path else "neither xmllint nor lxml is here")
    yield from md.schema_problems(found.text, path)


@check(14, "metadata DTD", needs=("metadata structure",))
def dtd(subject: Subject) -> Problems:
    """ocf-tester's document type, which knows OCF 1.0 alone."""
    if described(subject).ocf != "1.0":
        raise NotApplicable("it describes OCF 1.0")
    if not os.path.exists(md.DOCUMENT_TYPE) or not md.validator():
        raise NotApplicable("ocf-tester's DTD or a validator is not here")
    yield from md.schema_problems(described(subject).text, Path(md.DOCUMENT_TYPE))


@check(15, "metadata name")
def name(subject: Subject) -> Problems:
    """R1: file, type and metadata carry one name."""
    found = described(subject)
    if found.name != subject.agent.name:
        yield f"the metadata says {found.name}, the file {subject.agent.name}"


@check(16, "mandatory actions")
def mandatory(subject: Subject) -> Problems:
    """R3: start, stop, monitor and meta-data are advertised."""
    missing = [action for action in md.MANDATORY_ACTIONS if not described(subject).advertises(action)]
    if missing:
        yield f"not advertised: {', '.join(missing)}"


@check(17, "metadata advice", must=False)
def advice(subject: Subject) -> Problems:
    """S1: units, roles, defaults that fit their types."""
    yield from described(subject).advice()


@check(18, "monitor intervals", must=False)
def intervals(subject: Subject) -> Problems:
    """R9: Pacemaker tells the monitors of a resource apart by their interval."""
    yield from described(subject).same_intervals()


@check(19, "metadata constant")
def constant(subject: Subject) -> Problems:
    """R7: the description of an agent depends on no resource, caller or state."""
    text = described(subject).text
    cases: tuple[tuple[str, str, Mapping[str, str]], ...] = (
        ("another instance name", "execd", {"OCF_RESOURCE_INSTANCE": "another"}),
        ("other parameters", "execd", {f"OCF_RESKEY_{p.name}": "another" for p in described(subject).parameters}),
        ("crm_resource", "crm_resource", {}),
        ("ocf-tester", "ocf_tester", {}),
    )
    for what, profile, environment in cases:
        result = subject.call("meta-data", profile=profile, environment=environment)
        if result.code == 0 and result.stdout != text:
            yield f"differs with {what}: {first_difference(text, result.stdout)}"


def first_difference(one: str, other: str) -> str:
    pairs = zip(one.splitlines(), other.splitlines())
    return next((f"{b.strip()!r} instead of {a.strip()!r}" for a, b in pairs if a != b), "in length")


@check(20, "metadata as nobody", needs=("file",))
def as_nobody(subject: Subject) -> Problems:
    """R7: the controller asks as an unprivileged user, and ocf-tester as nobody."""
    if os.geteuid() != 0:
        raise NotApplicable("only root can become nobody")
    yield from unlike(subject.call("meta-data", user=NOBODY), 0, when="as nobody")


@check(21, "metadata without programs")
def without_programs(subject: Subject) -> Problems:
    """R7: ocf-tester makes every program seem missing."""
    described(subject)
    yield from unlike(subject.call("meta-data", environment={"OCF_TESTER_FAIL_HAVE_BINARY": "1"}), 0, when="without programs")


@check(22, "metadata for other callers")
def for_other_callers(subject: Subject) -> Problems:
    """R7: pcs sets no locale but C, no instance of a resource and a short PATH; ocf-tester no version."""
    described(subject)
    for profile in ("pcs", "crm_resource", "ocf_tester"):
        yield from unlike(subject.call("meta-data", profile=profile), 0, when=f"under {profile}")


@check(23, "metadata without environment", must=False)
def without_environment(subject: Subject) -> Problems:
    """R7, at its widest: nothing is set at all."""
    described(subject)
    yield from unlike(subject.call("meta-data", profile="bare", strange=True), 0, when="without any environment")


@check(30, "unknown action")
def unknown_action(subject: Subject) -> Problems:
    """R2: 3 for an action that the agent does not have."""
    yield from unlike(subject.call("no-such-action", strange=True), 3)


@check(31, "no action")
def no_action(subject: Subject) -> Problems:
    """R2: a well-defined failure without an action."""
    result = subject.call("", strange=True, arguments=())
    if result.code not in (1, 2, 3, 6):
        yield f"answered {result.code} without an action"


@check(32, "further arguments")
def further_arguments(subject: Subject) -> Problems:
    """R2: all arguments but the first are ignored."""
    yield from same(subject, "with further arguments", arguments=("monitor", "further", "--words"), strange=True)


@check(33, "unknown version", must=False)
def unknown_version(subject: Subject) -> Problems:
    """R16: an OCF major version that the agent does not know is an error."""
    result = subject.call("monitor", strange=True, environment={"OCF_RA_VERSION_MAJOR": "2"})
    if result.code in (*RUNNING, 7, 8):
        yield f"monitor answered {result.code} under OCF version 2"


@check(36, "surroundings")
def surroundings(subject: Subject) -> Problems:
    """An answer depends neither on stdin, nor the locale, nor the working directory."""
    yield from same(subject, "with stdin closed", wrapper=CLOSED_STDIN)
    yield from same(subject, "in a directory that is gone", wrapper=CWD_GONE)
    yield from same(subject, "in a Turkish locale", environment={"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "LANGUAGE": "tr"})


@check(37, "other callers")
def other_callers(subject: Subject) -> Problems:
    """R12, R16: crm_resource with and without trace, ocf-tester without a version, no meta-attribute."""
    for profile in ("crm_resource", "crm_resource -VV", "ocf_tester"):
        yield from same(subject, f"under {profile}", profile=profile)
    meta = [f"OCF_RESKEY_CRM_meta_{name}" for name in ("timeout", "interval", "name", "on_node", "on_node_uuid")]
    yield from same(subject, "without meta-attributes", without=meta)


@check(38, "empty environment", must=False)
def empty_environment(subject: Subject) -> Problems:
    """A monitor with nothing set gives one of the standard's codes."""
    result = subject.call("monitor", profile="bare", strange=True)
    if result.timed_out or result.status < 0 or result.status != result.code:
        yield str(result)


def same(subject: Subject, when: str, **options: Any) -> Problems:
    """Yield a problem when a probe of the stopped resource answers otherwise in unusual surroundings."""
    subject.stopped()
    plain = subject.probe()
    result: Result = subject.call("monitor", **options)
    if result.status < 0:
        yield f"monitor died of signal {-result.status} {when}"
    elif result.code != plain.code:
        yield f"monitor answered {result.code} {when}, {plain.code} otherwise"
