"""The packages as rpm installs them beside Python 3.9, RHEL 9's: what is there works, and nothing is left of it when it is removed."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.dom.minidom
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocf_py.testing import Executor, conformance
from tests.conformance.setting import Setting
from tests.packaging.conftest import TREE

pytestmark = pytest.mark.rpm

AGENTS = Path("/usr/lib/ocf/resource.d/lab")
FENCE_AGENT = Path("/usr/sbin/fence_pve")
SITE = Path("/usr/lib/python3.9/site-packages")
NAMES = ("fence-agents-lab-pve", "python3-ocf-py", "resource-agents-lab")
RPM = ("rpm", "--force-debian", "--dbpath", "/var/lib/rpm")
# RHEL's Python looks for modules there by itself, Debian's does not.
RHEL_SITE = Path("/usr/lib/python3/dist-packages/rhel-site.pth")
# What belongs to the machine and not to a package.
VOLATILE = re.compile(r"/(dev|mnt|opt/venv|proc|run|src|sys|tmp|var/lib/rpm|var/log|var/tmp)(/|$)")


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as Pacemaker and pcs do: with next to no environment."""
    return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", **environment})  # fmt: skip


def without_modules(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command where Python has its standard library and what the packages brought, and nothing else."""
    return run("unshare", "--mount", "sh", "-c", 'mount -t tmpfs hidden /opt/venv && exec "$@"', "hidden", *words)


def listing() -> set[str]:
    """Return every path of the machine that does not come and go by itself."""
    found = run("find", "/", "-xdev", "-path", "/proc", "-prune", "-o", "-print").stdout.splitlines()
    return {path for path in found if not VOLATILE.match(path)}


def install(built: Path) -> None:
    done = run(*RPM, "--install", "--nodeps", *map(str, sorted(built.glob("*.rpm"))))
    assert done.returncode == 0, done.stdout


def erase() -> None:
    done = run(*RPM, "--erase", *NAMES)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def empty() -> Iterator[None]:
    """Take away what `make install` has put into the root, for as long as these tests run."""
    run("make", "-C", str(TREE), "--silent", "install")
    for path in (AGENTS, *(Path("/usr/lib/python3/dist-packages") / name for name in ("ocf_py", "ocf_lab", "fence_lab"))):
        shutil.rmtree(path)
    FENCE_AGENT.unlink()
    RHEL_SITE.write_text(f"{SITE}\n")
    # Directories of packages that RHEL has everywhere.
    for directory in (SITE, Path("/usr/share/licenses")):
        directory.mkdir(parents=True, exist_ok=True)
    yield
    RHEL_SITE.unlink()
    run("make", "-C", str(TREE), "--silent", "install")


@pytest.fixture
def installed(empty: None, built: Path) -> Iterator[None]:
    install(built)
    yield
    erase()


def agents() -> list[Path]:
    found = sorted(AGENTS.iterdir())
    assert [path.name for path in found] == ["LVM-activate", "pgsql-storage"]
    return found


def test_rpm_says_what_is_missing(empty: None, built: Path) -> None:
    done = run(*RPM, "--install", *map(str, sorted(built.glob("*.rpm"))))
    assert done.returncode != 0
    missing = set(re.findall(r"^\s(.*) is needed by", done.stdout, re.MULTILINE))
    assert missing == {"/usr/bin/python3", "lvm2", "pacemaker-cli", "python(abi) = 3.9", "python3-requests", "python3-urllib3",
                       "resource-agents"}  # fmt: skip


def test_what_is_installed_is_whole_and_has_its_bytecode(installed: None) -> None:
    assert run(*RPM, "--verify", "--nodeps", *NAMES).stdout == ""
    files = run(*RPM, "--query", "--list", *NAMES).stdout.splitlines()
    modules = [Path(name) for name in files if name.endswith(".py")]
    assert len(modules) > 50
    for module in modules:
        for kind in ("", ".opt-1"):
            assert str(module.parent / "__pycache__" / f"{module.stem}.cpython-39{kind}.pyc") in files
    pages = [name for name in files if "/man/" in name and name.endswith(".gz")]
    assert sorted(Path(name).name for name in pages) == ["fence_pve.8.gz", "ocf_lab_LVM-activate.7.gz", "ocf_lab_pgsql-storage.7.gz",
                                                         "ocf_py.7.gz"]  # fmt: skip
    for page in pages:
        shown = run("man", "--local-file", page, MANWIDTH="100")
        assert shown.returncode == 0
        assert "NAME" in shown.stdout


def test_metadata_needs_no_module_but_the_standard_librarys(installed: None) -> None:
    assert without_modules("/usr/bin/python3", "-I", "-c", "import requests").returncode == 1, "it is hidden"
    for agent in agents():
        done = without_modules(str(agent), "meta-data")
        assert done.returncode == 0, done.stdout
        assert xml.dom.minidom.parseString(done.stdout).getElementsByTagName("parameter")
    done = without_modules(str(FENCE_AGENT), "-o", "metadata")
    assert done.returncode == 0, done.stdout
    assert xml.dom.minidom.parseString(done.stdout).getElementsByTagName("parameter")


def test_what_needs_a_module_says_which(installed: None) -> None:
    done = without_modules(str(FENCE_AGENT), "-a", "pve1", "-l", "user@pve", "-p", "secret", "-n", "121", "-o", "monitor")
    assert done.returncode == 1
    assert "requests" in done.stdout
    assert "Traceback" not in done.stdout


each_agent = pytest.mark.parametrize("name", ["LVM-activate", "pgsql-storage"])


def prepared(name: str, request: pytest.FixtureRequest) -> Setting:
    """Make what an agent needs around it, by the fixture that has its name."""
    setting: Setting = request.getfixturevalue(name.lower().replace("-", "_"))
    return setting


@each_agent
def test_an_installed_agent_conforms(installed: None, name: str, request: pytest.FixtureRequest) -> None:
    setting = prepared(name, request)
    report = conformance.conform(AGENTS / name, setting.parameters, environment=setting.environment, timeout=setting.timeout, kills=1)
    table = "\n" + "\n".join(conformance.row(finding) for finding in report.findings) + "\n" + conformance.summary(report)
    assert not report.failed(strict=True), table


@each_agent
def test_ocf_tester_is_content(installed: None, name: str, request: pytest.FixtureRequest) -> None:
    setting = prepared(name, request)
    options = [word for given in setting.parameters.items() for word in ("-o", "=".join(given))]
    done = run("ocf-tester", "-n", "pg-tested", *options, str(AGENTS / name), OCF_PY_METADATA_DIALECT="ocf-tester", **setting.environment)
    assert done.returncode == 0, done.stdout
    assert "passed all tests" in done.stdout


def test_removal_leaves_nothing(empty: None, built: Path, pgsql_storage: Setting) -> None:
    before = listing()
    install(built)
    assert listing() - before
    for agent in agents():
        assert run(str(agent), "meta-data").returncode == 0
    assert run(str(FENCE_AGENT), "-o", "metadata").returncode == 0
    node = Executor(AGENTS / "pgsql-storage", pgsql_storage.parameters, timeout=60.0)
    assert [node.start().code, node.monitor(level=20).code, node.stop().code] == [0, 0, 0]
    erase()
    assert listing() == before
