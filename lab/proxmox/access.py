"""Who may do what: users, passwords, tickets, API tokens and access control lists of the modelled cluster.

Repository file:line at the commits that lab/proxmox/world.py lists.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

# pve-access-control src/PVE/AccessControl.pm:58-59: a ticket lives two hours; clocks may differ by five minutes.
TICKET_SECONDS, GRACE_SECONDS = 7200, 300

# A sufficient part of the role Administrator.
EVERYTHING = (
    "Datastore.Allocate", "Datastore.Audit", "Group.Allocate", "Mapping.Audit", "Permissions.Modify", "Pool.Allocate", "Pool.Audit",
    "Realm.Allocate", "SDN.Allocate", "SDN.Audit", "Sys.Audit", "Sys.Console", "Sys.Modify", "Sys.PowerMgmt", "Sys.Syslog",
    "User.Modify", "VM.Allocate", "VM.Audit", "VM.Backup", "VM.Clone", "VM.Config.Options", "VM.Console", "VM.Migrate",
    "VM.PowerMgmt", "VM.Snapshot",
)  # fmt: skip

# pve-access-control src/PVE/RPCEnvironment.pm:184-192: which privileges the login's `cap` shows under which heading.
CAPABILITIES = {
    "vms": r"VM\.|Permissions\.Modify", "access": r"(User|Group)\.|Permissions\.Modify", "storage": r"Datastore\.|Permissions\.Modify",
    "nodes": r"Sys\.|Permissions\.Modify", "sdn": r"SDN\.|Permissions\.Modify", "dc": r"Sys\.Audit|Sys\.Modify|SDN\.",
    "mapping": r"Mapping\.|Permissions.Modify",
}  # fmt: skip

# Privileges on a path, each with 1 where it also holds below the path.
Privileges = Mapping[str, int]


class BadLogin(Exception):
    """A password, ticket or token that is not accepted.  The text is the server's own, for its log."""


@dataclass
class Token:
    secret: str
    privsep: bool = True


@dataclass
class User:
    password: str
    tfa: bool = False
    enabled: bool = True
    tokens: dict[str, Token] = field(default_factory=dict)


@dataclass(frozen=True)
class Grant:
    privileges: frozenset[str]
    propagate: bool


def split_token(authid: str) -> tuple[str, str]:
    """Return user and token name of "user@realm!name"; the name is empty for a user."""
    user, _, token = authid.partition("!")
    return user, token


def normalized(path: str) -> str:
    """Return an ACL path as the server writes it (pve-access-control src/PVE/AccessControl.pm:1263-1279)."""
    return "/" + "/".join(part for part in path.split("/") if part)


class Access:
    """The user database, the same on every node, as the cluster file system makes it."""

    def __init__(self, seed: int) -> None:
        self.users: dict[str, User] = {}
        self.acl: dict[str, dict[str, Grant]] = {}
        self.pools: dict[str, frozenset[int]] = {}
        self._key = hashlib.sha256(f"authkey {seed}".encode()).digest()

    def grant(self, path: str, who: str, *privileges: str, propagate: bool = True) -> None:
        """Give a user or token privileges on a path; none at all is the role NoAccess.  Replaces what it had there."""
        self.acl.setdefault(normalized(path), {})[who] = Grant(frozenset(privileges), propagate)

    # Privileges.

    def permissions(self, authid: str, path: str) -> Privileges:
        """Return the privileges that hold on a path (RPCEnvironment.pm:136-176; tokens: 99-108)."""
        user, token = split_token(authid)
        if authid == "root@pam":
            return dict.fromkeys(EVERYTHING, 1)
        if user not in self.users:
            return {}
        if not token:
            return self._granted(authid, path)
        known = self.users[user].tokens.get(token)
        if known is None:
            return {}
        of_user = self.permissions(user, path)
        if not known.privsep:
            return of_user
        of_token = self._granted(authid, path)
        return {name: of_token[name] & of_user[name] for name in of_token if name in of_user}

    def _granted(self, who: str, path: str) -> Privileges:
        """Walk down to the path: what is nearer to it replaces what came from above (AccessControl.pm:1817-1888)."""
        found: dict[str, int] = {}
        denied = False
        at = "/"
        steps = ["/"]
        for part in path.split("/"):
            if part:
                at = f"{at.rstrip('/')}/{part}"
                steps.append(at)
        for step in steps:
            grant = self.acl.get(step, {}).get(who)
            if grant and (grant.propagate or step == path):
                found = dict.fromkeys(sorted(grant.privileges), int(grant.propagate))
                denied = not grant.privileges
        if path.startswith("/vms/") and not denied:
            # What a pool gives its guests comes on top, and is never marked as holding below (RPCEnvironment.pm:34-81).
            for pool in sorted(self.pools):
                if path[5:] in map(str, self.pools[pool]):
                    found = {**dict.fromkeys(self._granted(who, f"/pool/{pool}"), 0), **found}
        return found

    def may(self, authid: str, path: str, privilege: str) -> bool:
        return privilege in self.permissions(authid, path)

    def all_permissions(self, authid: str) -> dict[str, Privileges]:
        """Return the tree of one's own privileges (RPCEnvironment.pm:241-289): paths without any are left out."""
        paths = {"/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms", *self.acl}
        paths |= {f"/vms/{vmid}" for vmids in self.pools.values() for vmid in vmids}
        return {path: found for path in sorted(paths) if (found := self.permissions(authid, path))}

    def capabilities(self, authid: str) -> dict[str, dict[str, int]]:
        """Return the `cap` of a login (RPCEnvironment.pm:178-239)."""
        found: dict[str, dict[str, int]] = {heading: {} for heading in CAPABILITIES}
        for path in ["/", "/nodes", "/access/groups", "/vms", "/storage", "/sdn", "/mapping", *self.acl]:
            # A grant on a pool shows as one on guests.
            heading = {"": "dc", "pool": "vms"}.get(path.split("/")[1], path.split("/")[1])
            if heading in found:
                names = [name for name in self.permissions(authid, path) if re.match(CAPABILITIES[heading], name)]
                found[heading].update(dict.fromkeys(names, 1))
        return found

    # Logins.

    def check_enabled(self, userid: str) -> User:
        """Return the user.  Raises BadLogin (AccessControl.pm:670-703)."""
        user = self.users.get(userid)
        if user is None:
            raise BadLogin(f"no such user ('{userid}')")
        if not user.enabled:
            raise BadLogin(f"user '{userid}' is disabled")
        return user

    def login(self, userid: str, password: str, wall: float) -> tuple[str, bool]:
        """Return a ticket, and whether it waits for a second factor.

        A valid ticket serves as password, so that it can be renewed (pve-access-control src/PVE/API2/AccessControl.pm:138-181).
        Raises BadLogin.
        """
        user = self.check_enabled(userid)
        try:
            if self.ticket_user(password, wall) in {userid, "root@pam"}:
                return self.ticket(userid, wall), False
        except BadLogin:
            pass
        if not password or password != user.password:
            raise BadLogin("invalid credentials")
        if user.tfa:
            return self.ticket("!tfa!" + json.dumps({"totp": True}), wall, userid), True
        return self.ticket(userid, wall), False

    def ticket(self, data: str, wall: float, bound_to: str = "") -> str:
        """Return "PVE:data:time::signature" (pve-common src/PVE/Ticket.pm:53-72)."""
        plain = f"PVE:{quote(data, safe='@!.-_{}')}:{int(wall):08X}"
        return f"{plain}::{self._sign(plain, bound_to)}"

    def ticket_user(self, ticket: str, wall: float) -> str:
        """Return whose ticket it is.  Raises BadLogin.

        One that waits for a second factor is signed together with the user's name, and so is like a forged one to every call
        but that which answers the challenge (API2/AccessControl.pm:165-174, AccessControl.pm:406-485).
        """
        plain, _, signature = ticket.rpartition("::")
        fields = plain.split(":")
        if len(fields) != 3 or fields[0] != "PVE" or not hmac.compare_digest(signature.encode(), self._sign(plain).encode()):
            raise BadLogin("permission denied - invalid PVE ticket")
        if not -GRACE_SECONDS < wall - int(fields[2], 16) < TICKET_SECONDS:
            raise BadLogin("permission denied - invalid PVE ticket")
        return unquote(fields[1])

    def csrf_token(self, userid: str, wall: float) -> str:
        """Return "time:digest" (pve-common src/PVE/Ticket.pm:19-27)."""
        stamp = f"{int(wall):08X}"
        return f"{stamp}:{self._sign(f'csrf {stamp}:{userid}').rstrip('=')}"

    def csrf_valid(self, userid: str, token: str, wall: float) -> bool:
        stamp = token.partition(":")[0]
        if not re.fullmatch(r"[0-9A-F]{8}", stamp) or not -GRACE_SECONDS < wall - int(stamp, 16) < TICKET_SECONDS:
            return False
        expected = f"{stamp}:{self._sign(f'csrf {stamp}:{userid}').rstrip('=')}"
        return hmac.compare_digest(token.encode(), expected.encode())

    def token_user(self, credentials: str) -> str:
        """Return "user@realm!name" of "user@realm!name=secret" (AccessControl.pm:487-519).  Raises BadLogin."""
        authid, equals, secret = credentials.rpartition("=")
        userid, name = split_token(authid)
        if not equals or not name:
            raise BadLogin("no tokenid specified")
        token = self.check_enabled(userid).tokens.get(name)
        if token is None:
            raise BadLogin(f"no such token '{name}' for user '{userid}'")
        if not hmac.compare_digest(secret.encode(), token.secret.encode()):
            raise BadLogin("invalid token value!")
        return authid

    def _sign(self, text: str, bound_to: str = "") -> str:
        full = f"{text}:{bound_to}" if bound_to else text
        return base64.b64encode(hmac.new(self._key, full.encode(), hashlib.sha256).digest()).decode()
