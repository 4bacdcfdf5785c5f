"""Our prompts as vLLM takes them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from PIL import Image, UnidentifiedImageError
from vllm.inputs import tokens_input
from vllm.renderers.inputs.preprocess import parse_model_prompt

from swift.core.types import GenerationRequest

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM


async def prompt_of(llm: AsyncLLM, request: GenerationRequest) -> Any:
    """What vLLM reads: token ids, and images where there are some.

    Raises:
        ValueError: an image cannot be read, or does not fit the prompt's placeholders.
    """
    ids = list(request.prompt_ids)
    if not request.images:
        return tokens_input(ids)
    given = {"prompt_token_ids": ids, "multi_modal_data": {"image": [opened(one) for one in request.images]}}
    (ready,) = await llm.renderer.render_cmpl_async([parse_model_prompt(llm.model_config, given)])
    return ready


def opened(encoded: bytes) -> Image.Image:
    """The picture in an encoded file.

    Raises:
        ValueError: it is none.
    """
    try:
        return Image.open(io.BytesIO(encoded)).convert("RGB")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"an image cannot be read: {error}") from error
