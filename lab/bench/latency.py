"""Distance: servers on this machine, reached as if they were a round trip away, or not at all.

    with Distance({"127.0.0.11": 18006}, port=8006) as distance:
        distance.round_trip = 0.020
        distance.black_hole("127.0.0.11")

A forwarder stands before each server.  It does what the kernel's netem would, without a module that a machine may lack: each way
takes half a round trip; and because the forwarder's own TCP handshake takes none, what a client says first is held back for one.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

# A listener with a backlog of none lets one connection wait; the kernel drops, without a word, what comes after it.
FILLING = 2


class Distance:
    """Forwards `port` of each address to the port of its server; `servers` says which that is."""

    def __init__(self, servers: Mapping[str, int], *, port: int) -> None:
        self.servers, self.port = dict(servers), port
        # In seconds; holds for connections that are made from now on.
        self.round_trip = 0.0
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="distance", daemon=True)
        self.listening: dict[str, asyncio.AbstractServer] = {}
        self.holes: dict[str, list[socket.socket]] = {}
        self.connections: dict[asyncio.Task[None], str] = {}

    def __enter__(self) -> Self:
        self.thread.start()
        self.restore()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._do(self._stop(self.servers))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def restore(self) -> None:
        """Let all servers be reached."""
        self._do(self._stop(self.holes))
        self._do(self._listen(self.servers.keys() - self.listening.keys()))

    def black_hole(self, *addresses: str) -> None:
        """Answer neither yes nor no at these addresses, as a machine without power does; connections that stand are cut."""
        self._do(self._stop(addresses))
        for address in addresses:
            self.holes[address] = hole(address, self.port)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    async def _listen(self, addresses: Iterable[str]) -> None:
        for address in addresses:
            self.listening[address] = await asyncio.start_server(self._accepted, address, self.port)

    async def _stop(self, addresses: Iterable[str]) -> None:
        cut = set(addresses)
        for address in cut:
            for filling in self.holes.pop(address, []):
                filling.close()
            if listening := self.listening.pop(address, None):
                listening.close()
        connections = [connection for connection, address in self.connections.items() if address in cut]
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task, address = asyncio.current_task(), writer.get_extra_info("sockname")[0]
        assert task
        self.connections[task] = address
        try:
            await self._forward(address, reader, writer)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            del self.connections[task]
            writer.close()

    async def _forward(self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        now, way = self.loop.time(), self.round_trip / 2
        there, back = await asyncio.open_connection(address, self.servers[address])
        try:
            await asyncio.gather(self._carry(reader, back, way, now + 2 * way), self._carry(there, writer, way, now))
        finally:
            back.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: float, not_before: float) -> None:
        """Say on one side what is heard on the other, when it has come all the way; the end of a stream ends the connection."""
        words: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def hear() -> None:
            data = b"-"
            while data:
                try:
                    data = await reader.read(65536)
                except ConnectionError:
                    data = b""
                words.put_nowait((max(self.loop.time(), not_before) + way, data))

        hearing = asyncio.create_task(hear())
        try:
            while True:
                due, data = await words.get()
                await asyncio.sleep(due - self.loop.time())
                if not data:
                    break
                writer.write(data)
        finally:
            hearing.cancel()
            writer.close()


def hole(address: str, port: int) -> list[socket.socket]:
    """Make a black hole and return what keeps it: a listener that accepts nothing, its backlog full."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(0)
    fillings = [socket.socket() for _ in range(FILLING)]
    for filling in fillings:
        filling.setblocking(False)
        filling.connect_ex((address, port))
    return [*fillings, listener]
