"""A real PostgreSQL for tests: a data directory, its configuration, and a connection.  Agents start and stop the server."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

OWNER = "postgres"
TEMPLATES = Path("/var/tmp/ocf-lab-databases")
SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{socketdir}'
port = {port}
shared_buffers = 16MB
max_connections = 20
max_wal_size = 64MB
min_wal_size = 32MB
wal_buffers = 1MB
autovacuum = off
log_min_messages = log
"""


def bin_directory() -> Path:
    """Return the directory of the server's programs: every root has exactly one version."""
    (found,) = Path("/usr/lib/postgresql").glob("*/bin")
    return found


class Database:
    """A database cluster in `directory`, which need not exist.

    `wal_directory` and `tablespace` are directories elsewhere, on disks of their own, or None.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 5432,
        socketdir: str = "/tmp",
        wal_directory: Path | None = None,
        settings: str = "",
        auth: str = "trust",
        password: str = "",
    ) -> None:
        self.directory, self.port, self.socketdir = directory, port, socketdir
        self.wal_directory, self.settings, self.auth, self.password = wal_directory, settings, auth, password
        self.bin = bin_directory()

    def initdb(self) -> None:
        """Make the cluster, a copy of a template that is made once per kind of authentication."""
        template = TEMPLATES / f"{self.bin.parent.name}-{self.auth}-{len(self.password)}"
        if not template.exists():
            TEMPLATES.mkdir(parents=True, exist_ok=True)
            half = template.with_suffix(f".{os.getpid()}")
            own(half)
            words = ["-A", self.auth, "-N", "-E", "UTF8", "--locale=C"]
            if self.password:
                secret = half.with_suffix(".password")
                secret.write_text(self.password)
                shutil.chown(secret, OWNER)
                words += [f"--pwfile={secret}"]
            self.run("initdb", "-D", str(half), *words)
            half.rename(template)
        own(self.directory)
        subprocess.run(["cp", "-a", f"{template}/.", str(self.directory)], check=True)
        if self.wal_directory:
            own(self.wal_directory)
            for entry in (self.directory / "pg_wal").iterdir():
                subprocess.run(["cp", "-a", str(entry), str(self.wal_directory)], check=True)
            shutil.rmtree(self.directory / "pg_wal")
            (self.directory / "pg_wal").symlink_to(self.wal_directory)
        with open(self.directory / "postgresql.conf", "a") as file:
            file.write(SETTINGS.format(socketdir=self.socketdir, port=self.port) + self.settings)

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of the server's programs as its owner."""
        argv = ["runuser", "-u", OWNER, "--", str(self.bin / program), *words]
        return subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/")

    def parameters(self) -> dict[str, str]:
        """Return what an agent needs to be told of this database."""
        return {
            "pgctl": str(self.bin / "pg_ctl"),
            "psql": str(self.bin / "psql"),
            "pgdata": str(self.directory),
            "pgport": str(self.port),
            "socketdir": self.socketdir,
            "logfile": f"/var/log/postgresql-{self.port}.log",
        }

    def connect(self, **more: Any) -> psycopg.Connection[Any]:
        """Connect as the superuser by the unix socket."""
        words: dict[str, Any] = {"host": self.socketdir, "port": self.port, "user": OWNER, "dbname": "postgres", "autocommit": True,
                                 "connect_timeout": 5, "password": self.password or None, **more}  # fmt: skip
        return psycopg.connect(**words)

    def execute(self, *statements: str) -> list[Any]:
        """Run statements and return the rows of the last one."""
        rows: list[Any] = []
        with self.connect() as server:
            for statement in statements:
                cursor = server.execute(statement)
                rows = cursor.fetchall() if cursor.description else []
        return rows

    def make_tablespace(self, name: str, directory: Path) -> None:
        own(directory)
        self.execute(f"CREATE TABLESPACE {name} LOCATION '{directory}'")

    def processes(self) -> list[int]:
        """Return the pids of the server's processes, by their working directory."""
        found = []
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.readlink(f"/proc/{entry}/cwd") == os.path.realpath(self.directory):
                    found.append(int(entry))
            except OSError:
                continue
        return found

    def postmaster(self) -> int:
        """Return the pid that postmaster.pid names."""
        return int((self.directory / "postmaster.pid").read_text().split("\n")[0])

    def log(self) -> str:
        try:
            return Path(self.parameters()["logfile"]).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def start_by_hand(self) -> None:
        """Start the server without an agent."""
        log = self.parameters()["logfile"]
        Path(log).touch()
        shutil.chown(log, OWNER)
        self.run("pg_ctl", "-w", "-D", str(self.directory), "-l", log, "start")

    def stop_by_hand(self) -> None:
        self.run("pg_ctl", "-w", "-D", str(self.directory), "-m", "fast", "stop")


def own(directory: Path) -> None:
    """Make a directory that only the server's owner may enter."""
    directory.mkdir(parents=True, exist_ok=True)
    entry = pwd.getpwnam(OWNER)
    os.chown(directory, entry.pw_uid, entry.pw_gid)
    directory.chmod(0o700)


def ended(pids: Sequence[int], within: float = 10.0) -> bool:
    """Wait until processes are gone; return whether they are."""
    until = time.monotonic() + within
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True
