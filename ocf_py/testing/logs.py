"""Where the lines of an agent's log are caught: Pacemaker's log file, and the node's /dev/log where nobody listens to it."""

from __future__ import annotations

import os
import re
import socket
import threading
from pathlib import Path

SYSLOG = "/dev/log"


class LogFile:
    """A log file of which each line is read once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0

    def read(self) -> list[str]:
        """Return the lines written since the last call."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self._position)
                data = file.read()
        except FileNotFoundError:
            return []
        self._position += len(data)
        return data.decode(errors="replace").splitlines()


class SystemLog:
    """A stand-in for syslogd on a machine that has none.  Deaf where /dev is not private or somebody else listens.

    It listens while an action is under way and at no other time: the kernel keeps a few lines only, and after that everybody who
    logs has to wait for whoever should read them.
    """

    _node: SystemLog | None = None

    def __init__(self) -> None:
        self.allowed = is_private("/dev") and os.geteuid() == 0
        self.socket: socket.socket | None = None
        self._actions = 0
        self._lines: list[str] = []
        self._lock = threading.Lock()  # Tests run actions side by side, in threads.

    @classmethod
    def of_this_node(cls) -> SystemLog:
        """Return the one of this process: a machine has one /dev/log."""
        if cls._node is None:
            cls._node = cls()
        return cls._node

    def open(self) -> None:
        """Begin to listen for one action; several may be under way."""
        with self._lock:
            if not self._actions and self.allowed:
                self.socket, self._lines = listening(), []
            self._actions += 1

    def collect(self) -> None:
        """Take what was sent so far, so that nobody waits."""
        with self._lock:
            self._collect()

    def _collect(self) -> None:
        while self.socket:
            try:
                data = self.socket.recv(65536)
            except BlockingIOError:
                return
            self._lines.append(re.sub(r"^<\d+>", "", data.decode(errors="replace").strip("\0\n")))

    def close(self) -> list[str]:
        """Return the lines sent since the last action ended, without their priority, and stop listening after the last one."""
        with self._lock:
            self._collect()
            lines, self._lines = self._lines, []
            self._actions -= 1
            if self.socket and not self._actions:
                self.socket.close()
                self.socket = None
                os.unlink(SYSLOG)
            return lines


def listening() -> socket.socket | None:
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if os.path.lexists(SYSLOG):
            # Somebody's; or the remains of a listener that is gone, which refuses.
            try:
                receiver.connect(SYSLOG)
            except ConnectionRefusedError:
                os.unlink(SYSLOG)
            else:
                receiver.close()
                return None
        receiver.bind(SYSLOG)
        os.chmod(SYSLOG, 0o666)
    except OSError:
        receiver.close()
        return None
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    return receiver


def is_private(directory: str) -> bool:
    """Tell whether a directory is a mount of its own that the kernel did not make: the /dev of a test machine."""
    with open("/proc/self/mountinfo") as file:
        mounts = [line.split() for line in file]
    kinds = [words[words.index("-") + 1] for words in mounts if words[4] == directory]
    return kinds[-1:] == ["tmpfs"]
