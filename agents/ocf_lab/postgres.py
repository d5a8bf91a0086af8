"""PostgreSQL as seen from outside: its processes by /proc, its state by postmaster.pid, its readiness by a socket.

Nothing here touches the data directory but the functions under "in a guarded child".
"""

from __future__ import annotations

import errno
import os
import time

from ocf_py.guard import Account
from ocf_py.outcomes import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Union

    from ocf_py.deadline import Deadline

    Address = Union[str, tuple[str, int]]

NAMES = ("postgres", "postmaster")
SETTLE_SECONDS = 2.0
SIGINT, SIGQUIT, SIGKILL, SIGCONT = 2, 3, 9, 18
DEFAULT_SOCKET_DIRECTORY = "/var/run/postgresql"  # RHEL's and Debian's.
# A startup packet that asks for TLS: length 8, code 80877103 (server source: src/include/libpq/pqcomm.h, NEGOTIATE_SSL_CODE).
# The postmaster must accept and fork to answer it with one byte, and a client that goes away after it is not logged
# (src/backend/tcop/backend_startup.c, ProcessStartupPacket).
TLS_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


class Process:
    """A server process: its start time (clock ticks since boot) tells it from a later one with the same pid."""

    __slots__ = ("parent", "pid", "started", "state", "ticks")

    def __init__(self, pid: int, parent: int, started: str, state: str, ticks: int) -> None:
        self.pid, self.parent, self.started, self.state, self.ticks = pid, parent, started, state, ticks

    @property
    def identity(self) -> str:
        return f"{self.pid} {self.started}"

    def alive(self) -> bool:
        return same(self.identity)

    def signal(self, number: int) -> None:
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def about(pid: int) -> tuple[str, Process] | None:
    """Return a process's name and its Process, None where it is gone; a zombie does no more I/O and is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    head, _, tail = text.rpartition(b")")
    fields = tail.split()
    if fields[0] in (b"Z", b"X"):
        return None
    name = head.partition(b"(")[2].decode(errors="replace")
    return name, Process(pid, int(fields[1]), fields[19].decode(), fields[0].decode(), int(fields[11]) + int(fields[12]))


def same(identity: str) -> bool:
    """Return whether the process of this pid and start time is alive."""
    pid, _, started = identity.partition(" ")
    entry = about(int(pid)) if pid else None
    return entry is not None and entry[1].started == started


class Undecided(Error):
    """There is a server process of the owner whose data directory cannot be told."""


class Server:
    """The processes of one data directory, whose real path is `directory`.

    Every PostgreSQL process has the data directory as its working directory (server source: ChangeToDataDir), and reading that
    link asks the kernel's memory only.  `recorded` is the identity of the postmaster as an earlier action found it, or "";
    `uid` is the owner's, None where it is not known.
    """

    def __init__(self, directory: str, uid: int | None, recorded: str) -> None:
        self.directory, self.uid, self.recorded = directory, uid, recorded

    def processes(self) -> list[Process]:
        """Return the living processes of this server.  Raises Undecided for one that may be ours and cannot be told.

        A server that has just been started says so in a moment: it changes to its data directory early on.
        """
        until = time.monotonic() + SETTLE_SECONDS
        while True:
            try:
                return self._processes()
            except Undecided:
                if time.monotonic() > until:
                    raise
            time.sleep(0.05)

    def _processes(self) -> list[Process]:
        candidates = server_processes()
        verdicts = {process.pid: self.owns(process) for process in candidates}
        found = True
        while found:
            found = False
            for process in candidates:
                if verdicts[process.pid] is not True and verdicts.get(process.parent) is True:
                    verdicts[process.pid] = found = True
        for process in candidates:
            if verdicts[process.pid] is None and process.alive():
                raise Undecided(f"cannot tell whose server process {process.pid} is: its working directory does not say")
        return [process for process in candidates if verdicts[process.pid]]

    def owns(self, process: Process) -> bool | None:
        """Return whether a server process works in this directory, None where that cannot be told."""
        if process.identity == self.recorded:
            return True
        try:
            if self.uid is not None and os.stat(f"/proc/{process.pid}").st_uid != self.uid:
                return False
            link = os.readlink(f"/proc/{process.pid}/cwd")
        except FileNotFoundError:
            return False
        except OSError:
            return None
        link = link.removesuffix(" (deleted)")
        if link == self.directory:
            return True
        # Of a file system that was unmounted under the process (umount -l) the link shows the part below its mount point only.
        return None if link == "/" or self.directory.endswith(link) else False


def server_processes() -> list[Process]:
    """Return every process of this node that is named like a server process.  A full scan: for when nothing better is known."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            entry = about(int(name))
            if entry and entry[0] in NAMES:
                found.append(entry[1])
    return found


def postmaster(processes: Iterable[Process], recorded: str) -> Process | None:
    """Return the postmaster among the processes of one server, None where only its children are left.

    `recorded` is the pid that an earlier look found, "" where there is none.  Without it the postmaster is the
    process whose parent is not one of them and that has children of its own.
    """
    by_pid = {process.pid: process for process in processes}
    if recorded and int(recorded) in by_pid:
        return by_pid[int(recorded)]
    parents = {process.parent for process in by_pid.values()}
    heads = [process for process in by_pid.values() if process.parent not in by_pid and process.pid in parents]
    return heads[0] if len(heads) == 1 else None


def pids(processes: Iterable[Process]) -> str:
    numbers = sorted(process.pid for process in processes)
    return ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")


# Readiness.


def address(host: str, port: str, directory: str, listens: str) -> Address:
    """Return where to connect: the path of a unix socket, or a numeric address and a port.

    `host` is the administrator's choice, `directory` that of the socket, `listens` the first of the server's listen_addresses.
    """
    if not host and (directory or not listens):
        host = directory or DEFAULT_SOCKET_DIRECTORY
    host = host or listens
    if host.startswith("/"):
        return f"{host}/.s.PGSQL.{port}"
    return {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "localhost": "127.0.0.1", "::": "::1"}.get(host, host), int(port)


def libpq_address(found: Address) -> tuple[str, str]:
    """Return an address as libpq takes it: host or socket directory, and port."""
    if isinstance(found, str):
        return os.path.dirname(found), found.rpartition(".")[2]
    return found[0], str(found[1])


def ask(address: Address, deadline: Deadline) -> str:
    """Ask the postmaster for a sign of life; return "" when it answers, else what it does instead.

    `address` is the path of a unix socket or a host and port.  Waits no longer than the deadline.
    """
    # The C module under `socket`, which costs several milliseconds more for its enumerations.
    import _socket
    import select

    unix = isinstance(address, str)
    client = _socket.socket(_socket.AF_UNIX if unix else _socket.AF_INET6 if ":" in address[0] else _socket.AF_INET, _socket.SOCK_STREAM)
    poll = select.poll()
    try:
        client.setblocking(False)
        code = client.connect_ex(address)
        while code == errno.EAGAIN and deadline.left():  # The queue of a unix socket is full: nobody accepts.
            time.sleep(0.1)
            code = client.connect_ex(address)
        if code not in (0, errno.EINPROGRESS, errno.EAGAIN):
            return f"refuses connections ({os.strerror(code)})"
        poll.register(client.fileno(), select.POLLOUT)
        if code == errno.EAGAIN or not poll.poll(deadline.left() * 1000):
            return "does not accept connections"
        code = client.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if code:
            return f"refuses connections ({os.strerror(code)})"
        client.send(TLS_REQUEST)
        poll.modify(client.fileno(), select.POLLIN)
        if not poll.poll(deadline.left() * 1000):
            return "does not answer connections"
        return "" if client.recv(1) else "drops connections"
    except OSError as error:
        return f"cannot be asked ({error.strerror})"
    finally:
        client.close()


# In a guarded child.


def launchers(directory: str) -> list[int]:
    """Return the processes that are about to become a server of this directory: pg_ctl, and the shell that it starts it by."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        entry = about(int(name))
        if entry and entry[0] in ("pg_ctl", "sh", "bash", "dash"):
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    if directory.encode() in file.read():
                        found.append(int(name))
            except OSError:
                continue
    return found


def look_up(name: str) -> str:
    """Return the account of a user, "" where there is none."""
    try:
        return Account.look_up(name).encode()
    except KeyError:
        return ""


def look(directory: str) -> dict[str, Any]:
    """Return where the server keeps things and what its postmaster.pid says.

    "places" are pairs of label and path, for pg_wal and the tablespaces that are elsewhere by symbolic link; "pidfile" is the
    list of its lines (server source: src/include/utils/pidfile.h), empty where there is none.
    """
    places = []
    wal = link_target(f"{directory}/pg_wal")
    if wal:
        places.append(("pg_wal", wal))
    try:
        spaces = sorted(os.listdir(f"{directory}/pg_tblspc"))
    except FileNotFoundError:
        spaces = []
    for name in spaces:
        target = link_target(f"{directory}/pg_tblspc/{name}")
        if target:
            places.append((f"tablespace {name}", target))
    return {"places": places, "pidfile": lines_of(f"{directory}/postmaster.pid")}


def lines_of(path: str) -> list[str]:
    try:
        with open(path, errors="replace") as file:
            return [line.strip() for line in file.read().splitlines()]
    except FileNotFoundError:
        return []


def link_target(path: str) -> str:
    """Return where a symbolic link points, "" where the path is no link."""
    try:
        target = os.readlink(path)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return ""
        raise
    return os.path.normpath(os.path.join(os.path.dirname(path), target))


def examine(directory: str, config: str) -> str:
    """Return what is wrong with a data directory in words, "" where a server can be started on it.  Raises OSError."""
    if not os.path.isdir(directory):
        raise FileNotFoundError(errno.ENOENT, "No such directory", directory)
    if not lines_of(f"{directory}/PG_VERSION"):
        return f"PGDATA {directory} holds no database (no PG_VERSION); is the file system mounted?"
    mode = os.stat(directory).st_mode & 0o777
    if mode & 0o027:
        return f"PGDATA {directory} has mode {mode:04o}; the server wants 0700 or 0750"
    config = config or f"{directory}/postgresql.conf"
    if not os.access(config, os.R_OK):
        return f"configuration file {config} cannot be read"
    return ""


def prepare(directory: str, log: str, socket_directory: str, account: str, servers: list[int]) -> dict[str, Any]:
    """Make what the server needs beside its data: its log file and the directory of its socket.  Runs as root.

    Removes postmaster.pid only where its process is alive and certainly no server: the server itself would take that one for
    another postmaster, and clears away any other stale file by itself.  `servers` are the pids of all server processes here.
    Returns the sizes of the logs now, and the pid of a postmaster.pid that was removed.
    """
    from . import selinux

    user = Account.decode(account)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if os.fstat(descriptor).st_uid != user.uid and os.fstat(descriptor).st_size == 0:
        os.fchown(descriptor, user.uid, user.gid)
    size = os.fstat(descriptor).st_size
    os.close(descriptor)
    # The server writes to it, and may not where it has the label of the directory that it was made in.
    if selinux.type_of(log) == "var_log_t":
        selinux.label(log, selinux.LOG)
    if socket_directory and not os.path.isdir(socket_directory):
        os.makedirs(socket_directory)
        os.chown(socket_directory, user.uid, user.gid)
        os.chmod(socket_directory, 0o2775)
        selinux.label(socket_directory, selinux.SOCKETS)
    removed = ""
    lines = lines_of(f"{directory}/postmaster.pid")
    if lines and lines[0].isdigit() and int(lines[0]) not in servers and os.path.exists(f"/proc/{lines[0]}"):
        removed = lines[0]
        os.unlink(f"{directory}/postmaster.pid")
    collected = collected_log(directory)
    return {"size": size, "collected": collected, "collected_size": size_of(collected), "removed": removed}


def collected_log(directory: str) -> str:
    """Return the file that the server's log collector writes to, "" where there is none."""
    for line in lines_of(f"{directory}/current_logfiles"):
        _, _, path = line.partition(" ")
        return path if path.startswith("/") else f"{directory}/{path}"
    return ""


def size_of(path: str) -> int:
    try:
        return os.stat(path).st_size if path else 0
    except OSError:
        return 0


def progress(wanted: list[int], checkpoint: bool) -> str:
    """Return a text that changes while startup or redo of these processes goes on; with `checkpoint`, or at its end, a checkpoint.

    The title that tells them apart is in the process's memory, and reading it can wait for that.
    """
    titles = {}
    for pid in sorted(wanted):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                titles[pid] = file.read()
        except OSError:
            continue
    # The startup process waits for the checkpoint that ends a recovery.  A client's process that has not logged in yet is called
    # "postgres: USER DATABASE HOST startup".
    if any(b": startup" in title for title in titles.values()):
        checkpoint = True
    parts = []
    for pid, title in titles.items():
        try:
            if b": startup" in title or (checkpoint and b": checkpointer" in title):
                entry = about(pid)
                with open(f"/proc/{pid}/io") as counters:
                    done = " ".join(line.split()[1] for line in counters if line.startswith(("rchar", "wchar", "read_b", "write_b")))
                parts.append(f"{pid} {entry[1].ticks if entry else 0} {done}")
        except OSError:
            continue
    return "; ".join(parts)


def why_not(log: str, directory: str, before: dict[str, Any]) -> str:
    """Return the line of the server's log that tells best why it did not come up: the last error since `before` (see prepare)."""
    collected = collected_log(directory)
    lines = tail(log, before["size"])
    if collected:
        lines += tail(collected, before["collected_size"] if collected == before["collected"] else 0)
    grave = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", "could not"))]
    return (grave or lines or [""])[-1].strip()


def tail(path: str, offset: int) -> list[str]:
    """Return the last lines that were appended to a file since it was `offset` bytes long."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(offset if offset <= size else 0, size - 65536))
            return [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        return []
