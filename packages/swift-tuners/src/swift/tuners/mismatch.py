"""Comparing saved weights with the model they are meant for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from swift.core.errors import ModelError

Shapes = Mapping[str, tuple[int, ...]]
LISTED = 8  # differences named in one message


def shapes(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor."""
    return {name: tuple(value.shape) for name, value in state.items()}


def differences(expected: Shapes, found: Shapes) -> list[str]:
    """One line for each name that is missing, unknown or of another shape, sorted by name."""
    lines = []
    for name in sorted({*expected, *found}):
        if name not in found:
            lines.append(f"{name}: model has {expected[name]}, file has nothing")
        elif name not in expected:
            lines.append(f"{name}: model has nothing, file has {found[name]}")
        elif expected[name] != found[name]:
            lines.append(f"{name}: model has {expected[name]}, file has {found[name]}")
    return lines


def refuse_mismatch(expected: Shapes, found: Shapes, directory: Path) -> None:
    """Check that saved weights fit.

    Raises:
        ModelError: they do not; the differences are listed.
    """
    lines = differences(expected, found)
    if not lines:
        return
    more = [f"and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    listing = "\n  ".join([*lines[:LISTED], *more])
    raise ModelError(
        f"the weights in {str(directory)!r} do not fit this model:\n  {listing}",
        "load them on the base they were trained on",
    )
