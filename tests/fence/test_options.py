"""The declaration of options, and the values that an agent gets."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fence_lab import options
from fence_lab.options import IP, MOST, Given, Option, Options


@pytest.mark.parametrize(
    "option, text, value",
    [
        (options.IPPORT, "8006", 8006),
        (options.DELAY, "0", 0),
        (options.DELAY, " +15 ", 15),
        (options.SSL, "on", True),
        (options.SSL, "True", True),
        (options.SSL, "0", False),
        (options.SSL, "No", False),
        (options.METHOD, "CYCLE", "cycle"),
        (options.IP, " as is ", " as is "),
        (options.DISABLE_TIMEOUT, "true", "true"),
    ],
)
def test_a_value_is_typed(option: Option, text: str, value: object) -> None:
    assert option.read(text) == value
    assert type(option.read(text)) is type(value)


@pytest.mark.parametrize(
    "option, text, sentence",
    [
        (options.IPPORT, "https", "Failed: The value you have entered for --ipport is not a valid integer"),
        (options.IPPORT, "0", "Failed: --ipport=0 is out of range, it can be 1 to 65535"),
        (options.IPPORT, "65536", "Failed: --ipport=65536 is out of range, it can be 1 to 65535"),
        (options.DELAY, "1.5", "Failed: The value you have entered for --delay is not a valid time in seconds"),
        (options.DELAY, "-1", "Failed: The value you have entered for --delay is not a valid time in seconds"),
        (options.DELAY, "", "Failed: The value you have entered for --delay is not a valid time in seconds"),
        (options.DELAY, "٣", "Failed: The value you have entered for --delay is not a valid time in seconds"),
        (options.DELAY, "1" * 4301, "Failed: The value you have entered for --delay is not a valid time in seconds"),
        (options.DELAY, str(MOST + 1), f"Failed: --delay={MOST + 1} is out of range, it can be 0 to {MOST}"),
        (options.METHOD, "nice", "Failed: You have to enter a valid choice for --method from the valid values: ['onoff', 'cycle']"),
        (options.SSL, "maybe", "Failed: The value you have entered for --ssl is not a valid boolean"),
    ],
)
def test_a_wrong_value_is_told_as_stock_tells_it(option: Option, text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        option.read(text)


@pytest.mark.parametrize(
    "option, forms",
    [
        (options.IP, "-a, --ip=[ip]"),
        (options.VERBOSE_LEVEL, "--verbose-level"),
        (options.SSL, "-z, --ssl"),
        (Option("pve_node", short="N", argument="node_name"), "-N, --pve-node=[node_name]"),
        (Option("vmtype"), "--vmtype"),
        (options.INET6_ONLY, "-6, --inet6-only"),
    ],
)
def test_the_forms_on_the_command_line(option: Option, forms: str) -> None:
    assert option.mixed == forms


def test_an_agent_replaces_adds_and_leaves_out() -> None:
    table = Options.of((IP.but(help="Of a hypervisor"), Option("vmtype", order=2)), ("gnutlscli_path", "method"))
    assert table["ip"].help == "Of a hypervisor"
    assert table["ip"].old == ("ipaddr",)
    assert "method" not in table
    assert {"vmtype", "delay"} <= set(table)
    assert len(table) == len(options.STANDARD) - 1


@pytest.mark.parametrize("name", ["ip", "ipaddr"])
def test_stdin_knows_new_and_old_names(name: str) -> None:
    assert Options.of(()).named(name) is IP


@pytest.mark.parametrize(
    "name, option",
    [
        ("passwd_script", "password_script"), ("passwd-script", "password_script"), ("ssl-insecure", "ssl_insecure"),
        ("plug_separator", "plug_separator"), ("plug-separator", "plug_separator"), ("debug", "debug_file"), ("port", "plug"),
        ("option", None), ("IP", None), ("", None), (" ip", None),
    ],
)  # fmt: skip
def test_hyphens_and_underscores_are_the_same(name: str, option: str | None) -> None:
    found = Options.of(()).named(name)
    assert (found and found.name) == option


@pytest.mark.parametrize(
    "added, without, sentence",
    [
        ((Option("other", short="a"),), (), "options ip and other share the name a"),
        ((Option("other", long="ip"),), (), "options ip and other share the name ip"),
        ((Option("other", old=("login",)),), (), "options username and other share the name login"),
        ((), ("ipaddr",), "there is no standard option ipaddr to go without"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(added: tuple[Option, ...], without: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        Options.of(added, without)


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "number"}, {"kind": "select"}, {"choices": ("a",)}, {"short": "ab"}, {"name": "with-hyphen"}, {"name": "2"}],
)
def test_a_wrong_declaration_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Option(**{"name": "fine", **wrong})


def test_a_default_has_to_be_a_value_of_the_option() -> None:
    with pytest.raises(ValueError, match="not a valid integer"):
        Option("weight", kind="integer", default="heavy")


def test_given() -> None:
    table = Options.of(())
    values: dict[str, options.Value] = {"ip": "a", "ipport": 443, "ssl": True, "power_wait": 0, "separator": ","}
    given = Given(table, values, ["ip", "password"], {"password": "sesame"})
    assert given["ipport"] == 443
    assert given["power_timeout"] is None
    assert (given.text("ip"), given.text("ipport"), given.text("username")) == ("a", "443", "")
    assert (given.number("ipport"), given.number("retry_on")) == (443.0, 0.0)
    assert (given.flag("ssl"), given.flag("quiet")) == (True, False)
    assert (given.has("ip"), given.has("ipport"), given.has("password")) == (True, False, True)
    assert (given.secret("password"), given.secret("token")) == ("sesame", "")
    with pytest.raises(KeyError):
        given.text("password")
    with pytest.raises(KeyError):
        given.text("passphrase")
