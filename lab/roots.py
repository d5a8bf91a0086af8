"""Distribution roots: throw-away machines for tests and demonstrations, made of namespaces.

    python3 -m lab.roots build [NAME...]          make what is missing in the cache
    python3 -m lab.roots run NAME -- COMMAND...   run a command in a fresh copy of a root

A root is a Debian made by debootstrap with the packages that a part of the suite needs.  `run` puts a writable layer in memory
over it and gives the command process, mount, network, host name and IPC namespaces of its own with nothing but a loopback
interface.  So nothing of the machine is changed, and when the command ends, or is killed, the kernel removes its processes,
mounts and sockets with the namespaces.

Roots live in $OCF_LAB_CACHE (default /var/cache/ocf-lab), are named after a hash of their recipe, and are rebuilt when absent.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("OCF_LAB_CACHE", "/var/cache/ocf-lab"))
MIRROR = os.environ.get("OCF_LAB_MIRROR", "http://deb.debian.org/debian")

# Settings of the machine that a package client needs to reach its registry from inside a root.
NETWORK_SETTINGS = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
                    "PIP_INDEX_URL", "PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")  # fmt: skip

EVERYWHERE = ("e2fsprogs", "fuse3", "gcc", "iproute2", "libc6-dev", "libfuse3-dev", "make", "pkg-config", "procps", "python3",
              "python3-dev", "python3-venv", "strace", "tini", "util-linux", "xfsprogs")  # fmt: skip


@dataclass(frozen=True)
class Root:
    suite: str
    python: str
    postgresql: int
    packages: tuple[str, ...] = ()
    groups: tuple[str, ...] = ("test",)
    # Versions that the Python packages are held to, as pip writes constraints.
    pins: tuple[str, ...] = ()

    def all_packages(self) -> list[str]:
        return sorted({*EVERYWHERE, f"postgresql-{self.postgresql}", *self.packages})


# What the agents import beyond the standard library, as RHEL 9 and EPEL 9 have it.
RHEL9 = ("psycopg==3.1.18", "requests==2.25.1", "urllib3==1.26.5")

ROOTS = {
    # The floor: the Python and the libraries of RHEL 9, and the oldest PostgreSQL that is looked after.
    "bullseye": Root("bullseye", python="3.9", postgresql=13, pins=RHEL9),
    # The whole: the cluster stack and the stock agents beside ours.
    "bookworm": Root(
        "bookworm", python="3.11", postgresql=15, groups=("test", "lint"),
        packages=("corosync", "fence-agents", "git", "libxml2-utils", "pacemaker", "pacemaker-cli-utils", "pcs", "postgresql-contrib",
                  "resource-agents", "shellcheck", "xsltproc"),
    ),
    # The newest.
    "trixie": Root("trixie", python="3.13", postgresql=17),
    # Where the RPMs are built, installed and tried: the Python of RHEL 9, whose bytecode they hold, next to its rpm, and what an agent
    # is installed beside.
    "rpm": Root("bullseye", python="3.9", postgresql=13, pins=RHEL9,
                packages=("git", "libxml2-utils", "man-db", "resource-agents", "rpm")),
    # What a distributor looks at them with, in RHEL 9's versions; and the Python of the lab's nodes.
    "dnf": Root("bookworm", python="3.11", postgresql=15,
                packages=("createrepo-c", "dnf", "dnf-plugins-core", "rpm", "rpmlint")),
}  # fmt: skip


def say(text: str) -> None:
    print(f"== {text}", file=sys.stderr, flush=True)


def digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def debian_directory(root: Root) -> Path:
    recipe = digest(root.suite, MIRROR, *root.all_packages(), DEBIAN_RECIPE)
    return CACHE / f"{root.suite}-{recipe}"


def python_directory(root: Root) -> Path:
    project = (TREE / "pyproject.toml").read_text()
    return CACHE / f"{root.suite}-python-{digest(debian_directory(root).name, ' '.join(root.groups), project, *root.pins, PYTHON_RECIPE)}"


DEBIAN_RECIPE = r"""
set -eu
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d   # No service of a package starts by itself.
chmod 755 /usr/sbin/policy-rc.d
mkdir -p /etc/postgresql-common
echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
apt-get update -q
apt-get install -q -y --no-install-recommends -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-unsafe-io "$@"
# `make install` puts ours where the stock agent is.
[ ! -f /usr/sbin/fence_pve ] || install -D /usr/sbin/fence_pve /usr/share/ocf-lab/stock/fence_pve
apt-get clean
rm -rf /var/lib/apt/lists/*
"""

# The groups are read from pyproject.toml, the one place where they stand; pip brings a TOML reader for every Python.  What the
# agents import goes into a directory of its own, which the system's Python is shown: they run with that, not with the venv's.
PYTHON_RECIPE = r"""
set -eu
python3 -m venv --system-site-packages /opt/venv
/opt/venv/bin/pip install -q --disable-pip-version-check --upgrade pip
cat >/tmp/reader.py <<'READER'
import sys
try:
    import tomllib as tomli
except ImportError:
    from pip._vendor import tomli
with open("/tmp/pyproject.toml", "rb") as file:
    groups = tomli.load(file)["project"]["optional-dependencies"]
print(*(line for name in sys.argv[1:] for line in groups[name]), sep="\n")
READER
printf '%s\n' $PINS >/tmp/constraints.txt
export PIP_CONSTRAINT=/tmp/constraints.txt
/opt/venv/bin/python - "$@" >/tmp/requirements.txt </tmp/reader.py
/opt/venv/bin/pip install -q --disable-pip-version-check -r /tmp/requirements.txt
/opt/venv/bin/python - agents fence >/tmp/requirements.txt </tmp/reader.py
/opt/venv/bin/pip install -q --disable-pip-version-check --target /opt/venv/agents -r /tmp/requirements.txt
"""


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the cache's lock for one root, so that two runs do not build the same thing at once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f".{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build(name: str) -> None:
    """Make the Debian root and its Python environment unless the cache holds them.  Raises CalledProcessError."""
    root = ROOTS[name]
    with locked(name):
        debian, python = debian_directory(root), python_directory(root)
        if not debian.exists():
            need("debootstrap", "unshare", "mount")
            started = time.monotonic()
            say(f"{name}: making a Debian {root.suite} with PostgreSQL {root.postgresql} (about two minutes, once)")
            half = fresh(debian.with_suffix(".half"))
            logged(name, ["debootstrap", "--variant=minbase", root.suite, str(half), MIRROR])
            installing(name, half, DEBIAN_RECIPE, root.all_packages())
            half.rename(debian)
            say(f"{name}: made in {time.monotonic() - started:.0f} s")
        if not python.exists():
            started = time.monotonic()
            say(f"{name}: installing the Python packages of {', '.join(root.groups)} for Python {root.python}")
            half = fresh(python.with_suffix(".half"))
            installing(name, debian, PYTHON_RECIPE, list(root.groups), venv=half, pins=root.pins)
            half.rename(python)
            say(f"{name}: installed in {time.monotonic() - started:.0f} s")
        forget_old(root)


def fresh(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def forget_old(root: Root) -> None:
    """Remove what older recipes left, unless a run still uses it."""
    keep = {directory for one in ROOTS.values() for directory in (debian_directory(one), python_directory(one))}
    for old in CACHE.glob(f"{root.suite}-*"):
        if old not in keep and time.time() - old.stat().st_mtime > 7 * 86400:
            shutil.rmtree(old, ignore_errors=True)


def need(*programs: str) -> None:
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        sys.exit(f"{', '.join(missing)} not found; `make setup` installs what the lab needs")


def logged(name: str, command: Sequence[str], env: dict[str, str] | None = None) -> None:
    """Run a step of a build with its output in the cache's log, and show the log's end when it fails."""
    log = CACHE / f"{name}.log"
    with open(log, "ab") as file:
        code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env)
    if code:
        sys.stderr.write("".join(log.read_text(errors="replace").splitlines(keepends=True)[-15:]))
        sys.exit(f"{name}: {command[0]} failed with {code}; the whole log is {log}")


def installing(
    name: str, directory: Path, recipe: str, words: Sequence[str], venv: Path | None = None, pins: Sequence[str] = ()
) -> None:
    """Run an installation recipe inside a root, on the machine's network and with its certificates."""
    settings = {key: os.environ[key] for key in NETWORK_SETTINGS if key in os.environ}
    environment = {**settings, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8",
                   "HOME": "/tmp", "PINS": " ".join(pins)}  # fmt: skip
    certificates = settings.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
    here = shlex.quote(str(directory))
    steps = f"mount --bind {here} {here}; mount -t proc proc {here}/proc; mount --rbind /dev {here}/dev; mount -t tmpfs tmp {here}/tmp\n"
    steps += f"cat /etc/resolv.conf >{here}/etc/resolv.conf; cp {shlex.quote(str(TREE / 'pyproject.toml'))} {here}/tmp/\n"
    if os.path.exists(certificates):
        steps += f"cp {shlex.quote(certificates)} {here}/tmp/certificates.crt\n"
        environment.update(dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), "/tmp/certificates.crt"))
    if venv:
        steps += f"mkdir -p {here}/opt/venv; mount --bind {shlex.quote(str(venv))} {here}/opt/venv\n"
    steps += f'exec chroot {here} /bin/sh -c "$RECIPE" recipe "$@"\n'
    logged(name, ["unshare", "--mount", "--", "sh", "-euc", steps, "steps", *words],
           env={**environment, "RECIPE": recipe, "PATH": os.environ["PATH"]})  # fmt: skip


# What makes a root a machine.  /dev is a new one: the log socket and shared memory stay inside.  Loop devices are the kernel's
# own; a node for each of them lets losetup ask for a free one.
ENTER = r"""
set -eu
trap 'exit 143' TERM
work=/run/ocf-lab; mount -t tmpfs -o mode=755 ocf-lab /run
mkdir -p $work/layer $work/over $work/root; root=$work/root
mount -t overlay -o "lowerdir=$DEBIAN,upperdir=$work/layer,workdir=$work/over" root $root
mount -t proc proc $root/proc
mount --rbind /sys $root/sys
mount -t tmpfs -o mode=755 dev $root/dev
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 fuse:10:229 loop-control:10:237 kmsg:1:11; do
  name=${node%%:*}; numbers=${node#*:}
  mknod -m 666 $root/dev/$name c ${numbers%:*} ${numbers#*:}
done
i=0; while [ $i -lt 64 ]; do mknod -m 660 $root/dev/loop$i b 7 $i; i=$((i+1)); done
mkdir -p $root/dev/shm $root/dev/pts
ln -s /proc/self/fd $root/dev/fd; ln -s /proc/self/fd/0 $root/dev/stdin
ln -s /proc/self/fd/1 $root/dev/stdout; ln -s /proc/self/fd/2 $root/dev/stderr
mount -t devpts -o newinstance,ptmxmode=0666 devpts $root/dev/pts; ln -s pts/ptmx $root/dev/ptmx
mount -t tmpfs -o mode=1777 shm $root/dev/shm
mount -t tmpfs -o mode=755 run $root/run; mkdir -p $root/run/lock
mount -t tmpfs -o mode=1777 tmp $root/tmp
mkdir -p $root/opt/venv $root/src; mount --bind "$VENV" $root/opt/venv
for site in $root/usr/local/lib/python3.*/dist-packages; do echo /opt/venv/agents >$site/agents.pth; done
mount --bind "$TREE" $root/src; mount -o remount,ro,bind $root/src
for share in $SHARES; do mkdir -p $root$share; mount --bind "$share" $root$share; done
hostname "$NAME"; echo "127.0.0.1 localhost $NAME" >$root/etc/hosts
chroot $root ip link set lo up
unset DEBIAN VENV TREE SHARES NAME
exec chroot $root /usr/bin/tini -s -- /bin/sh -c 'cd /src && make -s install && exec "$@"' run "$@"
"""


def run(name: str, command: Sequence[str], *, shares: Sequence[Path] = (), environment: dict[str, str] | None = None) -> int:
    """Run a command in a fresh copy of a root with the agents installed as the packages would; return its exit code.

    The work tree is /src, read-only.  `shares` are directories of the machine that the command may write, at the same path.
    """
    build(name)
    root = ROOTS[name]
    # OCF_LAB_ORIGIN: a frozen disk outlives its namespaces; the next test run knows it by the namespace that its run began in.
    enter = {
        "DEBIAN": str(debian_directory(root)), "VENV": str(python_directory(root)), "TREE": str(TREE), "NAME": f"lab-{name}",
        "SHARES": " ".join(str(share) for share in shares),
    }  # fmt: skip
    inside = {"PATH": "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8",
              "TERM": os.environ.get("TERM", "dumb"), "PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",
              "OCF_LAB_ORIGIN": str(os.stat("/proc/self/ns/pid").st_ino), **(environment or {})}  # fmt: skip
    # Whatever ends this process, SIGKILL included, ends the namespaces and all that is in them.
    namespaces = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net"]
    return subprocess.call([*namespaces, "--", "sh", "-c", ENTER, "enter", *command], env={**enter, **inside})


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab.roots", description="Distribution roots for tests and demonstrations")
    verbs = parser.add_subparsers(dest="verb", required=True)
    builder = verbs.add_parser("build", help="make what is missing in the cache")
    builder.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(ROOTS)}; all of them when none is given")
    runner = verbs.add_parser("run", help="run a command in a fresh copy of a root")
    runner.add_argument("--share", action="append", type=Path, default=[], help="a directory that the command may write")
    runner.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an environment variable for the command")
    runner.add_argument("name", choices=list(ROOTS))
    runner.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("namespaces, loop devices and mounts need root")
    if platform.system() != "Linux":
        sys.exit("this needs Linux")
    if given.verb == "build":
        unknown = set(given.names) - set(ROOTS)
        if unknown:
            sys.exit(f"no such root: {', '.join(sorted(unknown))}; there are {', '.join(ROOTS)}")
        for name in given.names or ROOTS:
            build(name)
        return 0
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    return run(given.name, command or ["/bin/bash"], shares=[share.resolve() for share in given.share],
               environment=dict(pair.split("=", 1) for pair in given.set))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
