"""What the example agents need around them."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def promotion_scores(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """Put a recorder in the place of crm_attribute, which works in a cluster only; return the environment for it and its record.

    HA_SBIN_DIR is the variable by which Pacemaker's own tests replace its tools.
    """
    tools, record = tmp_path / "sbin", tmp_path / "scores"
    tools.mkdir()
    tool = tools / "crm_attribute"
    tool.write_text(f'#!/bin/sh\necho "$@" >>{record}\n')
    tool.chmod(0o755)
    return {"HA_SBIN_DIR": str(tools)}, record
