"""A Qwen2.5-VL of about 1.3M parameters with its real processor."""

from __future__ import annotations

from typing import Any

from transformers import Qwen2_5_VLConfig, Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

from swift.core.models.tiny.family import TEXT_SIZES, TinyFamily, tiny_tokenizer
from swift.core.models.tiny.vocabulary import TOKEN_IDS

VISION_SIZES: dict[str, Any] = {
    "depth": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_heads": 2,
    "out_hidden_size": TEXT_SIZES["hidden_size"],
    "fullatt_block_indexes": [1],  # the first block attends within windows
}
MERGED_PATCH = 28  # pixels on each side of what becomes one token
MOST_TOKENS = 64  # of one image


def family() -> TinyFamily:
    """Two vision blocks before four decoder layers; embeddings are tied as in the 3B model."""
    text = {
        **TEXT_SIZES,
        # a quarter, three eighths, three eighths of the rotated pairs, as in the real models
        "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [4, 6, 6]},
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=VISION_SIZES,
        image_token_id=TOKEN_IDS["<|image_pad|>"],
        video_token_id=TOKEN_IDS["<|video_pad|>"],
        vision_start_token_id=TOKEN_IDS["<|vision_start|>"],
        vision_end_token_id=TOKEN_IDS["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    return TinyFamily(config, processor=tiny_processor)


def tiny_processor() -> Any:
    """The processor of the real models, with few pixels an image."""
    tokenizer = tiny_tokenizer()
    pixels = MERGED_PATCH * MERGED_PATCH
    images = Qwen2VLImageProcessor(min_pixels=pixels, max_pixels=MOST_TOKENS * pixels)
    return Qwen2_5_VLProcessor(
        images, tokenizer, Qwen2VLVideoProcessor(), chat_template=tokenizer.chat_template
    )
