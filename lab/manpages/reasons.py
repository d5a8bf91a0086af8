"""What agents say when something is wrong, and what to do then.  An ellipsis stands for names and numbers."""

from __future__ import annotations

# Exit reason, meaning and advice.  Those of storage are of both agents.
STORAGE = (
    ("storage hang: … unanswered for …", ("An error: the storage did not answer within `io_timeout` and completed nothing meanwhile. The "
     "devices follow, down to the paths and their states: look at the paths with `multipath -ll` and at the sessions with "
     "`iscsiadm -m session -P 3`. The node has to be fenced, since what waits for a dead disk cannot be ended.")),
    ("storage hang: … though other I/O completes", "An error: the device answers others, but left a check alone for `io_slow_max`."),
    ("storage not answering yet: …", ("A warning: the time of this monitor ended first, the next one judges. Give the monitor a "
     "timeout above `io_timeout`.")),
    ("storage slow: …", "A warning: an answer took longer than `io_slow`."),
    ("I/O error: …", "An error, of the device or of the file system on it; the kernel's log has more."),
    ("overloaded: the storage check had no chance to run for …", ("A warning: the node has no processor time left, and nothing is known of "
     "the storage.")),
    ("storage not checked: …", "A warning: the check could not be made, for the reason that follows; nothing is known of the storage."),
)  # fmt: skip

STOP = (
    ("stop incomplete, fencing needed: …", ("The error of a stop that cannot prove that nothing of this node reaches the storage any more. "
     "Pacemaker fences the node for it. Without fencing the resource is blocked: repair what is named, or switch the node off and "
     "tell Pacemaker so with `pcs stonith confirm`.")),
)  # fmt: skip

PGSQL = (
    ("storage hang: file system frozen for …", ("An error: frozen for longer than `freeze_max`. Thaw it with `fsfreeze -u` and end the "
     "backup that froze it.")),
    ("file system frozen for …", "A warning for as long as `freeze_max`: a backup does that."),
    ("file system full: … the disk still answers", "A warning: make room. PostgreSQL stops by itself when it cannot write its WAL."),
    ("read-only file system: …", ("An error: the kernel has remounted it after an I/O error. Look at its log, and run fsck before the next "
     "start.")),
    ("… is not there; is the file system mounted?", ("The data directory or a part of it is missing: the file system has to be a resource "
     "of its own that starts first.")),
    ("the postmaster is gone and … server processes are left", "An error: the server was killed; the stop that follows ends the rest."),
    ("without progress of startup, redo or checkpoint", ("An error: the server answers no connection and makes no progress. See its log "
     "and `start_grace`.")),
    ("SQL checks skipped: …", ("A warning of levels 10 and 20: no psycopg on this node, or no way to run it; the storage is checked all "
     "the same.")),
    ("monitor login rejected: …", ("The server refuses the checks' login: see `monitor_user`, `monitor_password`, pg_hba.conf, and "
     "`on_auth_error` for what it counts as.")),
    ("no connection slot is free: …", "A warning: max_connections is reached."),
    ("database slow: …", "A warning: a query took longer than `io_slow`."),
    ("SQL check failed (…): …", "An error, with the SQLSTATE: the query of the check did not succeed."),
    ("start refused: …", "The storage did not answer, or not well, before the server was started. Nothing was begun."),
    ("SELinux: …", ("Of a start that failed, or of validate-all at level 10: a label keeps the server, which the policy confines, from its "
     "data. The `semanage` command that is named, or that the log has, is to be run on every node, `restorecon` where the file system "
     "is mounted.")),
    ("this agent runs a single server; use …", "An error of the configuration: replication is for another agent."),
)  # fmt: skip

LVM = (
    ("is suspended for …", ("A warning, and an error after `io_timeout`: something suspended the device and did not resume it. The command "
     "to resume it follows.")),
    ("LVs active, not …", "A warning: some volumes of the resource are gone."),
    ("is not active on this node", "An error of a monitor with on-fail=fence: none of the volumes is here any more."),
    ("beneath: …", "A warning: the volumes answer, what they lie on does not do so well."),
    ("not found: …", ("The volume group is not seen on this node. Why follows: no disk, no path, or a device that LVM leaves out "
     "(lvmdevices(8), filters).")),
    ("is owned by … and active here, where the system id is …", "An error, and a danger: two nodes may write. Fence one of them."),
    ("owner not checked: …", "A warning of level 20: the disks were not read in time."),
    ("is exported: vgimport …", "The volume group was exported. The command is the remedy."),
    ("cannot be used with vg_access_mode=…", "The volume group and the parameter do not agree."),
    ("active, but not readable: …", "The error of a start whose volumes came up and do not answer."),
    ("is open: …", ("A stop found processes that hold the volume; they are named. A file system on it has to be a resource of its own "
     "that stops first.")),
    ("may still write", "A stop found a process of an earlier action that waits for the disks."),
)  # fmt: skip

REASONS = {"pgsql-storage": (*STORAGE, *PGSQL, *STOP), "LVM-activate": (*STORAGE, *LVM, *STOP)}
