"""The course of an action: from what the user said, over checks, delay and login, to the device, the output and the exit code.

Order, texts on stdout and exit codes are those of ClusterLabs' agents (fence-agents lib/fencing.py.py): clusters and scripts rely on
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from fence_lab import commandline, logs
from fence_lab.agent import FenceAgent, Power, Watch
from fence_lab.clock import Clock, Deadline
from fence_lab.errors import Away, FenceError, Misconfigured
from fence_lab.options import ACTIONS, AFTER_DELAY_SECONDS, OTHER_SECONDS, POWER_SECONDS, TRUE, Given, Options

if TYPE_CHECKING:
    from fence_lab.commandline import Judged

OK, FAILED, IS_OFF = 0, 1, 2
TEXTS = {"meta-data": "metadata", "metadata": "metadata", "manpage": "manpage"}
POWER, DELAYED, NEED_A_PLUG = ("on", "off", "reboot"), ("off", "reboot"), ("on", "off", "reboot", "status", "validate-all")


def run(
    cls: type[FenceAgent], argv: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO, environ: Mapping[str, str], clock: Clock,
    began: float, watch: Watch | None = None,
) -> int:  # fmt: skip
    """Run an action of an agent and return its exit code: 0, 1, or 2 for a status of off."""
    logs.forget()
    log = logs.opened(cls.NAME, stderr)
    try:
        options = cls.options()
        said = commandline.from_words(options, argv) if argv else commandline.from_lines(options, stdin)
        for option, text in said.pairs:
            if option.secret and not text.startswith("@/"):
                logs.hide(text)
        judged = commandline.judged(options, said, anonymous=cls.ANONYMOUS)
        text = document(cls, options, judged)
        if text:
            stdout.write(text)
            return OK
        if judged.values.get("quiet") or judged.values.get("verbose"):
            logs.closed(log)
            log = logs.opened(cls.NAME, None if judged.values.get("quiet") else stderr, verbose=bool(judged.values.get("verbose")))
        agent = cls()
        agent.clock, agent.log, agent.nodename = clock, log, said.nodename
        return Course(agent, options, judged, began, watch, environ, stdout).run()
    except Misconfigured as error:
        log.error("%s", error)
        log.error("Please use '-h' for usage")
        return FAILED
    except FenceError as error:
        log.error("%s", error)
        return FAILED
    except Exception as error:
        log.error("Failed: %s: %s (a defect of %s; -v shows where)", type(error).__name__, error, cls.NAME)
        log.debug("traceback", exc_info=True)
        return FAILED
    finally:
        logs.closed(log)


def document(cls: type[FenceAgent], options: Options, judged: Judged) -> str:
    """Return the text that is asked for, in ClusterLabs' order of precedence; "" if an action is."""
    asked = "help" if judged.values.get("help") else TEXTS.get(str(judged.values["action"]), "")
    if asked:
        from fence_lab import metadata

        return metadata.usage(cls, options) if asked == "help" else metadata.xml(cls, options, manpage=asked == "manpage")
    return f"{cls.VERSION}\n" if judged.values.get("version") else ""


class Course:
    """One action of one agent."""

    def __init__(
        self, agent: FenceAgent, options: Options, judged: Judged, began: float, watch: Watch | None, environ: Mapping[str, str],
        stdout: TextIO,
    ) -> None:  # fmt: skip
        self.agent, self.options, self.judged, self.watch = agent, options, judged, watch
        self.environ, self.stdout, self.log = environ, stdout, agent.log
        self.action = agent.action = str(judged.values["action"])
        self.delay = float(judged.values.get("delay") or 0) if self.action in DELAYED else 0.0
        limit = judged.values.get("time_limit")
        self.work = float(limit) if isinstance(limit, int) and limit else POWER_SECONDS if self.action in POWER else OTHER_SECONDS
        self.limit = max(self.work, self.delay + AFTER_DELAY_SECONDS) if self.delay and not limit else self.work
        agent.deadline = Deadline.after(agent.clock, self.limit, began)
        self.give(judged.secrets)
        agent.plugs = self.plugs()

    def give(self, secrets: Mapping[str, str]) -> None:
        values = dict(self.judged.values)
        disabled = str(values.get("disable_timeout") or "")
        if disabled.lower() in TRUE or (not disabled and self.environ.get("PCMK_service") == "pacemaker-fenced"):
            values.update({name: 0 for name in ("power_timeout", "shell_timeout", "login_timeout") if name in values})
        self.agent.given = Given(self.options, values, self.judged.given, secrets)

    def plugs(self) -> list[str]:
        """Return the plugs; one without a name for an action on a device that has but one."""
        given, options = self.agent.given, self.options
        separator = given.text("plug_separator") if "plug_separator" in options else ""
        plug = given.text("plug") if "plug" in options else ""
        if not plug and self.action in NEED_A_PLUG and not ("plug" in options and options["plug"].required):
            return [""]
        return list(dict.fromkeys(filter(None, (part.strip() for part in plug.split(separator or ",")))))

    def run(self) -> int:
        for warning in self.judged.warnings:
            self.log.warning("%s", warning)
        if self.action not in ACTIONS:
            raise Misconfigured(f"Failed: Unrecognised action '{self.action}'")
        faults = self.faults()
        if self.action == "validate-all":
            for fault in faults:
                self.log.error("%s", fault)
            if faults:
                raise Misconfigured("validate-all failed")
            return OK
        if faults:
            raise Misconfigured(faults[0])
        if self.watch:
            self.watch.until(self.agent.deadline.at)
        if "debug_file" in self.options and self.agent.given.text("debug_file"):
            logs.to_file(self.log, self.agent.given.text("debug_file"))
        self.resolve()
        self.wait()
        try:
            self.agent.login()
            return self.told(*self.act())
        finally:
            self.leave()

    def told(self, code: int, line: str) -> int:
        """Write the line and return the code.  A node that is fenced is fenced, whether or not somebody listens."""
        if self.watch and self.action in POWER:
            self.watch.outcome(code, line)
        try:
            self.stdout.write(line)
            self.stdout.flush()
        except OSError as error:
            self.log.error("cannot write to stdout: %s", error.strerror)
            code = code if self.action in POWER else FAILED
        if self.watch:
            self.watch.outcome(code, "")
        return code

    def faults(self) -> list[str]:
        faults = list(self.judged.faults)
        if self.action in NEED_A_PLUG and not self.agent.plugs and commandline.NO_PLUG not in faults:
            # plug=, names none: what is done to none of them must not pass for done.
            faults.append(commandline.NO_PLUG)
        delay, limit = (int(self.judged.values.get(name) or 0) for name in ("delay", "time_limit"))
        if limit and delay and delay + 1 >= limit and self.action in (*DELAYED, "validate-all"):
            faults.append(f"Failed: delay={delay} leaves nothing of time_limit={limit}")
        if self.judged.values.get("method") == "cycle" and type(self.agent).cycle is FenceAgent.cycle:
            faults.append("Failed: method=cycle is not possible with this device, use onoff")
        try:
            faults += self.agent.check()
        except FenceError as error:
            faults.append(str(error))
        return faults

    def resolve(self) -> None:
        """Read secrets from their files and scripts; a script's word goes before a value."""
        from fence_lab import process

        found = {}
        for name, option in self.options.items():
            script = f"{name}_script"
            if not option.secret:
                continue
            if script in self.options and self.agent.given.text(script):
                found[name] = process.output_of(self.agent.given.text(script), script, self.environ, self.agent.deadline)
            elif self.judged.secrets.get(name, "").startswith("@/"):
                found[name] = process.first_line(self.judged.secrets[name][1:], name)
            elif name in self.judged.secrets:
                found[name] = self.judged.secrets[name]
        logs.hide(*found.values())
        self.give(found)

    def wait(self) -> None:
        """Wait `delay` and one second from the start of the process, as ClusterLabs' agents do."""
        if not self.delay:
            return
        if self.delay > self.work / 3:
            self.log.warning("delay=%.0f is a large part of the time that this action has (%.0f s with it); use pcmk_delay_base, which "
                             "does not count, or see that pcmk_%s_timeout is above it", self.delay, self.limit, self.action)  # fmt: skip
        left = 1 + self.delay - self.agent.deadline.spent()
        if left > 0:
            self.log.info("Delay %.0f second(s) before logging in to the fence device", left)
            self.agent.clock.sleep(left)

    def leave(self) -> None:
        try:
            if self.agent.deadline.left() > 0:
                self.agent.logout()
        except Exception:
            self.log.debug("logout", exc_info=True)

    def act(self) -> tuple[int, str]:
        """Do it, and return the exit code and what is printed."""
        agent = self.agent
        if self.action == "monitor":
            agent.monitor()
            return OK, ""
        if self.action in ("list", "list-status"):
            return OK, self.listed()
        if self.action == "status":
            power = self.status()
            return (IS_OFF if power is Power.OFF else OK), f"Status: {power.value}\n"
        if self.action == "reboot":
            return self.rebooted()
        self.look_first()
        wanted = Power.OFF if self.action == "off" else Power.ON
        changed = [agent.power_off(plug) if wanted is Power.OFF else agent.power_on(plug) for plug in agent.plugs]
        return OK, f"Success: {'Powered' if any(changed) else 'Already'} {wanted.value}\n"

    def status(self) -> Power:
        """Return ON if any plug is not off."""
        states = [self.agent.status(plug) for plug in self.agent.plugs]
        return Power.ON if Power.ON in states else Power.OFF

    def look_first(self) -> None:
        """See that each of several plugs is there before the first is touched."""
        if len(self.agent.plugs) > 1:
            self.status()

    def rebooted(self) -> tuple[int, str]:
        agent = self.agent
        self.look_first()
        done = OK, "Success: Rebooted\n"
        if self.judged.values.get("method") == "cycle":
            for plug in agent.plugs:
                self.cycled(plug)
            return done
        for plug in agent.plugs:
            agent.power_off(plug)
        # All are off: the node is fenced, and nothing that comes can take that back.
        if self.watch:
            self.watch.outcome(*done)
        for plug in agent.plugs:
            try:
                agent.power_on(plug)
            except FenceError as error:
                self.log.error("fenced, but not powered on again: %s", error)
            except Exception as error:
                self.log.error("fenced, but not powered on again: %s: %s", type(error).__name__, error)
                self.log.debug("traceback", exc_info=True)
        return done

    def cycled(self, plug: str) -> None:
        """Cycle a plug, and again if it is refused, 1 + retry_on times; not if nothing answers."""
        tries = 1 + int(self.agent.given.number("retry_on"))
        while True:
            tries -= 1
            try:
                self.agent.cycle(plug)
            except Away:
                raise
            except FenceError as error:
                if not tries or self.agent.deadline.left() <= 0:
                    raise
                self.log.warning("%s; once more", error)
                continue
            finally:
                self.agent.clock.sleep(min(self.agent.given.number("power_wait"), self.agent.deadline.left()))
            return

    def listed(self) -> str:
        separator = self.agent.given.text("separator") or ","
        lines = []
        for outlet in self.agent.outlets():
            parts = [outlet.plug, outlet.name]
            if self.action == "list-status":
                parts.append(outlet.power.value if outlet.power else "UNKNOWN")
            lines.append(logs.CONTROL.sub(" ", separator.join(parts)) + "\n")
        return "".join(lines)
