"""The vocabulary of the tiny models' tokenizer: byte-level merges first, then 32 added tokens.

Names and roles follow the Qwen family, so that code for chat, tools, reasoning and vision meets the spellings
that it expects.
"""

from __future__ import annotations

VOCAB_SIZE = 2048

PAD = "<|endoftext|>"
EOS = "<|im_end|>"

CONTROL_TOKENS = (
    PAD, "<|im_start|>", EOS,
    "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>",
    "<|quad_start|>", "<|quad_end|>",
    "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
    "<|audio_start|>", "<|audio_end|>", "<|audio_pad|>",
)  # fmt: skip
"""Special tokens: left out of decoded text when the caller skips special tokens."""

VISIBLE_TOKENS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")
"""Single tokens that stay in decoded text: parsers of tool calls and reasoning read them there."""

RESERVED_TOKENS = tuple(f"<|reserved_{index}|>" for index in range(9))

ADDED_TOKENS = CONTROL_TOKENS + VISIBLE_TOKENS + RESERVED_TOKENS
MERGED_SIZE = VOCAB_SIZE - len(ADDED_TOKENS)

TOKEN_IDS = {token: MERGED_SIZE + index for index, token in enumerate(ADDED_TOKENS)}
"""Id of every added token."""
