"""The packages for the lab's nodes are built anew when what they are made from has changed, and not otherwise."""

from __future__ import annotations

from pathlib import Path

from lab import packages, roots


def copy(tree: Path) -> Path:
    """Return a tree with a file in each place that the packages are made from."""
    for source in packages.SOURCES:
        name = source if (roots.TREE / source).is_file() else f"{source}/some.py"
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    return tree


def test_a_digest_is_that_of_the_sources_alone(tmp_path: Path) -> None:
    before = packages.digest(copy(tmp_path))
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "some.py").touch()
    (tmp_path / "ocf_py" / "__pycache__").mkdir()
    (tmp_path / "ocf_py" / "__pycache__" / "some.pyc").touch()
    assert packages.digest(tmp_path) == before


def test_every_change_of_a_source_is_seen(tmp_path: Path) -> None:
    seen = {packages.digest(copy(tmp_path))}
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        path.write_text("changed")
        seen.add(packages.digest(tmp_path))
        path.chmod(0o755)
        seen.add(packages.digest(tmp_path))
    (tmp_path / "agents" / "new").touch()
    seen.add(packages.digest(tmp_path))
    assert len(seen) == 2 + 2 * len(packages.SOURCES)


def test_what_is_archived_is_what_is_looked_at() -> None:
    script = (roots.TREE / "rpm" / "build.sh").read_text()
    (archived,) = [line.split()[:-1] for line in script.splitlines() if line.strip().startswith("LICENSE README.md ")]
    assert {name.partition("/")[0] for name in packages.SOURCES} == set(archived)
