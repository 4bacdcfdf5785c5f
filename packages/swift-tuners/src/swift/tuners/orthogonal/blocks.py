"""Whether blocks of a size fill the input of every layer that is rotated."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from swift.core.errors import ModelError
from swift.tuners.targets import chosen_layers, sides


def check_block_size(model: nn.Module, targets: Sequence[str], size: int, key: str) -> None:
    """Refuse a size that does not divide the input dimension of a target; peft would take another one.

    Raises:
        ModelError: naming the layer and the sizes that fit all targets.
    """
    widths = {
        name: shape[0]
        for name, module in chosen_layers(model, targets)
        if (shape := sides(module)) is not None
    }
    for name, width in widths.items():
        if width % size:
            fitting = [
                each
                for each in range(2, min(widths.values()) + 1)
                if all(other % each == 0 for other in widths.values())
            ]
            raise ModelError(
                f"{key} {size} does not divide the input dimension {width} of {name!r}",
                f"sizes that fit all targets: {', '.join(map(str, fitting)) or 'none'}",
            )
