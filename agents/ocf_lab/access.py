"""The access modes of LVM-activate: how each lets this node have the volume group, activates it, and gives it back."""

from __future__ import annotations

import ocf_py as ocf
from ocf_lab import lvm, lvm_activate, volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocf_lab.lvm_activate import LvmActivate


def own_id(tool: lvm.Lvm) -> str:
    """Return this node's system id.  Raises InvalidHere where there is none."""
    own = tool.own_id()
    if not own:
        raise ocf.InvalidHere(lvm.why_no_id(tool.settings()))
    return own


def refuse_foreign(group: lvm.VolumeGroup, tool: lvm.Lvm) -> None:
    """Raise where volumes are active here and another node owns them."""
    own = own_id(tool)
    if group.owner != own:
        hint = "; autoactivation is on" if group.autoactivation else lvm.transient_name(group.owner, own)
        raise ocf.Error(f"VG {group.name} is owned by {group.owner} and active here, where the system id is {own}{hint}")


def activate(agent: LvmActivate, group: lvm.VolumeGroup, tool: lvm.Lvm) -> None:
    how = {lvm_activate.SYSTEM_ID: owned, lvm_activate.TAGGING: by_tag, lvm_activate.LVMLOCKD: locked, lvm_activate.CLVMD: clustered}
    how[agent.vg_access_mode](agent, group, tool)


def lvchange(agent: LvmActivate, tool: lvm.Lvm, *words: str) -> None:
    extent = ["--activationmode", "degraded"] if agent.degraded_activation else ["--partial"] if agent.partial_activation else []
    tool.change("lvchange", *words, *extent, agent.target)


def owned(agent: LvmActivate, group: lvm.VolumeGroup, tool: lvm.Lvm) -> None:
    own = own_id(tool)
    if group.owner != own:
        take_over(agent, group, own, tool)
    turn_autoactivation_off(agent, group, tool)
    lvchange(agent, tool, "-ay")


def turn_autoactivation_off(agent: LvmActivate, group: lvm.VolumeGroup, tool: lvm.Lvm) -> None:
    """Leave it to the cluster where the VG is active; a node that boots would not ask."""
    if group.autoactivation:
        agent.log.info(f"turning the autoactivation of VG {group.name} off")
        try:
            tool.change("vgchange", "--setautoactivation", "n", group.name)
        except ocf.CommandFailed as error:
            # LVM refuses what is so already, by another resource of this VG that starts at the same time.
            agent.log.warning(str(error))


def take_over(agent: LvmActivate, group: lvm.VolumeGroup, own: str, tool: lvm.Lvm) -> None:
    agent.log.info(f"taking VG {group.name} over from {group.owner}")
    if lvm.lasting_name(own):
        agent.log.warning(f"VG {group.name} gets a transient host name for its owner: hostnamectl set-hostname {own} makes it last")
    majority = ["--majoritypvs"] if agent.majority_pvs and group.missing else []
    try:
        tool.change("vgchange", "-y", *majority, "--config", f'local/extra_system_ids=["{group.owner}"]', "--systemid", own, group.name)
    except ocf.CommandFailed as error:
        if majority and "unrecognized option" in str(error):
            raise ocf.NotInstalled("majority_pvs=yes needs LVM 2.03.20 or later, which knows --majoritypvs") from None
        # Another resource of this VG, which starts at the same time, may have been first.
        if tool.owner(agent.deadline.left() / 2) != own:
            raise


def told(tool: lvm.Lvm) -> dict[str, str]:
    """Return LVM's settings.  Raises Error where it does not tell them: that proves nothing against this node."""
    settings = tool.settings()
    if not settings:
        raise ocf.Error("LVM does not tell its settings within 5 s: run lvmconfig on this node to see what it waits for or refuses")
    return settings


def by_tag(agent: LvmActivate, group: lvm.VolumeGroup, tool: lvm.Lvm) -> None:
    listed = told(tool).get("volume_list")
    if listed is None:
        raise ocf.InvalidHere("vg_access_mode=tagging needs volume_list in lvm.conf, which keeps all else from being activated")
    if f'"@{agent.tag}"' in listed or f'"{group.name}"' in listed or '"*"' in listed:
        raise ocf.InvalidHere(f"volume_list in lvm.conf must contain neither @{agent.tag} nor {group.name}: {listed}")
    if agent.tag not in group.tags:
        tool.change("vgchange", "--addtag", agent.tag, group.name)
    lvchange(agent, tool, "-ay", "--config", tagged(agent))


def tagged(agent: LvmActivate) -> str:
    return f'activation{{volume_list=["@{agent.tag}"]}}'


def lock_option(agent: LvmActivate) -> str:
    return "-asy" if agent.activation_mode == "shared" else "-aey"


def locked(agent: LvmActivate, group: lvm.VolumeGroup, tool: lvm.Lvm) -> None:
    if told(tool).get("use_lvmlockd") != "1":
        raise ocf.InvalidHere("vg_access_mode=lvmlockd needs use_lvmlockd = 1 in lvm.conf")
    tool.change("vgchange", "--lockstart", group.name)
    lvchange(agent, tool, lock_option(agent))


def clustered(agent: LvmActivate, group: lvm.VolumeGroup, tool: lvm.Lvm) -> None:
    from ocf_py import commands

    if not commands.find("clvmd"):
        raise ocf.NotInstalled(f"clvmd is not installed: LVM has none since 2.03; convert VG {group.name} to lvmlockd (lvmlockd(8))")
    lvchange(agent, tool, lock_option(agent))


def release(agent: LvmActivate, tool: lvm.Lvm, broken: bool) -> None:
    """Give back what the access mode holds beside the volumes.

    Without them it hinders nobody: LVM has given their locks back with them.
    """
    try:
        if agent.vg_access_mode == lvm_activate.LVMLOCKD and not others(agent):
            tool.change("vgchange", "--lockstop", agent.vgname, within=agent.deadline.left() / 2)
        if agent.vg_access_mode == lvm_activate.TAGGING and not broken and not others(agent):
            tool.change("vgchange", "--deltag", agent.tag, agent.vgname, within=agent.deadline.left() / 2)
    except ocf.Error as error:
        left = "the lockspace" if agent.vg_access_mode == lvm_activate.LVMLOCKD else "the tag"
        agent.log.warning(f"{left} of VG {agent.vgname} is left: {error}")


def others(agent: LvmActivate) -> bool:
    """Return whether volumes of the VG are active, after those of this resource were deactivated."""
    return any(volume.vg == agent.vgname for volume in volumes.scan())
