"""Who may import whom, and what a monitor loads before it has done anything."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.style import sources

# Arrows only go down.  A room is the first part of a module's name; ocf_py.testing and the agents' executables are rooms of their own.
ALLOWED = {
    "ocf_py": {"ocf_py"},
    "ocf_py.testing": {"ocf_py", "ocf_py.testing"},
    "ocf_lab": {"ocf_lab", "ocf_py"},
    "agents": {"ocf_lab", "ocf_py"},
    "fence_lab": {"fence_lab"},
    "fence": {"fence_lab"},
}
ROOMS = {"agents", "fence", "fence_lab", "lab", "monitoring", "ocf_lab", "ocf_py", "ocf_py.testing", "tests"}

# What `import ocf_py` may load beyond what the interpreter has loaded by itself, besides its own modules.
LOADED = {"__future__", "_signal", "errno", "fcntl", "marshal", "select", "time"}
# What an agent may load on top of that before its action has begun.
LOADED_BY_AGENTS = LOADED | {"mmap"}

# What the framework and the agents may import beyond the standard library.
OUTSIDE = {"agents": {"psycopg", "pyudev"}, "ocf_lab": {"psycopg", "pyudev"}, "fence_lab": {"requests", "urllib3"},
           "ocf_py.testing": {"hypothesis", "lxml"}}  # fmt: skip


def room_of(module: str) -> str:
    parts = module.split(".")
    return "ocf_py.testing" if parts[:2] == ["ocf_py", "testing"] else parts[0]


def module_of(path: Path) -> str:
    """Return the dotted name of a file's module; an agent's executable is agents.NAME."""
    parts = list(path.with_suffix("").parts if path.suffix == ".py" else path.parts)
    if parts[0] in ("agents", "fence") and len(parts) > 2:
        parts = parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, module: str, *, package: bool) -> Iterator[str]:
    """Yield the modules that are imported at run time, by their absolute names; `from a import b` may mean a.b and counts as that."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield from imports(ast.Module([other], []), module, package=package)
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                above = module.split(".")[: len(module.split(".")) - child.level + package]
                base = ".".join([*above, *filter(None, [child.module])])
            yield from (f"{base}.{alias.name}" for alias in child.names)
        else:
            yield from imports(child, module, package=package)


def imported_by(path: Path) -> set[str]:
    tree = ast.parse(sources.text(path), str(path))
    return set(imports(tree, module_of(path), package=path.name == "__init__.py"))


RUN_TIME = [path for path in sources.python_files() if room_of(module_of(path)) in ALLOWED]


def test_arrows_only_go_down() -> None:
    wrong = []
    for path in RUN_TIME:
        forbidden = ROOMS - ALLOWED[room_of(module_of(path))]
        wrong += [f"{path} imports {name}" for name in imported_by(path) if room_of(name) in forbidden]
    assert wrong == []


def test_nothing_from_outside_but_what_the_packages_require() -> None:
    """The framework itself needs the standard library only; the rest what its package requires or recommends."""
    standard = standard_library()
    assert {"os", "sys", "xml"} <= standard
    for path in RUN_TIME:
        room = room_of(module_of(path))
        outside = {name.split(".")[0] for name in imported_by(path)} - standard - ROOMS
        assert outside <= OUTSIDE.get(room, set()), path


def test_the_rules_see_every_form_of_import() -> None:
    source = """
import lab.roots, os
from tests import style
from .testing import executor
from . import guard
if TYPE_CHECKING:
    import typing
else:
    from fence_lab.client import Client
def late():
    with x:
        import fence
"""
    assert set(imports(ast.parse(source), "ocf_py.agent", package=False)) == {
        "lab.roots", "os", "tests.style", "ocf_py.testing.executor", "ocf_py.guard", "fence_lab.client.Client", "fence",
    }  # fmt: skip
    assert set(imports(ast.parse("from .a import b"), "ocf_py", package=True)) == {"ocf_py.a.b"}
    assert module_of(Path("agents/ocf_lab/sql.py")) == "ocf_lab.sql"
    assert module_of(Path("agents/pgsql-storage")) == "agents.pgsql-storage"
    assert room_of("ocf_py.testing.executor") == "ocf_py.testing"


def system_python(program: str, *arguments: str) -> set[str]:
    done = subprocess.run(["/usr/bin/python3", "-I", "-c", program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=True)  # fmt: skip
    return set(done.stdout.split())


def standard_library() -> set[str]:
    """Return the names of the standard library's modules; the list in sys came with Python 3.10."""
    program = "import sys, os; d = os.path.dirname(os.__file__); print(*getattr(sys, 'stdlib_module_names', ()), *sys.builtin_module_names,"
    program += " *(n.split('.')[0] for n in os.listdir(d) + os.listdir(d + '/lib-dynload')))"
    return system_python(program)


def test_importing_the_framework_loads_next_to_nothing() -> None:
    program = "import sys; before = set(sys.modules); import ocf_py; print(*set(sys.modules) - before)"
    loaded = system_python(program)
    assert {"ocf_py", "ocf_py.agent"} <= loaded
    assert {name for name in loaded if room_of(name) != "ocf_py"} <= LOADED


@pytest.mark.parametrize("path", [path for path in sources.agents() if sources.interpreted_by(path, "python")], ids=str)
def test_an_agent_loads_next_to_nothing_before_its_action(path: Path) -> None:
    program = """
import sys
before = set(sys.modules)
import ocf_py
ocf_py.Agent.main = classmethod(lambda cls: None)
with open(sys.argv[1], "rb") as file:
    exec(compile(file.read(), sys.argv[1], "exec"), {"__name__": "__main__"})
print(*set(sys.modules) - before)
"""
    loaded = system_python(program, str(sources.TREE / path))
    assert "ocf_py.agent" in loaded
    assert {name for name in loaded if room_of(name) not in ("ocf_py", "ocf_lab")} <= LOADED_BY_AGENTS
    assert not [name for name in loaded if room_of(name) == "ocf_py.testing"]
