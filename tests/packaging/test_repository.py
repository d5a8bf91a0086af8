"""The packages from a dnf repository, beside empty ones with the names of RHEL 9's: what dnf installs, refuses, exchanges and upgrades."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocf_py.testing import Executor, Result
from tests.packaging import operations
from tests.packaging.conftest import TREE, build
from tests.postgres import Database

pytestmark = pytest.mark.dnf

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
OURS = {"fence-agents-lab-pve", "python3-ocf-py", "resource-agents-lab"}
REQUIRED = ["lvm2", "pacemaker-cli", "python3", "python3-requests", "python3-urllib3", "resource-agents"]
AGENT = Path("/usr/lib/ocf/resource.d/lab/pgsql-storage")
FENCE_AGENT = Path("/usr/sbin/fence_pve")


class Node:
    """A root that dnf installs into, from the repositories that it is told of."""

    def __init__(self, root: Path, **repositories: Path) -> None:
        self.root, self.repositories = root, repositories

    def dnf(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = ["dnf", "--assumeyes", f"--installroot={self.root}", "--releasever=9", "--setopt=reposdir=/dev/null", "--nogpgcheck",
                "--setopt=cachedir=/tmp/dnf-cache", "--setopt=logdir=/tmp/dnf-log", "--setopt=persistdir=/tmp/dnf-state",
                "--setopt=install_weak_deps=true"]  # fmt: skip
        argv += [f"--repofrompath={name},file://{path}" for name, path in self.repositories.items()]
        return subprocess.run([*argv, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def installed(self) -> dict[str, str]:
        """Return the versions of the packages that are installed, by name."""
        shown = self.dnf("--quiet", "repoquery", "--installed", "--queryformat", "%{name} %{version}").stdout
        return dict(line.split() for line in shown.splitlines() if re.fullmatch(r"\S+ \S+", line))


def page(commands: list[str]) -> list[str]:
    """Return the words of the one command of a block of docs/operations.md, but for "dnf"."""
    (command,) = commands
    program, *words = command.split()
    assert program == "dnf"
    return words


def standins(into: Path, *left_out: str) -> Path:
    subprocess.run(["sh", "rpm/standins.sh", str(into), PYTHON, *left_out], cwd=TREE, check=True)
    return into


def repository(packages: Path) -> Path:
    subprocess.run(["createrepo_c", "--quiet", "--excludes", "source/*", str(packages)], check=True)
    return packages


@pytest.fixture(scope="session")
def rhel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standins(tmp_path_factory.mktemp("rhel") / "all")


@pytest.fixture(scope="session")
def ours(built: Path) -> Path:
    return repository(built)


@pytest.fixture(scope="session")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with the next version of the packages, whose modules differ from this one's in size and bytecode."""
    tree = tmp_path_factory.mktemp("newer") / "tree"
    tree.mkdir()
    for name in ("LICENSE", "README.md", "agents", "docs", "fence", "lab", "ocf_py", "rpm"):
        subprocess.run(["cp", "-r", str(TREE / name), str(tree)], check=True)
    for module in [*tree.glob("agents/ocf_lab/*.py"), *tree.glob("ocf_py/*.py"), *tree.glob("fence/fence_lab/*.py")]:
        module.write_text(module.read_text() + "\nNEXT_VERSION = True\n")
    spec = tree / "rpm" / "ocf-lab-agents.spec"
    spec.write_text(re.sub(r"^Version: .*", "Version: 9.9.9", spec.read_text(), flags=re.MULTILINE))
    return repository(build(tree, tmp_path_factory.mktemp("newer") / "packages"))


def closure(ours: Path, rhel: Path) -> subprocess.CompletedProcess[str]:
    return Node(Path("/"), ours=ours, rhel=rhel).dnf("--quiet", "repoclosure", "--check", "ours")


def test_everything_that_is_required_is_there(ours: Path, rhel: Path) -> None:
    done = closure(ours, rhel)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_package_that_no_repository_has_is_noticed(ours: Path, tmp_path: Path, name: str) -> None:
    done = closure(ours, standins(tmp_path / "less", name))
    assert done.returncode != 0
    assert "unresolved deps" in done.stdout


def test_installation_brings_what_is_needed_and_what_is_recommended(ours: Path, rhel: Path, tmp_path: Path) -> None:
    node = Node(tmp_path / "node", ours=ours, rhel=rhel)
    done = node.dnf(*page(operations.tested("install")))
    assert done.returncode == 0, done.stdout
    assert set(node.installed()) == OURS | set(REQUIRED) | {"device-mapper-multipath", "libpq", "python3-psycopg3"}
    assert os.access(f"{node.root}{AGENT}", os.X_OK)


def test_installation_without_epel(ours: Path, tmp_path: Path) -> None:
    """What is only recommended may be missing from every repository."""
    rhel = standins(tmp_path / "rhel", "python3-psycopg3", "libpq", "device-mapper-multipath")
    node = Node(tmp_path / "node", ours=ours, rhel=rhel)
    done = node.dnf("install", "resource-agents-lab")
    assert done.returncode == 0, done.stdout
    assert set(node.installed()) >= {"resource-agents-lab", "python3-ocf-py"}


def test_a_fence_agent_is_exchanged_by_word_alone(ours: Path, rhel: Path, newer: Path, tmp_path: Path) -> None:
    node = Node(tmp_path / "node", ours=ours, rhel=rhel)
    assert node.dnf("install", "fence-agents-pve").returncode == 0
    refused = node.dnf("install", "fence-agents-lab-pve")
    assert refused.returncode != 0
    assert "conflicts with fence-agents-pve" in refused.stdout
    upgraded = Node(node.root, ours=ours, newer=newer, rhel=rhel).dnf("upgrade")
    assert upgraded.returncode == 0, upgraded.stdout
    assert "fence-agents-lab-pve" not in node.installed()
    for words in (page(operations.tested("swap")), ["swap", "fence-agents-lab-pve", "fence-agents-pve"]):
        swapped = node.dnf(*words)
        assert swapped.returncode == 0, swapped.stdout
        old, new = words[-2:]
        assert new in node.installed()
        assert old not in node.installed()


def test_removal_takes_the_framework_along(ours: Path, rhel: Path, tmp_path: Path) -> None:
    node = Node(tmp_path / "node", ours=ours, rhel=rhel)
    assert node.dnf("install", "resource-agents-lab", "fence-agents-lab-pve").returncode == 0
    removed = node.dnf(*page(operations.tested("remove")))
    assert removed.returncode == 0, removed.stdout
    assert not OURS & set(node.installed())
    assert not list(node.root.rglob("ocf_*")), "nothing of ours is left"


# An upgrade under a cluster that goes on.


@pytest.fixture
def this_node(ours: Path, rhel: Path) -> Iterator[Node]:
    """Install the packages on this machine itself, in the place of what `make install` has put there."""
    subprocess.run(["make", "-C", str(TREE), "--silent", "install"], check=True)
    for path in (AGENT.parent, *(Path("/usr/lib/python3/dist-packages") / name for name in ("ocf_py", "ocf_lab", "fence_lab"))):
        shutil.rmtree(path)
    FENCE_AGENT.unlink()
    node = Node(Path("/"), ours=ours, rhel=rhel)
    done = node.dnf("install", "resource-agents-lab", "fence-agents-lab-pve")
    assert done.returncode == 0, done.stdout
    yield node
    assert node.dnf("remove", *OURS, *REQUIRED).returncode == 0
    subprocess.run(["make", "-C", str(TREE), "--silent", "install"], check=True)


@pytest.fixture
def server(this_node: Node) -> Iterator[Executor]:
    """Return a node that runs a database."""
    database = Database(Path("/var/tmp/upgraded/data"))
    database.initdb()
    database.directory.parent.chmod(0o755)
    # While packages are installed, a healthy monitor may find the disk slow.
    node = Executor(AGENT, {**database.parameters(), "io_slow": "0"}, instance="pg-db", timeout=120.0)
    assert node.start().code == 0
    yield node
    assert node.stop().code == 0
    shutil.rmtree(database.directory.parent)


def test_an_upgrade_disturbs_no_monitor(this_node: Node, server: Executor, newer: Path) -> None:
    """Monitors that began before it end well after it, wherever it found them, and so do those that begin meanwhile."""
    waiting = []
    for n in range(12):
        call = Executor(AGENT, server.parameters, instance=f"pg-db-{n}", timeout=120.0).begin("monitor", interval=10.0)
        time.sleep(0.01 * n)
        os.kill(call.pid, signal.SIGSTOP)
        waiting.append(call)
    found: list[Result] = []
    done = threading.Event()

    def go_on() -> None:
        while not done.is_set():
            found.append(server.monitor())

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        upgraded = Node(Path("/"), ours=this_node.repositories["ours"], newer=newer, rhel=this_node.repositories["rhel"]).dnf(
            *page(operations.tested("upgrade"))
        )
    finally:
        done.set()
        thread.join()
        for call in waiting:
            os.kill(call.pid, signal.SIGCONT)
    assert upgraded.returncode == 0, upgraded.stdout
    assert {name: version for name, version in this_node.installed().items() if name in OURS} == dict.fromkeys(OURS, "9.9.9")
    results = [call.finish() for call in waiting]
    assert Counter(result.code for result in results) == {0: len(waiting)}, results
    assert len(found) > 3, "monitors ran beside it"
    assert Counter(result.code for result in found) == {0: len(found)}, found
    assert "NEXT_VERSION" in Path("/usr/lib/python3/dist-packages/ocf_lab/pgsql_storage.py").read_text()
    assert server.monitor(level=20).code == 0
