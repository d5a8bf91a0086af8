"""The linters find nothing.  Their rules are in pyproject.toml."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.style import sources

pytestmark = pytest.mark.lint


def check(*command: str) -> None:
    done = subprocess.run(command, cwd=sources.TREE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # A linter that is given nothing, or that finds nothing to read, must not pass for one that finds nothing wrong.
    assert "No Python files found" not in done.stdout
    if done.returncode:
        pytest.fail(f"{command[0]} says\n{done.stdout}", pytrace=False)


def named(files: list[Path]) -> list[str]:
    assert files
    return [str(path) for path in files]


def test_ruff() -> None:
    check("ruff", "check", "--no-cache", "--output-format=concise", *named(sources.python_files()))


def test_mypy() -> None:
    programs = [path for path in sources.agents() if sources.interpreted_by(path, "python")]
    check("mypy", "--cache-dir=/dev/null", "ocf_py", "agents/ocf_lab", "lab", "tests", *named(programs))


def test_mypy_on_other_programs() -> None:
    """Check programs that are not installed apart: they may bear the names of others."""
    others = [path for path in sources.python_files() if path.suffix != ".py" and path not in sources.agents()]
    check("mypy", "--cache-dir=/dev/null", *named(others))


def test_shellcheck() -> None:
    check("shellcheck", *named(sources.shell_files()))


def test_codespell() -> None:
    check("codespell", *named(sources.all_files()))


@pytest.mark.parametrize(
    "name, content, command",
    [
        ("bad.py", "from __future__ import annotations\n\nimport os\n", ["ruff", "check", "--no-cache", "--config={settings}"]),
        ("bad.py", "def f(x):\n    return x\n", ["mypy", "--cache-dir=/dev/null", "--config-file={settings}"]),
        ("bad.sh", "#!/bin/sh\ncd $1\n", ["shellcheck"]),
        ("bad.txt", "an occu" + "red error\n", ["codespell", "--toml={settings}"]),
    ],
    ids=["ruff", "mypy", "shellcheck", "codespell"],
)
def test_the_linters_bite(tmp_path: Path, name: str, content: str, command: list[str]) -> None:
    (tmp_path / name).write_text(content)
    command = [word.format(settings=sources.TREE / "pyproject.toml") for word in command]
    done = subprocess.run([*command, str(tmp_path / name)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode != 0
    assert name in done.stdout
