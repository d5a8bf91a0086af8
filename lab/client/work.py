"""A whole run of the client: the writer and the probe side by side, and their two files in one directory."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lab.client.ledger import FORMAT, Ledger
from lab.client.probe import Prober
from lab.client.session import Address
from lab.client.writer import Plan, Writer

if TYPE_CHECKING:
    from typing_extensions import Self

LEDGER, PROBES = "ledger.jsonl", "probes.jsonl"


def begun(address: Address, directory: Path, plan: Plan, *, system: str = "", synced: bool = False) -> tuple[Ledger, Ledger]:
    """Begin the files of a run, of what is written and of what is probed.  `system` is the system identifier that set-up has found.

    Raises FileExistsError where the directory holds a run already, and OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    zero = time.monotonic()
    run = uuid.uuid4().hex
    head = {"format": FORMAT, "run": run, "epoch": time.time(), "monotonic": zero, "synced": synced, "host": address.host,
            "port": address.port, "system": system, **asdict(plan)}  # fmt: skip
    ledger, probes = Ledger(directory / LEDGER, zero, run, synced=synced), Ledger(directory / PROBES, zero, run)
    ledger.note("begin", **head)
    probes.note("begin", **head)
    return ledger, probes


async def work(address: Address, ledger: Ledger, probes: Ledger, plan: Plan, ending: asyncio.Event) -> None:
    """Write and probe until `ending` is set or `plan.seconds` are over; close the files.  Raises OSError."""
    if plan.seconds is not None:
        asyncio.get_running_loop().call_later(plan.seconds, ending.set)
    probing = asyncio.create_task(Prober(address.resolved(), address.port, probes, plan.probe_every).run(ending))
    try:
        await Writer(address, ledger, plan).run(ending)
        await probing
        ledger.note("finish")
        probes.note("finish")
    finally:
        ending.set()
        probing.cancel()
        ledger.close()
        probes.close()


async def until_signalled(address: Address, ledger: Ledger, probes: Ledger, plan: Plan) -> None:
    """Work; SIGTERM and SIGINT end the schedule in order."""
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    await work(address, ledger, probes, plan, ending)


class Client:
    """The client in a thread, for programs that do something to the server meanwhile; as a context manager it works until that is left."""

    def __init__(self, address: Address, directory: Path, plan: Plan, *, system: str = "") -> None:
        self._address, self._plan = address, plan
        self._files = begun(address, directory, plan, system=system)
        self._begun = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._threads = ThreadPoolExecutor(1, "lab client")
        self._over = self._threads.submit(lambda: asyncio.run(self._work()))
        self._begun.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the schedule and wait for the end of what is under way.  Raises what ended the run early."""
        assert self._loop and self._ending
        with suppress(RuntimeError):  # The loop has come to its end by itself.
            self._loop.call_soon_threadsafe(self._ending.set)
        self._threads.shutdown()
        self._over.result()

    async def _work(self) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        self._begun.set()
        await work(self._address, *self._files, self._plan, self._ending)
