"""The hardware of the two-node lab.

    python3 -m lab.machine build                            make what the cache has not got
    python3 -m lab.machine up [--hold] [--saved KEY]        boot both nodes; with --hold, end with Ctrl-C
    python3 -m lab.machine save KEY                         keep what is on all disks; the nodes stand still meanwhile
    python3 -m lab.machine status
    python3 -m lab.machine ssh NODE [COMMAND...]
    python3 -m lab.machine power off|on|reset NODE
    python3 -m lab.machine cable pull|plug NODE NETWORK
    python3 -m lab.machine storage off|on                   the SAN's power
    python3 -m lab.machine lun LUN hang|fail|slow|heal [SECONDS]
    python3 -m lab.machine retry fail|queue                 what multipath does with I/O when no path is left
    python3 -m lab.machine enter [COMMAND...]               run something in the lab's namespace, where the clients are
    python3 -m lab.machine down

There is one lab at a time.  It lives in namespaces of its own and its disks have no names: whatever ends it, nothing is left but the
cache, and in its directory `lab` the logs of the last one.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import time

from lab import roots
from lab.machine import boot, image, multipath, plan, room, saved, ssh


def up(given: argparse.Namespace) -> int:
    disks = saved.find(given.saved) if given.saved else None
    if given.saved and not disks:
        raise room.NotSo(f"no disks are saved as {given.saved} for this image")
    with boot.held(disks) as (_lab, process):
        if given.hold:
            roots.say("the lab is up; Ctrl-C ends it")
            process.wait()
            return 1
        room.stay(process)
    roots.say("the lab is up; `python3 -m lab.machine down` ends it")
    return 0


def save(given: argparse.Namespace) -> int:
    saved.save(room.find(), given.key)
    return 0


def down(_given: argparse.Namespace) -> int:
    outer = room.process()
    if outer is None:
        roots.say("no lab is up")
        return 0
    room.end(outer)
    roots.say("the lab is down")
    return 0


def status(_given: argparse.Namespace) -> int:
    lab = room.find()
    told = lab.order("status")
    for name, node in told["nodes"].items():
        seconds = time.time() - node["since"]
        power = f"on for {seconds:.0f} s (pid {node['pid']}, {node['accelerator']})" if node["pid"] else f"off for {seconds:.0f} s"
        pulled = [network for network, plugged in node["cables"].items() if not plugged]
        answers = bool(node["pid"]) and ssh.run(lab, plan.NODES[name], "true", within=8.0).returncode == 0
        print(f"{name} (VM {node['vmid']}): {power}; ssh {'answers' if answers else 'does not answer'}"
              f"; cables {'pulled: ' + ', '.join(pulled) if pulled else 'all in'}; console {node['console']}")  # fmt: skip
    print(f"SAN: {'on' if told['san'] else 'off'}, {', '.join(plan.portals())}")
    addresses = ", ".join(f"{name} https://{address}:{plan.API_PORT}" for name, address in plan.HYPERVISORS.items())
    print(f"API: {addresses}; {told['api']['requests']} requests; user {plan.FENCE_USER}")
    return 0


def on_node(given: argparse.Namespace) -> int:
    lab = room.find()
    terminal = not given.command and sys.stdin.isatty()
    line = ssh.command(plan.NODES[given.node], [" ".join(given.command)] if given.command else [], given.within, terminal)
    return subprocess.call(lab.entering(line), env=lab.environment())


def power(given: argparse.Namespace) -> int:
    print(room.find().order("power", node=given.node, what=given.what))
    return 0


def cable(given: argparse.Namespace) -> int:
    print(room.find().order("cable", node=given.node, segment=given.network, plugged=given.what == "plug"))
    return 0


def storage(given: argparse.Namespace) -> int:
    print(room.find().order("storage", on=given.what == "on"))
    return 0


def lun(given: argparse.Namespace) -> int:
    faults = {"hang": {"hang": True}, "fail": {"fail": True}, "slow": {"seconds": given.seconds}, "heal": {}}
    print(room.find().order("lun", name=given.lun, **faults[given.what]))
    return 0


def retry(given: argparse.Namespace) -> int:
    multipath.retry(room.find(), given.policy)
    print(f"no_path_retry {given.policy}")
    return 0


def enter(given: argparse.Namespace) -> int:
    lab = room.find()
    return subprocess.call(lab.entering(given.command or ["/bin/bash"]), env=lab.environment())


def build(_given: argparse.Namespace) -> int:
    image.build()
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python3 -m lab.machine", description="The hardware of the two-node lab")
    verbs = made.add_subparsers(dest="verb", required=True)
    verbs.add_parser("build", help="make what the cache has not got").set_defaults(do=build)
    adding = verbs.add_parser("up", help="boot both nodes and wait until ssh and storage are there")
    adding.add_argument("--hold", action="store_true", help="stay in the foreground; the lab ends with this process")
    adding.add_argument("--saved", metavar="KEY", help="begin with the disks that were saved as this")
    adding.set_defaults(do=up)
    adding = verbs.add_parser("save", help="keep what is on all disks; the nodes stand still meanwhile")
    adding.add_argument("key", help="a name for `up --saved`")
    adding.set_defaults(do=save)
    verbs.add_parser("down", help="end everything").set_defaults(do=down)
    verbs.add_parser("status", help="what is on, plugged and answering").set_defaults(do=status)
    adding = verbs.add_parser("ssh", help="run a command on a node, or a shell")
    adding.add_argument("--within", type=float, help="seconds that it may take")
    adding.add_argument("node", choices=plan.NODES)
    adding.add_argument("command", nargs=argparse.REMAINDER)
    adding.set_defaults(do=on_node)
    adding = verbs.add_parser("power", help="press a node's buttons")
    adding.add_argument("what", choices=("off", "on", "reset"))
    adding.add_argument("node", choices=plan.NODES)
    adding.set_defaults(do=power)
    adding = verbs.add_parser("cable", help="pull a node's cable or plug it in")
    adding.add_argument("what", choices=("pull", "plug"))
    adding.add_argument("node", choices=plan.NODES)
    adding.add_argument("network", choices=plan.NETWORKS)
    adding.set_defaults(do=cable)
    adding = verbs.add_parser("storage", help="switch the SAN")
    adding.add_argument("what", choices=("off", "on"))
    adding.set_defaults(do=storage)
    adding = verbs.add_parser("lun", help="let a LUN hang, fail or be slow, alone")
    adding.add_argument("lun", choices=plan.LUNS)
    adding.add_argument("what", choices=("hang", "fail", "slow", "heal"))
    adding.add_argument("seconds", nargs="?", type=float, default=2.0, help="what slow means (default 2)")
    adding.set_defaults(do=lun)
    adding = verbs.add_parser("retry", help="set multipath's no_path_retry on both nodes")
    adding.add_argument("policy", choices=("fail", "queue"))
    adding.set_defaults(do=retry)
    adding = verbs.add_parser("enter", help="run a command in the lab's namespace")
    adding.add_argument("command", nargs=argparse.REMAINDER)
    adding.set_defaults(do=enter)
    return made


def interrupted(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def carry_out(given: argparse.Namespace) -> int:
    """Do what a command line asks for and return the exit code; whatever signal ends it, it ends as with Ctrl-C."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        sys.exit("the lab is made of Linux namespaces, and they need root")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    if getattr(given, "command", None) and given.command[0] == "--":
        del given.command[0]
    try:
        return int(given.do(given))
    except room.NotSo as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def main() -> int:
    return carry_out(parser().parse_args())


if __name__ == "__main__":
    sys.exit(main())
