"""Write the pages into a directory."""

from __future__ import annotations

import argparse
from pathlib import Path

from lab.manpages import pages


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m lab.manpages", description="Write the manual pages")
    parser.add_argument("directory", type=Path)
    directory: Path = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages.all_pages().items():
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
