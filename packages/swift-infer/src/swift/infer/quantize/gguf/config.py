"""Keys of GGUF."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from swift.core.config.schema import Config

GgufType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]


class GgufConfig(Config):
    """export: GGUF."""

    gguf_type: GgufType = Field("q8_0", description="type of the matrices; norms and biases are f32")
    gguf_embedding_type: GgufType | None = Field(
        None,
        description="type of embeddings and output layer; default: q8_0 with 4 or 5 bits, else gguf_type",
    )
    tokenizer_pre: str | None = Field(
        None, description="name that llama.cpp has for the pre-tokeniser; default: found by its pattern"
    )
