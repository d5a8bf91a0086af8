"""Logging: to the system log, to stderr and to the debug file, with every secret taken out at every level.

Nothing here can keep an action from its work: the system log gets datagrams that are dropped when it does not take them, and the
debug file, which is on a disk that may be slow or full, is written by a thread of its own.  (Should that disk hang for good, the
action is done, but its process cannot end: the debug file belongs on a local disk, as does the agent itself.)
"""

from __future__ import annotations

import base64
import json
import logging
import os
import queue
import re
import socket
import stat
import threading
import time
from typing import TextIO
from urllib.parse import quote, quote_plus

DEVICE = "/dev/log"
PATIENCE = 1.0  # Seconds that a debug file gets to be opened, and to take the last lines.
FACILITY_USER = 1 << 3
SEVERITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}
FORMAT = "%(asctime)-15s %(levelname)s: %(message)s"
CONTROL = re.compile(r" *[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]+ *")

_hiding = threading.Lock()
_secrets: set[str] = set()
_pattern: re.Pattern[str] | None = None


def hide(*secrets: str) -> None:
    """Take these texts, also quoted, escaped and in base64, out of whatever is logged from now on."""
    global _pattern  # noqa: PLW0603  secrets become known deep in a login, and whatever logs in this process has to keep them
    with _hiding:  # Logins to several hypervisors go on side by side.
        known = {secret for secret in secrets if secret} - _secrets
        if known:
            _secrets.update(known)
            forms = sorted({form for secret in _secrets for form in written(secret)}, key=len, reverse=True)
            _pattern = re.compile("|".join(map(re.escape, forms)))


def forget() -> None:
    """Forget all secrets: one process may run several actions, in tests."""
    global _pattern  # noqa: PLW0603  as above
    with _hiding:
        _secrets.clear()
        _pattern = None


def masked(text: str) -> str:
    pattern = _pattern  # Looked at once: a thread that was given up may still log when the next action forgets.
    return pattern.sub("****", text) if pattern else text


def written(secret: str) -> set[str]:
    """Return the forms in which a secret may turn up in a message, a URL, a header or a traceback."""
    raw = secret.encode("utf-8", "surrogateescape")
    forms = {secret, secret.strip() or secret, repr(secret)[1:-1], ascii(secret)[1:-1]}
    if len(secret) < 4:
        # The other forms of something so short would blot out innocent text.
        return forms
    # http.client reads a reason phrase as Latin-1.
    forms |= {raw.decode("latin-1"), json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(raw)[2:-1], raw.hex()}
    for quoted in (quote(raw), quote(raw, safe=""), quote_plus(raw)):
        forms |= {quoted, re.sub("%[0-9A-F]{2}", lambda match: match.group().lower(), quoted)}
    for ahead in range(3):
        # Behind other text, as in the "user:password" of an Authorization header, the encoding depends on the length of that text.
        code = base64.b64encode(b"\0" * ahead + raw).decode().rstrip("=")
        whole = code[(0, 2, 3)[ahead] : len(code) - ((ahead + len(raw)) % 3 != 0)]
        if len(whole) >= 6:
            forms |= {whole, whole.replace("+", "-").replace("/", "_")}
    return forms


class Formatter(logging.Formatter):
    """One line for a message; a traceback keeps its lines.  Nothing that was hidden is left in either."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name is logging's
        record.message = CONTROL.sub(" ", masked(record.message)).strip()
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        # The text of an exception is kept in the record for the next handler, so it is made anew, and masked here.
        record.exc_text = None
        whole = masked(super().format(record))
        record.exc_text = None
        return whole.encode("utf-8", "backslashreplace").decode()


class Silent(logging.Handler):
    """A handler whose own failures are not told: logging would print a traceback with the message in it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the name is logging's
        return


class ToStream(Silent):
    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream
        self.setFormatter(Formatter(FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.stream.write(self.format(record) + "\n")
            self.stream.flush()
        except (OSError, ValueError):
            self.handleError(record)


class ToSyslog(Silent):
    def __init__(self, ident: str) -> None:
        super().__init__()
        self.ident = ident
        self.setFormatter(Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        priority = FACILITY_USER | SEVERITIES.get(record.levelno, 7)
        for line in self.format(record).splitlines():
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
                    log.setblocking(False)
                    log.connect(DEVICE)
                    stamp = time.strftime("%b %d %T")
                    log.send(f"<{priority}>{stamp} {self.ident}[{os.getpid()}]: {line}".encode()[:8000])
            except OSError:
                return


class ToFile(Silent):
    """The debug file: mode 0600, no symbolic link, nothing but a regular file.  `wrong` says why there is none."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.setFormatter(Formatter(FORMAT))
        self.path, self.wrong = path, "it does not answer"
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._open = threading.Event()
        self._thread = threading.Thread(target=self._write, name="debug file", daemon=True)
        self._thread.start()
        self._open.wait(PATIENCE)

    def _write(self) -> None:
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
            descriptor = os.open(self.path, flags, 0o600)
        except (OSError, ValueError) as error:
            self.wrong = (error.strerror if isinstance(error, OSError) else "") or "no such name"
            self._open.set()
            return
        with open(descriptor, "ab", buffering=0) as file:
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    self.wrong = "it is no regular file"
                    return
                os.fchmod(descriptor, 0o600)
                self.wrong = ""
            except OSError as error:
                self.wrong = error.strerror or str(error)
                return
            finally:
                self._open.set()
            while True:
                line = self._lines.get()
                if line is None:
                    return
                try:
                    file.write(line.encode())
                except OSError:
                    continue

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.put(self.format(record) + "\n")

    def close(self) -> None:
        self._lines.put(None)
        self._thread.join(PATIENCE)
        super().close()


def opened(ident: str, stderr: TextIO | None, *, verbose: bool = False) -> logging.Logger:
    """Return a log of its own, to the system log and, if it is given, to stderr: warnings and above, or everything."""
    log = logging.Logger(ident, logging.DEBUG)  # noqa: LOG001  one shared by name would keep the handlers of the action before
    for handler in (ToSyslog(ident), *([ToStream(stderr)] if stderr is not None else [])):
        handler.setLevel(logging.DEBUG if verbose else logging.WARNING)
        log.addHandler(handler)
    return log


def to_file(log: logging.Logger, path: str) -> None:
    """Write everything also to a debug file, or warn why not: a full disk is no reason not to fence."""
    handler = ToFile(path)
    if handler.wrong:
        log.warning("Unable to create file %s: %s", path, handler.wrong)
        handler.close()
    else:
        log.addHandler(handler)


def closed(log: logging.Logger) -> None:
    for handler in log.handlers[:]:
        log.removeHandler(handler)
        handler.close()
