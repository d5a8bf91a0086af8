"""The executor against what it stands for: the same agent under real Pacemaker, crm_resource and pcs is given the same."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ocf_py.testing import Executor
from tests.system.cluster import Cluster
from tests.system.node import NamespacedNode

pytestmark = pytest.mark.cluster

RECORDS = Path("/tmp/recorded")
DIRECTORY = Path("/usr/lib/ocf/resource.d/recorder")
# Resources of this kind of name run on the first node of the cluster only.
RESOURCE = "pg-recorder"
AGENT = """#!{python} -I
import json, os, sys
action, records, state = (sys.argv + [""])[1], "{records}", "{records}/state"
with open(f"{{records}}/{{action}}.{{os.getpid()}}", "w") as file:
    json.dump({{
        "environ": dict(os.environ), "arguments": sys.argv[1:], "leads its group": os.getpgrp() == os.getpid(),
        "leads its session": os.getsid(0) == os.getpid(), "stdin": os.readlink("/proc/self/fd/0"), "umask": os.umask(0), "cwd": os.getcwd(),
        "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:3],
        "streams": [os.readlink(f"/proc/self/fd/{{n}}").partition(":")[0] for n in (1, 2)],
    }}, file)
if action == "meta-data":
    print('''<?xml version="1.0"?>
<resource-agent name="Recorder" version="1.0">
<version>1.1</version>
<longdesc lang="en">Writes down how it is called.</longdesc>
<shortdesc lang="en">Writes down how it is called</shortdesc>
<parameters><parameter name="size"><longdesc lang="en">A size.</longdesc><shortdesc lang="en">Size</shortdesc><content type="string" />
</parameter></parameters>
<actions><action name="start" timeout="40s" /><action name="stop" timeout="41s" /><action name="monitor" timeout="42s" interval="7s" />
<action name="monitor" timeout="43s" interval="8s" depth="10" /><action name="meta-data" timeout="5s" />
<action name="validate-all" timeout="5s" /></actions>
</resource-agent>''')
elif action == "start":
    open(state, "w").close()
elif action == "stop":
    os.path.exists(state) and os.unlink(state)
elif action == "monitor":
    sys.exit(0 if os.path.exists(state) else 7)
"""
# Which node and which release: these differ without a meaning for an agent.  So does where the cluster of these tests logs to.
LOCAL = ("OCF_RESKEY_CRM_meta_on_node", "OCF_RESKEY_CRM_meta_on_node_uuid", "OCF_RESKEY_crm_feature_set")
LOGGING = ("HA_DEBUG", "HA_LOG", "HA_log", "HA_debug", "HA_stderr", "PCMK_log", "PCMK_debug", "PCMK_stderr")
# What a daemon or a tool has from whoever started it says nothing of Pacemaker; LINES and COLUMNS come from ncurses.
INHERITED = {
    *os.environ, "PYTEST_CURRENT_TEST", "COLUMNS", "HOME", "LANG", "LC_ALL", "LINES", "OLDPWD", "PATH", "PWD", "SHLVL", "TERM", "_"
}  # fmt: skip

Record = dict[str, Any]


@pytest.fixture(scope="module")
def recorder() -> Path:
    RECORDS.mkdir()
    RECORDS.chmod(0o1777)
    DIRECTORY.mkdir()
    agent = DIRECTORY / "Recorder"
    agent.write_text(AGENT.format(python="/usr/bin/python3", records=RECORDS))
    agent.chmod(0o755)
    return agent


@pytest.fixture(scope="module")
def cluster(recorder: Path) -> Iterator[Cluster]:
    """Run a cluster in which the recorder has been started, monitored and stopped, and asked for by the tools."""
    with tempfile.TemporaryDirectory(prefix="cluster-") as directory, Cluster(Path(directory)) as made:
        made.create(RESOURCE, "ocf:recorder:Recorder", {"size": "3"}, "--agent-validation")
        made.wait_for(lambda: all(records("monitor", interval) for interval in ("7000", "8000")), "both monitors have run", within=60)
        yield made
    # The cluster of these tests ends before the interpreter does, and so does the pipe to its other node.
    assert isinstance(made.peer, NamespacedNode) and made.peer.machine.stdout
    made.peer.machine.stdout.close()


def read(path: Path) -> Record:
    """Return a record, an empty one where it is being written."""
    text = path.read_text()
    record: Record = json.loads(text) if text else {}
    return record


def on_this_node(record: Record) -> bool:
    """Tell whether the cluster has made a record: the node of the simulation has another name."""
    return bool(record["environ"].get("OCF_RESKEY_CRM_meta_on_node") == os.uname().nodename)


def records(action: str, interval: str | None = None, service: str = "") -> list[Record]:
    """Return the records of an action, by its interval and by who called."""
    found = []
    for path in sorted(RECORDS.glob(f"{action}.*")):
        record = read(path)
        environ = record.get("environ", {})
        if environ.get("OCF_RESKEY_CRM_meta_interval") == interval and environ.get("PCMK_service", "").endswith(service):
            found.append(record)
    return found


def meaningful(record: Record) -> set[tuple[str, str]]:
    environ = record["environ"]
    kept = {(name, environ[name]) for name in environ if name not in INHERITED and name not in LOCAL and not name.startswith(LOGGING)}
    return kept | {(name, str(value)) for name, value in record.items() if name not in ("environ", "cwd")}


def simulated(recorder: Path, profile: str, run: Callable[[Executor], object], action: str) -> Record:
    before = set(RECORDS.iterdir())
    node = Executor(recorder, {"size": "3"}, instance=RESOURCE, profile=profile, check=False)
    run(node)
    found = {path: read(path) for path in set(RECORDS.iterdir()) - before if path.name.startswith(f"{action}.")}
    # The cluster's own monitors go on meanwhile.
    ((path, record),) = [(path, record) for path, record in found.items() if record and not on_this_node(record)]
    path.unlink()
    return record


def same(real: Record, simulated: Record) -> None:
    given, expected = meaningful(simulated), meaningful(real)
    assert sorted(given - expected) == []
    assert sorted(expected - given) == []


def test_start(cluster: Cluster, recorder: Path) -> None:
    (real,) = records("start")
    same(real, simulated(recorder, "execd", lambda node: node.start(timeout=40), "start"))
    assert real["environ"]["LC_ALL"] == "C"


def test_recurring_monitors(cluster: Cluster, recorder: Path) -> None:
    same(records("monitor", "7000")[0], simulated(recorder, "execd", lambda node: node.monitor(0, 7, timeout=42), "monitor"))
    same(records("monitor", "8000")[0], simulated(recorder, "execd", lambda node: node.monitor(10, 8, timeout=43), "monitor"))


def test_probe(cluster: Cluster, recorder: Path) -> None:
    # Without an operation that has no depth, Pacemaker gives a probe the timeout of the monitor with the shortest interval.
    real = records("monitor", None, "execd")[0]
    same(real, simulated(recorder, "execd", lambda node: node.probe(timeout=42), "monitor"))


def test_metadata_for_the_controller(cluster: Cluster, recorder: Path) -> None:
    same(records("meta-data", None, "controld")[0], simulated(recorder, "execd", lambda node: node.meta_data(), "meta-data"))


def test_pcs_validates(cluster: Cluster, recorder: Path) -> None:
    real = records("validate-all", None, "crm_resource")[0]
    assert "PATH" not in real["environ"]
    same(real, simulated(recorder, "pcs", lambda node: node.validate(), "validate-all"))


@pytest.mark.parametrize("profile, flags", [("crm_resource", ()), ("crm_resource -VV", ("-VV",))])
def test_crm_resource_checks(cluster: Cluster, recorder: Path, profile: str, flags: tuple[str, ...]) -> None:
    for path in RECORDS.glob("monitor.*"):
        path.unlink()
    cluster.here.run("crm_resource", *flags, "--force-check", "--resource", RESOURCE)
    (real,) = records("monitor", None, "crm_resource")
    same(real, simulated(recorder, profile, lambda node: node.probe(timeout=42), "monitor"))


def test_stop(cluster: Cluster, recorder: Path) -> None:
    cluster.pcs("resource", "disable", RESOURCE)
    cluster.wait_for(lambda: records("stop"), "the resource has been stopped", within=30)
    same(records("stop")[0], simulated(recorder, "execd", lambda node: node.stop(timeout=41), "stop"))
