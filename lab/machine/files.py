"""What stands in the nodes' file system beyond Debian's packages."""

from __future__ import annotations

from lab.machine import plan

# One image serves every node: who it is, it reads from the kernel's command line, before there is a network.
IDENTITY = """\
#!/bin/sh
# Become the node that the kernel's command line names.
set -eu
for word in $(cat /proc/cmdline); do
  case $word in
    lab.node=*) node=${word#*=} ;;
    lab.number=*) number=${word#*=} ;;
  esac
done
echo "$node" >/etc/hostname
hostname "$node"
echo "InitiatorName=iqn.2024-01.com.lab:$node" >/etc/iscsi/initiatorname.iscsi
mkdir -p /run/systemd/network
configure() {
  cat >/run/systemd/network/$1.network <<END
[Match]
Name=$1
[Link]
RequiredForOnline=no
[Network]
Address=$2
$3
LinkLocalAddressing=no
IPv6AcceptRA=no
ConfigureWithoutCarrier=yes
IgnoreCarrierLoss=yes
END
}
{interfaces}"""

SERVICE = """\
[Unit]
Description={description}
{order}
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={command}
StandardOutput=journal+console
[Install]
WantedBy={wanted}
"""

# The records stay on the node's disk: later boots leave the login to open-iscsi, as on any Debian machine.
DISCOVERY = """\
#!/bin/sh
# Learn the SAN's portals, each from itself: tgtd names only the one that was asked.
[ -z "$(ls /etc/iscsi/nodes 2>/dev/null)" ] || exit 0
for portal in {portals}; do
  for attempt in $(seq 30); do
    timeout 20 iscsiadm -m discovery -t sendtargets -o new -p "$portal" && break
    sleep 1
  done
done
"""

AWAIT = """\
#!/bin/sh
# Give the shared storage a while: a cluster that starts without it finds its volume group missing.
for attempt in $(seq 90); do
  [ -e /dev/clusterstorage/cluster1 ] && exit 0
  sleep 1
done
echo "lab: /dev/clusterstorage/cluster1 did not appear within 90 s"
"""

MULTIPATH = """\
defaults {
    user_friendly_names yes
    find_multipaths yes
}
"""

RETRY_FILE = "/etc/multipath/conf.d/no_path_retry.conf"

JOURNAL = """\
[Journal]
Storage=persistent
SystemMaxUse=64M
RateLimitBurst=0
"""


def retry_policy(policy: str) -> str:
    """Return multipath's drop-in for what becomes of I/O without a path: "fail", "queue" or a number of retries."""
    return f'overrides {{\n    no_path_retry "{policy}"\n}}\n'


def identity() -> str:
    lines = []
    for index, network in enumerate(plan.NETWORKS.values()):
        gateway = f"Gateway={network.address(network.host)}" if network.name == "lan" else ""
        lines.append(f'configure eth{index} "{network.address(0)[:-1]}$number/{network.prefix}" "{gateway}"\n')
    return IDENTITY.replace("{interfaces}", "".join(lines))


def service(description: str, command: str, wanted: str, *order: str) -> str:
    return SERVICE.format(description=description, command=command, wanted=wanted, order="\n".join(order))


def texts() -> dict[str, str]:
    """Return the files by path; what begins with #! is executable."""
    symlinks = [f'ENV{{DM_UUID}}=="mpath-{lun.wwid}", SYMLINK+="clusterstorage/{lun.name}"\n' for lun in plan.LUNS.values()]
    return {
        "/etc/hosts": plan.hosts(),
        "/etc/fstab": "/dev/vda / ext4 noatime,errors=remount-ro 0 1\n",
        "/etc/multipath.conf": MULTIPATH,
        "/etc/multipath/bindings": "".join(f"{lun.alias} {lun.wwid}\n" for lun in plan.LUNS.values()),
        RETRY_FILE: retry_policy("fail"),
        "/etc/udev/rules.d/99-iscsi-cluster.rules": "".join(symlinks),
        "/etc/systemd/journald.conf.d/lab.conf": JOURNAL,
        "/etc/systemd/system.conf.d/lab.conf": "[Manager]\nDefaultTimeoutStopSec=20s\n",
        "/etc/systemd/system/pacemaker.service.d/storage.conf":
            "[Unit]\nWants=lab-storage.service\nAfter=open-iscsi.service multipathd.service lab-storage.service\n",
        "/etc/ssh/sshd_config.d/lab.conf": "UseDNS no\nGSSAPIAuthentication no\nPrintMotd no\n",
        "/usr/local/sbin/lab-identity": identity(),
        "/usr/local/sbin/lab-discovery": DISCOVERY.format(portals=" ".join(plan.portals())),
        "/usr/local/sbin/lab-storage": AWAIT,
        "/etc/systemd/system/lab-identity.service": service(
            "Name and addresses of this node", "/usr/local/sbin/lab-identity", "sysinit.target", "DefaultDependencies=no",
            "After=systemd-remount-fs.service", "Before=sysinit.target systemd-networkd.service network-pre.target"),
        "/etc/systemd/system/lab-discovery.service": service(
            "Portals of the SAN", "/usr/local/sbin/lab-discovery", "multi-user.target",
            "Wants=iscsid.service", "After=iscsid.service systemd-networkd.service", "Before=open-iscsi.service"),
        "/etc/systemd/system/lab-storage.service": service(
            "Shared storage of the cluster", "/usr/local/sbin/lab-storage", "pacemaker.service",
            "After=open-iscsi.service multipathd.service"),
    }  # fmt: skip
