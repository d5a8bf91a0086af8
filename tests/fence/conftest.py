"""Fixtures of the fence agents' tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.fence.servers import Place
from tests.fence.standin import standin

__all__ = ["no_threads_left", "place", "standin"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def no_threads_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive(), thread
