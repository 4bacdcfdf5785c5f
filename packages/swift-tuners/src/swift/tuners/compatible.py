"""Whether adapters can be combined: the same formula, beside the same layers of the same base."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from swift.core.errors import ModelError
from swift.tuners.mismatch import LISTED

if TYPE_CHECKING:
    import torch

LORA_FACTOR = re.compile(r"\.lora_[AB]\.weight$")
STARTS_IN_BASE = ("pissa", "olora", "loftq", "corda", "lora_ga")
"""Ways to start LoRA that change the weights beside it, so that an adapter fits no other base."""


def refuse_incompatible(
    names: Sequence[str],
    configs: Sequence[Any],
    tensors: Sequence[Mapping[str, torch.Tensor]],
    *,
    same_rank: bool,
) -> None:
    """Check that every adapter is plain LoRA, and that all are beside the same layers of the same base.

    Args:
        names: how errors call them.
        configs: peft's.
        same_rank: whether ranks have to agree.

    Raises:
        ModelError: an adapter is of another kind, or they differ (the differences are listed).
    """
    for name, config, values in zip(names, configs, tensors, strict=True):
        reason = not_plain(config, values)
        if reason:
            raise ModelError(f"{name!r} cannot be combined: {reason}", "only adapters of plain LoRA can be")
    first = facts(configs[0], tensors[0], same_rank)
    for name, config, values in zip(names[1:], configs[1:], tensors[1:], strict=True):
        lines = list(differing(first, facts(config, values, same_rank)))
        if lines:
            more = [f"and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
            listing = "\n  ".join([*lines[:LISTED], *more])
            raise ModelError(
                f"{names[0]!r} and {name!r} do not go together:\n  {listing}",
                "combine adapters of one base, beside the same layers"
                + (" and of one rank; cat and svd take different ranks" if same_rank else ""),
            )


def not_plain(config: Any, tensors: Mapping[str, torch.Tensor]) -> str:
    """Why an adapter is more than products B A beside linear layers of an unchanged base, or nothing."""
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    if kind != "LORA":
        return f"it is of type {kind}"
    start = str(config.init_lora_weights)
    if start.startswith(STARTS_IN_BASE):
        return f"it started as {start}, which changes the base's weights: those differ between adapters"
    if config.target_parameters:
        return f"it adapts stacked parameters ({', '.join(config.target_parameters)})"
    other = next((name for name in sorted(tensors) if not LORA_FACTOR.search(name)), None)
    if other is not None:
        return f"it holds {other!r}, which is no factor of LoRA beside a linear layer"
    wide = next((name for name, value in tensors.items() if value.dim() != 2), None)
    return f"{wide!r} is no matrix" if wide is not None else ""


def facts(config: Any, tensors: Mapping[str, torch.Tensor], same_rank: bool) -> dict[str, str]:
    """What has to agree, name by name."""
    found = {
        "base": str(config.base_model_name_or_path),
        "task": str(config.task_type),
        "fan_in_fan_out": str(config.fan_in_fan_out),
    }
    for name, value in tensors.items():
        side = 1 if ".lora_A." in name else 0  # the other one is the rank
        found[name] = f"{tuple(value.shape)}" if same_rank else f"width {value.shape[side]}"
    return found


def differing(first: Mapping[str, str], other: Mapping[str, str]) -> Iterator[str]:
    """One line for each fact that is not the same."""
    for name in dict.fromkeys([*first, *other]):
        one, two = first.get(name, "absent"), other.get(name, "absent")
        if one != two:
            yield f"{name}: {one} and {two}"
