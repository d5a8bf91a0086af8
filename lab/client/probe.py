"""What TCP says of the port, beside the writer: open, refused, no route, timeout, or the name of another error.

Refused: the address is there and nobody listens.  No route: nobody answers to the address on its network, or there is no way to
that.  Timeout: packets vanish.  A probe waits longer than the three seconds after which the kernel gives up finding an address
on the local network (net.ipv4.neigh.*.mcast_solicit), so that an address that is nowhere is told from a silent one.

The connection is closed at once: PostgreSQL has no line for a client that leaves before its first byte.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time

from lab.client.ledger import Ledger

OPEN, TIMEOUT = "open", "timeout"
NAMES = {errno.ECONNREFUSED: "refused", errno.EHOSTUNREACH: "no route", errno.ENETUNREACH: "no route", errno.ETIMEDOUT: TIMEOUT}
PATIENCE = 4.0


async def probe(host: str, port: int, within: float = PATIENCE) -> str:
    """Connect once to an address that is a number; return what came of it."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as one:
        try:
            await asyncio.wait_for(loop.sock_connect(one, (host, port)), within)
        except asyncio.TimeoutError:
            return TIMEOUT
        except OSError as error:
            return named(error)
    return OPEN


def named(error: OSError) -> str:
    return NAMES.get(error.errno or 0) or errno.errorcode.get(error.errno or 0, type(error).__name__)


class Prober:
    """Probes every `every` seconds, however long each takes, and notes `probe` events: due, result, and seconds taken."""

    def __init__(self, host: str, port: int, ledger: Ledger, every: float, within: float = PATIENCE) -> None:
        self._host, self._port, self._ledger, self._every, self._within = host, port, ledger, every, within

    async def run(self, ending: asyncio.Event) -> None:
        """Probe until `ending` is set, and wait for what is under way then."""
        tasks: set[asyncio.Task[None]] = set()
        begin, number = time.monotonic(), 0
        try:
            while not ending.is_set():
                task = asyncio.create_task(self._one(round(begin + number * self._every - self._ledger.zero, 6)))
                tasks.add(task)
                for done in [task for task in tasks if task.done()]:
                    done.result()
                    tasks.discard(done)
                number += 1
                await pause(ending, begin + number * self._every)
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _one(self, due: float) -> None:
        began = time.monotonic()
        result = await probe(self._host, self._port, self._within)
        self._ledger.note("probe", due=due, result=result, seconds=round(time.monotonic() - began, 6))


async def pause(ending: asyncio.Event, until: float) -> None:
    """Wait until a monotonic time, or until `ending` is set if that is earlier."""
    try:
        await asyncio.wait_for(ending.wait(), max(0.0, until - time.monotonic()))
    except asyncio.TimeoutError:
        pass
