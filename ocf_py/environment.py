"""One frozen reading of what the executor handed over; nothing else looks at os.environ.

Names and fallbacks: Pacemaker lib/services/services_linux.c (add_OCF_env_vars), daemons/execd/pacemaker-execd.c, and
resource-agents heartbeat/ocf-shellfuncs.in for what shell agents accept.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PARAMETER, META = "OCF_RESKEY_", "OCF_RESKEY_CRM_meta_"
YES = ("yes", "true", "1", "on", "ja")


def milliseconds(text: str | None) -> float | None:
    """Return seconds for Pacemaker's milliseconds, None for anything that is not a number."""
    return int(text) / 1000 if text and text.isascii() and text.isdigit() and len(text) < 16 else None


class Environment:
    """The executor's words.  Attributes are plain values in seconds, never strings to be parsed again."""

    __slots__ = (
        "check_level", "debug", "debug_file", "dialect", "exit_reason_prefix", "facility", "inherited", "interval", "log_file", "meta",
        "no_commands", "parameters", "provider", "resource", "root", "rsctmp", "sbin", "timeout", "trace", "trace_file", "type", "version",
    )  # fmt: skip

    def __init__(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"the environment is read once; {name} cannot be set")

    if TYPE_CHECKING:
        root: str
        resource: str
        type: str
        provider: str
        version: str
        check_level: str
        inherited: Mapping[str, str]
        parameters: Mapping[str, str]
        meta: Mapping[str, str]
        timeout: float | None
        interval: float
        rsctmp: str
        sbin: str
        no_commands: bool
        facility: str | None
        log_file: str | None
        debug_file: str | None
        debug: bool
        trace: bool
        trace_file: str
        exit_reason_prefix: str
        dialect: str

    @classmethod
    def read(cls, environ: Mapping[str, str], program: str) -> Environment:
        """Read the executor's variables; never raises: a malformed one counts as absent."""
        parameters: dict[str, str] = {}
        meta: dict[str, str] = {}
        inherited: dict[str, str] = {}
        for name, value in environ.items():
            if name.startswith(META):
                meta[name[len(META) :]] = value
            elif name.startswith(PARAMETER):
                parameters[name[len(PARAMETER) :]] = value
            elif name.startswith(("OCF_", "HA_", "PCMK_", "CIB_")):
                inherited[name] = value

        def path(name: str) -> str | None:
            return next((value for key in (name, "PCMK_" + name[3:].lower()) if (value := environ.get(key, "")).startswith("/")), None)

        return cls(
            root=environ.get("OCF_ROOT") or "/usr/lib/ocf",
            resource=environ.get("OCF_RESOURCE_INSTANCE") or "default",
            type=environ.get("OCF_RESOURCE_TYPE") or program.rpartition("/")[2],
            provider=environ.get("OCF_RESOURCE_PROVIDER", ""),
            version=environ.get("OCF_RA_VERSION_MAJOR", ""),
            check_level=environ.get("OCF_CHECK_LEVEL") or parameters.pop("OCF_CHECK_LEVEL", "") or "0",
            inherited=inherited,
            parameters=parameters,
            meta=meta,
            timeout=milliseconds(meta.get("timeout")),
            interval=milliseconds(meta.get("interval")) or 0.0,
            rsctmp=environ.get("HA_RSCTMP") or "/run/resource-agents",
            sbin=environ.get("HA_SBIN_DIR") or "/usr/sbin",
            no_commands=environ.get("OCF_TESTER_FAIL_HAVE_BINARY") == "1",
            facility=environ.get("HA_LOGFACILITY") or environ.get("PCMK_logfacility") or environ.get("HA_logfacility") or None,
            log_file=path("HA_LOGFILE"),
            debug_file=path("HA_DEBUGLOG"),
            debug=environ.get("HA_debug", "").lower() in YES or environ.get("HA_debug", "").strip("0").isdigit(),
            trace=environ.get("OCF_TRACE_RA", "").lower() in YES,
            trace_file=environ.get("OCF_TRACE_FILE", ""),
            exit_reason_prefix=environ.get("OCF_EXIT_REASON_PREFIX") or "ocf-exit-reason:",
            dialect=environ.get("OCF_PY_METADATA_DIALECT", ""),
        )

    @property
    def globally_unique(self) -> bool:
        return self.meta.get("globally_unique", "").lower() in YES

    @property
    def instance(self) -> str:
        """The resource's name as state files use it: without ":N" unless every clone instance is a thing of its own."""
        name, colon, number = self.resource.rpartition(":")
        return name if colon and number.isdigit() and not self.globally_unique else self.resource

    @property
    def instance_number(self) -> int | None:
        """N of "name:N", or None where the resource is no clone."""
        _, colon, number = self.resource.rpartition(":")
        return int(number) if colon and number.isdigit() else None

    @property
    def node(self) -> str:
        return self.meta.get("on_node", "")

    def names(self, key: str) -> list[str]:
        """Return a meta-attribute that is a list separated by blanks, such as notify_start_uname."""
        return self.meta.get(key, "").split()
