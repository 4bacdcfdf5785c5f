"""What an objective may ask of the run it is part of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from swift.core.config.schema import ModelConfig
from swift.plugin.live import LiveParts

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn

    from swift.core.template.media import MediaFamily


@dataclass(frozen=True)
class ObjectiveContext:
    """The surroundings of an objective; objectives are built as Objective(config, context).

    Attributes:
        tokenizer: tokenizer of the model that trains.
        model_config: the model section of the run.
        load_reference: loads a frozen copy of the reference policy in evaluation mode.
        engine_name, engine_config: who generates roll-outs.
        device: where this rank trains.
        seed: seed of the run; derive every random draw from it, the step and the sample.
        rank, world_size: this process among all training processes.
        save_adapter: writes what trains beside the base in a folder; None: the run has no tuner that does.
        per_device_batch_size: samples in one micro-batch.
        flat: batches are one sequence with boundaries instead of padded rows.
        media: family of a multimodal model, which completes every collated batch.
        parts: builds registered losses, rewards, ... so that plugins can be swapped while the run goes on.
    """

    tokenizer: Any
    model_config: ModelConfig
    load_reference: Callable[[], nn.Module]
    engine_name: str = "transformers"
    engine_config: Any = None
    device: torch.device | str = "cpu"
    seed: int = 42
    rank: int = 0
    world_size: int = 1
    save_adapter: Callable[[nn.Module, Path], None] | None = None
    per_device_batch_size: int = 1
    flat: bool = False
    media: MediaFamily | None = None
    parts: LiveParts = field(default_factory=LiveParts)
