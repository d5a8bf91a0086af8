"""Distance delays as a real one does, or swallows, and lets go."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from lab.bench.latency import Distance

ADDRESS, OTHER = "127.0.0.31", "127.0.0.32"
SLACK = 3.0  # What a busy machine may add.


def echo(listener: socket.socket) -> None:
    """Send each connection's words back until it ends."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)


@pytest.fixture
def distance() -> Iterator[Distance]:
    listeners = [socket.create_server((address, 0)) for address in (ADDRESS, OTHER)]
    threads = [threading.Thread(target=echo, args=[listener]) for listener in listeners]
    for thread in threads:
        thread.start()
    with Distance({listener.getsockname()[0]: listener.getsockname()[1] for listener in listeners}, port=8006) as made:
        yield made
    for listener, thread in zip(listeners, threads):
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def said(connection: socket.socket, words: bytes) -> float:
    """Return how long it takes until the words are back."""
    began = time.monotonic()
    connection.sendall(words)
    heard = b""
    while len(heard) < len(words):
        heard += connection.recv(65536)
    assert heard == words
    return time.monotonic() - began


def test_the_first_answer_takes_two_round_trips_and_each_further_one(distance: Distance) -> None:
    distance.round_trip = 0.2
    began = time.monotonic()
    with socket.create_connection((ADDRESS, 8006), timeout=10) as connection:
        said(connection, b"hello")
        assert 0.4 <= time.monotonic() - began < 0.4 + SLACK
        assert 0.2 <= said(connection, b"again") < 0.2 + SLACK
        assert 0.2 <= said(connection, bytes(range(256)) * 4096) < 0.2 + 2 * SLACK


def test_no_distance_takes_no_time(distance: Distance) -> None:
    with socket.create_connection((ADDRESS, 8006), timeout=10) as connection:
        assert said(connection, b"hello") < SLACK


def test_a_black_hole_answers_nothing_until_it_is_restored(distance: Distance) -> None:
    distance.black_hole(ADDRESS)
    for _ in range(2):
        with pytest.raises(OSError, match="timed out"):
            socket.create_connection((ADDRESS, 8006), timeout=0.5)
    with socket.create_connection((OTHER, 8006), timeout=10) as connection:
        said(connection, b"hello")
        distance.restore()
        said(connection, b"still there")
    with socket.create_connection((ADDRESS, 8006), timeout=10) as connection:
        said(connection, b"back")


def test_a_server_that_closes_is_seen_to(distance: Distance) -> None:
    """Both ends of a connection learn of the other's end."""
    with socket.create_connection((ADDRESS, 8006), timeout=10) as connection:
        said(connection, b"hello")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(10) == b""


def test_a_server_that_is_not_there_resets(distance: Distance) -> None:
    distance.servers[ADDRESS] = 1
    with socket.create_connection((ADDRESS, 8006), timeout=10) as connection, pytest.raises(ConnectionError):
        connection.sendall(b"hello")
        if not connection.recv(10):
            raise ConnectionResetError
