"""The machines of a test cluster: the one that the tests run on, and others made of namespaces beside it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from tests.faults import processes

if TYPE_CHECKING:
    from typing_extensions import Self

NETWORK = "192.0.2"  # RFC 5737: for documentation, so nobody's.

COROSYNC_CONF = """
totem {{
    version: 2
    cluster_name: lab
    transport: knet
    crypto_cipher: none
    crypto_hash: none
    token: 8000
}}
nodelist {{
{nodes}}}
quorum {{
    provider: corosync_votequorum
    {two_node}
}}
logging {{
    to_logfile: yes
    logfile: {log}
    to_syslog: no
}}
"""
COROSYNC_NODE = """    node {{
        ring0_addr: {address}
        name: {name}
        nodeid: {number}
    }}
"""
# How long a daemon may take to end by itself; Pacemaker stops its resources first.
PATIENCE = {"corosync": 10.0, "pacemakerd": 20.0}
CHATTER = re.compile(r"\t(info|debug): |corosync info ")
# What belongs to one machine and must not be shared: its configuration, its state, its sockets and its shared memory.
PRIVATE = ("/dev/shm", "/run", "/etc/corosync", "/var/lib/corosync", "/var/lib/pacemaker")
# The rest of a machine's life is run by nsenter.  Its init reaps what the agents leave.
LIFE = r"""
set -eu
umask 022
for directory in $PRIVATE; do
  mode=$(stat -c %a $directory) owner=$(stat -c %u:%g $directory)
  mount -t tmpfs -o mode=$mode private $directory
  chown $owner $directory
done
for name in blackbox cib cores pengine; do install -d -m 750 -o hacluster -g haclient /var/lib/pacemaker/$name; done
mount -t proc proc /proc
hostname "$NAME"
ip link set lo up
echo alive
exec sleep infinity
"""


class Daemon:
    """A daemon in the foreground, known by its own pid also where it runs in another PID namespace."""

    def __init__(self, name: str, command: Sequence[str], output: Path, environment: dict[str, str]) -> None:
        self.name = name
        with open(output, "ab") as file:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment)

    def family(self) -> list[int]:
        """Return the pids of the daemon and of all that descends from it, parents first."""
        found = [self.process.pid]
        for pid in found:
            found += processes.children(pid)
        return found

    def pid(self) -> int | None:
        """Return the daemon's pid, also where nsenter stands before it."""
        return next((pid for pid in self.family() if processes.name(pid) == self.name), None)

    def stop(self, within: float) -> bool:
        """Ask the daemon to end, and kill it and its children, by their pids, when it has not done so in time."""
        pid = self.pid()
        if pid and self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            if processes.wait_until(lambda: self.process.poll() is not None, within):
                return True
        return self.kill()

    def kill(self) -> bool:
        """Kill the daemon and its children; return whether it was alive."""
        was = self.process.poll() is None
        for pid in reversed(self.family()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # An executor whose agent is in uninterruptible sleep can be so itself, and is left to pid 1.
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)
        return not was


class Node:
    """This machine as a node of a cluster; `directory` is where its logs go."""

    def __init__(self, name: str, number: int, directory: Path) -> None:
        self.name, self.number, self.directory = name, number, directory
        self.address = f"{NETWORK}.{number}"
        self.daemons: list[Daemon] = []
        directory.mkdir(parents=True)
        self.log = directory / "pacemaker.log"
        self.corosync_log = directory / "corosync.log"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def entering(self, *command: str) -> list[str]:
        """Return the command as it has to be given for it to run on this node."""
        return list(command)

    def run(self, *command: str, within: float = 60, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on this node.  Raises AssertionError with its output, and TimeoutExpired."""
        done = subprocess.run(self.entering(*command), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=within)
        if check and done.returncode:
            raise AssertionError(f"{self.name}: {' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def configure(self, nodes: Sequence[Node]) -> None:
        listed = "".join(COROSYNC_NODE.format(address=node.address, name=node.name, number=node.number) for node in nodes)
        text = COROSYNC_CONF.format(nodes=listed, two_node="two_node: 1" if len(nodes) == 2 else "", log=self.corosync_log)
        conf, cib = self.directory / "corosync.conf", self.directory / "cib.xml"
        conf.write_text(text)
        self.run("cp", str(conf), "/etc/corosync/corosync.conf")
        self.run("find", "/var/lib/pacemaker/cib", "-type", "f", "-delete")
        # A new cluster waits for a controller that might be there already, 20 s if it is not told otherwise.
        cib.write_text(self.run("cibadmin", "--empty").stdout)
        self.run("env", f"CIB_file={cib}", "crm_attribute", "--type", "crm_config", "--name", "dc-deadtime", "--update", "3s")
        self.run("install", "-m", "600", "-o", "hacluster", "-g", "haclient", str(cib), "/var/lib/pacemaker/cib/cib.xml")

    def start_corosync(self) -> None:
        self.daemons = [self.daemon("corosync")]

    def start_pacemaker(self) -> None:
        """Start Pacemaker once corosync serves."""
        if not processes.wait_until(lambda: self.run("corosync-cfgtool", "-s", check=False).returncode == 0, 20):
            raise AssertionError(f"{self.name}: corosync does not serve\n{self.logs()}")
        self.daemons.append(self.daemon("pacemakerd"))

    def daemon(self, name: str) -> Daemon:
        # Where systemd would have it from /etc/default/pacemaker.  The executor logs every recurring monitor at this level only.
        settings = {"PCMK_logfile": str(self.log), "PCMK_logfacility": "none", "PCMK_debug": "pacemaker-execd", "PCMK_stderr": "0"}
        return Daemon(name, self.entering(name, "-f"), self.directory / f"{name}.out", {**os.environ, **settings})

    def stop(self) -> bool:
        """End Pacemaker, then corosync, in bounded time; return whether both ended by themselves."""
        ended = [daemon.stop(PATIENCE[daemon.name]) for daemon in reversed(self.daemons)]
        self.daemons = []
        return all(ended)

    def power_off(self) -> None:
        """End the daemons as the loss of power does."""
        for daemon in reversed(self.daemons):
            daemon.kill()
        self.daemons = []

    def logs(self, lines: int = 60) -> str:
        """Return the end of what the daemons said, but for what they say to their developers."""
        text = ""
        for path in filter(Path.exists, (self.corosync_log, self.log)):
            said = path.read_text(errors="replace").splitlines()
            tail = [line for line in said if not CHATTER.search(line)][-lines:]
            text += f"--- {self.name}: {path.name}\n" + "".join(f"{line}\n" for line in tail)
        return text


class NamespacedNode(Node):
    """Another machine: processes, mounts, network, host name and shared memory of its own, upon the same packages.

    Has to be made before disks are mounted, or it holds their mounts.
    """

    def __init__(self, name: str, number: int, directory: Path) -> None:
        super().__init__(name, number, directory)
        life = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--net", "--uts", "--ipc",
                "--", "tini", "-s", "--", "sh", "-c", LIFE]  # fmt: skip
        environment = {**os.environ, "NAME": name, "PRIVATE": " ".join(PRIVATE)}
        self.machine = subprocess.Popen(life, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment, text=True)
        assert self.machine.stdout
        if self.machine.stdout.readline() != "alive\n":
            self.machine.wait(10)
            raise AssertionError(f"{name}: its namespaces cannot be made")
        (self.init,) = processes.children(self.machine.pid)

    def entering(self, *command: str) -> list[str]:
        return ["nsenter", f"--target={self.init}", "--mount", "--pid", "--net", "--uts", "--ipc", "--root", "--wd=/", "--", *command]

    def stop(self) -> bool:
        ended = super().stop()
        self.machine.kill()
        self.machine.wait(10)
        return ended
