"""Parameters of an agent: declared once as class attributes; metadata, validation and the parsed value come from the declaration.

An empty value counts as not given, as with shell agents (`${x:=default}`).
"""

from __future__ import annotations

from .outcomes import Misconfigured

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from .agent import Agent

SHOWN = 40  # So much of a wrong value is repeated: the reason has room for all that is wrong.
YES = ("yes", "true", "1", "on", "ja")
NO = ("no", "false", "0", "off")
UNITS = (
    ("min", 60.0), ("ms", 0.001), ("us", 0.000001), ("usec", 0.000001), ("msec", 0.001), ("sec", 1.0), ("s", 1.0), ("m", 60.0),
    ("hr", 3600.0), ("h", 3600.0),
)  # fmt: skip


class Parameter:
    """A read-only attribute that holds the parsed value.

    `shortdesc` is one line, `longdesc` the whole explanation.  `default` is the text an administrator would write.  `check` gets
    the parsed value and returns what is wrong with it, or nothing.  `replaced_by` names the parameter to use instead of this
    deprecated one.  A `secret` never reaches a log, a reason or a state file.
    """

    content_type = "string"

    def __init__(
        self,
        shortdesc: str,
        longdesc: str = "",
        *,
        default: str | int | bool | None = None,
        required: bool = False,
        unique_group: str = "",
        reloadable: bool = False,
        replaced_by: str = "",
        secret: bool = False,
        check: Callable[[Any], str | None] | None = None,
    ) -> None:
        if required and default is not None:
            raise TypeError("a required parameter has no default")
        self.name = ""
        self.shortdesc, self.longdesc = shortdesc, longdesc or shortdesc
        self.default = None if default is None else ("yes" if default else "no") if isinstance(default, bool) else str(default)
        self.required, self.unique_group, self.reloadable = required, unique_group, reloadable
        self.replaced_by, self.secret, self.check = replaced_by, secret, check

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        if self.default:
            try:
                self.read(self.default)
            except ValueError as error:
                raise TypeError(f"{owner.__name__}.{name}: its default is wrong: {error}") from None

    def __get__(self, agent: Agent | None, owner: type | None = None) -> Any:
        return self if agent is None else agent.values[self.name]

    def __set__(self, agent: Agent, value: object) -> None:
        raise AttributeError(f"parameter {self.name} is set by the cluster only")

    def parse(self, text: str) -> Any:
        """Return the value of a text.  Raises ValueError with what it should have been ("is not an integer")."""
        return text

    def absent(self) -> Any:
        """Return the value of a parameter that has no default and was not given."""
        return ""

    def read(self, text: str) -> Any:
        """Return the checked value of a text.  Raises ValueError."""
        if "\0" in text or "\n" in text:
            raise ValueError("has a line break")
        value = self.parse(text)
        wrong = self.check(value) if self.check else None
        if wrong:
            raise ValueError(wrong)
        return value


class String(Parameter):
    if TYPE_CHECKING:

        def __get__(self, agent: Agent | None, owner: type | None = None) -> str: ...


class Path(String):
    """An absolute path."""

    def parse(self, text: str) -> str:
        if not text.startswith("/"):
            raise ValueError("is not an absolute path")
        return text.rstrip("/") or "/"


class Integer(Parameter):
    content_type = "integer"

    def __init__(self, shortdesc: str, longdesc: str = "", *, at_least: int | None = None, at_most: int | None = None, **more: Any) -> None:
        self.at_least, self.at_most = at_least, at_most
        super().__init__(shortdesc, longdesc, **more)

    if TYPE_CHECKING:

        def __get__(self, agent: Agent | None, owner: type | None = None) -> int: ...

    def absent(self) -> int:
        return 0

    def parse(self, text: str) -> int:
        digits = text[1:] if text[:1] in "+-" else text
        if not (digits.isascii() and digits.isdigit()):
            raise ValueError("is not an integer")
        value = int(text)
        if self.at_least is not None and value < self.at_least:
            raise ValueError(f"is less than {self.at_least}")
        if self.at_most is not None and value > self.at_most:
            raise ValueError(f"is more than {self.at_most}")
        return value


class Boolean(Parameter):
    content_type = "boolean"

    if TYPE_CHECKING:

        def __get__(self, agent: Agent | None, owner: type | None = None) -> bool: ...

    def absent(self) -> bool:
        return False

    def parse(self, text: str) -> bool:
        lower = text.lower()
        if lower not in YES + NO:
            raise ValueError("is neither yes nor no")
        return lower in YES


class Choice(String):
    """One of a few words."""

    content_type = "select"

    def __init__(self, shortdesc: str, longdesc: str = "", *, options: Sequence[str], **more: Any) -> None:
        self.options = tuple(options)
        super().__init__(shortdesc, longdesc, **more)

    def parse(self, text: str) -> str:
        if text not in self.options:
            raise ValueError(f"is not one of {', '.join(self.options)}")
        return text


class Seconds(Parameter):
    """A time as Pacemaker writes it: "10", "10s", "500ms", "2min".  The value is seconds, or None for the word `auto`."""

    def __init__(
        self, shortdesc: str, longdesc: str = "", *, auto: bool = False, at_least: float = 0.0, at_most: float = 86400.0, **more: Any
    ) -> None:
        self.auto, self.at_least, self.at_most = auto, at_least, at_most
        super().__init__(shortdesc, longdesc, **more)

    def parse(self, text: str) -> float | None:
        if self.auto and text == "auto":
            return None
        value = seconds(text)
        if not self.at_least <= value <= self.at_most:
            raise ValueError(f"is not between {self.at_least:g} s and {self.at_most:g} s")
        return value

    def absent(self) -> float | None:
        return None if self.auto else 0.0


class FixedSeconds(Seconds):
    """Seconds without the word `auto`."""

    if TYPE_CHECKING:

        def __get__(self, agent: Agent | None, owner: type | None = None) -> float: ...


class AutoSeconds(Seconds):
    if TYPE_CHECKING:

        def __get__(self, agent: Agent | None, owner: type | None = None) -> float | None: ...


def seconds(text: str) -> float:
    """Return the seconds of "10", "10s", "0.5s", "500ms", "2min", "1h".  Raises ValueError."""
    number, factor = text.strip(), 1.0
    for unit, worth in UNITS:
        if number.endswith(unit):
            number, factor = number[: -len(unit)].strip(), worth
            break
    if not number.replace(".", "", 1).isdigit() or not number.isascii():
        raise ValueError('is not a time such as "10s"')
    return float(number) * factor


def string(shortdesc: str, longdesc: str = "", **more: Any) -> String:
    return String(shortdesc, longdesc, **more)


def path(shortdesc: str, longdesc: str = "", **more: Any) -> Path:
    return Path(shortdesc, longdesc, **more)


def integer(shortdesc: str, longdesc: str = "", **more: Any) -> Integer:
    """Declare an integer; `at_least` and `at_most` bound it."""
    return Integer(shortdesc, longdesc, **more)


def boolean(shortdesc: str, longdesc: str = "", **more: Any) -> Boolean:
    return Boolean(shortdesc, longdesc, **more)


def choice(shortdesc: str, longdesc: str = "", **more: Any) -> Choice:
    """Declare a choice among `options`."""
    return Choice(shortdesc, longdesc, **more)


def duration(shortdesc: str, longdesc: str = "", **more: Any) -> FixedSeconds:
    """Declare a time; the value is in seconds.  `at_least` and `at_most` bound it."""
    return FixedSeconds(shortdesc, longdesc, **more)


def duration_or_auto(shortdesc: str, longdesc: str = "", **more: Any) -> AutoSeconds:
    """Declare a time that may be the word `auto`, whose value is None."""
    return AutoSeconds(shortdesc, longdesc, auto=True, **more)


def parse_all(declared: Mapping[str, Parameter], given: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Return the values of all parameters and what is wrong with the given texts, in words.

    A parameter whose text is wrong or missing gets its default, so that a stop can still address what it can.  One that is not given
    takes the text of the deprecated one that it replaces.
    """
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for name, parameter in declared.items():
        replaced = "".join(given.get(old, "") for old, other in declared.items() if other.replaced_by == name)
        text = given.get(name, "") or replaced or parameter.default or ""
        try:
            values[name] = parameter.read(text) if text else parameter.absent()
            if not text and parameter.required and not given.get(parameter.replaced_by):
                wrong.append(f"{name} is required")
        except ValueError as error:
            shown = "its value" if parameter.secret else repr(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")
            wrong.append(f"{name}={shown} {error}")
            values[name] = parameter.read(parameter.default) if parameter.default else parameter.absent()
    return values, wrong


def complain(wrong: Sequence[str]) -> None:
    """Raise Misconfigured with all that is wrong in one reason."""
    if wrong:
        raise Misconfigured("; ".join(wrong))
