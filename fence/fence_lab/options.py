"""Options of fence agents: each is declared once; parsing, defaults, checks, metadata, manual page and help come from the declaration.

Names, letters, defaults and descriptions of the standard ones are those of ClusterLabs' agents (fence-agents lib/fencing.py.py and
tests/data/metadata): cluster configurations and scripts are written against them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Union

Value = Union[str, int, bool, None]

TRUE = ("1", "yes", "on", "true")
FALSE = ("0", "no", "off", "false")
ACTIONS = ("on", "off", "reboot", "status", "list", "list-status", "monitor", "metadata", "manpage", "validate-all")
# Until an action gives up: below the 60 s and 20 s that Pacemaker grants if nothing else is configured.
POWER_SECONDS, OTHER_SECONDS = 50.0, 15.0
# What is left after a delay at least, unless a limit is given: a stop that comes to SIGKILL takes 26 s.
AFTER_DELAY_SECONDS = 30.0
MOST = 10**9  # Of any number: a timer takes no more, and an age of man is enough to wait.


@dataclass(frozen=True)
class Option:
    """An option of an agent.

    `name` is what stdin and the metadata call it, with underscores, `old` its former names, `long` the long option (the name with
    hyphens if empty), `short` the letter.  `argument` is what the help shows for its value.  `default` is the text that a user
    would write.  `help` is its description in the metadata, `usage` that of the help where it differs.  `order` sorts metadata and
    help, and names sort within.  A `secret` may be given as its value, as "@/path/of/a/file", or by a command in the option
    "<name>_script".  One that is `ignored` is accepted and leads to a warning with this text; it is in neither metadata nor help.
    `added` says that ClusterLabs' agents lack it: an abbreviation that fits one of theirs as well means theirs.
    """

    name: str
    help: str = ""
    old: tuple[str, ...] = ()
    short: str = ""
    long: str = ""
    argument: str = ""
    kind: str = "string"  # string, integer, second, boolean, select
    default: str | None = None
    required: bool = False
    usage: str = ""
    order: int = 1
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int = MOST
    secret: bool = False
    ignored: str = ""
    added: bool = False
    names: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in ("string", "integer", "second", "boolean", "select") or (self.kind == "select") != bool(self.choices):
            raise TypeError(f"option {self.name}: no such kind, or one without choices: {self.kind}")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name) or len(self.short) > 1:
            raise TypeError(f"option {self.name}: its name or letter has the wrong form")
        if not self.long:
            object.__setattr__(self, "long", self.name.replace("_", "-"))
        object.__setattr__(self, "names", (self.name, *self.old))
        if self.default is not None:
            self.read(self.default)

    def but(self, **changes: Any) -> Option:
        """Return this option with some things declared otherwise."""
        return replace(self, **changes)

    @property
    def flag(self) -> bool:
        """Whether it takes no value on the command line."""
        return self.kind == "boolean"

    @property
    def mixed(self) -> str:
        """The forms on the command line, as metadata and help show them: "-n, --plug=[id]"."""
        return (f"-{self.short}, " if self.short else "") + f"--{self.long}" + (f"=[{self.argument}]" if self.argument else "")

    def read(self, text: str) -> Value:
        """Return the value of a text.  Raises ValueError with the sentence for the administrator, which does not repeat a secret."""
        if self.kind == "boolean":
            if text.lower() not in TRUE + FALSE:
                raise ValueError(f"Failed: The value you have entered for --{self.long} is not a valid boolean")
            return text.lower() in TRUE
        if self.kind == "select":
            for choice in self.choices:
                if choice.lower() == text.lower():
                    return choice
            raise ValueError(f"Failed: You have to enter a valid choice for --{self.long} from the valid values: {list(self.choices)}")
        if self.kind in ("integer", "second"):
            what = "time in seconds" if self.kind == "second" else "integer"
            if not re.fullmatch(r"\s*\+?[0-9]{1,18}\s*", text, re.ASCII):
                raise ValueError(f"Failed: The value you have entered for --{self.long} is not a valid {what}")
            if not self.least <= int(text) <= self.most:
                raise ValueError(f"Failed: --{self.long}={int(text)} is out of range, it can be {self.least} to {self.most}")
            return int(text)
        return text


ACTION = Option("action", "Fencing action", short="o", argument="action", default="reboot", required=True)
IP = Option("ip", "IP address or hostname of fencing device", ("ipaddr",), "a", argument="ip", required=True)
IPPORT = Option("ipport", "TCP/UDP port to use for connection with device", short="u", argument="port", kind="integer", default="443",
                least=1, most=65535, usage="TCP/UDP port to use")  # fmt: skip
USERNAME = Option("username", "Login name", ("login",), "l", argument="name", required=True)
PASSWORD = Option("password", "Login password or passphrase", ("passwd",), "p", argument="password", secret=True)
PASSWORD_SCRIPT = Option("password_script", "Script to run to retrieve password", ("passwd_script",), "S", argument="script")
PLUG = Option("plug", "Physical plug number on device, UUID or identification of machine", ("port",), "n", argument="id", required=True)
METHOD = Option("method", "Method to fence", short="m", argument="method", kind="select", choices=("onoff", "cycle"), default="onoff",
                usage="Method to fence (onoff|cycle)")  # fmt: skip
SSL = Option("ssl", "Use SSL connection with verifying certificate", short="z", kind="boolean")
SSL_INSECURE = Option("ssl_insecure", "Use SSL connection without verifying certificate", kind="boolean")
SSL_SECURE = Option("ssl_secure", "Use SSL connection with verifying certificate", kind="boolean")
QUIET = Option("quiet", "Disable logging to stderr. Does not affect --verbose or --debug-file or logging to syslog.", short="q",
               kind="boolean", order=50)  # fmt: skip
VERBOSE = Option("verbose", "Verbose mode. Multiple -v flags can be stacked on the command line (e.g., -vvv) to increase verbosity.",
                 short="v", kind="boolean", order=51)  # fmt: skip
VERBOSE_LEVEL = Option(
    "verbose_level",
    "Level of debugging detail in output. Defaults to the number of --verbose flags specified on the command line, or to 1 if "
    "verbose=1 in a stonith device configuration (i.e., on stdin).",
    kind="integer", order=52,
)  # fmt: skip
DEBUG_FILE = Option("debug_file", "Write debug information to given file", ("debug",), "D", argument="debugfile", order=53,
                    usage="Debugging to output file")  # fmt: skip
VERSION = Option("version", "Display version information and exit", short="V", kind="boolean", order=54)
HELP = Option("help", "Display help and exit", short="h", kind="boolean", order=55)
PLUG_SEPARATOR = Option("plug_separator", "Separator for plug parameter when specifying more than 1 plug", argument="char", default=",",
                        order=100)  # fmt: skip
SEPARATOR = Option("separator", "Separator for CSV created by 'list' operation", short="C", argument="char", default=",", order=100)
DELAY = Option("delay", "Wait X seconds before fencing is started", argument="seconds", kind="second", default="0", order=200)
DISABLE_TIMEOUT = Option("disable_timeout", "Disable timeout (true/false) (default: true when run from Pacemaker 2.0+)",
                         argument="true/false", order=200)  # fmt: skip
LOGIN_TIMEOUT = Option("login_timeout", "Wait X seconds for cmd prompt after login", argument="seconds", kind="second", default="5",
                       order=200)  # fmt: skip
POWER_TIMEOUT = Option("power_timeout", "Test X seconds for status change after ON/OFF", argument="seconds", kind="second", default="20",
                       order=200)  # fmt: skip
POWER_WAIT = Option("power_wait", "Wait X seconds after issuing ON/OFF", argument="seconds", kind="second", default="0", order=200)
SHELL_TIMEOUT = Option("shell_timeout", "Wait X seconds for cmd prompt after issuing command", argument="seconds", kind="second",
                       default="3", order=200)  # fmt: skip
STONITH_STATUS_SLEEP = Option("stonith_status_sleep", "Sleep X seconds between status calls during a STONITH action", argument="seconds",
                              kind="second", default="1", order=200)  # fmt: skip
RETRY_ON = Option("retry_on", "Count of attempts to retry power on", argument="attempts", kind="integer", default="1", order=201)
GNUTLSCLI_PATH = Option("gnutlscli_path", "Path to gnutls-cli binary", argument="path", default="/usr/bin/gnutls-cli", order=300)
INET4_ONLY = Option("inet4_only", short="4", kind="boolean", ignored="the address family follows from ip")
INET6_ONLY = INET4_ONLY.but(name="inet6_only", short="6", long="inet6-only")

# Every agent has these, but those that it names in WITHOUT.
STANDARD = (
    ACTION, IP, IPPORT, USERNAME, PASSWORD, PASSWORD_SCRIPT, PLUG, METHOD, SSL, SSL_INSECURE, SSL_SECURE, QUIET, VERBOSE, VERBOSE_LEVEL,
    DEBUG_FILE, VERSION, HELP, PLUG_SEPARATOR, SEPARATOR, DELAY, DISABLE_TIMEOUT, LOGIN_TIMEOUT, POWER_TIMEOUT, POWER_WAIT, SHELL_TIMEOUT,
    STONITH_STATUS_SLEEP, RETRY_ON, GNUTLSCLI_PATH, INET4_ONLY, INET6_ONLY,
)  # fmt: skip

# These only the agents that list them.
TIME_LIMIT = Option(
    "time_limit",
    "Seconds from the start of the agent, with its delay, after which an action gives up and says why; keep it below Pacemaker's "
    "timeout for the action. (Default: 50 for on, off and reboot, or 30 more than the delay if that is more; 15 for the others)",
    argument="seconds", kind="second", least=1, order=200, added=True,
)  # fmt: skip
TOKEN = Option("token", "API token", argument="token", secret=True, order=4, added=True)
TOKEN_SCRIPT = Option("token_script", "Script to run to retrieve the API token", argument="script", order=4, added=True)
CA_FILE = Option("ca_file", "File with the certificates (PEM) of the authorities that the server's certificate is verified with",
                 argument="path", order=4, added=True)  # fmt: skip
FINGERPRINT = Option("fingerprint", "SHA-256 fingerprint of the server's certificate, or several, which replaces the verification by an "
                     "authority", argument="fingerprint", order=4, added=True)  # fmt: skip


class Options(Mapping[str, Option]):
    """The options of an agent by name.  Raises TypeError for two that cannot be told apart."""

    def __init__(self, options: Sequence[Option]) -> None:
        self._options = {option.name: option for option in options}
        self.by_name: dict[str, Option] = {}
        self.by_letter: dict[str, Option] = {}
        self.by_long: dict[str, Option] = {}
        for option in self._options.values():
            for table, keys in (
                (self.by_name, {name.replace("-", "_") for name in (*option.names, option.long)}),
                (self.by_letter, {option.short} - {""}),
                (self.by_long, {option.long}),
            ):
                for key in keys:
                    if key in table:
                        raise TypeError(f"options {table[key].name} and {option.name} share the name {key}")
                    table[key] = option

    @classmethod
    def of(cls, added: Sequence[Option], without: Sequence[str] = ()) -> Options:
        """Return the standard options but those named in `without`, with the added ones, which replace those of the same name."""
        unknown = set(without) - {option.name for option in STANDARD}
        if unknown:
            raise TypeError(f"there is no standard option {', '.join(sorted(unknown))} to go without")
        table = {option.name: option for option in STANDARD if option.name not in without}
        table.update((option.name, option) for option in added)
        return cls(list(table.values()))

    def __getitem__(self, name: str) -> Option:
        return self._options[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._options)

    def __len__(self) -> int:
        return len(self._options)

    def named(self, name: str) -> Option | None:
        """Return the option that stdin means by a name: new, old or long, with hyphens or underscores."""
        return self.by_name.get(name.replace("-", "_"))


class Given:
    """The typed values of an action by the options' names, with defaults applied.  Secrets are apart, and in no representation."""

    def __init__(self, options: Options, values: Mapping[str, Value], given: Sequence[str], secrets: Mapping[str, str]) -> None:
        self._values = {name: values.get(name) for name, option in options.items() if not option.secret}
        self._given, self._secrets = frozenset(given), dict(secrets)

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def has(self, name: str) -> bool:
        """Whether the user gave it, and not empty; a secret also by its script."""
        return name in self._given

    def text(self, name: str) -> str:
        value = self._values[name]
        return "" if value is None else str(value)

    def number(self, name: str) -> float:
        value = self._values[name]
        return float(value) if isinstance(value, int) else 0.0

    def flag(self, name: str) -> bool:
        return self._values[name] is True

    def secret(self, name: str) -> str:
        """Return a secret, resolved; "" if none was given."""
        return self._secrets.get(name, "")
