"""SELinux labels, real ones on real file systems; only the kernel's consent to them is played: a file that says "enforcing"."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocf_lab import selinux
from tests.agents.conftest import Guarded, MakeGuarded
from tests.agents.test_pgsql_main_process import touched_by_main
from tests.faults.fixtures import Disks

pytestmark = pytest.mark.once

FS = Path("/sys/fs")
DATA = Path("/mnt/data/pgsql/data")


def set_type(path: Path, kind: str) -> None:
    os.setxattr(path, selinux.ATTRIBUTE, f"system_u:object_r:{kind}:s0\0".encode())


def set_types(top: Path, kind: str) -> None:
    for path in (top, *top.rglob("*")):
        if not path.is_symlink():
            set_type(path, kind)


@pytest.fixture
def mode(tmp_path: Path) -> Iterator[Path]:
    """Return the file that says whether SELinux enforces, in a directory that is mounted over /sys/fs."""
    (tmp_path / "selinux").mkdir()
    (tmp_path / "selinux/enforce").write_text("1")
    subprocess.run(["mount", "--bind", str(tmp_path), str(FS)], check=True)
    yield FS / "selinux/enforce"
    subprocess.run(["umount", str(FS)], check=True)


def labelled(one: Guarded) -> Guarded:
    """Label a database and its programs as they are on RHEL 9, with the file system's root as restorecon leaves it."""
    set_type(Path("/mnt/data"), "mnt_t")
    set_types(Path("/mnt/data/pgsql"), selinux.DATA)
    set_type(Path(os.path.realpath(str(one.parameters["pgctl"]))), selinux.SERVER)
    return one


@pytest.mark.parametrize("filesystem", ["xfs", "ext4"])
def test_right_labels_are_no_matter(guarded: MakeGuarded, mode: Path, filesystem: str) -> None:
    one = labelled(guarded(filesystem=filesystem))
    validated = one.node.validate(level=10)
    assert (validated.code, validated.stderr) == (0, "")
    started = one.node.start()
    assert started.code == 0
    assert "SELinux" not in "".join(started.log)


@pytest.mark.parametrize("filesystem", ["xfs", "ext4"])
def test_a_file_system_that_was_never_labelled(guarded: MakeGuarded, mode: Path, filesystem: str) -> None:
    """The state of the lab document's section 6.9, and the remedy that the reference works out for it."""
    one = labelled(guarded(filesystem=filesystem))
    set_types(Path("/mnt/data"), "unlabeled_t")
    subprocess.run(["chown", "postgres:", "/mnt/data/pgsql"], check=True)
    remedy = ["semanage fcontext -a -e /var/lib/pgsql /mnt/data/pgsql", "restorecon -RFv /mnt/data/pgsql", "restorecon -v /mnt/data"]
    validated = one.node.validate(level=10)
    assert validated.code == 2
    assert validated.reason == f"SELinux: {DATA} is unlabeled_t, not postgresql_db_t; {'; '.join(remedy)}"
    started = one.node.start()
    assert started.code == 0, "the kernel has the last word"
    for text in (f"{DATA}/PG_VERSION is unlabeled_t, not postgresql_db_t", "/mnt/data is unlabeled_t, which the server may not enter",
                 *(f"to put it right: {command}" for command in remedy)):  # fmt: skip
        assert any(line.endswith(f"WARNING: SELinux: {text}") for line in started.log)


def test_only_warned_of_where_nothing_is_enforced(guarded: MakeGuarded, mode: Path) -> None:
    one = labelled(guarded())
    set_type(DATA / "PG_VERSION", "mnt_t")
    assert one.node.validate(level=10).code == 2
    mode.write_text("0")
    validated = one.node.validate(level=10)
    assert validated.code == 0
    assert f"SELinux: {DATA}/PG_VERSION is mnt_t, not postgresql_db_t" in "".join(validated.log)


def test_a_refused_start_names_the_label(guarded: MakeGuarded, mode: Path) -> None:
    one = labelled(guarded())
    set_type(Path("/mnt/data"), "unlabeled_t")
    # In the place of the kernel's refusal.
    subprocess.run(["chown", "root:", str(DATA / "pg_hba.conf")], check=True)
    started = one.node.start()
    assert started.code == 1
    assert started.reason.startswith("SELinux: /mnt/data is unlabeled_t, which the server may not enter, the commands are in the log: ")


def test_a_server_that_no_policy_confines_may_have_any_label(guarded: MakeGuarded, mode: Path) -> None:
    one = labelled(guarded())
    set_types(Path("/mnt/data"), "unlabeled_t")
    set_type(Path(os.path.realpath(str(one.parameters["pgctl"]))), "bin_t")
    assert one.node.validate(level=10).code == 0
    assert "SELinux" not in "".join(one.node.start().log)


def test_without_selinux_nothing_is_looked_at(guarded: MakeGuarded) -> None:
    one = labelled(guarded())
    set_types(Path("/mnt/data"), "unlabeled_t")
    assert one.node.validate(level=10).code == 0
    assert "SELinux" not in "".join(one.node.start().log)


def test_the_main_process_reads_no_labels_and_a_monitor_none_at_all(guarded: MakeGuarded, mode: Path, tmp_path: Path) -> None:
    one = labelled(guarded())
    set_type(Path("/mnt/data"), "unlabeled_t")
    for action, level, wanted in (("validate-all", 10, 2), ("start", 0, 0), ("monitor", 0, 0)):
        assert touched_by_main(one, action, level, tmp_path) == (wanted, [])
    labels = [line for line in (tmp_path / "trace").read_text().splitlines() if "selinux" in line and "execve(" not in line]
    assert labels == [], "a monitor does not look at them"


def test_every_place_of_the_server_counts(guarded: MakeGuarded, mode: Path) -> None:
    one = labelled(guarded(wal=True).started())
    assert one.node.stop().code == 0
    set_types(Path("/mnt/wal"), "mnt_t")
    validated = one.node.validate(level=10)
    assert validated.code == 2
    assert validated.reason.startswith("SELinux: /mnt/wal/pg_wal is mnt_t, not postgresql_db_t; ")
    assert "semanage fcontext -a -e /var/lib/pgsql/data /mnt/wal/pg_wal" in validated.reason


def test_the_servers_log_and_sockets_get_labels_that_it_may_write_to(guarded: MakeGuarded, mode: Path, tmp_path: Path) -> None:
    one = labelled(guarded())
    log = tmp_path / "server.log"
    log.touch()
    set_type(log, "var_log_t")
    sockets = tmp_path / "sockets"
    tmp_path.chmod(0o755)
    for directory in tmp_path.parents:
        directory.chmod(directory.stat().st_mode | 0o055)
    node = one.executor(logfile=str(log), socketdir=str(sockets), start_opt=f"-c unix_socket_directories={sockets}")
    started = node.start()
    assert started.code == 0, str(started)
    assert selinux.type_of(str(log)) == selinux.LOG
    assert selinux.type_of(str(sockets)) == selinux.SOCKETS
    assert node.stop().code == 0


@pytest.mark.parametrize("top, mounted, own, wanted", [
    ("/mnt/one/pgsql/data", True, True, ("/var/lib/pgsql", "/mnt/one/pgsql")),
    ("/mnt/one/data", True, False, ("/var/lib/pgsql/data", "/mnt/one/data")),
    ("/mnt/one", True, False, ("/var/lib/pgsql/data", "/mnt/one")),
])  # fmt: skip
def test_what_is_labelled_is_the_servers_own(disks: Disks, top: str, mounted: bool, own: bool, wanted: tuple[str, str]) -> None:
    """A directory that others use too, such as /srv, is not labelled because a data directory is in it."""
    disks("one", filesystem="ext4")
    Path(top).mkdir(parents=True, exist_ok=True)
    owner = 12345
    os.chown(top, owner, owner)
    os.chown(Path(top).parent, owner if own else 0, 0)
    assert selinux.equivalent(top) == wanted


def test_no_rule_is_added_for_what_the_policy_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "pg_ctl"
    program.touch()
    set_type(program, selinux.SERVER)
    top = tmp_path / "pgsql/16/data"
    top.mkdir(parents=True)
    set_type(top, "var_lib_t")
    monkeypatch.setattr(selinux, "HOME", str(tmp_path / "pgsql"))
    assert selinux.examine(str(program), str(top))[1] == [f"restorecon -RFv {top.parent}"]
