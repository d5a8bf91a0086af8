"""The files that the project consists of, by kind."""

from __future__ import annotations

from pathlib import Path

TREE = Path(__file__).resolve().parents[2]

# Where files are written by hand; what a tool leaves elsewhere in a work tree is none of our business.
ROOMS = (".ci", "agents", "docs", "fence", "lab", "monitoring", "ocf_py", "rpm", "tests")
LEFT_BY_TOOLS = {"__pycache__", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache"}


def all_files() -> list[Path]:
    """Return every file of the project, relative to the tree."""
    found = [path for path in TREE.iterdir() if path.is_file()]
    for room in ROOMS:
        found += [path for path in (TREE / room).rglob("*") if path.is_file()]
    return sorted(path.relative_to(TREE) for path in found if not LEFT_BY_TOOLS & set(path.parts))


def text(path: Path) -> str:
    return (TREE / path).read_text(encoding="utf-8")


def first_line(path: Path) -> str:
    with open(TREE / path, "rb") as file:
        return file.readline(200).decode(errors="replace")


def interpreted_by(path: Path, *programs: str) -> bool:
    """Tell whether a script without suffix names one of the programs in its first line."""
    line = first_line(path) if not path.suffix else ""
    return line.startswith("#!") and any(program in line for program in programs)


def python_files() -> list[Path]:
    return [path for path in all_files() if path.suffix == ".py" or interpreted_by(path, "python")]


def shell_files() -> list[Path]:
    return [path for path in all_files() if path.suffix == ".sh" or interpreted_by(path, "/sh", "bash")]


def agents() -> list[Path]:
    """Return what the administrator will see in agents/."""
    return [path for path in all_files() if path.parent == Path("agents")]
