"""The packages of the work tree for the lab's nodes, committed or not: built once for the same sources.

    python3 -m lab.packages        build them if need be, and print the directory that has them

A node is a Debian 12, on which the packages that ours require have other names:

    rpm --force-debian --dbpath /var/lib/rpm --upgrade --force --nodeps *.rpm

installs them there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

from lab import roots

# What the packages are made from; of lab/, all of which rpm/build.sh archives, the spec uses the manual pages alone.
SOURCES = ("LICENSE", "README.md", "agents", "docs", "fence", "lab/manpages", "ocf_py", "rpm")
ROOT = "dnf"  # Its Python is that of the nodes.
KEPT = 5


def digest(tree: Path = roots.TREE) -> str:
    """Return a hash of everything that the packages are made from."""
    found = hashlib.sha256(roots.python_directory(roots.ROOTS[ROOT]).name.encode())
    for source in SOURCES:
        top = tree / source
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                found.update(f"\0{path.relative_to(tree)}\0{path.stat().st_mode & 0o111:o}\0".encode() + path.read_bytes())
    return found.hexdigest()[:12]


def packages() -> Path:
    """Return the directory with the packages for the nodes, building them where the cache has not got them."""
    directory = roots.CACHE / f"packages-{digest()}"
    with roots.locked("packages"):
        if not directory.exists():
            half = roots.fresh(directory.with_suffix(".half"))
            roots.say("building the packages for the nodes")
            code = roots.run(ROOT, ["sh", "rpm/build.sh", "--work", str(half)], shares=[half])
            if code:
                sys.exit(f"the packages for the nodes cannot be built (exit code {code})")
            half.rename(directory)
        os.utime(directory)
        for old in sorted(roots.CACHE.glob("packages-*"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    return directory


if __name__ == "__main__":
    print(packages())
