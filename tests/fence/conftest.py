"""Fixtures of the fence agents' tests."""

from __future__ import annotations

from tests.fence.standin import standin

__all__ = ["standin"]
