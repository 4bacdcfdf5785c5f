"""From a configuration to an encoder."""

from __future__ import annotations

from typing import Any

from swift.core.config.run import RunConfig
from swift.core.models.heads import set_padding
from swift.infer.encode.encoder import Encoder
from swift.infer.encode.record import EncodeSettings
from swift.infer.load import load_adapted


def load_encoder(run: RunConfig, settings: EncodeSettings) -> tuple[Encoder, Any]:
    """(encoder, tokenizer) of the configured model.

    Raises:
        ModelError: model, tokenizer or adapter cannot be loaded.
        ConfigError: the tokenizer has no such yes or no token.
    """
    model, tokenizer = load_adapted(run, settings.head)
    set_padding(model, tokenizer.pad_token_id)
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return Encoder(model, tokenizer, settings, max_length=longest), tokenizer
