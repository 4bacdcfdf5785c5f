"""What a tiny family brings: a configuration and, where it is not the text tokenizer, a processor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from transformers import AutoTokenizer

from swift.core.models.tiny.vocabulary import EOS, PAD, TOKEN_IDS, VOCAB_SIZE

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

TEXT_SIZES: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    # 1 / sqrt(hidden_size): with the usual 0.02, made for wide models, logits of tied embeddings could not
    # exceed 0.02 * hidden_size, and no output could become certain while the embeddings are frozen.
    "initializer_range": 128**-0.5,
    "bos_token_id": None,
    "eos_token_id": TOKEN_IDS[EOS],
    "pad_token_id": TOKEN_IDS[PAD],
}
"""About 1M parameters. Families add head_dim 32 where they state one, and tie as the real ones do."""


def tiny_tokenizer() -> Any:
    """The tokenizer that every tiny text model shares, with its ChatML template."""
    with resources.as_file(resources.files("swift.core.models.tiny") / "tokenizer") as folder:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)


@dataclass(frozen=True)
class TinyFamily:
    """A tiny model before its weights are drawn.

    Attributes:
        config: architecture and sizes; its type chooses the model class as it does for downloaded models.
        processor: makes the tokenizer, or the multimodal processor that holds one.
        model_class: builds the model instead of the auto class of the config.
    """

    config: PreTrainedConfig
    processor: Callable[[], Any] = tiny_tokenizer
    model_class: type[Any] | None = None
