"""Logging by Pacemaker's conventions (resource-agents heartbeat/ocf-shellfuncs.in, ha_log and ocf_log), without ever blocking.

A line goes to the system log as a datagram that is dropped when the log does not take it: syslog(3) waits for a stuck journald.
The cluster's log file is on a disk that may hang too, so it is written by a guarded child when the action ends.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .environment import Environment

FACILITIES = {"kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "cron": 9, **{f"local{n}": 16 + n for n in range(8)}}
SEVERITIES = {"CRIT": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}
DEVICE = "/dev/log"


class Journal:
    """The log of one action: `info("…")` and its kin.  Secrets told by `hide` never get out."""

    def __init__(self, environment: Environment, quiet: bool = False) -> None:
        """`quiet` keeps the log off stderr: pcs shows whatever validate-all writes there."""
        self._environment, self._quiet = environment, quiet
        self._tag = f"{environment.type}({environment.resource})[{os.getpid()}]"
        self._secrets: list[str] = []
        self._lines: list[tuple[str, str]] = []

    def hide(self, secret: str) -> None:
        if secret:
            self._secrets.append(secret)

    def masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "****")
        return text

    def critical(self, text: str) -> None:
        self._log("CRIT", text)

    def error(self, text: str) -> None:
        self._log("ERROR", text)

    def warning(self, text: str) -> None:
        self._log("WARNING", text)

    def info(self, text: str) -> None:
        self._log("INFO", text)

    def debug(self, text: str) -> None:
        if self._environment.debug:
            self._log("DEBUG", text)

    def trace(self, text: str) -> None:
        """Tell a command and its end, where the administrator asked for it (OCF_TRACE_RA)."""
        self.debug(text)
        if self._environment.trace:
            target = self._environment.trace_file
            line = f"{time.strftime('%H:%M:%S')} {self.masked(text)}\n".encode("utf-8", "backslashreplace")
            descriptor = int(target) if target.isdigit() and 3 <= int(target) <= 9 else 2
            try:
                if target.startswith("/") and not target.startswith("/dev/"):
                    self._lines.append((target, line.decode()))
                else:
                    os.write(descriptor, line)
            except OSError:
                return

    def reason(self, text: str, degraded: bool) -> None:
        """Log an exit reason; stderr gets it from the exit reason itself."""
        self._log("WARNING" if degraded else "ERROR", text, stderr=False)

    def _log(self, level: str, text: str, stderr: bool = True) -> None:
        whole = self.masked(text).replace("\0", "").encode("utf-8", "backslashreplace").decode()
        for line in whole.splitlines():
            taken = self._send(level, line)
            stamped = f"{time.strftime('%b %d %T')} {self._tag}:    {level}: {line}\n"
            for path in dict.fromkeys((self._environment.log_file, self._environment.debug_file)):
                if path:
                    self._lines.append((path, stamped))
            if stderr and not self._quiet and (not (taken or self._environment.log_file) or self._on_terminal()):
                try:
                    os.write(2, stamped.encode())
                except OSError:
                    continue

    def _on_terminal(self) -> bool:
        try:
            return os.isatty(2)
        except OSError:
            return False

    def _send(self, level: str, line: str) -> bool:
        """Send a datagram to the system log; return whether there is one that takes it."""
        facility = self._environment.facility
        if not facility or facility == "none":
            return False
        # The C module under `socket`, which costs several milliseconds more for its enumerations.
        import _socket

        priority = FACILITIES.get(facility, 3) * 8 + SEVERITIES[level]
        try:
            log = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
            log.setblocking(False)
            log.connect(DEVICE)
            log.send(f"<{priority}>{time.strftime('%b %d %T')} {self._tag}: {level}: {line}"[:8000].encode())
            log.close()
        except OSError:
            return False
        return True

    def pending(self) -> list[tuple[str, str]]:
        """Return and forget the lines that are still to be appended to files, as pairs of path and text."""
        lines, self._lines = self._lines, []
        return lines


def append(lines: list[tuple[str, str]]) -> None:
    """Append lines to their files; run in a guarded child."""
    for path, text in lines:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        except OSError:
            continue
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
