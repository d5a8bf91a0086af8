"""Command line and stdin: what counts, what is refused, and that no value is ever repeated."""

from __future__ import annotations

import getopt
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fence_lab import commandline
from fence_lab.errors import Misconfigured
from fence_lab.options import Option, Options
from tests.fence.strip import Strip

TABLE = Strip.options()
SECRET = "Top-Secret"


def lines(*said: str) -> dict[str, str]:
    return commandline.from_lines(TABLE, [f"{line}\n" for line in said]).texts()


def words(*said: str) -> dict[str, str]:
    return commandline.from_words(TABLE, said).texts()


@pytest.mark.parametrize(
    "said, texts",
    [
        (["ip=a", "ipaddr=b"], {"ip": "b"}),
        (["ipaddr=a", "ip=b"], {"ip": "b"}),
        (["  ip=a  ", "", "#ip=b", "  # ip=c"], {"ip": "a"}),
        (["password=a=b="], {"password": "a=b="}),
        (['password="a b "'], {"password": "a b "}),
        (['password=""a""'], {"password": '"a"'}),
        (['password="'], {"password": '"'}),
        (['password=""'], {"password": ""}),
        (["password='a'"], {"password": "'a'"}),
        (['password=a"b"'], {"password": 'a"b"'}),
        (["password= a"], {"password": " a"}),
        (["passwd-script=a", "ssl-insecure=Yes"], {"password_script": "a", "ssl_insecure": "Yes"}),
        (["plug"], {"plug": ""}),
        (["ssl=", "quiet", "gentle=2"], {}),
        (["nodename=rhel1", "action=OFF"], {"action": "OFF"}),
        (["ip =a", "IP=a", "option=off"], {}),
        (["ip=a\r"], {"ip": "a"}),
    ],
)
def test_stdin(said: list[str], texts: dict[str, str]) -> None:
    assert lines(*said) == texts


@pytest.mark.parametrize(
    "said, texts",
    [
        (["-a", "a", "-n1", "--plug=2"], {"ip": "a", "plug": "2"}),
        (["--plug=2", "-n", "1"], {"plug": "1"}),
        (["-zvo", "status"], {"ssl": "1", "verbose": "1", "action": "status"}),
        (["-zvostatus"], {"ssl": "1", "verbose": "1", "action": "status"}),
        (["-p", "-x"], {"password": "-x"}),
        (["-p", "--"], {"password": "--"}),
        (["-p="], {"password": "="}),
        (["--password="], {"password": ""}),
        (["--password", ""], {"password": ""}),
        (["--usern", "a", "--ssl-i"], {"username": "a", "ssl_insecure": "1"}),
        (["--ip=a"], {"ip": "a"}),
        (["--ssl"], {"ssl": "1"}),
        (["--power-w=1"], {"power_wait": "1"}),
        (["stray", "-a", "a", "-", "--", "-n", "1"], {"ip": "a"}),
    ],
)
def test_command_line(said: list[str], texts: dict[str, str]) -> None:
    assert words(*said) == texts


@pytest.mark.parametrize(
    "said, sentence",
    [
        (["--nothing"], "option --nothing not recognized"),
        (["--ipaddr=a"], "option --ipaddr not recognized"),
        (["--power"], "option --power not a unique prefix"),
        (["--password", "a", "--plug"], "option --plug requires argument"),
        (["-zn"], "option -n requires argument"),
        (["-Q"], "option -Q not recognized"),
        (["--ssl=1"], "option --ssl must not have an argument"),
        (["--=" + SECRET], "option --(not shown) not recognized"),
        (["--" + SECRET + " and more"], "option --(not shown) not recognized"),
        (["--nothing=" + SECRET], "option --nothing not recognized"),
        (["-\N{KEY}"], "option -? not recognized"),
    ],
)
def test_a_wrong_command_line_is_refused_in_getopts_words(said: list[str], sentence: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        words(*said)
    assert str(raised.value) == f"Parse error: {sentence}"


@pytest.mark.parametrize(
    "abbreviation, name", [("power-w", "power_wait"), ("power-t", "power_timeout"), ("pow", None), ("power-c", "power_curve")]
)
def test_an_addition_takes_no_abbreviation_from_stock(abbreviation: str, name: str | None) -> None:
    if name is None:
        with pytest.raises(Misconfigured):
            commandline.by_long_name(TABLE, abbreviation)
    else:
        assert commandline.by_long_name(TABLE, abbreviation).name == name
    table = Options.of((Option("vmtype"), Option("vm_name", added=True), Option("vm_uuid", added=True)))
    assert commandline.by_long_name(table, "vm").name == "vmtype"


@pytest.mark.parametrize(
    "said, warning",
    [
        (["x_api_token=" + SECRET], "Parse error: Ignoring unknown option 'x_api_token'"),
        (["ip=a", SECRET], "Parse error: Ignoring unknown option in line 2"),
        ([SECRET + "=="], "Parse error: Ignoring unknown option in line 1"),
        (["a " + SECRET + "=x"], "Parse error: Ignoring unknown option in line 1"),
        (["gentle=" + SECRET], "Parse error: Ignoring option 'gentle' because it does not have value"),
        (["gentle"], "Parse error: Ignoring option 'gentle' because it does not have value"),
        (["nodename=rhel1"], None),
    ],
)
def test_what_stdin_cannot_use_is_told_without_its_value(said: list[str], warning: str | None) -> None:
    assert commandline.from_lines(TABLE, said).warnings == ([warning] if warning else [])


def test_unused_arguments_are_counted_not_shown() -> None:
    (warning,) = commandline.from_words(TABLE, ["password=" + SECRET, "-z", SECRET, "--", "--ssl"]).warnings
    assert warning.startswith("Unused arguments on command line: 3")
    assert SECRET not in warning


@pytest.mark.parametrize(
    "said, plug",
    [
        (["port=121", "plug=rhel1", "nodename=rhel1"], "121"),
        (["plug=rhel1", "nodename=rhel1", "port=121"], "121"),
        (["nodename=rhel1", "plug=rhel1", "port=121"], "121"),
        (["port=121", "plug=222", "nodename=rhel1"], "222"),
        (["plug=222", "port=121", "nodename=rhel1"], "121"),
        (["plug=rhel1", "nodename=rhel1"], "rhel1"),
        (["port=rhel1", "nodename=rhel1"], "rhel1"),
        (["port=121"], "121"),
        (["port=121", "plug="], ""),
        (["port=121", "plug=", "nodename="], ""),
        (["port=121", "plug=node1", "nodename=node1", "action=validate-all"], "121"),
    ],
)
def test_an_old_port_is_not_shadowed_by_the_fencers_plug(said: list[str], plug: str) -> None:
    assert lines(*said)["plug"] == plug


@pytest.mark.parametrize(
    "said, verbose, level, warned",
    [
        ([], False, 0, False),
        (["-v"], True, 1, False),
        (["-vvv"], True, 3, False),
        (["--verbose-level=2"], True, 2, False),
        (["-v", "--verbose-level=0"], False, 0, True),
        (["--verbose-level=x"], False, 0, True),
        (["--verbose-level=-1"], False, 0, True),
    ],
)
def test_verbosity(said: list[str], verbose: bool, level: int, warned: bool) -> None:
    result = commandline.judged(TABLE, commandline.from_words(TABLE, ["-a", "a", "-p", "b", "-n", "1", *said]), anonymous=False)
    assert result.faults == []
    assert (result.values["verbose"], result.values["verbose_level"], bool(result.warnings)) == (verbose, level, warned)


@pytest.mark.parametrize("text, verbose", [("1", True), ("0", False), ("yes", True)])
def test_verbosity_on_stdin(text: str, verbose: bool) -> None:
    result = commandline.judged(TABLE, commandline.from_lines(TABLE, [f"verbose={text}"]), anonymous=False)
    assert (result.values["verbose"], result.values["verbose_level"]) == (verbose, int(verbose))


COMPLETE = ["ip=a", "password=b", "plug=1"]
NO_LOGIN, NO_ADDRESS = "Failed: You have to set login name", "Failed: You have to enter fence address"
NO_PASSWORD = "Failed: You have to enter password or password script"
NO_PLUG = "Failed: You have to enter plug number or machine identification"


@pytest.mark.parametrize(
    "said, faults",
    [
        (COMPLETE, []),
        (["username=", "action=off"], [NO_LOGIN, NO_ADDRESS, NO_PASSWORD, NO_PLUG]),
        (["action=monitor"], [NO_ADDRESS, NO_PASSWORD]),
        (["action=list-status", "ip=", "password="], [NO_ADDRESS, NO_PASSWORD]),
        (["ip=a", "password_script=b", "plug="], [NO_PLUG]),
        (["ip=a", "passwd=b", "port=1"], []),
        ([*COMPLETE, "separator=", "bank="], []),
        ([*COMPLETE, "bank=B"], []),
        ([*COMPLETE, "bank=c"], ["Failed: You have to enter a valid choice for --bank from the valid values: ['A', 'b']"]),
        ([*COMPLETE, "delay="], ["Failed: The value you have entered for --delay is not a valid time in seconds"]),
        ([*COMPLETE, "ip=\udcff"], ["Failed: The value you have entered for --ip is not UTF-8 or has a NUL byte"]),
        ([*COMPLETE, "password=\udcff"], ["Failed: The value you have entered for --password is not UTF-8 or has a NUL byte"]),
        ([*COMPLETE, "plug=a\0b"], ["Failed: The value you have entered for --plug is not UTF-8 or has a NUL byte"]),
        ([*COMPLETE, "\udcff=\udcfe"], []),
        ([*COMPLETE, "action=\udcff"], ["Failed: The value you have entered for --action is not UTF-8 or has a NUL byte"]),
    ],
)
def test_faults_are_all_found_in_stocks_order(said: list[str], faults: list[str]) -> None:
    result = commandline.judged(TABLE, commandline.from_lines(TABLE, said), anonymous=False)
    assert result.faults == faults


def test_an_ignored_option_is_only_warned_of() -> None:
    result = commandline.judged(TABLE, commandline.from_words(TABLE, ["-a", "a", "-p", "b", "-n", "1", "-4"]), anonymous=False)
    assert result.faults == []
    assert result.warnings == ["--inet4-only has no effect: the address family follows from ip"]


def test_the_names_of_scripts_count_for_their_secrets() -> None:
    result = commandline.judged(TABLE, commandline.from_lines(TABLE, ["ip=a", "password_script=b", "plug=1"]), anonymous=False)
    assert "password" in result.given


SAYABLE = [option for option in TABLE.values() if not option.flag and not option.ignored]
FLAGS = [option for option in TABLE.values() if option.flag and not option.ignored]
# What stdin can carry: it is cut into lines, stripped, and loses one pair of quotes.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs"]), max_size=12).filter(lambda text: text == text.strip())


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.one_of(st.tuples(st.sampled_from(SAYABLE), TEXT), st.tuples(st.sampled_from(FLAGS), st.just("1"))), max_size=8), st.data()
)
def test_stdin_and_command_line_say_the_same(pairs: list[tuple[Option, str]], data: st.DataObject) -> None:
    stdin, argv = [], []
    for option, text in pairs:
        name = data.draw(st.sampled_from([*option.names, option.long, option.name.replace("_", "-")]))
        quoted = data.draw(st.booleans()) or (len(text) > 1 and text[0] == text[-1] == '"')
        stdin.append(f'{name}="{text}"\n' if quoted else f"{name}={text}\n")
        form = data.draw(st.sampled_from(["long", "separate", *(["short"] if option.short else [])]))
        if option.flag:
            argv.append(f"-{option.short}" if form == "short" else f"--{option.long}")
        elif form == "separate":
            argv += [f"--{option.long}", text]
        else:
            argv += [f"-{option.short}", text] if form == "short" else [f"--{option.long}={text}"]
    by_lines, by_words = commandline.from_lines(TABLE, stdin), commandline.from_words(TABLE, argv)
    assert by_lines.pairs == by_words.pairs == pairs
    if by_lines.verbose == by_words.verbose:
        assert commandline.judged(TABLE, by_lines, anonymous=False) == commandline.judged(TABLE, by_words, anonymous=False)


WORDS = st.one_of(
    st.sampled_from([f"--{option.long}" for option in TABLE.values()] + [f"-{option.short}" for option in TABLE.values() if option.short]),
    st.sampled_from([f"--{option.long}=x" for option in TABLE.values()] + ["--pa", "--ssl-", "-zv", "-vo", "-q4", "--", "-", "word", ""]),
    st.text("-=azvopn", max_size=5),
)


@settings(deadline=None, max_examples=400)
@given(st.lists(WORDS, max_size=6))
def test_the_command_line_is_read_as_getopt_reads_it(argv: list[str]) -> None:
    """The oracle is Python's getopt, which ClusterLabs' agents use."""
    assert "POSIXLY_CORRECT" not in os.environ
    letters = "".join(option.short + ("" if option.flag else ":") for option in TABLE.values() if option.short)
    long = [option.long + ("" if option.flag else "=") for option in TABLE.values()]
    try:
        pairs, rest = getopt.gnu_getopt(argv, letters, long)
    except getopt.GetoptError:
        try:
            found = commandline.from_words(TABLE, argv)
        except Misconfigured:
            return
        # The only more that is understood: an abbreviation that is ambiguous because of an option that stock lacks.
        assert any(option.long.startswith("power-") or option.long.startswith("plug") for option, _ in found.pairs)
        return
    said = commandline.from_words(TABLE, argv)
    expected = [(TABLE.by_long[name[2:]] if name.startswith("--") else TABLE.by_letter[name[1:]], text) for name, text in pairs]
    assert [(option, "" if option.flag else text) for option, text in said.pairs] == expected
    assert bool(said.warnings) == bool(rest)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.text(st.characters(), max_size=30), max_size=6))
def test_any_stdin_is_read_without_a_traceback_or_a_value(garbage: list[str]) -> None:
    marked = [f"{line}={SECRET}{line}" for line in garbage]
    result = commandline.judged(TABLE, commandline.from_lines(TABLE, marked), anonymous=False)
    assert SECRET not in "".join(result.warnings + result.faults)
