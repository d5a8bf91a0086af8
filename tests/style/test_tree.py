"""What holds for every file of the tree."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.style import sources

TEXTS = [path for path in sources.all_files() if path.suffix not in (".gz", ".ico", ".png")]
LONGEST_MODULE = 600

# Directories of somebody's machine: nobody else has them.
MACHINE_PATH = re.compile(r"(?<![\w$.}*])/(?:work|root|home/\w+)/")
# A package or distribution mirror has no place in the tree: the machine's own settings name it.  Debian's own is the default.
HOST = re.compile(r"https?://([\w.-]+)")
MIRROR = re.compile(r"pypi|pythonhosted|proxy|registry|mirror|artifactory|nexus|(^|\.)(deb|apt|repo|cache)\.|^\d+\.\d+\.\d+\.\d+$|^[\w-]+$")
PUBLIC = {"deb.debian.org", "localhost", "127.0.0.1"}


def test_the_tree_is_seen() -> None:
    assert {Path("Makefile"), Path(".ci/run"), Path("agents/pgsql-storage"), Path("ocf_py/guard.py")} <= set(sources.all_files())


def test_python_3_9_can_read_it() -> None:
    """Compile every file for Python 3.9: the suite's run there does not load all of them."""
    for path in sources.python_files():
        source = sources.text(path)
        ast.parse(source, str(path), feature_version=(3, 9))
        compile(source, str(path), "exec", dont_inherit=True)


def test_a_module_answers_one_question() -> None:
    assert [path for path in sources.python_files() if len(sources.text(path).splitlines()) >= LONGEST_MODULE] == []


def machine_paths(text: str) -> list[str]:
    return [line for line in text.splitlines() if MACHINE_PATH.search(line)]


def mirrors(text: str) -> set[str]:
    return {host for host in HOST.findall(text) if MIRROR.search(host) and host not in PUBLIC}


def test_it_works_on_any_machine() -> None:
    found = {path: [*machine_paths(sources.text(path)), *mirrors(sources.text(path))] for path in TEXTS}
    assert {path: lines for path, lines in found.items() if lines} == {}


def untidy(text: str) -> bool:
    return "\r" in text or bool(text and not text.endswith("\n")) or any(line != line.rstrip() for line in text.splitlines())


def test_it_is_tidy() -> None:
    assert [path for path in TEXTS if untidy(sources.text(path))] == []
    assert [text for text in ("a\n", "", "a \n", "a\r\n", "a") if untidy(text)] == ["a \n", "a\r\n", "a"]


def test_machine_paths_and_mirrors_are_found() -> None:
    slash = "/"
    bad = [f"open({slash}work/x)", f"cd {slash}root/.ssh", f"{slash}home/me/x"]
    assert machine_paths("\n".join([*bad, "$top" + slash + "work/x", "/workspace/"])) == bad
    found = ["pypi.example.org", "mirror.example.org", "10.1.2.3", "buildbox", "deb.example.org"]
    hosts = [*found, "www.kernel.org", "deb.debian.org"]
    assert mirrors(" ".join(f"https:{slash}{slash}{host}:8080{slash}x" for host in hosts)) == set(found)


def dead_links(path: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", sources.text(path), flags=re.DOTALL)
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"\w+:", link)]
    return [link for link in links if link and not (sources.TREE / path.parent / link).exists()]


def test_links_lead_somewhere() -> None:
    pages = [path for path in TEXTS if path.suffix == ".md"]
    assert Path("README.md") in pages
    assert {path: dead_links(path) for path in pages if dead_links(path)} == {}


def test_programs_are_executable() -> None:
    programs = [path for path in sources.all_files() if not path.suffix and sources.first_line(path).startswith("#!")]
    assert [path for path in programs if not (sources.TREE / path).stat().st_mode & 0o111] == []
