"""fence_pve run as a program against a served cluster, with everything that it writes caught and searched for the secrets.

The time of the modelled cluster runs faster than the tests' own, so that a task or HA's queue takes no longer than has to be seen.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from lab.proxmox.api import Api, Request, Response
from lab.proxmox.server import Standin
from lab.proxmox.world import World, small_cluster
from ocf_py.testing.logs import SystemLog
from tests.fence.standin import OURS, PATH, words_of

USER = "pacemaker@pve"
# Every character of it means something to somebody on its way: to a form, a URL, a shell, a format.
PASSWORD = 'Rd7%41+Fz&=k"pQ;x'
TOKEN = "5f0e9b1c-7a43-4d7e-9c11-e2b0aa91d3f4"
SPEED = 5.0
SIDE_BY_SIDE = 8
# Options by the names of stdin.
Options = dict[str, Any]
# One log line of the agent: date, level, text.
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR): .+")



class Heard:
    """The system log by the processes that wrote to it: actions of several tests are under way at a time."""

    def __init__(self) -> None:
        self.log, self.lock = SystemLog.of_this_node(), threading.Lock()
        self.lines: dict[int, list[str]] = defaultdict(list)

    def end(self, pid: int) -> str:
        """Stop listening for one action, and return its lines without date and ident."""
        with self.lock:
            for line in self.log.close():
                found = re.match(r".*? fence_pve\[(\d+)\]: (.*)", line)
                self.lines[int(found[1]) if found else 0].append(found[2] if found else line)
            return "\n".join(self.lines.pop(pid, []))


HEARD = Heard()


@dataclass(frozen=True)
class Outcome:
    """What an action left behind: code, output, what reached the system log and the debug file, how long it took."""

    code: int
    stdout: str
    stderr: str
    syslog: str
    debug: str
    debug_mode: int | None
    seconds: float

    @property
    def lines(self) -> list[str]:
        """The texts on stderr without date and level, one for each line."""
        return [re.sub(r"^\S+ \S+ (DEBUG|INFO|WARNING|ERROR): ", "", line) for line in self.stderr.splitlines()]

    def levels(self, level: str) -> list[str]:
        """Return the texts on stderr that have this level."""
        return [text for text, line in zip(self.lines, self.stderr.splitlines()) if f" {level}: " in line]

    def expect(self, code: int, *patterns: str, stdout: str = "", within: float) -> None:
        """Assert exit code and stdout, that stderr says something for each pattern (any case), and the time."""
        assert (self.code, self.stdout) == (code, stdout), self
        for pattern in patterns:
            assert re.search(pattern, self.stderr, re.IGNORECASE), f"nothing says {pattern!r}: {self}"
        assert self.seconds < within, self

    def __str__(self) -> str:
        return (f"exit code {self.code} after {self.seconds:.2f} s\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}\n"
                f"--- debug file\n{self.debug}")  # fmt: skip


def forms(secret: str) -> set[str]:
    """Return the ways in which a secret can be written that somebody who finds it can read."""
    raw = secret.encode()
    return {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1],
            repr(raw)[2:-1], raw.hex(), base64.b64encode(raw).decode()}  # fmt: skip


class Recorded(Api):
    """The API with a memory: what was asked, and the secrets that it gave away.  Who is not known waits less than 3 s."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.asked: list[tuple[str, Request]] = []
        self.secrets: set[str] = set()
        self.hurry = SPEED

    def handle(self, entry: str, request: Request) -> Response:
        self.asked.append((entry, request))
        response = super().handle(entry, request)
        if request.path == "/access/ticket" and response.status == 200 and response.body:
            data = json.loads(response.body)["data"]
            self.secrets |= {data["ticket"], data.get("CSRFPreventionToken") or data["ticket"]}
        return replace(response, delay=response.delay / self.hurry) if response.status == 401 else response


@dataclass
class Running:
    """An action under way."""

    agent: Agent
    process: subprocess.Popen[str]
    debug_file: Path
    began: float

    def until(self, seen: Callable[[], object], within: float = 10) -> None:
        """Wait until something is so.  Raises AssertionError when it does not come, or not before the action's end."""
        limit = time.monotonic() + within
        while not seen():
            assert time.monotonic() < limit and self.process.poll() is None, f"that never came: {self.end()}"
            time.sleep(0.01)

    def asked(self, method: str, path: str, times: int = 1) -> None:
        """Wait until the API was asked something."""
        self.until(lambda: len(self.agent.calls(method, path)) >= times)

    def _output(self, limit: float) -> tuple[str, str]:
        while True:
            try:
                return self.process.communicate(timeout=0.05)
            except subprocess.TimeoutExpired:
                # The kernel keeps a few lines for the system log only.
                HEARD.log.collect()
                if time.monotonic() > limit:
                    raise

    def end(self, within: float = 60) -> Outcome:
        """Wait for the end, and hold what was written against the secrets.  Raises TimeoutExpired, the agent killed."""
        limit = time.monotonic() + within
        try:
            stdout, stderr = self._output(limit)
            seconds = time.monotonic() - self.began
        finally:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdout, self.process.stderr):
                if stream:
                    stream.close()
            lines = HEARD.end(self.process.pid)
        debug, mode = "", None
        if self.debug_file.is_file() and not self.debug_file.is_symlink():
            debug, mode = self.debug_file.read_text(), stat.S_IMODE(self.debug_file.stat().st_mode)
        outcome = Outcome(self.process.returncode, stdout, stderr, lines, debug, mode, seconds)
        self.agent.judge(outcome)
        return outcome


@dataclass
class Agent:
    """fence_pve with the options that reach a stand-in as its user.  Called with an action and more options, it runs to its end.

    An option that is None is left out.  Every outcome is judged: no secret anywhere, a debug file that nobody else reads, a reason
    for every failure in form of log lines, no traceback.
    """

    standin: Standin
    api: Recorded
    directory: Path
    options: Options = field(default_factory=dict)
    secrets: set[str] = field(default_factory=lambda: {PASSWORD, TOKEN})
    count: int = 0

    @property
    def world(self) -> World:
        return self.standin.world

    def __call__(self, action: str, *, within: float = 60, **options: Any) -> Outcome:
        return self.begin(action, **options).end(within)

    def begin(
        self, action: str, *, words: Sequence[str | bytes] = (), more: str | bytes = "", environment: Mapping[str, str] | None = None,
        **options: object,
    ) -> Running:  # fmt: skip
        """Start an action; `more` is what follows the options on its stdin, `words` a command line instead of all that."""
        self.count += 1
        debug_file = self.directory / f"debug.{self.count}"
        merged = {"action": action, "debug_file": debug_file, **self.options, **options}
        lines = "".join(f"{name}={value}\n" for name, value in merged.items() if value is not None)
        stdin = self.directory / f"stdin.{self.count}"
        stdin.write_bytes(lines.encode() + (more.encode() if isinstance(more, str) else more))
        HEARD.log.open()
        began = time.monotonic()
        try:
            with open(stdin, "rb") as file:
                process = subprocess.Popen(
                    [OURS, *words], stdin=subprocess.DEVNULL if words else file, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    text=True, errors="replace", env={"PATH": PATH, **(environment or {})}, cwd=os.sep,
                )  # fmt: skip
        except BaseException:
            HEARD.log.close()
            raise
        return Running(self, process, Path(str(merged["debug_file"])), began)

    def judge(self, outcome: Outcome) -> None:
        written = {"stdout": outcome.stdout, "stderr": outcome.stderr, "syslog": outcome.syslog, "debug file": outcome.debug}
        for secret in self.secrets | self.api.secrets:
            for place, text in written.items():
                found = [form for form in forms(secret) if form in text]
                assert not found, f"{place} shows the secret {found[0]}: {outcome}"
        assert outcome.debug_mode in (None, 0o600), outcome
        if outcome.code == 1:
            reasons = outcome.levels("ERROR")
            assert reasons, f"no reason is given: {outcome}"
            assert outcome.syslog, outcome
            assert all(reason in outcome.syslog for reason in reasons), f"not in the system log: {outcome.syslog}\n{outcome}"
        if "Traceback" in outcome.stderr + outcome.syslog + outcome.debug:
            raise AssertionError(f"a traceback: {outcome}")
        strange = [line for line in outcome.stderr.splitlines() if not LINE.fullmatch(line)]
        assert not strange, f"not a line of a log: {strange}"

    def words(self, action: str, **options: object) -> list[str]:
        """Return the command line that means the same as the options on stdin."""
        merged = {"action": action, "debug_file": self.directory / "debug.words", **self.options, **options}
        return words_of({name: value for name, value in merged.items() if value is not None})

    def calls(self, method: str, path: str) -> list[Request]:
        """Return the requests that reached the API with this method and a path that this pattern is found in."""
        return [request for _, request in list(self.api.asked) if request.method == method and re.search(path, request.path)]

    def entries(self, method: str, path: str) -> list[str]:
        """Return the nodes that were connected to for such requests."""
        return [entry for entry, request in list(self.api.asked) if request.method == method and re.search(path, request.path)]

    @contextmanager
    def changing(self) -> Iterator[World]:
        """Hold the world still while a test changes it."""
        with self.standin.lock:
            self.world.advance()
            yield self.world

    def grant(self, path: str, *privileges: str, who: str = USER) -> None:
        with self.changing() as world:
            world.grant(path, who, *privileges)

    def runs(self, vmid: int = 121) -> bool:
        """Tell whether a process of the guest lives anywhere."""
        with self.changing() as world:
            return any(run.ended is None for run in world.runs(vmid))


@contextmanager
def serving(directory: Path, world: World) -> Iterator[Agent]:
    """Serve a world, and give the agent the means to reach it, verified, through its first node."""
    world.add_user(USER, PASSWORD)
    world.add_token(USER, "fence", TOKEN)
    for vmid in world.guests:
        world.grant(f"/vms/{vmid}", USER, "VM.Audit", "VM.PowerMgmt")
        world.grant(f"/vms/{vmid}", f"{USER}!fence", "VM.Audit", "VM.PowerMgmt")
    with Standin(world, directory=directory, port=0) as standin:
        api = standin.api = Recorded(world)
        first = next(iter(world.nodes.values()))
        options: Options = {"ip": first.address, "ipport": standin.port, "username": USER, "password": PASSWORD, "plug": "121",
                                      "ca_file": standin.ca_file}  # fmt: skip
        yield Agent(standin, api, directory, options)


def fast(speed: float = SPEED) -> Callable[[], float]:
    """Return a clock that runs faster from now on."""
    began = time.time()
    return lambda: began + (time.time() - began) * speed


def two_nodes() -> World:
    """Return pve1 with guest 121 (rhel1) and pve2 with 222 (rhel2); with the QDevice's vote either is quorate alone."""
    return small_cluster(fast())


@dataclass(frozen=True)
class Scene:
    """What a test does with an agent and a world of its own."""

    name: str
    play: Callable[[Agent], object]
    world: Callable[[], World] = two_nodes

    def __str__(self) -> str:
        return self.name


class Scenes(list[Scene]):
    """The scenes of a module: functions of an agent, made a scene by the decorator `on` with the world that it plays in."""

    def on(self, world: Callable[[], World] = two_nodes) -> Callable[[Callable[[Agent], None]], Callable[[Agent], None]]:
        def decorated(play: Callable[[Agent], None]) -> Callable[[Agent], None]:
            self.append(Scene(play.__name__.replace("_", " "), play, world))
            return play

        return decorated


Stage = Callable[[Scene], None]


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Play the scenes of a module's selected tests side by side: nearly all of their time is waiting.

    Called with a scene, it waits for its end and raises what the scene raised.
    """

    def play(scene: Scene, directory: Path) -> None:
        with serving(directory, scene.world()) as agent:
            scene.play(agent)

    tests = [item for item in request.session.items if isinstance(item, pytest.Function) and item.module is request.module]
    values = [value for test in tests if hasattr(test, "callspec") for value in test.callspec.params.values()]
    wanted = [value for value in values if isinstance(value, Scene)]
    pool = ThreadPoolExecutor(SIDE_BY_SIDE)
    try:
        played = {id(scene): pool.submit(play, scene, tmp_path_factory.mktemp("scene")) for scene in wanted}
        yield lambda scene: played[id(scene)].result()
    finally:
        for future in played.values():
            future.cancel()
        pool.shutdown()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """The agent and two nodes, for a test that plays alone."""
    with serving(tmp_path, two_nodes()) as ready:
        yield ready


def family(pid: int) -> set[int]:
    """Return a process and its descendants."""
    parents: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(name)] = int(Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


@contextmanager
def cmdlines(pid: int) -> Iterator[set[str]]:
    """Collect what `ps` would show of a process and its descendants meanwhile."""
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            for each in family(pid):
                try:
                    line = Path(f"/proc/{each}/cmdline").read_bytes()
                except OSError:
                    continue
                seen.add(line.replace(b"\0", b" ").decode(errors="replace").strip())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()
