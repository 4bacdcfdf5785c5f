"""Keys of an OpenAI-compatible URL."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from swift.core.config.schema import Config


class RemoteEngineConfig(Config):
    """infer: an OpenAI-compatible URL."""

    base_url: str | None = Field(
        default=None, description="where the API is, up to and with its /v1: https://HOST/v1"
    )
    model: str | None = Field(
        default=None, description="model asked for; default: the only one that the server offers"
    )
    api_key_env: str | None = Field(
        default=None, description="environment variable that holds the API key; default: no key is sent"
    )
    api_key_file: str | None = Field(default=None, description="file that holds the API key")
    sends: Literal["chat", "ids"] = Field(
        default="chat",
        description="chat: messages to /chat/completions; ids: token ids to /completions, for servers that "
        "take them (vLLM, this one); model.model_id then names the model whose tokenizer is used",
    )
    extended: bool = Field(
        default=False,
        description="the server takes top_k, min_p, repetition_penalty, stop_token_ids, ignore_eos and "
        "structured_outputs, as vLLM's does; sends=ids implies it",
    )
    timeout: float = Field(
        default=300.0, gt=0, description="seconds without a byte after which a request is given up"
    )
    retries: int = Field(
        default=3,
        ge=0,
        description="further tries after 429, 5xx and failed connections, before the first token only",
    )
    connections: PositiveInt = Field(default=256, description="most requests sent at a time; the others wait")
