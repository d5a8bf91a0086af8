"""The order of a shutdown: the cluster deactivates its volumes before systemd takes the storage away under them.

The cluster's services stop before resource-agents-deps.target, and what that target comes after stops later still.
blk-availability.service deactivates all volumes when it stops, and has to have been started for its stop to have a place.
"""

from __future__ import annotations

import os

from ocf_py.outcomes import DeadlineExceeded, Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocf_py.agent import Agent

SYSTEMD = "/run/systemd/system"
# The stock agent's name: whichever of the two comes second finds the work done.
DROP_IN = f"{SYSTEMD}/resource-agents-deps.target.d/99-LVM-activate.conf"
UNIT = "blk-availability.service"
SECONDS = 5.0


def order(agent: Agent) -> str:
    """Make the order known to systemd, once a boot; return what went wrong, "" where nothing did.  Never waits for a unit."""
    if not os.path.isdir(SYSTEMD) or os.path.exists(DROP_IN):
        return ""
    try:
        os.makedirs(os.path.dirname(DROP_IN), exist_ok=True)
        with open(DROP_IN, "w") as file:
            file.write(f"[Unit]\nAfter={UNIT}\n")
    except OSError as error:
        return f"cannot order the shutdown: {DROP_IN}: {error.strerror}"
    problem = ""
    for words in (("--no-block", "start", UNIT), ("daemon-reload",)):
        try:
            agent.run("systemctl", *words, within=SECONDS)
        except DeadlineExceeded:
            problem = problem or f"systemd is slow to take the order of the shutdown: systemctl {' '.join(words)}"
        except Error as error:
            problem = problem or f"cannot order the shutdown: {error}"
    return problem
