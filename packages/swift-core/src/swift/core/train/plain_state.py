"""State that a checkpoint can hold: tensors, numbers, strings, and containers of these."""

from __future__ import annotations

import io
import pickle
from typing import Any

import torch

from swift.core.errors import PluginError
from swift.core.registry import Component


def check_plain_state(kind: str, component: Component, state: Any) -> None:
    """Refuse state that could be written but not read back: checkpoints are read without running code.

    Raises:
        PluginError: it holds an object of a class of its own, or one that cannot be pickled.
    """
    buffer = io.BytesIO()
    try:
        torch.save(state, buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=True)
    except (pickle.PickleError, AttributeError, TypeError) as error:
        raise PluginError(
            f"{component.described(kind)} has state that a checkpoint cannot hold: "
            f"{str(error).partition('.')[0].splitlines()[0]}",
            "let state_dict() return tensors, numbers, strings, lists and dictionaries only",
        ) from error
