"""The process around an action: its streams, its end, and the programs that it runs for a secret."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn, TextIO, cast

from fence_lab import logs
from fence_lab.clock import Clock, Deadline, process_age
from fence_lab.errors import FenceError, Misconfigured
from fence_lab.options import POWER_SECONDS

if TYPE_CHECKING:
    from fence_lab.agent import FenceAgent

SCRIPT_SECONDS = 10.0
GRACE = 0.5  # Seconds beyond the limit that an action gets to end by itself.


def run(cls: type[FenceAgent]) -> NoReturn:
    """Run an agent as this process, and end it, whatever still hangs in it."""
    clock = Clock()
    began = clock.now() - process_age()
    watch = Watchdog(cls.NAME, clock)
    # Stdin that never ends is read before the limit of the action is known.
    watch.until(began + POWER_SECONDS)
    stdin, stdout, stderr = stream(0, "r"), stream(1, "w"), stream(2, "w")
    # Not the locale's encoding, but the bytes.
    argv = [os.fsencode(word).decode("utf-8", "surrogateescape") for word in sys.argv[1:]]
    code = 1
    try:
        code = cls.run(argv, stdin, stdout, stderr, os.environ, clock, began=began, watch=watch)
        stdout.flush()
    except OSError as error:
        # A node that was fenced is fenced, whether or not somebody listens; the other actions have only their output.
        if watch.code is None:
            code = 1
            watch.say(f"cannot write to stdout: {error.strerror}")
    except KeyboardInterrupt:
        watch.say("interrupted")
    except Exception as error:  # noqa: BLE001  the process ends here, and the log that handing it on would want has ended before
        watch.say(f"Failed: {type(error).__name__}: {error}")
    finally:
        os._exit(code)


def stream(descriptor: int, mode: str) -> TextIO:
    """Return a standard stream in UTF-8, whatever the locale says; one that is closed is empty."""
    try:
        os.fstat(descriptor)
    except OSError:
        descriptor = os.open(os.devnull, os.O_RDWR)
    errors = "surrogateescape" if mode == "r" else "backslashreplace"
    return cast("TextIO", open(descriptor, mode, encoding="utf-8", errors=errors, closefd=False))


class Watchdog:
    """Ends the process if the action does not, with the code and the line that are certain by then, or 1 and the reason."""

    def __init__(self, ident: str, clock: Clock) -> None:
        self.ident, self.clock = ident, clock
        self.code: int | None = None
        self.line = ""
        self._timer: threading.Timer | None = None

    def until(self, moment: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = threading.Timer(max(0.0, moment - self.clock.now() + GRACE), self.end)
        self._timer.daemon = True
        self._timer.start()

    def outcome(self, code: int, line: str) -> None:
        self.code, self.line = code, line

    def end(self) -> None:
        try:
            if self.code is None:
                self.say("Failed: the action did not end within its time limit")
            else:
                self.say("the action did not end within its time limit; what it had reached holds")
                put(1, self.line)
        finally:
            os._exit(1 if self.code is None else self.code)

    def say(self, text: str) -> None:
        """Write to stderr and to the system log without the locks that whatever hangs may hold."""
        put(2, f"{self.ident}: {text}\n")
        record = logging.LogRecord(self.ident, logging.ERROR, "", 0, text, None, None)
        logs.ToSyslog(self.ident).emit(record)


def put(descriptor: int, text: str) -> None:
    """Write a line if that is possible without waiting."""
    try:
        if text and select.select([], [descriptor], [], 0)[1]:
            os.write(descriptor, text.encode())
    except (OSError, ValueError):
        return


def output_of(script: str, option: str, environ: Mapping[str, str], deadline: Deadline) -> str:
    """Return what a shell command prints, without white space at its end.  Raises FenceError that names the option, never the output."""
    seconds = deadline.within(SCRIPT_SECONDS)
    try:
        # A session of its own, so that what the shell has started can be ended with it.
        process = subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   env=dict(environ), start_new_session=True)  # fmt: skip
    except OSError as error:
        raise FenceError(f"{option}: cannot be run: {error.strerror}") from None
    with process:
        try:
            output = process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            raise FenceError(f"{option}: no end after {seconds:.0f} s") from None
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except OSError:
                pass
    if process.returncode:
        code = process.returncode
        raise FenceError(f"{option}: ended with {f'status {code}' if code > 0 else f'signal {-code}'}")
    return usable(output, option)


def first_line(path: str, option: str) -> str:
    """Return the first line of a file that holds a secret.  Raises Misconfigured that names the option and the file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with open(descriptor, "rb") as file:
            return usable(file.readline(4096), f"{option}: {path}")
    except OSError as error:
        raise Misconfigured(f"{option}: cannot read {path}: {error.strerror}") from None


def usable(output: bytes, what: str) -> str:
    try:
        text = output.decode().rstrip()
    except UnicodeDecodeError:
        raise FenceError(f"{what}: not UTF-8") from None
    if not text or "\0" in text:
        raise FenceError(f"{what}: empty" if not text else f"{what}: has a NUL byte")
    return text
