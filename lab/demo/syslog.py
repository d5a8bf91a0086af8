"""The log daemon of the demonstration's machine: nobody else reads /dev/log there, and whoever logs would wait for ever."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

SOCKET = "/dev/log"
ASIDE = "/dev/log.aside"


class Syslog:
    """Writes what is logged into a file.  A listener that was there before is set aside and put back."""

    def __init__(self, file: Path) -> None:
        self._file = open(file, "wb", buffering=0)  # noqa: SIM115 - closed in __exit__
        with suppress(FileNotFoundError):
            os.rename(SOCKET, ASIDE)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(SOCKET)
        os.chmod(SOCKET, 0o666)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while line := self._socket.recv(65536):
            self._file.write(line.partition(b">")[2].rstrip(b"\0\n") + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)  # Ends the reader; the descriptor stays until it has gone.
        os.unlink(SOCKET)
        with suppress(FileNotFoundError):
            os.rename(ASIDE, SOCKET)
