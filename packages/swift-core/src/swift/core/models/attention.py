"""Attention over sequence boundaries without flash attention: the implementation called "swift_varlen".

A packed batch is one row [1, T] that holds several sequences, each with positions that start again at 0.
Attention within each sequence costs sum(t_i^2) instead of T^2, and no [T, T] mask is built. transformers
offers two public tables for this, and this module registers one function in each:

- `AttentionMaskInterface`: asked for a mask once per forward pass. For a packed batch it returns the
  boundaries, an int32 tensor [N + 1] in the convention of cu_seq_lens; for any other batch sdpa's mask.
- `AttentionInterface`: called by each layer. With boundaries it attends within each sequence, else it is
  sdpa.

Because boundaries travel in the mask's place, layers need no extra arguments, and a model that does something
else with its mask fails at once instead of mixing sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from swift.core.errors import ModelError
from swift.core.models.segments import attend_segments

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VARLEN = "swift_varlen"

MaskFunction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

# What eager attention adds to the scores and sdpa does not know; ignoring it would change the model.
UNSUPPORTED = ("softcap", "s_aux", "position_bias")


def register_varlen_attention() -> None:
    """Make "swift_varlen" a valid attn_implementation; calling it again changes nothing."""
    AttentionInterface.register(VARLEN, varlen_attention)
    AttentionMaskInterface.register(VARLEN, varlen_mask)


def varlen_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    mask_function: MaskFunction | None = None,
    attention_mask: torch.Tensor | None = None,
    allow_is_causal_skip: bool = True,
    use_vmap: bool = False,
    device: torch.device | str = "cpu",
    **kwargs: Any,
) -> torch.Tensor | None:
    """Boundaries (int32 [N + 1], on the CPU) of a packed batch; otherwise sdpa's mask.

    A packed batch announces itself by a causal mask that must not be skipped although nothing is padded or
    cached.
    """
    may_be_packed = (
        batch_size == 1
        and q_length == kv_length > 1
        and attention_mask is None
        and not allow_is_causal_skip
        and not use_vmap
    )
    if may_be_packed and mask_function is not None:
        boundaries = _boundaries(mask_function, q_length, device)
        if boundaries is not None:
            return boundaries
    if mask_function is not None:
        kwargs["mask_function"] = mask_function
    mask: torch.Tensor | None = sdpa_mask(
        batch_size=batch_size,
        q_length=q_length,
        kv_length=kv_length,
        q_offset=q_offset,
        attention_mask=attention_mask,
        allow_is_causal_skip=allow_is_causal_skip,
        use_vmap=use_vmap,
        device=device,
        **kwargs,
    )
    return mask


def _boundaries(mask_function: MaskFunction, length: int, device: torch.device | str) -> torch.Tensor | None:
    """Read the boundaries off the diagonals beside the main one: 2T values of the mask instead of T^2.

    None when a token sees its successor (attention is not causal) or every token its predecessor (a single
    sequence).
    """
    zero = torch.zeros((), dtype=torch.long, device=device)
    later = torch.arange(1, length, device=device)
    earlier = later - 1
    sees_next = mask_function(zero, zero, earlier, later)
    sees_last = mask_function(zero, zero, later, earlier)
    if bool(sees_next.any()) or bool(sees_last.all()):
        return None
    starts = later[~sees_last.to(later.device)].cpu()
    ends = torch.tensor([0, length])
    return torch.cat([ends[:1], starts, ends[1:]]).to(torch.int32)


def varlen_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one layer: query [B, H, T, D], key and value [B, G, S, D] -> [B, T, H, D].

    Packed batches bring their boundaries as a one-dimensional attention_mask, or, when the model was not
    given position_ids that start again, in cu_seq_lens_q alone. Every other call is transformers' sdpa.

    Raises:
        ModelError: a packed batch meets an attention that cannot be cut at boundaries.
    """
    boundaries = _packed_boundaries(module, query, key, attention_mask, is_causal, cu_seq_lens_q)
    if boundaries is None:
        if sliding_window is not None:
            kwargs["sliding_window"] = sliding_window
        output: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask,
            dropout=dropout, scaling=scaling, is_causal=is_causal, **kwargs,
        )  # fmt: skip
        return output
    added = [name for name in UNSUPPORTED if kwargs.get(name) is not None]
    if added:
        raise ModelError(
            f"{type(module).__name__} adds {', '.join(added)} to its scores, which packing does not support",
            "set data.packing=false and data.padding_free=false, or use flash_attention_2",
        )
    return attend_segments(query, key, value, boundaries.tolist(), scaling, sliding_window, dropout), None


def _packed_boundaries(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    attention_mask: torch.Tensor | None,
    is_causal: bool | None,
    cu_seq_lens: torch.Tensor | None,
) -> torch.Tensor | None:
    if attention_mask is not None and attention_mask.dim() == 1:
        return attention_mask
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    if cu_seq_lens is None or cu_seq_lens.numel() <= 2 or not causal or query.shape[2] != key.shape[2]:
        return None
    if attention_mask is None:
        return cu_seq_lens
    starts = cu_seq_lens[1:-1].long()
    if bool(attention_mask[0, 0, starts, starts - 1].to(torch.bool).any()):
        raise ModelError(
            "cu_seq_lens_q names sequence boundaries that the attention mask does not have",
            "give the model position_ids that start again at 0 in every sequence, and no attention_mask",
        )
    return None


def supports_varlen(model: PreTrainedModel) -> bool:
    """Whether packed batches are exact: every layer mixes tokens through transformers' AttentionInterface.

    False for recurrent and linear-attention layers (they carry state across boundaries), for attention
    classes that call no interface, for bidirectional models, and for scores with soft caps or sinks.
    """
    return why_not_varlen(model) is None


def check_varlen(model: PreTrainedModel) -> None:
    """Refuse a model that packed batches would change.

    Raises:
        ModelError: with the reason.
    """
    reason = why_not_varlen(model)
    if reason is not None:
        raise ModelError(
            f"{type(model).__name__} cannot be trained on packed batches: {reason}",
            "set data.packing=false and data.padding_free=false",
        )


def why_not_varlen(model: PreTrainedModel) -> str | None:
    """The first reason against packed batches, or None."""
    text = model.config.get_text_config()
    if not getattr(text, "is_causal", True) or getattr(text, "use_bidirectional_attention", None):
        return "its attention is bidirectional"
    mixers = set(getattr(text, "layer_types", None) or ()) - {
        "full_attention",
        "sliding_attention",
        "chunked_attention",
    }
    if mixers or model._is_stateful:
        return f"its {', '.join(sorted(mixers)) or 'recurrent'} layers carry state across boundaries"
    if getattr(text, "attn_logit_softcapping", None) is not None:
        return "it caps attention scores"
    if not (model._supports_sdpa and model._supports_attention_backend):
        return "its attention does not go through the attention interface of transformers"
    return None
