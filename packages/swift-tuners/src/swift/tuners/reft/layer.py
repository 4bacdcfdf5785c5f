"""A layer of the model whose output is edited."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from swift.core.errors import ModelError
from swift.tuners.own.layer import OwnAdapterLayer
from swift.tuners.reft.intervention import LowRankEdit, PromptEnds

KEY = "prompt_lengths"


class ReftLayer(OwnAdapterLayer):
    """The output of a decoder layer, edited by the active adapter.

    Where only prompts are edited, the layer is told by prompt_lengths (int64 [B, 1], or [1, T] for a packed
    row) how long they are: an argument of the model's forward that transformers hands down. Without it, what
    fills an empty cache is the prompt, and single tokens after it are generated.

    transformers records hidden states (output_hidden_states) before the edit.
    """

    @property
    def reads_prompt_lengths(self) -> bool:
        """Whether the active adapter needs to know where prompts end."""
        edit = self.adapters[self.active] if self.active is not None else None
        return isinstance(edit, LowRankEdit) and edit.ends is not None

    def plain(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's own output."""
        kwargs.pop(KEY, None)
        return self.base_layer(*args, **kwargs)

    def adapted(self, adapter: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """The edited output.

        Raises:
            ModelError: nothing says which tokens are the prompt's.
        """
        assert isinstance(adapter, LowRankEdit)
        lengths = kwargs.pop(KEY, None)
        mask = None if adapter.ends is None else self._mask(adapter.ends, lengths, kwargs)
        output = self.base_layer(*args, **kwargs)
        if isinstance(output, tuple):
            return (adapter(output[0], mask), *output[1:])
        return adapter(output, mask)

    def _mask(self, ends: PromptEnds, lengths: torch.Tensor | None, known: dict[str, Any]) -> torch.Tensor:
        positions = known.get("position_ids")
        if positions is None:
            raise ModelError(
                f"reft_positions is 'prompt', and {type(self.base_layer).__name__} is not told its positions",
                "set train.reft_positions=all",
            )
        if lengths is None:
            lengths = self._lengths_by_cache(positions, known)
        return ends.mask(positions, lengths.to(positions.device))

    def _lengths_by_cache(self, positions: torch.Tensor, known: dict[str, Any]) -> torch.Tensor:
        """The whole input is the prompt where the cache is empty, none of it where one token follows."""
        cache = known.get("past_key_values")
        if self.training or cache is None or _padded_right(known.get("attention_mask")):
            raise _unknown()
        if cache.get_seq_length(self.layer_number) == 0:
            return positions.amax(dim=-1, keepdim=True) + 1
        if positions.shape[-1] > 1:
            raise _unknown()
        return torch.zeros_like(positions)

    @property
    def layer_number(self) -> int:
        """Index of this layer's keys and values in the cache."""
        numbers: Iterator[Any] = (getattr(part, "layer_idx", None) for part in self.base_layer.modules())
        return next(number for number in numbers if isinstance(number, int))


def _padded_right(mask: torch.Tensor | None) -> bool:
    """Whether the last token of a row does not see itself."""
    if mask is None or mask.dim() != 4:
        return False
    last = mask[:, :, -1, -1]
    return bool((~last if last.dtype == torch.bool else last < 0).any())


def _unknown() -> ModelError:
    return ModelError(
        "reft_positions is 'prompt', and nothing says which tokens are the prompt's",
        f"call the model with {KEY}=LENGTHS (int64 [rows, 1]), or set reft_positions to all",
    )
