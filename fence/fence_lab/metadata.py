"""Metadata, manual page and help of an agent.  Loaded only when one of them is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fence_lab.options import Options

if TYPE_CHECKING:
    from fence_lab.agent import FenceAgent


def xml(cls: type[FenceAgent], options: Options, *, manpage: bool = False) -> str:
    raise NotImplementedError


def usage(cls: type[FenceAgent], options: Options) -> str:
    raise NotImplementedError
