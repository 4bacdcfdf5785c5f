"""Finding the media family of a model."""

from __future__ import annotations

from typing import Any, cast

from swift.core.registry import media_families
from swift.core.template.media import MediaFamily


def media_family(processor: Any, model_type: str, max_pixels: int | None = None) -> MediaFamily | None:
    """The family that feeds media to this architecture, or None for a text model or an unknown one.

    Args:
        processor: what load_processor() gave; a plain tokenizer reads no media.
        model_type: of the model's configuration, such as "qwen2_5_vl".
        max_pixels: larger images are scaled down to this area; None leaves the processor's own limit.
    """
    if not hasattr(processor, "tokenizer") or model_type not in media_families:
        return None
    return cast("MediaFamily", media_families.build(model_type, processor, max_pixels))
