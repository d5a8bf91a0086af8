"""A shell on a node that is logged in already: what it is told it does at once, where a login takes seconds."""

from __future__ import annotations

import os
import select
import subprocess
import time

from lab.machine import plan, ssh
from lab.machine.room import NotSo, Room

END = "-- done: "


class Lost(NotSo):
    """The connection is gone; whether the command was carried out nobody knows."""


class Session:
    def __init__(self, lab: Room, node: plan.Node) -> None:
        self.node = node
        self.process = subprocess.Popen(lab.entering(ssh.command(node, ["sh"])), env=lab.environment(), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip

    def run(self, command: str, within: float) -> str:
        """Run a command and return what it prints.  Raises Lost, and NotSo when it fails or takes too long."""
        assert self.process.stdin
        assert self.process.stdout
        until = time.monotonic() + within
        told = ""
        try:
            self.process.stdin.write(f"( {command}\n) </dev/null 2>&1; echo '{END}'$?\n".encode())
            self.process.stdin.flush()
            while not (END in told and told.endswith("\n")):
                if not select.select([self.process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
                    raise NotSo(f"{self.node.name}: `{command[:80]}` gives no answer within {within:.0f} s")
                added = os.read(self.process.stdout.fileno(), 1 << 16)
                if not added:
                    raise Lost(f"{self.node.name}: the connection is lost: {told.strip()[-300:]}")
                told += added.decode(errors="replace")
        except OSError as error:
            raise Lost(f"{self.node.name}: the connection is lost: {error}") from None
        said, _, code = told.rpartition(END)
        if code.strip() != "0":
            raise NotSo(f"{self.node.name}: `{command[:80]}` ends with {code.strip()}: {said.strip()[-300:]}")
        return said

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
