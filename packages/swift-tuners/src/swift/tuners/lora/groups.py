"""Learning rates of LoRA+ (arXiv 2402.12354)."""

from __future__ import annotations

from typing import Any

from torch import nn


def loraplus_groups(
    model: nn.Module, rate_a: float, rate_b: float, rate_embedding: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups for the optimiser: A (and all else that trains), B, adapters on embeddings.

    Vectors (biases, magnitudes) do not decay.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, value in model.named_parameters():
        if not value.requires_grad:
            continue
        rate = rate_a
        if ".lora_embedding_" in name:
            rate = rate_embedding
        elif ".lora_B." in name:
            rate = rate_b
        groups.setdefault((rate, weight_decay if value.ndim > 1 else 0.0), []).append(value)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]
