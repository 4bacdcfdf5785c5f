"""Which cache a model's running sequences get."""

from __future__ import annotations

from typing import Any

import torch

from swift.infer.engines.transformers.cache import RowCache
from swift.infer.engines.transformers.config import TransformersEngineConfig
from swift.infer.engines.transformers.masks import attention_kinds
from swift.infer.engines.transformers.model import LiveModel, replaceable
from swift.infer.engines.transformers.pages import PagedCache
from swift.kernels import native_available

PAGED_KINDS = frozenset({"full_attention", "sliding_attention"})


def build_cache(model: LiveModel, config: TransformersEngineConfig) -> RowCache | PagedCache:
    """Pages where native code attends over them: float32 on a CPU; else rows padded to the longest."""
    if config.paged and pageable(model):
        return PagedCache(windows(model.config), layer_kinds(model.config), config.kv_tokens)
    return RowCache(model.num_layers, config.kv_tokens, model.config)


def pageable(model: LiveModel) -> bool:
    """Whether every layer keeps keys and values of its own and attends as the native code does."""
    return (
        native_available()
        and model.device.type == "cpu"
        and model.dtype == torch.float32
        and replaceable(model.base)
        and attention_kinds(model.config) <= PAGED_KINDS
        and not getattr(model.config, "num_kv_shared_layers", 0)
    )


def windows(config: Any) -> list[int]:
    """The window of each layer of a text config; 0: it sees all tokens."""
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        kinds = list(attention_kinds(config)) * int(config.num_hidden_layers)
    return [int(config.sliding_window) if kind == "sliding_attention" else 0 for kind in kinds]


def layer_kinds(config: Any) -> list[str]:
    """Kinds that the model wants a mask for each; none where it takes one mask."""
    return sorted(attention_kinds(config)) if getattr(config, "layer_types", None) is not None else []
