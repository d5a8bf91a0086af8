"""fence_pve: cut the power of a virtual machine or container of Proxmox VE."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fence_lab import options
from fence_lab.agent import FenceAgent, Outlet, Power
from fence_lab.clock import Deadline
from fence_lab.cluster import Cluster, Guest
from fence_lab.errors import FenceError, Misconfigured
from fence_lab.options import Option
from fence_lab.power import GuestPower, Identity, Place
from fence_lab.proxmox import Credentials, Refused, credentials
from fence_lab.transport import Address, Transport, TransportError

PRIVILEGE = "VM.PowerMgmt"
# A guest that has been proven off is a successful reboot, whether it comes up again or not: that is not waited for for long.
BACK_ON_SECONDS = 10.0
FINGERPRINT = re.compile(r"(?:[0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}|[0-9A-Fa-f]{64}")


class FencePve(FenceAgent):
    NAME = "fence_pve"
    SHORTDESC = "Fencing agent for the Proxmox Virtual Environment"
    LONGDESC = "fence_pve is a Power Fencing agent for virtual machines acting as nodes in a virtualized cluster."
    VENDOR_URL = "http://www.proxmox.com/"
    OPTIONS = (
        options.IP.but(help="IP Address or Hostname of a node within the Proxmox cluster."),
        options.IPPORT.but(default="8006"),
        options.USERNAME.but(default="root@pam"),
        options.PLUG.but(help="Id of the virtual machine."),
        options.SSL.but(default="1"),
        Option("pve_node", "Proxmox node name on which machine is located. (Must be specified if not using --pve-node-auto)",
               short="N", argument="node_name", order=2, usage="Proxmox node name on which machine is located: not needed any more"),
        Option("pve_node_auto", "Automatically select proxmox node. (This option overrides --pve-node)", short="A", kind="boolean",
               order=2),
        Option("vmtype", "Virtual machine type lxc or qemu. (Default: qemu)", default="qemu", required=True, order=2),
        Option("nodename", "Replaced by --pve-node", old=("node_name",), order=3),
        Option("vm_name", "Name that the virtual machine must have: with another one nothing is done to it.", argument="name", order=4,
               added=True),
        Option("vm_uuid", "UUID (SMBIOS, on Linux /sys/class/dmi/id/product_uuid) that the virtual machine must have: with another one "
               "nothing is done to it.", argument="uuid", order=4, added=True),
        options.TOKEN.but(help="API token, which replaces the password: USER@REALM!NAME=SECRET, or the secret alone where username is "
                               "USER@REALM!NAME. @/path reads it from a file."),
        options.TOKEN_SCRIPT,
        options.CA_FILE.but(help="File with the certificates (PEM) that the API's certificate is verified with, such as a copy of "
                                 "/etc/pve/pve-root-ca.pem."),
        options.FINGERPRINT.but(help="SHA-256 fingerprint of the certificate of the API, or several: what is verified instead of its "
                                     "authority and name."),
        options.TIME_LIMIT,
    )  # fmt: skip

    cluster: Cluster

    def check(self) -> list[str]:
        wrong = []
        try:
            self.addresses()
        except Misconfigured as error:
            wrong.append(str(error))
        if self.given.text("vmtype") not in ("qemu", "lxc"):
            wrong.append("vmtype is either qemu or lxc")
        if not all(FINGERPRINT.fullmatch(one) for one in self.fingerprints()):
            wrong.append("fingerprint is not one, or a list, of SHA-256 fingerprints (64 hexadecimal digits, with or without colons)")
        if len(self.plugs) > 1 and (self.given.has("vm_name") or self.given.has("vm_uuid")):
            wrong.append("vm_name and vm_uuid are for one plug")
        if self.given.flag("ssl_insecure") and (self.given.has("ca_file") or self.given.has("fingerprint")):
            wrong.append("ssl_insecure contradicts ca_file and fingerprint: set one of them")
        return wrong

    def login(self) -> None:
        self._guests: dict[str, GuestPower] = {}
        self.cluster = Cluster(self.transport(), self.addresses(), self.credentials(), self.deadline, self.log)
        self.cluster.connect()

    def logout(self) -> None:
        if "cluster" in vars(self):
            self.cluster.close()

    def status(self, plug: str) -> Power:
        return Power.ON if self.guest(plug).running() else Power.OFF

    def power_off(self, plug: str) -> bool:
        return self.guest(plug).off()

    def power_on(self, plug: str) -> bool:
        clock = self.clock
        guest = self.guest(plug)
        if self.action == "reboot":
            guest.deadline = Deadline(clock, clock.now(), min(self.deadline.at, clock.now() + BACK_ON_SECONDS))
        return guest.on()

    def cycle(self, plug: str) -> None:
        guest = self.guest(plug)
        if guest.seen()[0].guest.kind == "qemu":
            guest.cycle()
            return
        # A container has no reset.
        guest.off()
        try:
            self.power_on(plug)
        except FenceError as error:
            self.log.error("fenced, but not powered on again: %s", error)

    def outlets(self) -> Iterable[Outlet]:
        views = self.cluster.patiently(self.cluster.views)
        powers = {"running": Power.ON, "stopped": Power.OFF}
        guests = [guest for _, guest in sorted(views[0].guests.items()) if guest.kind == self.given.text("vmtype")]
        return [Outlet(str(guest.vmid), guest.name, powers.get(guest.power)) for guest in guests if not guest.template]

    def monitor(self) -> None:
        """Prove the whole way that fencing takes, but for the fencing: login, guest, its node, its state, the right to stop it."""
        if not self.plugs:
            self.cluster.patiently(self.cluster.views)
        for plug in self.plugs:
            place, look = self.guest(plug).seen()
            self._check_rights(place)
            guest = place.guest
            if look.ha or guest.ha:
                self.log.warning("%s is managed by Proxmox VE's HA, which works against Pacemaker and takes up to 30 s to stop it: remove "
                                 "it from HA (ha-manager remove), or set time_limit=110 and pcmk_reboot_timeout=120s", guest)  # fmt: skip
                if place.view.quorate is None:
                    raise FenceError(f"{guest} is managed by HA: user {self.cluster.who.name} needs Sys.Audit on / to prove it off")
            if place.view.quorate is False:
                self.log.warning("%s is in a part of its Proxmox VE cluster without quorum", place.view.endpoint)
        for address, reason in self.cluster.failures.items():
            self.log.warning("fencing works, but not through %s: %s", address, reason)

    def transport(self) -> Transport:
        """Return what requests go by: HTTPS, and in a simulation something else."""
        from fence_lab.https import HttpsTransport

        secure = not self.given.flag("ssl_insecure") or self.given.flag("ssl_secure")
        return HttpsTransport(verify=secure, ca_file=self.given.text("ca_file"), fingerprints=self.fingerprints(), log=self.log)

    def addresses(self) -> list[Address]:
        """Return the addresses in `ip`: "pve1, pve2:8443, [2001:db8::1]:8006".  Raises Misconfigured."""
        found = [address(word, int(self.given.number("ipport"))) for word in re.split(r"[,;\s]+", self.given.text("ip")) if word]
        if not found:
            raise Misconfigured("ip names no hypervisor")
        return list(dict.fromkeys(found))

    def fingerprints(self) -> list[str]:
        return [word for word in re.split(r"[,;\s]+", self.given.text("fingerprint")) if word]

    def credentials(self) -> Credentials:
        return credentials(self.given.text("username"), self.given.secret("password"), self.given.secret("token"))

    def guest(self, plug: str) -> GuestPower:
        if plug not in self._guests:
            identity = Identity(plug, kind=self.given.text("vmtype"), name=self.given.text("vm_name"), uuid=self.given.text("vm_uuid"),
                                nodename=self.nodename)  # fmt: skip
            self._guests[plug] = GuestPower(self.cluster, identity, self.patient(), self.log)
        return self._guests[plug]

    def patient(self) -> Deadline:
        """Return the deadline of a change of power: power_timeout counts only for who sets it."""
        limit = self.given.number("power_timeout") if self.given.has("power_timeout") and self.action in ("on", "off", "reboot") else 0.0
        return Deadline(self.clock, self.deadline.began, min(self.deadline.at, self.clock.now() + limit)) if limit else self.deadline

    def _check_rights(self, place: Place) -> None:
        guest: Guest = place.guest
        path = f"/vms/{guest.vmid}"
        try:
            data = self.cluster.patiently(lambda: place.view.endpoint.get("/access/permissions", {"path": path}))
        except (Refused, TransportError) as error:
            raise FenceError(f"whether user {self.cluster.who.name} has {PRIVILEGE} on {path} cannot be read: {error}") from None
        rights = data.get(path) if isinstance(data, dict) else None
        if not isinstance(rights, dict) or PRIVILEGE not in rights:
            raise FenceError(f"user {self.cluster.who.name} lacks {PRIVILEGE} on {path}: fencing {guest} would be refused")


def address(word: str, port: int) -> Address:
    """Read "host", "host:port", "[v6]:port" or an IPv6 address.  Raises Misconfigured."""
    found = re.fullmatch(r"\[([0-9A-Fa-f:.%\w]+)\](?::(\d+))?", word) or re.fullmatch(r"([^:\[\]/@]+)(?::(\d+))?", word)
    if not found:
        if word.count(":") > 1 and re.fullmatch(r"[0-9A-Fa-f:.]+(?:%\w+)?", word):
            return Address(word, port)
        raise Misconfigured(f"ip has {word!r}, which is neither a host name nor an address")
    number = int(found[2] or port)
    if not 0 < number < 65536:
        raise Misconfigured(f"ip has the port {number}, which is out of range")
    return Address(found[1], number)
