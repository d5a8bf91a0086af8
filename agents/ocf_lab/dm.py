"""What only device-mapper itself can tell or do, by dmsetup: none of it reads a disk."""

from __future__ import annotations

import os

from ocf_py.outcomes import CommandFailed, Error

from . import block

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocf_py.agent import Agent

    from .volumes import Volume

SECONDS = 5.0


def targets(agent: Agent, volume: Volume) -> set[str]:
    """Return the kinds of targets in a device's table: linear, striped, thin, raid and so on."""
    table = agent.run("dmsetup", "table", volume.name, within=SECONDS).out
    return {fields[2] for line in table.splitlines() if len(fields := line.split()) > 2}


def remove(agent: Agent, volume: Volume) -> None:
    """Remove a closed device.  Raises Error; a device that is open stays.

    Without waiting for udev, whose workers may hang on the same storage.
    """
    try:
        agent.run("dmsetup", "remove", "--noudevsync", volume.name, within=SECONDS, target="dm", writes=True)
    except CommandFailed as error:
        if volume.present():
            raise Error(str(error)) from None


def users(agent: Agent, volume: Volume) -> str:
    """Return who has a device open, "" where nobody has."""
    opened = agent.run("dmsetup", "info", "-c", "--noheadings", "-o", "open", volume.name, within=SECONDS, ok=None).out.strip()
    if opened == "0" or not volume.present():
        return ""
    with open("/proc/self/mountinfo") as table:
        found = [f"mounted on {line.split()[4]}" for line in table if line.split()[2] == volume.device]
    folder = block.directory(volume.device)
    found += [f"used by {block.name(block.read(folder, 'holders', holder, 'dev'))}" for holder in block.listing(f"{folder}/holders")]
    try:
        found += agent.guarded("open files", processes, [f"/dev/{os.path.basename(folder)}", f"/dev/mapper/{volume.name}"])
    except (Error, OSError) as error:
        found.append(f"by processes that cannot be told ({error})")
    return ", ".join(found) or f"by {opened or 'unknown'} users in the kernel"


# What follows runs in the guarded child.


def processes(paths: list[str]) -> list[str]:
    """Return the processes that have one of the devices open, by the links of their descriptors."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            links = {os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")}
            if links.intersection(paths):
                with open(f"/proc/{pid}/comm") as file:
                    found.append(f"by process {pid} ({file.read().strip()})")
        except OSError:
            continue
    return found
