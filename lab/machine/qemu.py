"""One virtual machine: its command line, its power, its console."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from lab.machine import plan
from lab.machine.image import Image, copy, opened

# Two nodes are to get by with 4 GiB in all. A node uses 600 MB and 250 MB of page cache.
MEGABYTES = 1024
# What TCG keeps of translated code, by itself up to 1 GiB. When that is full it forgets all of it.
TRANSLATED_MEGABYTES = 896
KVM, TCG = "kvm", "tcg"
# A kernel under KVM says its first word at once, and looks for its disk a second later.
TRIAL_SECONDS = 8.0
TRIAL_PASSED = re.compile(rb"Unable to mount root fs|Cannot open root device")
QMP_SECONDS = 5.0


def kernel_line(node: plan.Node) -> str:
    """Return the kernel's command line.  A guest is fenced by others, so it does not reboot by itself when its kernel dies.

    Nothing gets an address at random: TCG would translate a program's code anew for each of its processes.
    """
    fixed = "mitigations=off nokaslr norandmaps"
    return f"root=/dev/vda rw console=ttyS0 net.ifnames=0 {fixed} lab.node={node.name} lab.number={node.number}"


def base(accelerator: str, megabytes: int) -> list[str]:
    emulated = ["-accel", f"tcg,tb-size={TRANSLATED_MEGABYTES}", "-cpu", "max,la57=off"]
    cpu = ["-accel", "kvm", "-cpu", "host"] if accelerator == KVM else emulated
    return ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", *cpu, "-smp", "1", "-m", str(megabytes)]


def command(node: plan.Node, image: Image, disk: str, accelerator: str, console: Path, qmp: Path) -> list[str]:
    """Return QEMU's command line.  `cache=unsafe` is safe here: what a killed QEMU wrote, the machine's kernel still has."""
    made = [*base(accelerator, MEGABYTES), "-name", f"{node.name},process={node.name}", "-rtc", "base=utc", "-device", "virtio-rng-pci"]
    made += ["-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", kernel_line(node)]
    made += ["-chardev", f"file,id=console,path={console},append=on", "-serial", "chardev:console"]
    made += ["-qmp", f"unix:{qmp},server=on,wait=off"]
    made += ["-drive", f"if=none,id=root,file={disk},format=raw,cache=unsafe,file.locking=off", "-device", "virtio-blk-pci,drive=root"]
    for network in plan.NETWORKS.values():
        made += ["-netdev", f"tap,id={network.name},ifname={node.tap(network)},script=no,downscript=no"]
        made += ["-device", f"virtio-net-pci,netdev={network.name},mac={node.mac(network)},romfile="]
    return made


def accelerator(image: Image) -> str:
    """Find out whether KVM runs this kernel.  A device that opens proves nothing: a machine may be one of a cloud, and KVM a shell."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError:
        return TCG
    trial = [*base(KVM, 512), "-no-reboot", "-serial", "stdio", "-kernel", str(image.kernel), "-append", "console=ttyS0 panic=-1"]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(trial, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        until = time.monotonic() + TRIAL_SECONDS
        try:
            while time.monotonic() < until:
                ended = process.poll() is not None
                if TRIAL_PASSED.search(os.pread(output.fileno(), 1 << 20, 0)):
                    return KVM
                if ended:
                    break
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()
    return TCG


class Machine:
    """A node's hardware.  The disk has no name: it goes with the last process that has it open."""

    def __init__(self, node: plan.Node, image: Image, accelerator: str, directory: Path, log: IO[bytes], saved: Path | None = None) -> None:
        self.node, self.image, self.accelerator, self.log = node, image, accelerator, log
        self.console, self.qmp = directory / f"console-{node.name}.log", Path("/run", f"{node.name}.qmp")
        self.console.write_bytes(b"")
        self.disk = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115  # It lives as long as the machine.
        copy(saved / saved_name(node) if saved else image.disk, opened(self.disk))
        self.process: subprocess.Popen[bytes] | None = None
        self.since = time.time()

    @property
    def pid(self) -> int | None:
        """QEMU's process id; a guest that switches itself off ends its QEMU."""
        if self.process is not None and self.process.poll() is not None:
            self.process, self.since = None, time.time()
        return self.process.pid if self.process is not None else None

    def on(self) -> int:
        """Press the power button, unless it is on already; return QEMU's process id."""
        if self.pid is None:
            line = command(self.node, self.image, str(opened(self.disk)), self.accelerator, self.console, self.qmp)
            self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
            self.since = time.time()
        assert self.process is not None
        return self.process.pid

    def off(self) -> None:
        """Take the power away at once: nothing in the guest gets to know."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process, self.since = None, time.time()

    def pause(self) -> None:
        """Let the machine stand still, its clock too.  Raises OSError when QEMU does not answer."""
        qmp(self.qmp, "stop")

    def resume(self) -> None:
        qmp(self.qmp, "cont")

    def save(self, saved: Path) -> None:
        """Copy the disk of a machine that is off or stands still."""
        copy(opened(self.disk), saved / saved_name(self.node))

    def reset(self) -> None:
        """Press the reset button.  Raises OSError when QEMU does not answer."""
        if self.accelerator == KVM:
            qmp(self.qmp, "system_reset")
        else:
            # Where TCG has once translated code, a new kernel that unpacks itself over it gets on by some bytes a second.
            self.off()
            self.on()


def saved_name(node: plan.Node) -> str:
    """Return how a node's disk is called among saved ones."""
    return f"node-{node.name}.raw"


def qmp(path: Path, *commands: str, within: float = QMP_SECONDS) -> list[object]:
    """Give QEMU commands and return what it says to each.  Raises OSError, also when it takes too long or refuses."""
    answers: list[object] = []
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(within)
        connection.connect(str(path))
        with connection.makefile("rw") as stream:
            for name in ("qmp_capabilities", *commands):
                stream.write(json.dumps({"execute": name}) + "\n")
                stream.flush()
                answers.append(answer(stream, name))
    return answers[1:]


def answer(stream: IO[str], name: str) -> object:
    for line in stream:
        said = json.loads(line)
        if "return" in said:
            return said["return"]
        if "error" in said:
            raise OSError(f"QEMU refuses {name}: {said['error'].get('desc')}")
    raise OSError(f"QEMU went away at {name}")


def tail(console: Path, lines: int) -> Sequence[str]:
    """Return the console's last lines, without what colours them."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.read_text(errors="replace")).replace("\r", "")
    return [line for line in text.splitlines() if line.strip()][-lines:]
