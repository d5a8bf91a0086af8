"""SELinux: which labels keep a confined server from its files, and the commands that put them right.

The policy is the targeted one of RHEL 9 (selinux-policy, module postgresql).  The agent itself is not confined there, so
what it can read proves nothing: the server that it starts runs as postgresql_t where its programs are labelled postgresql_exec_t, may
use postgresql_db_t, and may pass through what every domain may.  A server that is labelled otherwise (PGDG's) is not confined.
"""

from __future__ import annotations

import os

from . import block, postgres

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ENFORCE = "/sys/fs/selinux/enforce"
ATTRIBUTE = "security.selinux"
SERVER, DATA, LOG, SOCKETS = "postgresql_exec_t", "postgresql_db_t", "postgresql_log_t", "postgresql_var_run_t"
# What a confined server may not pass through: a file system that was never labelled, and a directory that no rule knows.
CLOSED = ("unlabeled_t", "file_t", "default_t")
HOME = "/var/lib/pgsql"  # The policy's own rules are for what is below it.


def enabled() -> bool:
    """Return whether the kernel has SELinux on, enforcing or permissive."""
    return bool(block.read(ENFORCE))


def enforcing() -> bool:
    return block.read(ENFORCE) == "1"


# What follows runs in a guarded child.


def type_of(path: str) -> str:
    """Return the type in a file's label, "" where there is no label or it cannot be read."""
    try:
        parts = os.getxattr(path, ATTRIBUTE).rstrip(b"\0").decode(errors="replace").split(":")
    except OSError:
        return ""
    return parts[2] if len(parts) > 2 else ""


def label(path: str, wanted: str) -> None:
    """Give a file or directory that the agent has made the label with which a confined server may use it."""
    if enabled():
        try:
            os.setxattr(path, ATTRIBUTE, f"system_u:object_r:{wanted}:s0\0".encode())
        except OSError:
            return


def examine(pgctl: str, directory: str) -> tuple[list[str], list[str]]:
    """Return the labels that keep the server from its data, in words, and the commands that put them right; perhaps nothing."""
    wrong: list[str] = []
    if type_of(os.path.realpath(pgctl)) != SERVER:
        return wrong, wrong
    rules: list[str] = []
    relabelled: list[str] = []
    places: list[str] = []
    tops = [os.path.realpath(path) for path in (directory, *(path for _, path in postgres.look(directory)["places"]))]
    for top in tops:
        bad = [(path, kind) for path in (top, f"{top}/PG_VERSION") for kind in [type_of(path)] if kind not in ("", DATA)]
        if bad:
            like, place = equivalent(top)
            places.append(place)
            wrong += [f"{path} is {kind}, not {DATA}" for path, kind in bad]
            rules += [] if top.startswith(f"{HOME}/") else [f"semanage fcontext -a -e {like} {quoted(place)}"]
            relabelled.append(f"restorecon -RFv {quoted(place)}")
    for parent in dict.fromkeys(parent for top in tops for parent in reversed(list(parents(top)))):
        kind = type_of(parent)
        if kind in CLOSED and parent not in places:
            wrong.append(f"{parent} is {kind}, which the server may not enter")
            # The base policy has a rule for each directory in /mnt, and none that helps for others.
            rules += [] if os.path.dirname(parent) == "/mnt" else [f"semanage fcontext -a -t mnt_t {quoted(parent)}"]
            relabelled.append(f"restorecon -v {quoted(parent)}")
    return wrong, [*rules, *relabelled]


def parents(path: str) -> Iterator[str]:
    while path != "/":
        path = os.path.dirname(path)
        yield path


def equivalent(top: str) -> tuple[str, str]:
    """Return the directory of the policy and the one of this node that is to be labelled like it.

    The parent is taken where it is the server's own, as ~postgres is: then the server's logs get their labels too.
    """
    parent = os.path.dirname(top)
    if os.path.basename(top) == "data" and not os.path.ismount(top) and os.stat(parent).st_uid == os.stat(top).st_uid:
        return HOME, parent
    return f"{HOME}/data", top


def quoted(path: str) -> str:
    import shlex

    return shlex.quote(path)
