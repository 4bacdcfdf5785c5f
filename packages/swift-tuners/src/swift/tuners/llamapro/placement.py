"""Where new blocks go, and what a configuration says of each layer then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swift.core.errors import ModelError
from swift.tuners.llamapro.record import RECORD

PER_LAYER = ("layer_types", "mlp_layer_types", "layers_block_type", "no_rope_layers")
"""Keys of configurations that hold one value for each layer."""

LAYER_NUMBERS = ("mlp_only_layers",)
"""Keys of configurations that list layers by their numbers."""


@dataclass(frozen=True)
class Placement:
    """Layers of the expanded model, from the first to the last.

    Attributes:
        sources: for each the number of the old layer that it is, or is a copy of.
        new: numbers of the new ones.
    """

    sources: tuple[int, ...]
    new: tuple[int, ...]


def place(depth: int, new_blocks: int, groups: int | None = None) -> Placement:
    """Put new_blocks / groups copies of the last layer of each group behind it.

    Group g of `groups` ends with old layer floor((g + 1) * depth / groups) - 1.

    Raises:
        ModelError: there are more groups than layers.
    """
    groups = new_blocks if groups is None else groups
    if groups > depth:
        raise ModelError(
            f"num_groups: {groups} groups cannot be made of {depth} layers (default: one for each new block)",
            f"set num_groups to at most {depth}, a divisor of num_new_blocks {new_blocks}",
        )
    ends = {(group + 1) * depth // groups - 1 for group in range(groups)}
    sources: list[int] = []
    new: list[int] = []
    for number in range(depth):
        sources.append(number)
        copies = new_blocks // groups if number in ends else 0
        new.extend(range(len(sources), len(sources) + copies))
        sources.extend([number] * copies)
    return Placement(tuple(sources), tuple(new))


def from_record(new: Sequence[int], depth: int) -> Placement:
    """The placement in an expanded model of `depth` layers, from the numbers of its new ones."""
    sources: list[int] = []
    for number in range(depth):
        before = sources[-1] if sources else -1
        sources.append(before if number in new else before + 1)
    return Placement(tuple(sources), tuple(new))


def expanded_values(config: Any, placement: Placement) -> dict[str, Any]:
    """What changes in a text configuration."""
    depth = config.num_hidden_layers
    values: dict[str, Any] = {"num_hidden_layers": len(placement.sources), RECORD: list(placement.new)}
    for key in PER_LAYER:
        held = vars(config).get(key)  # some derive it from other keys, in a property
        if isinstance(held, list | tuple) and len(held) == depth:
            values[key] = [held[source] for source in placement.sources]
    for key in LAYER_NUMBERS:
        if held := vars(config).get(key):
            values[key] = [number for number, source in enumerate(placement.sources) if source in held]
    return values
