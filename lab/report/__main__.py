"""Tell what a directory of runs has shown: `python3 -m lab.report DIR [--output DIR]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.report import bars, store, table, timeline
from lab.report.store import Kept


def pages(kept: Kept) -> dict[str, str]:
    """Return the files of a report by their names."""
    found = {"report.md": table.render(kept.runs, kept.names, kept.broken), "report.json": figures(kept)}
    found |= {f"bars-{profile.value}.svg": bars.render(kept.runs, profile) for profile in table.profiles(kept.runs)}
    found |= {f"timeline-{name}.svg": timeline.render(run) for run, name in zip(kept.runs, kept.names)}
    return found


def figures(kept: Kept) -> str:
    """Return what follows from each run, without what was seen in it."""
    lines = []
    for run, name in zip(kept.runs, kept.names):
        told = {"run": name, "scenario": run.scenario, "agents": run.agents.value, "profile": run.profile.value, **store.derived(run)}
        lines.append(json.dumps(told, ensure_ascii=False))
    return "[\n" + ",\n".join(lines) + "\n]\n"


def write(directory: Path, texts: dict[str, str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (directory / name).write_text(text, encoding="utf-8")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab.report", description="Tables and pictures of the runs of the two-node lab")
    parser.add_argument("directory", type=Path, metavar="DIR", help="where the runs are, a JSON file each")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the report goes (default: DIR/report)")
    given = parser.parse_args(words)
    if not given.directory.is_dir():
        parser.error(f"{given.directory} is no directory")
    output: Path = given.output or given.directory / "report"
    if output.resolve() == given.directory.resolve():
        parser.error("the report goes into a directory of its own: what is in the runs' directory is read as a run")
    kept = store.load(given.directory)
    texts = pages(kept)
    write(output, texts)
    print(texts["report.md"], end="")
    for broken in kept.broken:
        print(f"{broken.path}: left out: {broken.why}", file=sys.stderr)
    print(f"{len(kept.runs)} runs; {len(texts)} files in {output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
