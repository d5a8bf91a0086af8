"""What the user said: words of a command line (GNU getopt's rules) or lines of stdin (the fencer's way), read into typed values.

Nothing here repeats a value in a message: any of them may be a password in the wrong place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fence_lab.errors import Misconfigured
from fence_lab.options import FALSE, TRUE, Option, Options, Value

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,40}")
NO_PLUG = "Failed: You have to enter plug number or machine identification"
IDLE = ("list", "list-status", "monitor")  # These need no plug.


@dataclass
class Said:
    """What was said, before it is judged: (option, text) in order, and warnings."""

    pairs: list[tuple[Option, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    nodename: str = ""
    verbose: int = 0  # How often -v was said.

    def texts(self) -> dict[str, str]:
        """Return the texts by name: what is said last holds."""
        return {option.name: text for option, text in self.pairs}


def from_words(options: Options, words: Sequence[str]) -> Said:
    """Read a command line.  Raises Misconfigured, in getopt's words."""
    said, left, rest = Said(), list(words), 0
    while left:
        word = left.pop(0)
        if word == "--":
            rest += len(left)
            break
        if word.startswith("--"):
            name, equals, text = word[2:].partition("=")
            option = by_long_name(options, name)
            if option.flag:
                if equals:
                    raise Misconfigured(f"Parse error: option --{option.long} must not have an argument")
                text = "1"
            elif not equals:
                if not left:
                    raise Misconfigured(f"Parse error: option --{option.long} requires argument")
                text = left.pop(0)
            said.pairs.append((option, text))
        elif word.startswith("-") and word != "-":
            said.pairs += letters(options, word[1:], left)
        else:
            rest += 1
    if rest:
        said.warnings.append(f"Unused arguments on command line: {rest}, not shown here; options begin with a hyphen")
    said.verbose = sum(option.name == "verbose" for option, text in said.pairs)
    said.nodename = said.texts().get("nodename", "")
    return said


def by_long_name(options: Options, name: str) -> Option:
    """Return the option with this long name, or the only one whose name begins so."""
    if name in options.by_long:
        return options.by_long[name]
    fitting = [option for long, option in options.by_long.items() if long.startswith(name) and name]
    shown = name if NAME.fullmatch(name) else "(not shown)"
    # An abbreviation of one of ClusterLabs' options stays one when this agent has others that begin likewise.
    for candidates in (fitting, [option for option in fitting if not (option.added or option.ignored)]):
        if len(candidates) == 1:
            return candidates[0]
    raise Misconfigured(f"Parse error: option --{shown} " + ("not a unique prefix" if fitting else "not recognized"))


def letters(options: Options, cluster: str, left: list[str]) -> Iterable[tuple[Option, str]]:
    """Yield the options of a word of letters ("vo" of "-vo status"); a value may follow in the word, or is the next one."""
    while cluster:
        letter, cluster = cluster[0], cluster[1:]
        option = options.by_letter.get(letter)
        if option is None:
            raise Misconfigured(f"Parse error: option -{letter if letter.isalnum() else '?'} not recognized")
        if option.flag:
            yield option, "1"
            continue
        if not cluster and not left:
            raise Misconfigured(f"Parse error: option -{letter} requires argument")
        yield option, cluster or left.pop(0)
        return


def from_lines(options: Options, lines: Iterable[str]) -> Said:
    """Read name=value lines.  What cannot be used is left out with a warning, as the fencer may send more than an agent knows."""
    said = Said()
    ports: list[str] = []
    plugs: list[str] = []
    for number, whole in enumerate(lines, 1):
        line = whole.strip()
        if not line or line.startswith("#"):
            continue
        name, _, text = line.partition("=")
        if len(text) >= 2 and text.startswith('"') and text.endswith('"'):
            text = text[1:-1]
        if name == "nodename":
            said.nodename = text
        option = options.named(name)
        if option is None:
            if name != "nodename":
                # The second line of a password with a line break, which has no name, is nobody's business either.
                shown = f"'{name}'" if NAME.fullmatch(name) and text.strip("=") else f"in line {number}"
                said.warnings.append(f"Parse error: Ignoring unknown option {shown}")
            continue
        if option.flag and text.lower() not in TRUE + FALSE:
            said.warnings.append(f"Parse error: Ignoring option '{option.name}' because it does not have value")
            continue
        if option.name == "plug":
            (ports if name in option.old else plugs).append(text)
        said.pairs.append((option, text))
    if said.nodename and ports and plugs and plugs[-1] == said.nodename != ports[-1]:
        # A configuration with the old name `port`: the fencer does not see it and adds plug=<the node's name>.
        said.pairs.append((options["plug"], ports[-1]))
    said.verbose = int(said.texts().get("verbose", "0").lower() in TRUE)
    return said


@dataclass
class Judged:
    """Typed values with defaults, what is wrong with them, and the texts of secrets that are still to be resolved."""

    values: dict[str, Value] = field(default_factory=dict)
    given: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)


def judged(options: Options, said: Said, *, anonymous: bool) -> Judged:
    """Return the values of what was said.  Faults are in the order in which ClusterLabs' agents look for them.

    An empty text counts as not said, but for numbers, where it is a fault.
    """
    result = Judged(warnings=list(said.warnings))
    texts = said.texts()
    wrong: list[str] = []
    for name, option in options.items():
        text = texts.get(name)
        if text is not None and option.ignored:
            result.warnings.append(f"--{option.long} has no effect: {option.ignored}")
            continue
        default = option.read(option.default) if option.default is not None else None
        if text and unreadable(text):
            result.given.append(name)
            result.values[name] = default
            wrong.append(f"Failed: The value you have entered for --{option.long} is not UTF-8 or has a NUL byte")
        elif option.secret:
            if text:
                result.given.append(name)
                result.secrets[name] = text
        elif text is None or (text == "" and option.kind in ("string", "select")):
            result.values[name] = default
        else:
            result.given.append(name)
            try:
                result.values[name] = option.read(text)
            except ValueError as error:
                result.values[name] = default
                # verbosity() has a warning for it.
                if name != "verbose_level":
                    wrong.append(str(error))
    result.given += [name for name in options if options[name].secret and name not in result.given and f"{name}_script" in result.given]
    verbosity(options, texts, said, result)
    result.values["action"] = action = str(result.values["action"]).lower()
    result.faults = [*missing(options, texts, result, "" if action in IDLE else action, anonymous=anonymous), *wrong]
    return result


def unreadable(text: str) -> bool:
    return "\0" in text or any("\udc80" <= character <= "\udcff" for character in text)


def verbosity(options: Options, texts: Mapping[str, str], said: Said, result: Judged) -> None:
    """Settle `verbose` and `verbose_level`, as ClusterLabs' agents do."""
    if "verbose" not in options or "verbose_level" not in options:
        return
    level = result.values["verbose_level"]
    if "verbose_level" in texts and not isinstance(level, int):
        result.warnings.append("Parse error: Option 'verbose_level' must be an integer greater than or equal to 0. "
                               "Setting verbose_level to 0.")  # fmt: skip
        level = 0
    elif not isinstance(level, int):
        level = said.verbose
    if level == 0 and result.values["verbose"]:
        result.warnings.append("Parse error: Ignoring option 'verbose' because it conflicts with verbose_level=0")
    result.values["verbose_level"], result.values["verbose"] = level, level > 0


def missing(options: Options, texts: Mapping[str, str], result: Judged, action: str, *, anonymous: bool) -> list[str]:
    """Return what a required option that is missing is called in ClusterLabs' agents, and by us."""

    def lacks(name: str) -> bool:
        # Somebody who names an option and leaves it empty has not chosen its default.
        return name in options and (texts.get(name) == "" or (name not in result.given and options[name].default is None))

    faults = []
    if lacks("username") and options["username"].required:
        faults.append("Failed: You have to set login name")
    if lacks("ip") and options["ip"].required:
        faults.append("Failed: You have to enter fence address")
    ways = [way for name, option in options.items() if option.secret for way in (name, f"{name}_script") if way in options]
    if ways and not anonymous and not set(ways) & set(result.given):
        spoken = [way.replace("_", " ") for way in ways]
        faults.append(f"Failed: You have to enter {' or '.join(filter(None, [', '.join(spoken[:-1]), spoken[-1]]))}")
    if action and lacks("plug") and options["plug"].required:
        faults.append(NO_PLUG)
    checked = {"username", "ip", "plug", "action"}
    faults += [f"Failed: You have to enter --{option.long}" for name, option in options.items()
               if option.required and name not in checked and lacks(name)]  # fmt: skip
    return faults
