"""Fixtures of the stand-in's tests."""

from __future__ import annotations

from tests.fence.standin import standin

__all__ = ["standin"]
