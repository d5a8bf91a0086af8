"""Small memory of a resource instance on this node, under HA_RSCTMP (/run/resource-agents, emptied at boot).

Nothing here is needed to be right: a lost file means that an agent looks again.  It is never taken for "stopped".
"""

from __future__ import annotations

import errno
import os

from .outcomes import CannotRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BOOT_ID = "/proc/sys/kernel/random/boot_id"


def boot_id() -> str:
    """Return the kernel's identifier of this boot: a record of another boot speaks of processes that are gone."""
    with open(BOOT_ID) as file:
        return file.read().strip()


def file_name(text: str) -> str:
    """Return text as a file name: what is unusual in names becomes %XX."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.:+@") else "".join(f"%{b:02X}" for b in c.encode()) for c in text) or "%"


def directory(rsctmp: str, instance: str) -> str:
    return f"{rsctmp}/ocf_py/{file_name(instance)}"


def make_directory(path: str) -> None:
    """Make a directory for records.  Raises `CannotRecord`."""
    try:
        os.makedirs(path, 0o755, exist_ok=True)
    except OSError as error:
        raise CannotRecord(f"cannot record in {path}: {os.strerror(error.errno or errno.EIO)}") from None


def encode(facts: Mapping[str, str]) -> bytes:
    escape = {"\\": "\\\\", "\n": "\\n", "\0": "\\0"}
    return "".join(f"{key} {''.join(escape.get(c, c) for c in value)}\n" for key, value in facts.items()).encode("utf-8", "surrogateescape")


def decode(text: bytes) -> dict[str, str]:
    facts = {}
    for line in text.decode("utf-8", "surrogateescape").split("\n"):
        key, blank, value = line.partition(" ")
        if blank:
            facts[key] = plain(value) if "\\" in value else value
    return facts


def plain(value: str) -> str:
    """Return an escaped value as it was before `encode`."""
    pieces = value.split("\\\\")
    return "\\".join(piece.replace("\\n", "\n").replace("\\0", "\0") for piece in pieces)


class Memory:
    """Facts of one instance that outlive an action: names and texts.

    Read once, at the first question; written whole, by rename, so that an agent may be killed at any instruction.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._facts: dict[str, str] | None = None

    @property
    def facts(self) -> dict[str, str]:
        if self._facts is None:
            try:
                with open(self.path, "rb") as file:
                    facts = decode(file.read())
            except OSError:
                facts = {}
            self._facts = facts if facts.get("boot") == boot_id() else {}
        return self._facts

    def get(self, name: str, default: str = "") -> str:
        return self.facts.get(name, default)

    def section(self, prefix: str) -> dict[str, str]:
        """Return the facts whose names begin with `prefix`, without it."""
        return {name[len(prefix) :]: value for name, value in self.facts.items() if name.startswith(prefix)}

    def __iter__(self) -> Iterator[str]:
        return iter(self.facts)

    def update(self, **facts: str | None) -> None:
        """Set facts, or forget those given as None, and write them down.  Raises `CannotRecord`."""
        self.replace({**self.facts, **facts})

    def replace(self, facts: Mapping[str, str | None]) -> None:
        """Write down these facts and no others; nothing is written where nothing changed.  Raises `CannotRecord`."""
        wanted = {"boot": boot_id(), **{name: value for name, value in facts.items() if value is not None and name != "boot"}}
        if wanted == self.facts:
            return
        folder = self.path.rpartition("/")[0]
        make_directory(folder)
        half = f"{self.path}.{os.getpid()}"
        try:
            descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                text = encode(wanted)
                if os.write(descriptor, text) != len(text):
                    raise OSError(errno.ENOSPC, "short write")
            finally:
                os.close(descriptor)
            os.rename(half, self.path)
        except OSError as error:
            try:
                os.unlink(half)
            except OSError:
                pass
            raise CannotRecord(f"cannot record in {folder}: {os.strerror(error.errno or errno.EIO)}") from None
        self._facts = wanted

    def forget(self) -> None:
        """Remove the file, and what killed actions left half written."""
        self._facts = {}
        folder, _, name = self.path.rpartition("/")
        try:
            for entry in os.listdir(folder):
                if entry == name or entry.startswith(name + "."):
                    os.unlink(f"{folder}/{entry}")
        except OSError:
            return
