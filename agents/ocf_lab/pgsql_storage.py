"""ocf:lab:pgsql-storage, a PostgreSQL server whose storage is watched: its policy from top to bottom.

The mechanics are in the modules beside this one.
"""

from __future__ import annotations

import os
import time

import ocf_py as ocf
from ocf_lab import postgres, probe, storage
from ocf_py import guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A checkpoint explains for as long as its usual interval (checkpoint_timeout) that queries are not answered.  On a busy server there
# always is one: without an end to that no silence would ever be a failure.
CHECKPOINT_SECONDS = 300.0
ANSWER_SECONDS = 5.0  # A postmaster that lives answers a connection at once; this is patience for an overloaded node.
SQL_SECONDS = 10.0
# How long processes get to quit, and to die, in the stops that cannot wait; together with the rest of such a stop at most 3 s.
QUIT_SECONDS, KILL_SECONDS = 1.0, 1.0
SERVER, SQL = "silent.server", "silent.sql"  # In the memory: since when there was no answer, and the progress seen then.
READY = ("ready", "standby")
STOPPING = "stopping"  # In postmaster.pid (server source: src/include/utils/pidfile.h).


def incomplete(why: str) -> ocf.Error:
    """Return the error of a stop.  Pacemaker shows the last failure of a resource only, so it has to say what hangs as well."""
    return ocf.Error(f"stop incomplete, fencing needed: {why}")


def word(value: str) -> str | None:
    return "has a blank" if " " in value else None


class PgsqlStorage(ocf.Agent):
    """Runs a PostgreSQL server and watches the storage under it.

    Takes the parameters of ocf:heartbeat:pgsql for a single server. Every monitor, at level 0 already, reads from and writes to
    the storage of the data directory, of pg_wal and of each tablespace, past the page cache, and reports storage that hangs,
    fails or is full within io_timeout, naming the devices down to the paths. A stop on storage that is known to hang fails at
    once, so that the node is fenced then and not when the stop times out.

    Level 10 adds a query, level 20 a commit that flushes the WAL; both need the Python package psycopg (3.1 or later).

    Replication is not managed here: use ocf:heartbeat:pgsqlms (PAF) or ocf:heartbeat:pgsql for that.
    """

    name = "pgsql-storage"
    version = "0.1.0"

    # Parameters of ocf:heartbeat:pgsql.
    pgctl = ocf.path("Path of pg_ctl", default="/usr/bin/pg_ctl")
    psql = ocf.path(
        "Path of psql, not used",
        "Accepted for the sake of ocf:heartbeat:pgsql. Queries go through psycopg.",
        default="/usr/bin/psql",
    )
    pgdata = ocf.path("Data directory", "The data directory (PGDATA).", default="/var/lib/pgsql/data", unique_group="pgdata")
    pgdba = ocf.string("Owner of the server", "The system's user who owns the data and runs the server.", default="postgres", check=word)
    pghost = ocf.string(
        "Address of the server",
        "Handed to the server as -h, and where the checks connect to. Leave it unset to connect by the unix socket.",
    )
    pgport = ocf.integer(
        "Port of the server",
        "Where the checks connect to as long as the server has not told its port (postmaster.pid). The server itself takes the port "
        "from postgresql.conf or start_opt.",
        default=5432,
        at_least=1,
        at_most=65535,
    )
    pglibs = ocf.string("Directory of shared libraries", "Becomes the server's LD_LIBRARY_PATH. Unset, the system finds them by itself.")
    start_opt = ocf.string("Options of the server", "Handed to the server as they are (pg_ctl -o).")
    ctl_opt = ocf.string("Options of pg_ctl", "Additional options of pg_ctl, separated by blanks.")
    pgdb = ocf.string("Database of the checks", "The database that the checks of levels 10 and 20 connect to.", default="postgres")
    logfile = ocf.path(
        "File for the server's output",
        "Where the server's standard output and error go (pg_ctl -l). Must not be on the guarded storage.",
        default="/var/log/pgsql-storage.log",
    )
    socketdir = ocf.path(
        "Directory of the unix socket",
        "Made at start where it does not exist. Where the checks connect to as long as the server has not told its own.",
    )
    stop_escalate = ocf.duration(
        "How long a stop is gentle",
        "How long a fast shutdown may take before the server's processes are told to quit at once; never longer than 80 % of the "
        "time that the stop has.",
        default="90",
    )
    monitor_user = ocf.string("Database user of the checks", "The user of the checks of levels 10 and 20, pgdba where it is not set.")
    monitor_password = ocf.string("Password of the checks", "The password of monitor_user.", secret=True)
    monitor_sql = ocf.string("Query of level 10", "What the check of level 10 asks. Any error of it but those of connecting is a failure.",
                             default="select now();")  # fmt: skip
    config = ocf.path("Configuration file", "The server's configuration file, where it is not postgresql.conf in the data directory.")
    rep_mode = ocf.string("Replication mode, only none", "Accepted for the sake of ocf:heartbeat:pgsql. Any value but none is refused.",
                          default="none")  # fmt: skip

    # Parameters of this agent.
    io_timeout = ocf.duration_or_auto(
        "When unanswered I/O is a hang",
        "After how long unanswered I/O of a check means that the storage hangs. With auto this is, on iSCSI, the time that the loss of "
        "the path in use can take (recv_tmo + ping_tmo + recovery_tmo of the sessions, plus 5 s, plus the queueing time of a numeric "
        "no_path_retry), and 20 s elsewhere. Where the device has no path left, two seconds of silence are enough.",
        default="auto",
        at_least=1.0,
        at_most=600.0,
    )
    io_slow = ocf.duration(
        "When slow I/O is worth a warning",
        "The resource is degraded when an I/O of a check, or a query, took longer. 0 turns it off.",
        default="1s",
    )
    io_slow_max = ocf.duration(
        "When slow I/O is a failure",
        "How long an I/O of a check may be unanswered though the device completes others. 0 means for ever.",
        default="30s",
    )
    freeze_max = ocf.duration(
        "How long a file system may be frozen",
        "The resource is only degraded for this long while its file system is frozen (fsfreeze of a backup); then it has failed.",
        default="60s",
    )
    storage_check = ocf.choice(
        "What the storage check does",
        "write reads and writes, read only reads, none leaves the storage alone.",
        options=("write", "read", "none"),
        default="write",
    )
    start_grace = ocf.duration(
        "How long a silent server is only a warning",
        "How long a server that is starting or recovering may leave the checks without an answer, whether or not it makes progress. "
        "After that the resource is degraded as long as startup, redo or a checkpoint makes progress, and has failed at the second "
        "check in a row without any.",
        default="0s",
    )
    on_auth_error = ocf.choice(
        "What a refused login means",
        "What it means when the server refuses the login of the checks of levels 10 and 20: nothing, a warning, or a failure.",
        options=("ok", "degraded", "fail"),
        default="degraded",
    )

    # Parameters against each other, and against this node.

    def validate(self) -> None:
        if self.rep_mode != "none":
            raise ocf.Misconfigured(
                f"rep_mode={self.rep_mode}: this agent runs a single server; use ocf:heartbeat:pgsqlms (PAF) or ocf:heartbeat:pgsql"
            )
        if self.logfile.startswith(self.pgdata + "/"):
            raise ocf.Misconfigured("logfile must not be in pgdata: it tells why a start failed when the storage is gone")
        if self.io_slow_max and self.io_timeout and self.io_slow_max < self.io_timeout:
            raise ocf.Misconfigured(f"io_slow_max={self.io_slow_max:g}s is less than io_timeout={self.io_timeout:g}s")

    def validate_here(self) -> None:
        from ocf_py import commands

        commands.require(self.pgctl)
        user = self.account()
        if self.check_level >= 10:
            # Start has its own look at the data directory, after it has waited for the storage.
            self.examine(user, ocf.InvalidHere)
            labels = self.labels()
            if labels:
                raise ocf.InvalidHere(f"SELinux: {'; '.join(labels)}")
            self.try_login()

    def examine(self, user: guard.Account, wrong: type[ocf.Error]) -> None:
        """Raise `wrong` with what is the matter with the data directory."""
        place = probe.Place("PGDATA", self.pgdata)
        try:
            problem = self.guarded("pgdata", postgres.examine, self.pgdata, self.config, within=self.storage.limits().hung, user=user)
        except OSError as error:
            raise wrong(probe.describe_error(error, place)) from None
        if problem:
            raise wrong(problem)

    def labels(self) -> list[str]:
        """Return which SELinux labels keep the server from its data, and then the commands; where they are enforced, else nothing.

        All is logged: an exit reason may be too short for it.
        """
        from ocf_lab import selinux

        if not selinux.enabled():
            return []
        try:
            wrong, remedy = self.guarded("labels", selinux.examine, self.pgctl, self.pgdata, within=self.storage.limits().hung)
        except (ocf.Error, OSError) as error:
            self.log.warning(f"SELinux labels not examined: {error}")
            return []
        for text in (*wrong, *(f"to put it right: {command}" for command in remedy)):
            self.log.warning(f"SELinux: {text}")
        return [*wrong[:1], *remedy] if selinux.enforcing() else []

    def try_login(self) -> None:
        """Raise InvalidHere when a server that is running refuses the login of the checks."""
        from ocf_lab import sql

        found = self.ask_sql(commit=False) if self.observe().active else {}
        if sql.meaning(found.get("sqlstate", "")) == sql.LOGIN:
            raise ocf.InvalidHere(f"monitor login rejected: {found['error']}")

    # Who and where.

    seen_silent = False

    @property
    def storage(self) -> storage.Storage:
        settings = storage.Settings(self.io_timeout, self.io_slow, self.io_slow_max, self.freeze_max, self.storage_check)
        return storage.Storage(self, "PGDATA", self.pgdata, settings, postgres.look)

    def account(self) -> guard.Account:
        """Return the owner of the server: a name service can hang, so it is asked once, in a guarded child."""
        known = self.memory.get("account")
        if known.partition(" ")[0] == self.pgdba:
            return guard.Account.decode(known)
        found = self.guarded(f"user {self.pgdba}", postgres.look_up, self.pgdba)
        if not found:
            raise ocf.NotInstalled(f"user {self.pgdba} does not exist on this node")
        return guard.Account.decode(found)

    def processes(self) -> list[postgres.Process]:
        """Return the living processes of this server.  Raises where that cannot be told."""
        self.await_launch()
        known = self.memory.get("account")
        uid = guard.Account.decode(known).uid if known else None
        server = postgres.Server(self.memory.get("directory") or self.pgdata, uid, self.memory.get("postmaster"))
        found = server.processes()
        if not found and not self.memory.get("directory") and postgres.server_processes():
            # There is a server, and pgdata may name its directory by way of a symbolic link.
            server.directory = self.guarded("pgdata path", os.path.realpath, self.pgdata, within=self.storage.limits().hung)
            found = server.processes()
        return found

    def await_launch(self) -> None:
        """Wait until what a killed start has under way has become a server, or has gone: until then it has no name to know it by."""
        wait = self.deadline.at_most(postgres.SETTLE_SECONDS)
        while self.memory.get("launching") and wait.left():
            if not self.guarded("launchers", postgres.launchers, self.pgdata):
                return
            time.sleep(0.05)

    def postmaster(self, processes: list[postgres.Process]) -> postgres.Process | None:
        """Return the postmaster among the server's processes, None where only its children are left."""
        recorded = self.memory.get("postmaster").split()
        head = postgres.postmaster(processes, recorded[0] if recorded else "")
        if not head and processes:
            try:
                told = self.guarded("postmaster.pid", postgres.look, self.pgdata, within=self.storage.limits().hung)
            except (ocf.Error, OSError):
                return None
            head = next((process for process in processes if told["pidfile"][:1] == [str(process.pid)]), None)
        return head

    def note(self, **facts: str | None) -> None:
        """Remember what later actions need not look for again; where that cannot be written, they look again."""
        try:
            self.memory.update(**facts)
        except ocf.CannotRecord as error:
            self.log.warning(str(error))

    def observe(self) -> ocf.State:
        """Tell by the processes alone whether the server is here: no storage, no network, no SQL."""
        if postgres.same(self.memory.get("postmaster")):
            return ocf.RUNNING
        processes = self.processes()
        if not processes:
            return ocf.STOPPED
        head = self.postmaster(processes)
        if not head:
            raise ocf.Error(f"the postmaster is gone and {len(processes)} server processes are left (pids {postgres.pids(processes)})")
        self.note(postmaster=head.identity)
        return ocf.RUNNING

    def nothing_left(self) -> bool:
        return not postgres.server_processes()

    # Monitors.

    @ocf.monitor(timeout="40s", interval="10s")
    def serves(self) -> ocf.State | None:
        """Check the storage, and that the postmaster answers."""
        troubles: list[probe.Trouble] = []
        told: dict[str, Any] = {}
        state = ocf.RUNNING
        try:
            if self.storage_check != "none":
                troubles, told = self.storage.check(self.account())
        except ocf.CannotRecord as error:
            state = state.degraded(f"storage not checked: {error}")
        if troubles and troubles[0].fails:
            self.storage.name_disks(troubles[0])
            raise troubles[0]
        for trouble in troubles:
            state = state.degraded(str(trouble))
        # Where the storage has not answered, the time is up, and the next monitor judges both.
        answer = None if any(trouble.unanswered for trouble in troubles) else self.answers(told.get("pidfile", []))
        return state.degraded(answer.reason) if answer else state

    def answers(self, pidfile: list[str]) -> ocf.State | None:
        """Ask the postmaster for a sign of life, where postmaster.pid says that it listens."""
        if pidfile:
            self.note(listens="\t".join(pidfile[3:6]))
        if pidfile[7:8] == [STOPPING]:
            return self.silent(SERVER, "the server is shutting down, and not by the cluster", checkpoint=float("inf"))
        problem = postgres.ask(self.address(), self.deadline.at_most(ANSWER_SECONDS))
        if problem:
            return self.silent(SERVER, f"the server {problem}")
        self.spoke(SERVER)
        return None

    def address(self) -> postgres.Address:
        """Return where the server listens: what postmaster.pid said last, else the parameters."""
        port, directory, listens = (self.memory.get("listens") or "\t\t").split("\t")
        return postgres.address(self.pghost, port or str(self.pgport), directory or self.socketdir, listens)

    def spoke(self, what: str) -> None:
        if self.memory.get(what):
            self.note(**{what: None})

    def silent(self, what: str, problem: str, checkpoint: float = 0.0) -> ocf.State:
        """Judge a server that does not serve: failed at the second look in a row without progress of startup or redo.

        A checkpoint is progress for `checkpoint` seconds; the postmaster has no part in it, and answers meanwhile.  The looks at the
        postmaster and those by SQL are counted apart: the one may answer for ever while the other never does.
        """
        self.seen_silent = True
        if not self.observe().active:  # It was killed after this monitor had seen it.
            raise ocf.NotRunning(f"the server ended during this check: {problem}")
        processes = self.processes()
        head = next((process for process in processes if process.identity == self.memory.get("postmaster")), None)
        if head and head.state in "Tt":
            problem = f"the postmaster (pid {head.pid}) is stopped by a signal, kill -CONT resumes it; {problem}"
        now = time.monotonic()
        since, _, before = self.memory.get(what, f"{now:.0f}\t").partition("\t")
        seconds = max(0.0, now - float(since))  # It is noted in whole seconds.
        looked_for = "startup, redo or checkpoint" if seconds < checkpoint else "startup or redo"
        try:
            progress = self.guarded("progress", postgres.progress, [process.pid for process in processes], seconds < checkpoint) or "none"
        except (ocf.Error, OSError):
            progress = "none"  # Nor is there any to be seen; and the text of an error changes with its seconds.
        if progress != before:
            self.note(**{what: f"{since}\t{progress}"})
        if not before:
            return ocf.RUNNING.degraded(f"{problem}; a failure if the next check finds the same")
        if progress != before:
            return ocf.RUNNING.degraded(f"{problem} for {seconds:.0f} s; {looked_for} goes on")
        if seconds < self.start_grace:
            return ocf.RUNNING.degraded(f"{problem} for {seconds:.0f} s, as start_grace allows")
        raise ocf.Error(f"{problem} for {seconds:.0f} s, without progress of {looked_for}")

    @ocf.monitor(level=10, timeout="40s", interval="31s")
    def query(self) -> ocf.State | None:
        """Run a query; level 20 does that on the way."""
        return self.sql(commit=False) if self.check_level < 20 else None

    @ocf.monitor(level=20, timeout="40s", interval="61s")
    def commit(self) -> ocf.State | None:
        """Run a query, and a commit that flushes the WAL."""
        return self.sql(commit=True)

    def ask_sql(self, commit: bool) -> dict[str, Any]:
        """Return what sql.check found, by a child that is the server's owner, so that peer authentication works."""
        from ocf_lab import sql

        host, port = postgres.libpq_address(self.address())
        seconds = min(SQL_SECONDS, self.deadline.left())
        connection = {"host": host, "port": port, "dbname": self.pgdb, "user": self.monitor_user or self.pgdba,
                      "password": self.monitor_password, "connect_timeout": str(max(2, int(seconds)))}  # fmt: skip
        call = sql.Question("sql", sql.check, connection, self.monitor_sql, commit, within=seconds, user=self.account())
        self.guards.run(call)
        if isinstance(call.error, ocf.Hung) and call.child:
            call.child.end()  # Nothing that it could still find out would be of use to the next monitor.
            if not call.loaded:
                return {"missing": f"psycopg was still not loaded after {call.error.seconds:.0f} s"}
        found: dict[str, Any] = call.result()
        return found

    def sql(self, commit: bool) -> ocf.State | None:
        if self.seen_silent:
            return None  # This monitor has had its look.
        try:
            found = self.ask_sql(commit)
        except ocf.Hung as hung:
            return self.silent(SQL, f"SQL is unanswered for {hung.seconds:.0f} s", CHECKPOINT_SECONDS)
        except ocf.CannotRecord as error:
            return ocf.RUNNING.degraded(f"SQL checks skipped: {error}")
        if "missing" in found:
            return ocf.RUNNING.degraded(f"SQL checks skipped: {found['missing']}")
        if "error" in found:
            return self.sql_error(found["sqlstate"], found["error"])
        self.spoke(SQL)
        slowest = max(("WAL flush", found["commit"] or 0.0), ("query", found["query"]), key=lambda pair: pair[1])
        if self.io_slow and slowest[1] >= self.io_slow:
            return ocf.RUNNING.degraded(f"database slow: {slowest[0]} took {slowest[1]:.1f} s")
        return None

    def sql_error(self, sqlstate: str, text: str) -> ocf.State | None:
        from ocf_lab import sql

        meaning = sql.meaning(sqlstate)
        if meaning == sql.TRANSITIONAL:
            return self.silent(SQL, f"SQL: {text}", CHECKPOINT_SECONDS)
        self.spoke(SQL)
        if meaning == sql.LOGIN and self.on_auth_error == "ok":
            return None
        if meaning in sql.WARNINGS and not (meaning == sql.LOGIN and self.on_auth_error == "fail"):
            return ocf.RUNNING.degraded(f"{sql.WARNINGS[meaning]}: {text}")
        raise ocf.Error(f"SQL check failed ({sqlstate}): {text}")

    # Start.

    def prepare_start(self) -> None:
        """End what a killed postmaster has left: its children hold the shared memory, and they write."""
        processes = self.processes()
        if processes and not self.postmaster(processes):
            self.log.warning(f"ending {len(processes)} server processes without a postmaster (pids {postgres.pids(processes)})")
            self.end(processes, quit_seconds=self.deadline.left() / 4)

    def await_ready(self) -> None:
        user = self.account()
        while True:
            told = self.guarded("postmaster.pid", postgres.look, self.pgdata, within=self.storage.limits().hung, user=user)
            status = told["pidfile"][7] if len(told["pidfile"]) > 7 else "starting"
            if status in READY:
                return
            if self.deadline.left() < 1.0:
                raise ocf.Error(f"the server is {status} for {self.deadline.spent():.0f} s already, and not ready")
            time.sleep(0.2)

    @ocf.action(timeout="120s")
    def start(self) -> None:
        user = self.account()
        # What was where may have changed since the last start: device numbers do when a volume is activated anew.
        self.storage.remember([])
        self.await_storage(user)
        self.examine(user, ocf.Error)
        labels = self.labels()
        directory = self.guarded("pgdata path", os.path.realpath, self.pgdata, within=self.storage.limits().hung)
        # Raises where it cannot be written: a server that no later action knows of is not started.
        facts = {"account": user.encode(), "directory": directory, "queueing": self.storage.queueing()}
        self.memory.update(**facts, **dict.fromkeys((SERVER, SQL)), launching="yes")
        servers = [process.pid for process in postgres.server_processes()]
        before = self.guarded("files", postgres.prepare, self.pgdata, self.logfile, self.socketdir, user.encode(), servers,
                              within=self.storage.limits().hung, writes=True)  # fmt: skip
        if before["removed"]:
            self.log.warning(f"removed a stale postmaster.pid: process {before['removed']} is no server of this directory")
        self.launch(user, before, labels)
        self.note(launching=None)

    def await_storage(self, user: guard.Account) -> None:
        """Wait for storage that does not answer, until half of the time: it may come back, and a server beneath it could only be fenced.

        Storage that answers with errors is not waited for: this may be the only node that has lost it.
        """
        if self.storage_check == "none":
            return
        patience, told = self.deadline.part(0.5), ""
        while True:
            troubles = [trouble for trouble in self.storage.check(user, within=patience)[0] if trouble.fails or trouble.unanswered]
            if not troubles:
                return
            trouble = troubles[0]
            if patience.left() < 1.0 or isinstance(trouble, probe.StorageError):
                raise ocf.Error(f"start refused: {trouble}")
            if str(trouble) != told:
                told = str(trouble)
                self.log.warning(f"waiting for the storage: {told}")
            time.sleep(1.0)

    def launch(self, user: guard.Account, before: dict[str, Any], labels: list[str]) -> None:
        """Start the server with pg_ctl, which waits for it and notices when it dies.

        Labels that look wrong do not keep it from trying, as a site may have a policy of its own; they explain a refusal.
        """
        options = [f"-c config_file={self.config}"] if self.config else []
        options += [f"-h {self.pghost}"] if self.pghost else []
        options += [self.start_opt] if self.start_opt else []
        argv = [self.pgctl, *self.ctl_opt.split(), "start", "-w", "-t", str(max(1, int(self.deadline.left()))),
                "-D", self.pgdata, "-l", self.logfile]  # fmt: skip
        argv += ["-o", " ".join(options)] if options else []
        try:
            self.run(*argv, env={"LD_LIBRARY_PATH": self.pglibs} if self.pglibs else {}, user=user, target="pg_ctl start")
        except ocf.Error as error:
            try:
                cause = self.guarded("server log", postgres.why_not, self.logfile, self.pgdata, before, within=2.0)
            except (ocf.Error, OSError):
                cause = ""
            if labels:
                raise ocf.Error(f"SELinux: {labels[0]}, the commands are in the log: {cause or error}") from None
            late = isinstance(error, ocf.DeadlineExceeded) or not self.deadline.left()
            what = f"the server is not ready after {self.deadline.spent():.0f} s" if late else "the server did not come up"
            raise ocf.Error(f"{what}: {cause or error}") from None

    # Stop.

    @ocf.action(timeout="120s")
    def stop(self) -> None:
        """Shut the server down, or end it where its storage is known to hang: then nothing gentle could ever finish."""
        processes = self.processes()
        head = self.postmaster(processes) if not self.storage.stuck() else None
        gentle = self.deadline.at_most(min(self.stop_escalate, self.deadline.left() * 0.8) if head else 0.0)
        probes = self.probes_for_stop() if head else []
        with self.guards.beside(*probes) as checks:
            checks.step(0.2)
            hung = any(isinstance(one.trouble(), probe.StorageHung) for one in probes if one.done)
            if head and not hung:
                head.signal(postgres.SIGINT)
                for process in processes:
                    if process.state in "Tt":
                        process.signal(postgres.SIGCONT)
            while processes and gentle.left() and not hung:
                if checks.step(0.1):
                    time.sleep(0.1)
                hung = any(isinstance(one.trouble(), probe.StorageHung) for one in probes if one.done)
                processes = self.processes()
        if processes:
            self.log.warning(f"telling {len(processes)} server processes to quit after {self.deadline.spent():.1f} s")
            self.end(processes, quit_seconds=min(10.0, self.deadline.left() / 3) if head and not hung else QUIT_SECONDS)

    def probes_for_stop(self) -> list[probe.Probe]:
        """Return probes to run beside a shutdown, none where they cannot be had: a stop goes on without."""
        try:
            return self.storage.probes(self.storage.places(), self.account(), set()) if self.storage_check != "none" else []
        except ocf.Error as error:
            self.log.warning(f"stopping without a look at the storage: {error}")
            return []

    def end(self, processes: list[postgres.Process], quit_seconds: float) -> None:
        """Tell each process to quit, then kill it.  Raises where some are left: nothing ends a process in uninterruptible sleep.

        Not by pg_ctl: told to stop, the postmaster writes to postmaster.pid before it passes a signal on.
        """
        for number, seconds in ((postgres.SIGQUIT, quit_seconds), (postgres.SIGKILL, KILL_SECONDS)):
            for process in processes:
                process.signal(number)
            wait = self.deadline.at_most(seconds)
            while wait.left() and any(process.alive() for process in processes):
                time.sleep(0.05)
            processes = self.processes()
            if not processes:
                return
        sleeping = sum(1 for process in processes if process.state == "D")
        what = f"{len(processes)} server processes cannot be ended, {sleeping} of them in uninterruptible sleep"
        stuck = self.storage.stuck()
        raise incomplete(f"{stuck}; {what}" if stuck else f"{what} (pids {postgres.pids(processes)})")

    def confirm_stopped(self) -> None:
        """Raise while something that this node began may still write, and while the storage hangs: it could not be released."""
        stuck = self.storage.stuck()
        if stuck:
            raise incomplete(stuck)
        writers = self.storage.writers()
        if writers:
            child = writers[0]
            raise incomplete(f"process {child.pid} ({child.target}) of {child.age:.0f} s ago may still write")
        if self.storage_check == "none" or not self.storage.devices():
            return
        troubles = [trouble for trouble in self.storage.check(self.account())[0] if trouble.fails and not trouble.missing]
        for trouble in troubles:
            if isinstance(trouble, probe.StorageHung) or not self.storage.settled():
                raise incomplete(str(trouble))
