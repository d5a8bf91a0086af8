"""The spec of the RPMs: what it installs is what there is, and what it requires is what the code imports."""

from __future__ import annotations

import re
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
SPEC = TREE / "rpm" / "ocf-lab-agents.spec"
PACKAGES = ("python3-ocf-py", "resource-agents-lab", "fence-agents-lab-pve")


def section(kind: str, package: str) -> str:
    """Return a section of the spec, such as %files of one package."""
    found = re.search(rf"^%{kind} -n {package}\n(.*?)(?=^%(?:package|description|prep|files|changelog)\b)", SPEC.read_text(),
                      re.MULTILINE | re.DOTALL)  # fmt: skip
    assert found, (kind, package)
    return found[1]


def relations(package: str, kind: str) -> set[str]:
    return {line.split()[1] for line in section("package", package).splitlines() if line.startswith(f"{kind}:")}


def test_the_version_is_that_of_the_project() -> None:
    version = re.search(r'^version = "(.*)"', (TREE / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert f"\nVersion:        {version[1]}\n" in SPEC.read_text()


def test_every_agent_and_page_is_in_a_package() -> None:
    listed = "".join(section("files", package) for package in PACKAGES)
    for path in sorted((TREE / "agents").iterdir()):
        if path.is_file():
            assert f"/resource.d/lab/{path.name}\n" in listed
            assert f"/ocf_lab_{path.name}.7*" in listed
    for path in sorted((TREE / "fence").iterdir()):
        if path.is_file():
            assert f"%{{_sbindir}}/{path.name}\n" in listed
    for document in re.findall(r"docs/\S+|README\.md|LICENSE", listed):
        assert (TREE / document).is_file()


def imported(directory: str) -> set[str]:
    source = "".join(path.read_text() for path in sorted((TREE / directory).rglob("*.py")))
    return set(re.findall(r"^ *(?:import|from) (psycopg|pyudev|requests|urllib3)\b", source, re.MULTILINE))


def test_packages_ask_for_what_their_code_imports() -> None:
    assert imported("ocf_py") == set()
    assert imported("agents/ocf_lab") == {"psycopg"}
    assert "python3-psycopg3" in relations("resource-agents-lab", "Recommends")
    assert relations("fence-agents-lab-pve", "Requires") == {f"python3-{name}" for name in imported("fence/fence_lab")}


def test_a_fence_agent_is_never_exchanged_silently() -> None:
    assert relations("fence-agents-lab-pve", "Conflicts") == {"fence-agents-pve"}
    assert "Obsoletes" not in SPEC.read_text()


def test_rpmlint_is_told_to_overlook_little_and_why() -> None:
    lines = (TREE / "rpm" / "rpmlint.toml").read_text().splitlines()
    filters = [number for number, line in enumerate(lines) if re.match(r"    ['\"]", line)]
    assert 0 < len(filters) <= 8
    assert all(lines[number - 1].startswith("    # ") for number in filters)
