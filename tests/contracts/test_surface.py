"""The public surface is frozen: a change is either undone or frozen anew on purpose."""

from __future__ import annotations

import difflib
import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_public_surface_is_the_frozen_one() -> None:
    spec = importlib.util.spec_from_file_location("surface", HERE / "surface.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    frozen = module.FROZEN.read_text(encoding="utf-8").splitlines()
    found = module.as_text(module.surface()).splitlines()
    difference = list(difflib.unified_diff(frozen, found, "frozen", "now", n=2, lineterm=""))
    if difference:
        remedy = "if this is meant: python tests/contracts/surface.py --write, and a line in CHANGELOG.md"
        pytest.fail("\n".join(["the public surface has changed:", *difference, remedy]), pytrace=False)
