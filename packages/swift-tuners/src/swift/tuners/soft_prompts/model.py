"""Models with virtual tokens before their input, seen from outside as if there were none.

peft's classes for both methods know neither which columns of the logits are wanted (an objective asks for
those of its own tokens) nor gradient checkpointing nor an engine with its own cache; these subclasses do.

Shapes: B rows, N virtual tokens, T tokens.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import peft
import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_layers import GradientCheckpointingLayer

from swift.core.errors import ModelError
from swift.tuners.soft_prompts.cache import read_only


class SoftPromptModel(peft.PeftModelForCausalLM):  # type: ignore[misc]
    """What both methods share."""

    def __init__(self, model: nn.Module, config: peft.PeftConfig, adapter_name: str = "default") -> None:
        super().__init__(model, config, adapter_name)
        self.set_adapter(adapter_name, inference_mode=config.inference_mode)

    @property
    def virtual_tokens(self) -> int:
        """N of the active adapter."""
        return int(self.active_peft_config.num_virtual_tokens)

    @abstractmethod
    def prompt_cache(self, rows: int) -> Cache:
        """Keys and values of the virtual tokens, for a batch of rows that have read nothing yet."""

    @abstractmethod
    def started(self, rows: int, inputs: dict[str, Any]) -> Any:
        """The output for rows that start here; inputs are those of the model, past_key_values left out."""

    def set_adapter(self, adapter_name: str, inference_mode: bool = False) -> None:
        """Use another adapter; it alone trains, unless inference_mode says that none does."""
        super().set_adapter(adapter_name, inference_mode=inference_mode)
        for name, encoder in self.prompt_encoder.items():
            encoder.requires_grad_(name == adapter_name and not inference_mode)

    def forward(
        self, input_ids: Tensor | None = None, past_key_values: Cache | None = None, **inputs: Any
    ) -> Any:
        """The model's output; its logits and hidden states have the columns of the input alone.

        Raises:
            ModelError: a packed batch, whose sequences would share one start.
        """
        if inputs.get("cu_seq_lens_q") is not None:
            raise ModelError(
                "virtual tokens stand before a row, and a packed row holds several sequences",
                "set data.packing=false and data.padding_free=false",
            )
        inputs = self._shifted(inputs) | {"input_ids": input_ids}
        first = input_ids if input_ids is not None else inputs["inputs_embeds"]
        if past_key_values is None or past_key_values.get_seq_length() == 0:
            return self.started(first.shape[0], inputs)
        return self.get_base_model()(past_key_values=past_key_values, **inputs)

    def _shifted(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Masks and positions of tokens that come after N others."""
        changed = dict(inputs)
        mask, positions = inputs.get("attention_mask"), inputs.get("position_ids")
        if mask is not None:
            changed["attention_mask"] = torch.cat(
                [mask.new_ones(mask.shape[0], self.virtual_tokens), mask], 1
            )
        if positions is not None:
            changed["position_ids"] = positions + self.virtual_tokens
        return changed


class PrefixModel(SoftPromptModel):
    """Keys and values before every layer's own."""

    def __init__(self, model: nn.Module, config: peft.PeftConfig, adapter_name: str = "default") -> None:
        super().__init__(model, config, adapter_name)
        for layer in model.modules():
            if isinstance(layer, GradientCheckpointingLayer):
                layer._can_checkpoint_with_cache = True  # transformers' word for layers that only read it

    def prompt_cache(self, rows: int) -> Cache:
        """Keys and values of the virtual tokens."""
        return self.get_prompt(rows)

    def started(self, rows: int, inputs: dict[str, Any]) -> Any:
        """The output for rows that start here."""
        cache = self.get_prompt(rows)
        keeps = inputs.get("use_cache") is not False and not self.training
        return self.get_base_model()(past_key_values=cache if keeps else read_only(cache), **inputs)


class PromptModel(SoftPromptModel):
    """Embeddings before the input's own."""

    def prompt_cache(self, rows: int) -> Cache:
        """Keys and values of the virtual tokens."""
        cache = DynamicCache()
        base = self.get_base_model()
        base(inputs_embeds=self._embeddings(rows, base), past_key_values=cache, use_cache=True)
        return cache

    def started(self, rows: int, inputs: dict[str, Any]) -> Any:
        """The output for rows that start here."""
        base = self.get_base_model()
        ids, embedded = inputs.pop("input_ids"), inputs.pop("inputs_embeds", None)
        embedded = self.word_embeddings(ids) if embedded is None else embedded
        length = embedded.shape[1]
        inputs["inputs_embeds"] = torch.cat([self._embeddings(rows, base, embedded.dtype), embedded], 1)
        if inputs.get("position_ids") is not None:
            inputs["position_ids"] = self._positions(inputs["position_ids"])
        if inputs.get("labels") is not None:
            before = inputs["labels"].new_full((rows, self.virtual_tokens), -100)
            inputs["labels"] = torch.cat([before, inputs["labels"]], 1)
        wanted = inputs.get("logits_to_keep")
        if isinstance(wanted, Tensor):
            inputs["logits_to_keep"] = wanted + self.virtual_tokens
        output = base(**inputs)
        return output if isinstance(wanted, Tensor) or wanted else _last(output, length)

    def _embeddings(self, rows: int, base: nn.Module, dtype: torch.dtype | None = None) -> Tensor:
        embeddings: Tensor = self.get_prompt(rows)
        return embeddings.to(dtype or self.word_embeddings.weight.dtype)

    def _positions(self, shifted: Tensor) -> Tensor:
        before = torch.arange(self.virtual_tokens, device=shifted.device)
        return torch.cat([before.expand(shifted.shape[0], -1), shifted], 1)


MODELS: dict[str, type[SoftPromptModel]] = {"PROMPT_TUNING": PromptModel, "PREFIX_TUNING": PrefixModel}


def wrap(model: nn.Module, config: peft.PeftConfig, adapter_name: str) -> peft.PeftModel:
    """The model with a new adapter of any of peft's methods on it.

    Raises:
        ValueError: peft cannot put it there.
    """
    kind = MODELS.get(str(getattr(config.peft_type, "value", config.peft_type)))
    if kind is None or config.task_type != "CAUSAL_LM":
        return peft.get_peft_model(model, config, adapter_name=adapter_name)
    return kind(model, config, adapter_name)


def _last(output: Any, columns: int) -> Any:
    """An output whose logits and hidden states lose what lies before the last columns."""
    output["logits"] = output.logits[:, -columns:]
    if output.get("hidden_states") is not None:
        output["hidden_states"] = tuple([state[:, -columns:] for state in output.hidden_states])
    return output
