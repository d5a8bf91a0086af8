"""What holds for any input and any device: exit code, output and what was seen agree, nothing is raised, no value is repeated."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from fence_lab.agent import Power
from fence_lab.errors import FenceError, OutOfTime
from tests.fence.strip import BASICS, Device, Strip, run

ON, OFF = Power.ON, Power.OFF
SECRET = "Top-Secret"
STDOUT = re.compile(r"(Status: (ON|OFF)\n|Success: (Powered (ON|OFF)|Already (ON|OFF)|Rebooted)\n)?")
TEXTS = {FenceError: "it says no", OutOfTime: "too late", KeyError: "a defect"}
MOODS = [ON, OFF, FenceError, OutOfTime, KeyError]


class Moody(Strip):
    """A device that says and does what a list says, and then what it said last."""

    looks: list[Power | type[Exception]]
    requests: list[Power | type[Exception]]
    seen: list[tuple[str, Power | None]]

    @staticmethod
    def next(moods: list[Power | type[Exception]]) -> Power | type[Exception]:
        return moods.pop(0) if len(moods) > 1 else moods[0]

    def status(self, plug: str) -> Power:
        mood = self.next(Moody.looks)
        Moody.seen.append((plug, mood if isinstance(mood, Power) else None))
        if isinstance(mood, Power):
            return mood
        raise mood(TEXTS[mood])

    def set_power(self, plug: str, power: Power) -> None:
        mood = self.next(Moody.requests)
        if not isinstance(mood, Power):
            raise mood(TEXTS[mood])


@settings(deadline=None, max_examples=600)
@given(
    st.sampled_from(["on", "off", "reboot", "status"]), st.lists(st.sampled_from(MOODS), min_size=1, max_size=8),
    st.lists(st.sampled_from(MOODS), min_size=1, max_size=3), st.sampled_from(["1", "1,2"]), st.sampled_from(["0", "3"]),
    st.sampled_from(["0", "2"]),
)  # fmt: skip
def test_success_is_what_was_seen(action: str, looks: list[Power], requests: list[Power], plug: str, seconds: str, retry_on: str) -> None:
    Moody.looks, Moody.requests, Moody.seen = list(looks), list(requests), []
    ended = run(f"action={action}", f"plug={plug}", f"power_timeout={seconds}", f"retry_on={retry_on}", agent=Moody)
    assert STDOUT.fullmatch(ended.stdout)
    assert (ended.stdout == "") == (ended.code == 1)
    assert ended.seconds <= 50
    assert (ended.code == 1) <= bool(ended.stderr)
    assert "Traceback" not in ended.stderr
    last = {number: power for number, power in Moody.seen if power is not None}
    if ended.code == 0 and action in ("on", "off"):
        assert [last[number] for number in plug.split(",")] == [Power[action.upper()]] * len(plug.split(","))
    if ended.code == 0 and action == "reboot":
        assert all((number, OFF) in Moody.seen for number in plug.split(","))
    if action == "status" and ended.code != 1:
        assert ended.code == (0 if ON in last.values() else 2)
        assert None not in [power for _, power in Moody.seen]


NAMES = [name for option in Strip.options().values() if option.name != "debug_file" for name in option.names] + ["nodename", "x", "a b", ""]
VALUES = st.one_of(
    st.sampled_from(["0", "1", "yes", "off", "on", "status", "list", "metadata", "validate-all", "-1", "", '""', "9" * 30, "1,2", ","]),
    st.text(st.characters(), max_size=8),
)


@settings(deadline=None, max_examples=400)
@given(st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=8))
def test_any_stdin_ends_with_a_code(pairs: list[tuple[str, str]]) -> None:
    lines = [f"{name}={text}" for name, text in pairs if "script" not in name and not text.startswith("@/")]
    ended = run(*lines, device=Device(names={"1": "a", "2": "b", "3": "c"}))
    assert ended.code in (0, 1, 2)
    assert (ended.code == 1) <= (ended.stdout == "")
    assert "Traceback" not in ended.stderr
    assert "defect" not in ended.stderr


@settings(deadline=None, max_examples=200)
@given(st.sampled_from([name for name in NAMES if name not in ("action", "help", "version")]), st.text(max_size=9), st.text(max_size=9))
def test_no_value_is_repeated_in_the_wrong_place(name: str, before: str, after: str) -> None:
    """A secret as the value of any option ends up in no output: it may have been typed into the wrong one."""
    ended = run(f"{name}={before}{SECRET}{after}", "action=validate-all", basics=[*BASICS, "plug=1"])
    assert SECRET not in ended.stdout + ended.stderr


WORDS = st.one_of(st.text(st.characters(), max_size=9), st.sampled_from(["-o", "off", "-n", "1", "--plug", "-p", "--", "-V", "-vq"]))


@settings(deadline=None, max_examples=200)
@given(st.lists(WORDS, min_size=1))
def test_any_command_line_ends_with_a_code(argv: list[str]) -> None:
    if any("script" in word or "-S" in word or word.startswith(("-D", "--d")) for word in argv):
        return
    ended = run(argv=argv)
    assert ended.code in (0, 1, 2)
    assert "Traceback" not in ended.stderr
