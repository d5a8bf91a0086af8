"""Serve a cluster that looks like Proxmox VE, for people and for what needs one beside it.

    python3 -m lab.proxmox                                  two nodes, a guest on each
    python3 -m lab.proxmox --node a=127.0.0.21 --node b=127.0.0.22 --guest 100=web@a --guest 101=db@b,lxc,stopped
    python3 -m lab.proxmox --dead pve2                      pve2 answers nothing, as after a power cut

It prints where and what it serves, then a line for each request, until SIGTERM or Ctrl-C.  The certificate authority's file is in
--directory, or in a temporary one that goes with it.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from lab.proxmox.server import Standin
from lab.proxmox.world import World, small_cluster

USER, PASSWORD = "pacemaker@pve", "right"
TOKEN = "0badc0de-0000-4000-8000-000000000000"
RIGHTS = ("VM.Audit", "VM.PowerMgmt")
FLAGS = ("lxc", "ha", "stopped", "template")


class Unclear(Exception):
    """An argument that cannot be followed."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python3 -m lab.proxmox", description="A cluster that looks like Proxmox VE")
    made.add_argument("--port", type=int, default=8006, help="port at every node's address; 0: any that is free (default 8006)")
    made.add_argument("--directory", type=Path, help="where the certificates go")
    made.add_argument("--node", action="append", default=[], metavar="NAME=ADDRESS", help="a hypervisor; without any: pve1 and pve2")
    made.add_argument("--guest", action="append", default=[], metavar="ID=NAME@NODE[,FLAG...]", help=f"a guest; flags: {', '.join(FLAGS)}")
    made.add_argument("--user", default=f"{USER}={PASSWORD}", metavar="USER=PASSWORD", help="who may fence (default %(default)s)")
    made.add_argument("--token", default=f"fence={TOKEN}", metavar="NAME=SECRET", help="the user's API token (default %(default)s)")
    made.add_argument("--task-seconds", type=float, default=1.0, help="how long a guest takes to stop and to start (default 1)")
    made.add_argument("--dead", action="append", default=[], metavar="NODE", help="a hypervisor without power")
    made.add_argument("--refusing", action="append", default=[], metavar="NODE", help="one whose API is not running")
    return made


def pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise Unclear(f"--{option} {text}: that is no NAME=VALUE")
    return name, value


def add_guest(world: World, text: str, seconds: float) -> None:
    found = re.fullmatch(r"(\d+)=([\w.-]+)@([\w.-]+)((?:,\w+)*)", text)
    flags = found[4].split(",")[1:] if found else []
    if not found or found[3] not in world.nodes or not set(flags) <= set(FLAGS):
        raise Unclear(f"--guest {text}: that is no ID=NAME@NODE with one of {', '.join(world.nodes)}, and perhaps {', '.join(FLAGS)}")
    world.add_guest(
        int(found[1]), found[2], found[3], kind="lxc" if "lxc" in flags else "qemu", running="stopped" not in flags, ha="ha" in flags,
        template="template" in flags, stop_seconds=seconds, start_seconds=seconds,
    )  # fmt: skip


def build(given: argparse.Namespace) -> World:
    """Make the cluster that the command line describes.  Raises Unclear."""
    if given.node:
        world = World(time.monotonic)
        for text in given.node:
            name, address = pair(text, "node")
            world.add_node(name, address)
    else:
        world = small_cluster(time.monotonic)
    for text in given.guest:
        add_guest(world, text, given.task_seconds)
    for guest in world.guests.values():
        guest.stop_seconds = guest.start_seconds = given.task_seconds
    user, password = pair(given.user, "user")
    token, secret = pair(given.token, "token")
    world.add_user(user, password)
    world.add_token(user, token, secret)
    for vmid in world.guests:
        for who in (user, f"{user}!{token}"):
            world.grant(f"/vms/{vmid}", who, *RIGHTS)
    for name in (*given.dead, *given.refusing):
        if name not in world.nodes:
            raise Unclear(f"there is no node {name}, only {', '.join(world.nodes)}")
    for name in given.dead:
        world.nodes[name].power = "dead"
    for name in given.refusing:
        world.nodes[name].api = "refusing"
    return world


def describe(standin: Standin, user: str, token: str) -> str:
    world = standin.world
    lines = [f"CA: {standin.ca_file}", f"user: {user.partition('=')[0]}, token: {user.partition('=')[0]}!{token.partition('=')[0]}"]
    for node in world.nodes.values():
        state = "dead" if not node.on else node.api
        lines.append(f"node {node.name}: https://{node.address}:{standin.port} ({state}), fingerprint {standin.fingerprint(node.name)}")
    for vmid, guest in world.guests.items():
        lines.append(f"guest {vmid}: {guest.name}, {guest.config.kind} on {guest.node}, {'running' if guest.living() else 'stopped'}")
    return "\n".join(lines)


def follow(standin: Standin, ended: threading.Event) -> None:
    """Print the requests as they are answered, and those without an answer when that is plain."""
    shown = 0
    while not ended.wait(0.2):
        for seen in standin.requests[shown:]:
            if not seen.status and time.time() - seen.at < 35:
                break
            print(f"{seen.node} {seen.method} {seen.path}: {seen.status or 'no answer'}", flush=True)
            shown += 1


def main(argv: Sequence[str] | None = None) -> int:
    given = parser().parse_args(argv)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with contextlib.ExitStack() as stack:
        directory = given.directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="proxmox-")))
        directory.mkdir(parents=True, exist_ok=True)
        try:
            standin = stack.enter_context(Standin(build(given), directory=directory, port=given.port))
        except Unclear as error:
            print(error, file=sys.stderr)
            return 2
        except OSError as error:
            print(f"cannot serve on port {given.port or 'any'} of every node's address: {error}", file=sys.stderr)
            return 1
        print(describe(standin, given.user, given.token), flush=True)
        follow(standin, ended)
    return 0


if __name__ == "__main__":
    sys.exit(main())
