"""The methods of the API, as a table: what each may be asked by whom, with which parameters, and where it is answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from . import orders, views
from .call import Call, Data
from .schema import BOOLEAN, NODE, SECONDS, VMID, Parameter, Schema


@dataclass(frozen=True)
class Method:
    """One entry of the API.  `privilege` on `path` is asked of whoever calls; without one, any login will do."""

    verb: str
    template: str
    answer: Callable[[Call], Data]
    path: str = ""
    privilege: str = ""
    proxied: bool = False
    protected: bool = False
    tokens: bool = True
    schema: Schema = field(default_factory=dict)

    def match(self, verb: str, parts: list[str]) -> dict[str, str] | None:
        """Return the parameters in the path, None when it is another method's."""
        template = self.template.split("/")[1:]
        if verb != self.verb or len(template) != len(parts):
            return None
        found = {}
        for want, part in zip(template, parts):
            if want.startswith("{"):
                found[want[1:-1]] = part
            elif want != part:
                return None
        return found


AT_NODE: Schema = {"node": NODE}
AT_GUEST: Schema = {"node": NODE, "vmid": VMID}
AT_TASK: Schema = {"node": NODE, "upid": Parameter(optional=False)}
STOP: Schema = {**AT_GUEST, "skiplock": BOOLEAN, "overrule-shutdown": BOOLEAN}


def at_guest(kind: str, verb: str, rest: str, answer: Callable[[Call], Data], privilege: str, schema: Schema) -> Method:
    return Method(verb, f"/nodes/{{node}}/{kind}/{{vmid}}/{rest}", answer, "/vms/{vmid}" if privilege else "", privilege, proxied=True,
                  protected=rest != "config", schema=schema)  # fmt: skip


AUDIT, POWER = "VM.Audit", "VM.PowerMgmt"
LOGIN: Schema = {"username": Parameter(optional=False), "password": Parameter(optional=False), "realm": Parameter(), "otp": Parameter(),
                 "new-format": BOOLEAN, "tfa-challenge": Parameter()}  # fmt: skip

METHODS = (
    Method("GET", "/version", views.version),
    Method("GET", "/access/ticket", views.no_login),
    Method("POST", "/access/ticket", views.login, protected=True, tokens=False, schema=LOGIN),
    Method("GET", "/access/permissions", views.permissions, schema={"userid": Parameter(), "path": Parameter()}),
    Method("GET", "/cluster/resources", views.resources, schema={"type": Parameter(choices=("vm", "storage", "node", "sdn"))}),
    Method("GET", "/cluster/status", views.cluster_status, "/", "Sys.Audit", protected=True),
    Method("GET", "/cluster/ha/status/current", views.ha_status, "/", "Sys.Audit"),
    Method("GET", "/nodes", views.nodes),
    Method("GET", "/nodes/{node}/status", views.node_status, "/nodes/{node}", "Sys.Audit", proxied=True, protected=True, schema=AT_NODE),
    Method("GET", "/nodes/{node}/tasks", views.task_list, proxied=True,
           schema={**AT_NODE, "limit": SECONDS, "vmid": Parameter("integer"), "source": Parameter(choices=("archive", "active", "all"))}),
    Method("GET", "/nodes/{node}/tasks/{upid}/status", views.task_status, proxied=True, protected=True, schema=AT_TASK),
    Method("GET", "/nodes/{node}/tasks/{upid}/log", views.task_log, proxied=True, protected=True,
           schema={**AT_TASK, "start": SECONDS, "limit": SECONDS}),
    Method("GET", "/nodes/{node}/qemu", views.guests_of("qemu"), proxied=True, protected=True, schema={**AT_NODE, "full": BOOLEAN}),
    Method("GET", "/nodes/{node}/lxc", views.guests_of("lxc"), proxied=True, protected=True, schema=AT_NODE),
    at_guest("qemu", "GET", "config", views.config_of("qemu"), AUDIT, {**AT_GUEST, "current": BOOLEAN}),
    at_guest("lxc", "GET", "config", views.config_of("lxc"), AUDIT, AT_GUEST),
    at_guest("qemu", "GET", "status/current", views.status_of("qemu"), AUDIT, AT_GUEST),
    at_guest("lxc", "GET", "status/current", views.status_of("lxc"), AUDIT, AT_GUEST),
    at_guest("qemu", "POST", "status/start", orders.start_qemu, POWER, {**AT_GUEST, "skiplock": BOOLEAN, "timeout": SECONDS}),
    at_guest("lxc", "POST", "status/start", orders.start_lxc, POWER, {**AT_GUEST, "skiplock": BOOLEAN, "debug": BOOLEAN}),
    at_guest("qemu", "POST", "status/stop", orders.stop_qemu, POWER,
             {**STOP, "timeout": SECONDS, "keepActive": BOOLEAN, "migratedfrom": Parameter()}),
    at_guest("lxc", "POST", "status/stop", orders.stop_lxc, POWER, STOP),
    at_guest("qemu", "POST", "status/reset", orders.reset_qemu, POWER, {**AT_GUEST, "skiplock": BOOLEAN}),
    at_guest("qemu", "POST", "status/shutdown", orders.shutdown_qemu, POWER,
             {**AT_GUEST, "skiplock": BOOLEAN, "timeout": SECONDS, "forceStop": BOOLEAN, "keepActive": BOOLEAN}),
)  # fmt: skip
