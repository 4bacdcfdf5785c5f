"""infer: the server. Units: seconds, requests, tokens."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from swift.core.config.base import Config
from swift.core.config.named import NamedParts, PartsOf
from swift.core.config.schema.types import NonNegative


class ServerConfig(Config):
    """infer: the server."""

    host: str = Field("127.0.0.1", description="address the server listens on")
    port: int = Field(8000, ge=0, le=65535, description="port the server listens on; 0: any free one")
    served_model_name: str | None = Field(
        None, description="model name in the API; default: the folder's name"
    )
    api_keys: dict[str, str] = Field(
        default_factory=dict,
        description="name -> key that requests carry (Authorization: Bearer KEY); empty: everybody may ask",
    )
    api_keys_file: str | None = Field(
        None, description="YAML file of further api_keys, so that no key stands in the configuration"
    )
    requests_per_minute: PositiveInt | None = Field(None, description="of all clients together")
    tokens_per_minute: PositiveInt | None = Field(
        None, description="of all clients together, prompts and answers"
    )
    key_requests_per_minute: PositiveInt | None = Field(
        None, description="of each key, or address without keys"
    )
    key_tokens_per_minute: PositiveInt | None = Field(
        None, description="of each key, or address without keys; prompts and answers"
    )
    max_concurrent: PositiveInt = Field(
        1024, description="most requests handed to the engine at a time; the others queue"
    )
    max_queue: int = Field(
        4096, ge=0, description="most requests that queue; further ones are refused (429, Retry-After)"
    )
    request_timeout: float | None = Field(
        None, gt=0, description="seconds until a request is ended, its time in the queue included"
    )
    drain_timeout: NonNegative = Field(
        30.0, description="seconds that running answers may take after SIGTERM"
    )
    receive_timeout: float = Field(
        30.0, gt=0, description="seconds within which a client must have sent its request"
    )
    max_body_mb: float = Field(32.0, gt=0, description="largest request body in MiB")
    max_connections: PositiveInt = Field(
        8192, description="most open connections; further ones are refused (503)"
    )
    metrics_need_key: bool = Field(False, description="ask for an API key at /metrics too")
    max_restarts: int = Field(
        3, ge=0, description="how often a dead engine is started anew before the server gives up"
    )
    request_log: str | None = Field(
        None,
        description="JSONL file: key, model, status, latency, first token and token counts of each request",
    )
    content_filters: Annotated[NamedParts, PartsOf("content filter")] = Field(
        default_factory=list,
        description="registered content filters of prompts and answers: a name, {name, config}, or a list",
    )
    image_hosts: list[str] = Field(
        default_factory=list,
        description="hosts that images are fetched from by http(s) URLs; others must come as data: URLs",
    )
    allow_adapter_loading: bool = Field(
        False, description="offer /v1/load_lora_adapter and /v1/unload_lora_adapter"
    )
