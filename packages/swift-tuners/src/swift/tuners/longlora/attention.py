"""Shifted sparse attention as an attention implementation of transformers, around the model's own one.

While a layer trains, it attends within shifted groups; in evaluation and inference, and wherever a cache
is in use, the wrapped implementation does all. Masks are made by the wrapped one as well: none for whole
rows, sdpa's dense one for padded rows, swift_varlen's boundaries for packs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from swift.core.errors import ModelError
from swift.core.models.attention import UNSUPPORTED, VARLEN
from swift.tuners.longlora.groups import Groups, shifted_attention
from swift.tuners.longlora.masks import Row, rows_of_mask

PREFIX = "swift_shifted"
WRAPPED = ("sdpa", VARLEN)


def shift_attention(model: PreTrainedModel, groups: Groups) -> None:
    """Let a model's layers attend within shifted groups while they train.

    Raises:
        ModelError: its attention cannot be replaced, or is one whose masks are not read here.
    """
    inner = plain_attention(model)
    if not (model._supports_attention_backend and getattr(model.config, "is_causal", True)):
        raise ModelError(
            f"the attention of {type(model).__name__} cannot be shifted: it is not causal, or does not go "
            "through the attention interface of transformers",
            "choose tuner_strategy: lora",
        )
    if inner not in WRAPPED:
        raise ModelError(
            f"longlora does not read the masks of attn_implementation {inner!r}",
            f"set model.attn_implementation to one of: {', '.join(WRAPPED)}",
        )
    name = f"{PREFIX}:{inner}:{groups.size or groups.ratio}"
    AttentionInterface.register(name, functools.partial(_attend, inner, groups))
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[inner])
    model.set_attn_implementation(name)


def restore_attention(model: PreTrainedModel) -> None:
    """Undo shift_attention()."""
    if plain_attention(model) != model.config._attn_implementation:
        model.set_attn_implementation(plain_attention(model))


def plain_attention(model: PreTrainedModel) -> str:
    """The implementation that was chosen for the model, under the shifting if there is any."""
    name: str = model.config._attn_implementation
    return name.split(":")[1] if name.startswith(f"{PREFIX}:") else name


def _attend(
    inner: str,
    groups: Groups,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention of one layer: query [B, H, T, D], key and value [B, G, S, .] -> [B, T, H, E]."""
    if not _is_training(module, query, key, kwargs.get("is_causal")):
        if sliding_window is not None:
            kwargs["sliding_window"] = sliding_window
        output: tuple[Tensor, Tensor | None] = ALL_ATTENTION_FUNCTIONS[inner](
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output
    _refuse_additions(module, kwargs)
    within = functools.partial(
        shifted_attention, groups=groups, scaling=scaling, sliding_window=sliding_window, dropout=dropout
    )
    bounds = _common_bounds(query.shape[2], attention_mask, kwargs.get("cu_seq_lens_q"))
    if bounds is not None:
        return within(query, key, value, bounds), None
    assert attention_mask is not None
    return _each_row(query, key, value, rows_of_mask(attention_mask), within), None


def _is_training(module: nn.Module, query: Tensor, key: Tensor, is_causal: bool | None) -> bool:
    """Whether a causal layer trains on whole sequences: neither a vision tower nor a step with a cache."""
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    return module.training and bool(causal) and query.shape[2] == key.shape[2]


def _common_bounds(length: int, mask: Tensor | None, cu_seq_lens: Tensor | None) -> list[int] | None:
    """Bounds of the sequences where all rows have the same, or None: the mask says it row by row."""
    if mask is not None:
        bounds: list[int] | None = mask.tolist() if mask.dim() == 1 else None
        return bounds
    return [0, length] if cu_seq_lens is None else cu_seq_lens.tolist()


def _each_row(
    query: Tensor, key: Tensor, value: Tensor, rows: list[Row], within: Callable[..., Tensor]
) -> Tensor:
    """Rows of the same shape together, the others one by one; padding attends to nothing and gets zeros."""
    length = query.shape[2]
    alike: dict[Row, list[int]] = {}
    for number, row in enumerate(rows):
        alike.setdefault(row, []).append(number)
    outputs: list[Tensor] = []
    order: list[int] = []
    for row, numbers in alike.items():
        if row.end == row.start:
            part = query.new_zeros(len(numbers), length, query.shape[1], value.shape[3])
        else:
            parts = [tensor[numbers, :, row.start : row.end] for tensor in (query, key, value)]
            attended = within(*parts, row.bounds)
            part = pad(attended, (0, 0, 0, 0, row.start, length - row.end))
        outputs.append(part)
        order += numbers
    places = torch.tensor(order, device=query.device).argsort()
    return torch.cat(outputs)[places]


def _refuse_additions(module: nn.Module, kwargs: dict[str, Any]) -> None:
    added = [name for name in UNSUPPORTED if kwargs.get(name) is not None]
    if added:
        raise ModelError(
            f"{type(module).__name__} adds {', '.join(added)} to its scores, which longlora does not know",
            "choose tuner_strategy: lora",
        )
