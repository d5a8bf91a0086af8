"""The lab's hardware as text: plans, command lines and files.  What it does when it runs is in test_machine_running.py."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab import roots
from lab.machine import __main__ as program
from lab.machine import files, image, keeper, network, plan, power, qemu, room, san, saved, ssh
from lab.machine.gate import Fault
from lab.proxmox.server import Standin

IMAGE = image.Image(Path("/images/one"))
LONGEST_INTERFACE = 15


class Fake:
    """A machine without hardware."""

    def __init__(self, node: plan.Node) -> None:
        self.node = node
        self.pid: int | None = None
        self.resets = 0

    def on(self) -> int:
        self.pid = self.pid or 4000 + self.node.vmid
        return self.pid

    def off(self) -> None:
        self.pid = None

    def reset(self) -> None:
        self.resets += 1


def after(words: list[str], option: str) -> list[str]:
    """Return what follows an option, for each time it is given."""
    return [words[index + 1] for index, word in enumerate(words) if word == option]


# The plan.


def test_addresses_are_unique() -> None:
    networks = [ipaddress.ip_network(each.subnet) for each in plan.NETWORKS.values()]
    assert not any(one.overlaps(other) for one in networks for other in networks if one is not other)
    addresses = [node.address(name) for node in plan.NODES.values() for name in plan.NETWORKS]
    addresses += [each.address(each.host) for each in plan.NETWORKS.values() if each.host] + [plan.VIP, *plan.HYPERVISORS.values()]
    assert len(set(addresses)) == len(addresses)


def test_network_cards_and_cables_are_unique() -> None:
    pairs = [(node, each) for node in plan.NODES.values() for each in plan.NETWORKS.values()]
    assert len({node.mac(each) for node, each in pairs}) == len({node.tap(each) for node, each in pairs}) == len(pairs)
    assert max(len(node.tap(each)) for node, each in pairs) <= LONGEST_INTERFACE


def test_the_floating_address_is_on_the_lan() -> None:
    assert ipaddress.ip_address(plan.VIP) in ipaddress.ip_network(plan.NETWORKS["lan"].subnet)


@pytest.mark.parametrize("name", plan.LUNS)
def test_an_identifier_is_a_registered_naa_one_as_multipath_writes_it(name: str) -> None:
    wwid = plan.LUNS[name].wwid
    assert len(wwid) == 33
    assert wwid.startswith("36")
    assert int(wwid[-4:], 16) == plan.LUNS[name].number


def test_every_tap_is_on_its_bridge_and_both_portals_are_there() -> None:
    lines = network.making()
    for each in plan.NETWORKS.values():
        assert any(line.startswith(f"link add {each.bridge} type bridge") for line in lines)
        for node in plan.NODES.values():
            assert f"link set {node.tap(each)} master {each.bridge}" in lines
    for portal in plan.portals():
        address = portal.partition(":")[0]
        assert any(line.startswith(f"address add {address}/") for line in lines)


# The SAN.


def test_both_portals_are_in_one_option() -> None:
    assert after(san.command(), "--iscsi") == ["portal=192.168.2.1:3260,portal=192.168.3.1:3260"]


def test_every_lun_has_its_file() -> None:
    commands = san.making({name: f"/files/{name}" for name in plan.LUNS})
    stores = {after(line, "--lun")[0]: after(line, "--backing-store")[0] for line in commands if "--backing-store" in line}
    assert stores == {str(lun.number): f"/files/{lun.name}" for lun in plan.LUNS.values()}
    assert all(after(line, "--control-port") == [san.CONTROL] for line in commands)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[san.San]:
    """Yield the SAN's disks, not served."""
    with open(tmp_path / "log", "wb") as log:
        made = san.San(tmp_path, log, tmp_path / "luns")
        try:
            yield made
        finally:
            made.close()
            subprocess.run(["umount", "--lazy", str(tmp_path / "luns")], check=True, timeout=20)


def test_a_disk_keeps_what_is_written(storage: san.San) -> None:
    sizes = {name: (storage.place / name).stat().st_size for name in plan.LUNS}
    assert sizes == {lun.name: lun.megabytes << 20 for lun in plan.LUNS.values()}
    block = os.urandom(3 << 20)
    with open(storage.place / "wal", "r+b", buffering=0) as disk:
        disk.seek(12345)
        assert disk.write(block) == len(block)
        os.fsync(disk.fileno())
    with open(storage.place / "wal", "rb", buffering=0) as disk:
        assert os.pread(disk.fileno(), len(block), 12345) == block
        assert os.pread(disk.fileno(), 3, 0) == bytes(3)


def test_a_disk_hangs_alone_and_goes_on(storage: san.San) -> None:
    storage.set("wal", Fault(hang=True))
    with ThreadPoolExecutor() as pool, open(storage.place / "wal", "rb", 0) as wal, open(storage.place / "cluster1", "rb", 0) as other:
        waiting = pool.submit(os.pread, wal.fileno(), 512, 0)
        assert len(os.pread(other.fileno(), 512, 0)) == 512
        with pytest.raises(FutureTimeout):
            waiting.result(0.3)
        assert storage.set("wal", Fault()) == 1
        assert len(waiting.result(20)) == 512


@pytest.mark.parametrize("fault, seconds, error", [(Fault(), 0, None), (Fault(seconds=0.4), 0.4, None), (Fault(fail=True), 0, errno.EIO)])
def test_a_disk_is_slow_or_fails(storage: san.San, fault: Fault, seconds: float, error: int | None) -> None:
    storage.set("tablespace", fault)
    began, met = time.monotonic(), None
    with open(storage.place / "tablespace", "r+b", buffering=0) as disk:
        try:
            os.pwrite(disk.fileno(), b"x" * 512, 0)
        except OSError as refused:
            met = refused.errno
    assert met == error
    assert time.monotonic() - began >= seconds


def test_who_waits_for_a_disk_is_let_go_at_its_end(storage: san.San) -> None:
    storage.set("wal", Fault(hang=True))
    wal = os.open(storage.place / "wal", os.O_RDONLY)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(os.pread, wal, 512, 0)
        with pytest.raises(FutureTimeout):
            waiting.result(0.3)
        storage.close()
        assert isinstance(waiting.exception(20), OSError)
    with suppress(OSError):
        os.close(wal)


def test_what_is_on_the_disks_can_be_saved_and_served_again(storage: san.San, tmp_path: Path) -> None:
    with open(storage.place / "wal", "r+b", buffering=0) as disk:
        disk.write(b"written")
    (tmp_path / "saved").mkdir()
    storage.save(tmp_path / "saved")
    with open(tmp_path / "log", "ab") as log:
        again = san.San(tmp_path, log, tmp_path / "again", tmp_path / "saved")
        try:
            with open(again.place / "wal", "rb", buffering=0) as disk:
                assert os.pread(disk.fileno(), 8, 0) == b"written\0"
            assert {name: (again.place / name).stat().st_size for name in plan.LUNS} == {
                lun.name: lun.megabytes << 20 for lun in plan.LUNS.values()
            }
        finally:
            again.close()
            subprocess.run(["umount", "--lazy", str(tmp_path / "again")], check=True, timeout=20)
    assert sum(path.stat().st_blocks for path in (tmp_path / "saved").iterdir()) * 512 < 1 << 20


# The machines.


@pytest.mark.parametrize("accelerator, given", [(qemu.KVM, "kvm"), (qemu.TCG, "tcg,tb-size=896")])
@pytest.mark.parametrize("name", plan.NODES)
def test_a_machine_has_its_disk_its_cables_its_bounded_memory_and_its_name(name: str, accelerator: str, given: str) -> None:
    node = plan.NODES[name]
    line = qemu.command(node, IMAGE, "/proc/1/fd/7", accelerator, Path("/logs/console"), Path("/run/qmp"))
    assert after(line, "-accel") == [given]
    assert after(line, "-m") == ["1024"]
    (drive,) = after(line, "-drive")
    assert {"file=/proc/1/fd/7", "format=raw", "cache=unsafe"} <= set(drive.split(","))
    assert [each.split(",")[2] for each in after(line, "-netdev")] == [f"ifname={node.tap(each)}" for each in plan.NETWORKS.values()]
    (kernel,) = after(line, "-append")
    assert {f"lab.node={name}", f"lab.number={node.number}", "net.ifnames=0"} <= set(kernel.split())


def test_without_its_device_there_is_no_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise FileNotFoundError

    monkeypatch.setattr(os, "open", refuse)
    assert qemu.accelerator(IMAGE) == qemu.TCG


def test_the_console_is_shown_plain(tmp_path: Path) -> None:
    console = tmp_path / "console"
    console.write_bytes(b"one\r\n\x1b[0;32mtwo\x1b[0m\r\n\r\nthr\xffee")
    assert qemu.tail(console, 2) == ["two", "thr\ufffdee"]


@pytest.mark.parametrize("said, error", [('{"return": {}}', ""), ('{"error": {"desc": "no"}}', "QEMU refuses"), ("", "went away")])
def test_orders_to_qemu(tmp_path: Path, said: str, error: str) -> None:
    path = tmp_path / "qmp"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rw") as stream:
                stream.write('{"QMP": {}}\n')
                stream.flush()
                stream.readline()
                stream.write('{"event": "RESUME"}\n{"return": {}}\n')
                stream.flush()
                stream.readline()
                if said:
                    stream.write(said + "\n")
                    stream.flush()

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            if error:
                with pytest.raises(OSError, match=error):
                    qemu.qmp(path, "system_reset")
            else:
                assert qemu.qmp(path, "system_reset") == [{}]
        finally:
            thread.join()


# The hypervisors.


def test_the_api_powers_the_machines(tmp_path: Path) -> None:
    machines = {name: Fake(node) for name, node in plan.NODES.items()}
    powers = power.Power(machines)
    world = power.world(powers)
    powers.start(121)
    world.advance()
    assert [run.pid for run in world.guests[121].living()] == [4121]
    world.end(world.guests[121].living()[0])
    world.begin(world.guests[222], world.nodes["pve2"])
    assert (machines["rhel1"].pid, machines["rhel2"].pid) == (None, 4222)
    powers.reset(222)
    machines["rhel2"].off()
    world.advance()
    assert not world.guests[222].living()
    assert [(name, what) for _, name, what in powers.history] == [
        ("rhel1", "on"), ("rhel1", "off"), ("rhel2", "on"), ("rhel2", "reset")]  # fmt: skip
    assert [node.address for node in world.nodes.values()] == list(plan.HYPERVISORS.values())
    assert Standin(world, directory=tmp_path).port == plan.API_PORT


# The nodes' files.


@pytest.mark.parametrize("name", [name for name, text in files.texts().items() if text.startswith("#!")])
def test_a_script_is_one(name: str) -> None:
    assert subprocess.run(["sh", "-n"], input=files.texts()[name], text=True, timeout=20).returncode == 0


def test_a_node_becomes_who_the_kernel_names(tmp_path: Path) -> None:
    (tmp_path / "cmdline").write_text(qemu.kernel_line(plan.NODES["rhel2"]))
    (tmp_path / "iscsi").mkdir()
    script = files.identity().replace("/proc/cmdline", f"{tmp_path}/cmdline").replace("/run/systemd/network", f"{tmp_path}/network")
    script = script.replace("/etc/hostname", f"{tmp_path}/hostname").replace("/etc/iscsi", f"{tmp_path}/iscsi")
    script = script.replace('\nhostname "$node"\n', "\n")
    assert subprocess.run(["sh"], input=script, text=True, timeout=20).returncode == 0
    assert (tmp_path / "hostname").read_text() == "rhel2\n"
    assert (tmp_path / "iscsi/initiatorname.iscsi").read_text() == "InitiatorName=iqn.2024-01.com.lab:rhel2\n"
    for index, name in enumerate(plan.NETWORKS):
        text = (tmp_path / f"network/eth{index}.network").read_text()
        assert f"Address={plan.NODES['rhel2'].address(name)}/24\n" in text
        assert ("Gateway=10.0.5.1" in text) == (name == "lan")


def test_both_names_of_a_lun_lead_to_it() -> None:
    bindings, rules = (files.texts()[name] for name in ("/etc/multipath/bindings", "/etc/udev/rules.d/99-iscsi-cluster.rules"))
    for lun in plan.LUNS.values():
        assert f"{lun.alias} {lun.wwid}\n" in bindings
        assert f'ENV{{DM_UUID}}=="mpath-{lun.wwid}", SYMLINK+="clusterstorage/{lun.name}"' in rules


def test_services_that_are_enabled_exist() -> None:
    for name in image.ENABLED:
        if name.startswith("lab-"):
            assert f"/etc/systemd/system/{name}.service" in files.texts()
            assert f"ExecStart=/usr/local/sbin/{name}\n" in files.texts()[f"/etc/systemd/system/{name}.service"]


# The cache.


def test_a_changed_file_makes_another_image(monkeypatch: pytest.MonkeyPatch) -> None:
    before, root = image.image_recipe(), image.host_recipe()
    monkeypatch.setattr(files, "DISCOVERY", files.DISCOVERY + "# more\n")
    assert image.image_recipe() != before
    assert image.host_recipe() == root


def test_a_changed_package_makes_another_root(monkeypatch: pytest.MonkeyPatch) -> None:
    before, root = image.image_recipe(), image.host_recipe()
    monkeypatch.setattr(image, "HOST_PACKAGES", (*image.HOST_PACKAGES, "hello"))
    assert image.host_recipe() != root
    assert image.image_recipe() == before


def test_a_copied_disk_keeps_its_holes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    with open(source, "wb") as file:
        file.seek(8 << 20)
        file.write(b"end")
    with open(tmp_path / "copy", "w+b") as copied:
        image.copy(source, image.opened(copied))
        assert copied.read()[-3:] == b"end"
        assert os.fstat(copied.fileno()).st_blocks * 512 < 1 << 20


def test_saved_disks_belong_to_a_key_an_image_and_its_luns(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.saved("one")
    assert before == image.saved("one") != image.saved("other")
    with monkeypatch.context() as changed:
        changed.setattr(files, "DISCOVERY", files.DISCOVERY + "# more\n")
        assert image.saved("one") != before
    monkeypatch.setattr(plan, "LUNS", {})
    assert image.saved("one") != before


def test_of_saved_disks_those_that_were_used_last_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roots, "CACHE", tmp_path)
    for age in range(saved.KEPT + 2):
        (tmp_path / "saved").mkdir()
        saved.keep(tmp_path / "saved", tmp_path / f"machine-saved-{age}")
        os.utime(tmp_path / f"machine-saved-{age}", (age, age))
    assert sorted(path.name for path in tmp_path.glob("machine-*")) == [f"machine-saved-{age}" for age in range(2, saved.KEPT + 2)]


class Standing(Fake):
    """A machine that tells what is done to its disk."""

    def __init__(self, node: plan.Node, told: list[str], *, broken: bool = False) -> None:
        super().__init__(node)
        self.told, self.broken = told, broken

    def pause(self) -> None:
        self.told.append(f"{self.node.name} stands still")

    def resume(self) -> None:
        self.told.append(f"{self.node.name} goes on")

    def save(self, _saved: Path) -> None:
        if self.broken:
            raise OSError("no space left on device")
        self.told.append(f"{self.node.name} copied")


@pytest.mark.parametrize("broken", [False, True])
def test_disks_are_saved_while_the_nodes_stand_still(tmp_path: Path, broken: bool) -> None:
    told: list[str] = []
    machines = {name: Standing(node, told, broken=broken) for name, node in plan.NODES.items()}
    machines["rhel2"].on()
    hardware = keeper.Hardware.__new__(keeper.Hardware)
    hardware.machines, hardware.power = machines, power.Power(machines)  # type: ignore[assignment]
    hardware.san = SimpleNamespace(save=lambda _: told.append("LUNs copied"))  # type: ignore[assignment]
    answer = keeper.obey(hardware, json.dumps({"do": "save", "to": str(tmp_path / "saved")}).encode(), threading.Lock())
    assert ("failed" if broken else "done") in answer
    copied = [] if broken else ["rhel1 copied", "rhel2 copied"]
    assert told == ["rhel2 stands still", "LUNs copied", *copied, "rhel2 goes on"]


# Orders and commands.


@pytest.mark.parametrize("order, answer", [
    (b'{"do": "fly"}', "KeyError"), (b"{", "JSONDecodeError"), (b'{"do": "power", "node": "rhel3", "what": "on"}', "KeyError"),
    (b'{"do": "power", "node": "rhel1"}', "TypeError"),
    (b'{"do": "cable", "node": "rhel1", "segment": "moon", "plugged": true}', "KeyError"),
])  # fmt: skip
def test_an_order_that_cannot_be_followed_is_answered(order: bytes, answer: str) -> None:
    hardware = keeper.Hardware.__new__(keeper.Hardware)
    assert answer in keeper.obey(hardware, order, threading.Lock())["failed"]


def test_a_command_on_a_node_is_bounded() -> None:
    line = ssh.command(plan.NODES["rhel1"], ["uptime"], within=7)
    assert line[:4] == ["timeout", "--foreground", "--kill-after=2", "7"]
    assert line[-2:] == ["root@10.0.5.21", "uptime"]


def test_a_shell_on_a_node_is_not() -> None:
    assert ssh.command(plan.NODES["rhel2"], [], terminal=True)[0] == "ssh"


def test_who_enters_goes_with_who_asked() -> None:
    line = room.Room(10, 11).entering(["true"])
    assert "--target=11" in line
    assert line[-4:] == ["setpriv", "--pdeathsig", "KILL", "true"]


def test_without_a_lab_that_is_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LOCK", tmp_path / "lock")
    with pytest.raises(room.NotSo, match="not up"):
        room.find()
    (tmp_path / "lock").write_text("1")
    with pytest.raises(room.NotSo, match="not up"):
        room.find()


@pytest.mark.parametrize("words", [
    ["up", "--hold", "--saved", "configured"], ["save", "configured"], ["down"], ["status"], ["power", "off", "rhel1"],
    ["cable", "pull", "rhel2", "san1"], ["storage", "off"], ["retry", "queue"], ["lun", "wal", "slow", "3"],
    ["ssh", "rhel1", "multipath", "-ll"], ["enter", "--", "ip", "link"], ["build"],
])  # fmt: skip
def test_command_line(words: list[str]) -> None:
    assert callable(program.parser().parse_args(words).do)
