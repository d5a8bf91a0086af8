"""What a cluster of the lab can be configured as, and what all of them have in common."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lab.report.runs import Agents, Profile

CLUSTER = "mycluster"
USER, DATABASE, PORT = "postgres", "postgres", 5432
BINARIES = "/usr/lib/postgresql/15/bin"


class Layout(Enum):
    """Where the database lies: on one disk, or pg_wal and a tablespace on disks of their own."""

    ONE = "one"
    THREE = "three"


@dataclass(frozen=True)
class Volume:
    """A LUN's logical volume, its file system, and the resources that have them."""

    lun: str
    mount: str

    @property
    def group(self) -> str:
        return f"vg-{self.lun}"

    @property
    def name(self) -> str:
        return f"lv-{self.lun}"

    @property
    def device(self) -> str:
        return f"/dev/{self.group}/{self.name}"

    @property
    def suffix(self) -> str:
        """Return what the names of this volume's resources end with: those of the lab document have no end."""
        return "" if self.lun == "cluster1" else f"-{self.lun}"


MAIN = Volume("cluster1", "/mnt/cluster1")
WAL = Volume("wal", "/mnt/wal")
TABLESPACE = Volume("tablespace", "/mnt/tablespace")
PGDATA = f"{MAIN.mount}/pgsql/data"
VOLUMES = {Layout.ONE: (MAIN,), Layout.THREE: (MAIN, WAL, TABLESPACE)}


@dataclass(frozen=True)
class Setting:
    agents: Agents
    profile: Profile
    layout: Layout = Layout.ONE

    def __str__(self) -> str:
        return f"{self.agents.value} agents, profile {self.profile.value}, layout {self.layout.value}"

    def resources(self) -> tuple[str, ...]:
        """Return the names of the service's resources, in the order in which they start."""
        storage = [f"{kind}{volume.suffix}" for volume in VOLUMES[self.layout] for kind in ("pg-lvm", "pg-fs")]
        return (*storage, "pg-db", "pg-vip")
