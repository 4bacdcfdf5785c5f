"""Settings of prompt tuning (arXiv 2104.08691) and prefix tuning (arXiv 2101.00190)."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from swift.core.config.schema import Config


class PromptConfig(Config):
    """train: embeddings of virtual tokens that stand before every input."""

    num_virtual_tokens: PositiveInt = Field(20, description="tokens before every input")
    prompt_init: Literal["vocabulary", "random"] = Field(
        "vocabulary",
        description="how the embeddings start: those of tokens drawn from the vocabulary, or normal noise",
    )


class PrefixConfig(Config):
    """train: keys and values of virtual tokens in every layer."""

    num_virtual_tokens: PositiveInt = Field(20, description="tokens before every input")
    prefix_init_std: PositiveFloat = Field(
        0.1, description="deviation of the normal noise that keys and values start with"
    )
