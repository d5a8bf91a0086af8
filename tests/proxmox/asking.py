"""A client without sockets, and a clock that tests turn on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from lab.proxmox.api import Api, Request, Response
from lab.proxmox.world import World, small_cluster

AUDIT, POWER = "VM.Audit", "VM.PowerMgmt"
SECRET = "0badc0de-0000-4000-8000-000000000000"


def data(response: Response) -> Any:
    assert response.body is not None
    return json.loads(response.body)["data"]


@dataclass
class Lab:
    """The small cluster, its API, and time.  Every answer's delay passes before it is returned."""

    moment: float = 1000.0
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world: World = small_cluster(lambda: self.moment)
        self.api = Api(self.world)

    def wait(self, seconds: float) -> None:
        self.moment += seconds
        self.world.advance()

    def ask(self, method: str, path: str, entry: str = "pve1", /, **params: str) -> Response:
        return self.api.handle(entry, Request(method, path, params, self.headers))

    def get(self, path: str, entry: str = "pve1", /, **params: str) -> Any:
        answer = self.ask("GET", path, entry, **params)
        assert answer.status == 200, answer
        return data(answer)

    def post(self, path: str, entry: str = "pve1", /, **params: str) -> Any:
        answer = self.ask("POST", path, entry, **params)
        assert answer.status == 200, answer
        return data(answer)

    def login(self, userid: str = "pacemaker@pve", password: str = "right", entry: str = "pve1") -> Any:
        self.headers = {}
        found = self.post("/access/ticket", entry, username=userid, password=password)
        self.headers = {"cookie": f"PVEAuthCookie={found['ticket']}", "csrfpreventiontoken": found["CSRFPreventionToken"]}
        return found

    def use_token(self, authid: str = "pacemaker@pve!fence", secret: str = SECRET) -> None:
        self.headers = {"authorization": f"PVEAPIToken={authid}={secret}"}

    def power(self, vmid: int, order: str, node: str = "", kind: str = "qemu", **params: str) -> str:
        """Give an order and return the task's name."""
        upid: str = self.post(f"/nodes/{node or self.world.guests[vmid].node}/{kind}/{vmid}/status/{order}", **params)
        return upid

    def status(self, vmid: int, node: str = "", entry: str = "pve1", kind: str = "qemu") -> Any:
        return self.get(f"/nodes/{node or self.world.guests[vmid].node}/{kind}/{vmid}/status/current", entry)

    def task(self, upid: str, entry: str = "pve1") -> Any:
        return self.get(f"/nodes/{upid.split(':')[1]}/tasks/{upid}/status", entry)

    def row(self, vmid: int, entry: str = "pve1") -> Any:
        return next(row for row in self.get("/cluster/resources", entry, type="vm") if row["vmid"] == vmid)


def logged_in() -> Lab:
    lab = Lab()
    lab.login()
    return lab


def as_root() -> Lab:
    lab = Lab()
    lab.login("root@pam", "root")
    return lab
