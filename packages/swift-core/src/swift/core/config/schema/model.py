"""model: which weights and tokenizer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from swift.core.config.base import Config


class ModelConfig(Config):
    """model: which weights and tokenizer."""

    model_id: str = Field(
        "tiny/qwen3",
        description="local folder, hub id, short name, tiny/NAME (random weights, no download), "
        "or a registered model",
    )
    architecture: dict[str, Any] = Field(
        default_factory=dict, description="arguments of a registered model, such as its sizes"
    )
    tokenizer_id: str | None = Field(
        None, description="tokenizer from elsewhere: folder, hub id or tiny/NAME; default: the model's own"
    )
    ref_model_id: str | None = Field(
        None, description="reference policy of preference and RL stages; default: the start of model_id"
    )
    adapter: str | None = Field(None, description="folder of an adapter to start from")
    hub: Literal["huggingface", "modelscope"] = Field(
        "huggingface", description="where ids of models and data sets are fetched from"
    )
    revision: str | None = Field(None, description="branch, tag or commit on the hub")
    chat_template: str | None = Field(
        None, description="jinja file, or the name of a built-in template, for a tokenizer without one"
    )
    attn_implementation: str | None = Field(
        None,
        description="attention of transformers (sdpa, eager); default: sdpa, or swift_varlen when packing",
    )
    trust_remote_code: bool = Field(False, description="run model code that comes with the weights")
