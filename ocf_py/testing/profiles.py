"""The environments that Pacemaker's tools and ocf-tester give an agent.

Each was taken from the real program on Debian 12 (pacemaker 2.1.5, pcs 0.11.5, resource-agents 4.12) with an agent that writes down
its environment; what systemd adds for a service (LANG, HOME) is left out where it differs between distributions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FEATURE_SET = "3.16.1"


@dataclass(frozen=True)
class Request:
    """What an executor is asked to run."""

    agent: Path
    action: str
    instance: str
    provider: str
    node: str
    timeout: float
    interval: float
    level: int | None
    log_file: Path
    parameters: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)

    @property
    def timeout_ms(self) -> str:
        return str(round(self.timeout * 1000))

    @property
    def interval_ms(self) -> str:
        return str(round(self.interval * 1000))


@dataclass(frozen=True)
class Profile:
    environment: Callable[[Request], dict[str, str]]
    # crm_resource runs an agent synchronously and then kills the process alone, not its group (wait_for_sync_result).
    kill_group: bool = True


def services(request: Request, instance: str) -> dict[str, str]:
    """Return what the library beneath all of Pacemaker's tools sets (add_action_env_vars)."""
    return {
        "OCF_EXIT_REASON_PREFIX": "ocf-exit-reason:", "OCF_RA_VERSION_MAJOR": "1", "OCF_RA_VERSION_MINOR": "1",
        "OCF_ROOT": "/usr/lib/ocf", "OCF_RESOURCE_INSTANCE": instance, "OCF_RESOURCE_TYPE": request.agent.name,
        "OCF_RESOURCE_PROVIDER": request.provider, "OCF_OUTPUT_FORMAT": "text",
    }  # fmt: skip


def reskey(request: Request, **meta: str) -> dict[str, str]:
    """Return the parameters and meta-attributes.  The check level is the only one without the prefix."""
    variables = {f"OCF_RESKEY_{name}": value for name, value in request.parameters.items()}
    variables["OCF_RESKEY_crm_feature_set"] = FEATURE_SET
    for name, value in {"timeout": request.timeout_ms, **meta, **request.meta}.items():
        variables[f"OCF_RESKEY_CRM_meta_{name.replace('-', '_')}"] = value
    if request.level is not None:
        variables["OCF_CHECK_LEVEL"] = str(request.level)
    return variables


def daemon(service: str, log_file: Path) -> dict[str, str]:
    """Return what pacemakerd's children have all."""
    log = str(log_file)
    return {
        "LC_ALL": "C", "PATH": PATH, "HA_LOGFACILITY": "daemon", "HA_cluster_type": "corosync", "HA_debug": "0",
        "HA_logfacility": "daemon", "HA_logfile": log, "HA_mcp": "true", "HA_quorum_type": "corosync",
        "PCMK_cluster_type": "corosync", "PCMK_debug": "0", "PCMK_logfacility": "daemon", "PCMK_logfile": log, "PCMK_mcp": "true",
        "PCMK_quorum_type": "corosync", "PCMK_watchdog": "false", "PCMK_service": service,
    }  # fmt: skip


def execd(request: Request) -> dict[str, str]:
    if request.action == "meta-data":
        # The controller asks for it, not execd, and hands over no parameter.
        asked = {**daemon("pacemaker-controld", request.log_file), **services(request, request.instance)}
        return {**asked, "OCF_OUTPUT_FORMAT": "log"}
    meta = {"on_node": request.node, "on_node_uuid": "1"}
    if request.interval:
        meta["interval"] = request.interval_ms
    if request.interval or request.action != "monitor":
        # A probe comes without name and interval.
        meta["name"] = request.action
    return {
        **daemon("pacemaker-execd", request.log_file), "HA_LOGFILE": str(request.log_file), **services(request, request.instance),
        **reskey(request, **meta),
    }  # fmt: skip


def tool(request: Request, instance: str) -> dict[str, str]:
    return {
        **services(request, instance), "HA_debug": "0", "HA_logfacility": "none", "PCMK_logfacility": "none",
        "PCMK_service": "crm_resource", "OCF_TRACE_FILE": "/dev/stderr",
    }  # fmt: skip


def crm_resource(request: Request) -> dict[str, str]:
    if request.action == "meta-data":
        return metadata_of_tool(request)
    meta = {"class": "ocf", "id": request.instance, "provider": request.provider, "type": request.agent.name}
    shell = {"HOME": "/root", "LANG": "C.UTF-8", "PATH": PATH, "PWD": "/root", "TERM": "xterm"}
    return {**shell, **tool(request, request.instance), **reskey(request, **meta)}


def crm_resource_trace(request: Request) -> dict[str, str]:
    return {**crm_resource(request), "HA_debug": "1", "OCF_TRACE_RA": "1"}


def pcs(request: Request) -> dict[str, str]:
    if request.action == "meta-data":
        return {**metadata_of_tool(request), "PATH": "/usr/sbin:/bin:/usr/bin"}
    if request.action != "validate-all":
        raise ValueError(f"pcs runs only validate-all and meta-data, not {request.action}")
    return {"LC_ALL": "C", **tool(request, "test"), **reskey(request), "OCF_OUTPUT_FORMAT": "xml"}


def metadata_of_tool(request: Request) -> dict[str, str]:
    common = {"LC_ALL": "C", "HA_logfacility": "none", "PCMK_logfacility": "none", "PCMK_service": "crm_resource", "PATH": PATH}
    return {**common, **services(request, request.agent.name)}


def ocf_tester(request: Request) -> dict[str, str]:
    """Return ocf-tester's environment: a login shell's, no OCF version, nothing of the log."""
    interval = request.interval_ms if request.interval else "0"
    variables = {
        "HOME": "/root", "LANG": "C.UTF-8", "PATH": PATH, "PWD": "/root", "TERM": "xterm", "OCF_ROOT": "/usr/lib/ocf",
        "OCF_RESOURCE_INSTANCE": request.instance, "__OCF_ACTION": request.action, "OCF_RESKEY_CRM_meta_timeout": request.timeout_ms,
        "OCF_RESKEY_CRM_meta_interval": interval if request.action == "monitor" else "20000",
    }  # fmt: skip
    variables.update({f"OCF_RESKEY_{name}": value for name, value in request.parameters.items()})
    if request.level is not None:
        variables["OCF_CHECK_LEVEL"] = str(request.level)
    return variables


def bare(_: Request) -> dict[str, str]:
    return {}


PROFILES = {
    "execd": Profile(execd),
    "crm_resource": Profile(crm_resource, kill_group=False),
    "crm_resource -VV": Profile(crm_resource_trace, kill_group=False),
    "pcs": Profile(pcs, kill_group=False),
    "ocf_tester": Profile(ocf_tester),
    "bare": Profile(bare),
}
