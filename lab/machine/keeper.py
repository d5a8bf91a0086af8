"""The process that has the lab in its hands: it makes the networks, the SAN, the hypervisors' API and the machines, and obeys.

It is the first of its namespaces, so whatever ends it ends everything.  It ends by itself when standard input does, unless a line
`stay` came before.  Orders come on a socket, a line of JSON each; lab.machine.room gives them.
"""

from __future__ import annotations

import json
import os
import signal
import socketserver
import stat
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lab import roots
from lab.machine import network, plan, qemu
from lab.machine.gate import Fault
from lab.machine.image import Image
from lab.machine.power import Power, world
from lab.machine.qemu import Machine
from lab.machine.room import SOCKET
from lab.machine.san import San
from lab.proxmox.server import IDLE_SECONDS, Standin

# An emulated node that does two things at once needs more than the real five seconds for its part of a TLS handshake.
EMULATED_IDLE_SECONDS = 60.0
DEVICES = {"/dev/net/tun": (10, 200), "/dev/kvm": (10, 232)}

Order = Callable[..., Any]


def say(text: str) -> None:
    print(f"== {text}", flush=True)


def make_devices() -> None:
    for name, (major, minor) in DEVICES.items():
        if not os.path.exists(name):
            os.makedirs(os.path.dirname(name), exist_ok=True)
            os.mknod(name, 0o600 | stat.S_IFCHR, os.makedev(major, minor))


class Hardware:
    """Everything that has a plug.  Its methods whose names are in ORDERS answer orders."""

    def __init__(self, image: Image, directory: Path, saved: Path | None) -> None:
        make_devices()
        network.make()
        say("networks made")
        # What the SAN and the machines say; the consoles have files of their own.
        self.log = open(directory / "hardware.log", "wb", buffering=0)  # noqa: SIM115  # It is used to the end.
        self.san = San(directory, self.log, saved=saved)
        self.san.start()
        say(f"storage served at {', '.join(plan.portals())}")
        with ThreadPoolExecutor() as pool:
            tried = pool.submit(qemu.accelerator, image)
            made = [pool.submit(Machine, node, image, qemu.TCG, directory, self.log, saved) for node in plan.NODES.values()]
            self.machines = {machine.node.name: machine for machine in (each.result() for each in made)}
            accelerator = tried.result()
        for machine in self.machines.values():
            machine.accelerator = accelerator
        say(f"disks copied; the machines run with {accelerator.upper()}")
        self.power = Power(self.machines)
        certificates = Path("/run/certificates")
        certificates.mkdir()
        idle = EMULATED_IDLE_SECONDS if accelerator == qemu.TCG else IDLE_SECONDS
        self.standin = Standin(world(self.power), directory=certificates, port=plan.API_PORT, idle_seconds=idle)

    def status(self) -> dict[str, Any]:
        plugged = network.plugged()
        nodes = {
            name: {
                "vmid": machine.node.vmid, "pid": self.power.running(machine.node.vmid), "since": machine.since,
                "accelerator": machine.accelerator, "console": str(machine.console),
                "cables": {each.name: plugged[machine.node.tap(each)] for each in plan.NETWORKS.values()},
            }
            for name, machine in self.machines.items()
        }  # fmt: skip
        return {"nodes": nodes, "san": self.san.running, "api": {"requests": len(self.standin.requests), "ca": str(self.standin.ca_file)}}

    def powered(self, node: str, what: str) -> str:
        vmid = plan.NODES[node].vmid
        with self.standin.lock:
            if what == "on":
                self.power.start(vmid)
            elif what == "off":
                self.power.stop(vmid)
            elif self.power.running(vmid) is None:
                raise ValueError(f"{node} is off: there is nothing to reset")
            else:
                self.power.reset(vmid)
        return f"{node}: {what}"

    def cable(self, node: str, segment: str, plugged: bool) -> str:
        network.cable(plan.NODES[node], plan.NETWORKS[segment], plugged)
        return f"{node}: cable to {segment} {'plugged' if plugged else 'pulled'}"

    def storage(self, on: bool) -> str:
        if on and not self.san.running:
            self.san.start()
        elif not on:
            self.san.stop()
        return f"the SAN is {'on' if on else 'off'}"

    def lun(self, name: str, **fault: Any) -> str:
        waited = self.san.set(name, Fault(**fault))
        words = [key if value is True else f"{key} {value:g}" for key, value in fault.items() if value]
        return f"{name}: {', '.join(words) or 'healthy'}" + (f"; {waited} requests had been waiting" if waited else "")

    def save(self, to: str) -> str:
        """Copy all disks into a new directory, as they are at one moment: the nodes stand still meanwhile."""
        saved = roots.fresh(Path(to))
        with ExitStack() as resuming, self.power.lock:
            for machine in self.machines.values():
                if machine.pid is not None:
                    machine.pause()
                    resuming.callback(machine.resume)
            self.san.save(saved)
            for machine in self.machines.values():
                machine.save(saved)
        return f"disks saved in {to}"

    def history(self) -> dict[str, Any]:
        requests = [[seen.at, seen.node, seen.method, seen.path, seen.status] for seen in self.standin.requests]
        return {"power": self.power.history, "requests": requests}


ORDERS: dict[str, Order] = {
    "status": Hardware.status,
    "power": Hardware.powered,
    "cable": Hardware.cable,
    "storage": Hardware.storage,
    "lun": Hardware.lun,
    "save": Hardware.save,
    "history": Hardware.history,
}


def obey(hardware: Hardware, line: bytes, lock: threading.Lock) -> dict[str, Any]:
    """Follow one order; what goes wrong is the answer, and the lab goes on."""
    try:
        order = json.loads(line)
        with lock:
            return {"done": ORDERS[order.pop("do")](hardware, **order), "at": time.time()}
    except Exception as error:  # noqa: BLE001 - whoever gave the order hears of it
        return {"failed": f"{type(error).__name__}: {error}"}


def serve(hardware: Hardware) -> None:
    """Obey for ever."""
    lock = threading.Lock()

    class Orders(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(json.dumps(obey(hardware, line, lock)).encode() + b"\n")

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    with Server(SOCKET, Orders) as server:
        server.serve_forever()


def end_with_input() -> None:
    """End everything when whoever started this goes without having said that the lab shall stay."""
    if sys.stdin.readline().strip() != "stay":
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    image, directory, *saved = Image(Path(sys.argv[1])), *(Path(word) for word in sys.argv[2:])
    threading.Thread(target=end_with_input, daemon=True).start()
    hardware = Hardware(image, directory, saved[0] if saved else None)
    with hardware.standin:
        say("hypervisors' API served at " + ", ".join(f"https://{address}:{plan.API_PORT}" for address in plan.HYPERVISORS.values()))
        for node in plan.NODES.values():
            hardware.power.start(node.vmid)
        say("machines on")
        serve(hardware)
    return 0


if __name__ == "__main__":
    sys.exit(main())
