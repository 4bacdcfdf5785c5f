"""What the engine asks of a model: that it can be batched by rows, a forward pass, and to be borrowed."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache, DynamicCache

from swift.core.errors import EngineError, did_you_mean
from swift.core.models.prompt import reads_prompt_lengths
from swift.infer.engines.transformers.adapter_folder import Adapter
from swift.infer.engines.transformers.adapters import Adapters
from swift.infer.engines.transformers.attention import NAME
from swift.infer.engines.transformers.linears import skinny_linears
from swift.infer.engines.transformers.masks import KINDS, attention_kinds


class LiveModel:
    """A causal language model that others (a trainer) may own and change between steps.

    Args:
        model: transformers model, or a peft wrapper around one. A wrapper with virtual_tokens before its
            input has prompt_cache(rows), their keys and values.

    Attributes:
        virtual_tokens: how many stand before every prompt, in the first columns of every cache.

    Raises:
        EngineError: its state cannot be kept as keys and values by position.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.config = self.base.config.get_text_config()
        self._reads_lengths = False
        self.virtual_tokens = int(getattr(model, "virtual_tokens", 0))
        self.adapters = Adapters(self.base, wrapped=model is not self.base)
        self._accepted = set(inspect.signature(self.base.forward).parameters)
        self._check()

    def _check(self) -> None:
        name = type(self.base).__name__
        remedy = "choose another engine (infer.engine), such as vllm"
        unknown = attention_kinds(self.config) - KINDS
        if getattr(self.base, "_is_stateful", False) or unknown:
            kinds = ", ".join(sorted(unknown)) or "recurrent state"
            raise EngineError(f"the transformers engine cannot batch {name}: it has {kinds} layers", remedy)
        if getattr(self.base.config, "is_encoder_decoder", False):
            raise EngineError(
                f"the transformers engine cannot serve {name}: it is an encoder-decoder", remedy
            )
        if "position_ids" not in self._accepted:
            raise EngineError(
                f"the transformers engine cannot batch {name}: it takes no position_ids", remedy
            )

    @property
    def max_length(self) -> int | None:
        """Longest prompt and answer together, in tokens."""
        return getattr(self.config, "max_position_embeddings", None)

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding table."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @property
    def device(self) -> torch.device:
        """Where token ids must be."""
        return self.model.get_input_embeddings().weight.device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the hidden states."""
        return self.base.dtype  # type: ignore[no-any-return]

    @property
    def num_layers(self) -> int:
        """Layers that keep keys and values."""
        return int(self.config.num_hidden_layers)

    def logits(self, adapters: Sequence[Adapter | None], **inputs: Any) -> torch.Tensor:
        """Logits [B, V] of the last position.

        Args:
            adapters: what each row is computed with.
        """
        if "logits_to_keep" in self._accepted:
            inputs["logits_to_keep"] = 1
        whole = self.base if self.virtual_tokens else self.model  # their wrapper would count positions anew
        with self.adapters.using(adapters):
            output = whole(use_cache=True, **inputs)
        return output.logits[:, -1]  # type: ignore[no-any-return]

    def new_cache(self, rows: int) -> Cache:
        """What rows that have read nothing yet attend to."""
        return self.model.prompt_cache(rows) if self.virtual_tokens else DynamicCache()

    def told(self, prompts: Iterable[int]) -> dict[str, torch.Tensor]:
        """The argument that says how long the rows' prompts are, for a model that asks."""
        if not self._reads_lengths:
            return {}
        return {"prompt_lengths": torch.tensor(list(prompts), device=self.device)[:, None]}

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[None]:
        """Evaluation mode, our attention and no gradients; the owner's settings come back afterwards."""
        self._reads_lengths = reads_prompt_lengths(self.model)
        with evaluating(self.model), attending(self.base), skinny_linears(self.model), torch.no_grad():
            yield

    def load(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Copy tensors into the parameters of these names; nothing changes when one does not fit.

        Raises:
            EngineError: unknown name or wrong shape.
        """
        own = dict(self.model.named_parameters(remove_duplicate=False)) | dict(self.model.named_buffers())
        pairs = []
        for name, tensor in weights:
            if name not in own:
                raise EngineError(f"the model has no weight {name!r}", did_you_mean(name, own))
            if own[name].shape != tensor.shape:
                raise EngineError(
                    f"weight {name!r} has shape {list(tensor.shape)}, the model's {list(own[name].shape)}",
                    "send weights of the model that the engine holds",
                )
            pairs.append((own[name], tensor))
        with torch.no_grad():
            for target, tensor in pairs:
                target.copy_(tensor)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch off dropout; every module that trained before trains again afterwards."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextlib.contextmanager
def attending(base: Any) -> Iterator[None]:
    """Use the decoding attention, unless the model needs its own (eager: soft-capping, sinks)."""
    before = base.config._attn_implementation
    if not replaceable(base) or before == NAME:
        yield
        return
    base.config._attn_implementation = NAME
    try:
        yield
    finally:
        base.config._attn_implementation = before


def replaceable(base: Any) -> bool:
    """Whether the model's layers take the decoding attention."""
    fits = getattr(base, "_supports_sdpa", False) and getattr(base, "_supports_attention_backend", False)
    return fits and base.config._attn_implementation != "eager"
