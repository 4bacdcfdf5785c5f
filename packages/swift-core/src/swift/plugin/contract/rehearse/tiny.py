"""A model of random weights, its tokenizer, and rows for parts that need them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from swift.core.config.schema import ModelConfig
from swift.core.models.load import load_model, load_tokenizer
from swift.core.train.context import ObjectiveContext
from swift.core.types import Conversation, Encoded

if TYPE_CHECKING:
    from torch import nn

    from swift.core.types import Head, Task

CONFIG = ModelConfig(model_id="tiny/qwen3")
TURNS = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day."}]
LONGER = [{"role": "user", "content": "What is 6 times 7?"}, {"role": "assistant", "content": "It is 42."}]
POOR = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Go away."}]


def model(head: Head | None = None) -> nn.Module:
    """The same weights at every call.

    Args:
        head: another output than next-token logits.
    """
    loaded: nn.Module = load_model(CONFIG, dtype=torch.float32, device="cpu", head=head)
    return loaded


def tokenizer() -> Any:
    """The model's tokenizer, with a chat template."""
    return load_tokenizer(CONFIG)


def token_batch() -> dict[str, torch.Tensor]:
    """input_ids and attention_mask [2, 6], the second row padded by two."""
    input_ids = torch.arange(12).reshape(2, 6) + 20
    attention_mask = torch.ones_like(input_ids)
    attention_mask[1, -2:] = 0
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def conversations(task: Task) -> list[Conversation]:
    """Two rows as a task reads them."""
    rows = [Conversation(messages=TURNS, origin="row 0"), Conversation(messages=LONGER, origin="row 1")]
    for label, row in enumerate(rows):
        if task == "text":
            row.text, row.messages = "A sentence to learn from.", []
        elif task == "preference":
            row.rejected = POOR
        elif task == "seq_cls":
            row.label = label
        elif task in ("embedding", "reranker", "generative_reranker"):
            row.messages = row.messages[:1]
            row.positives, row.negatives = [TURNS[1:]], [POOR[1:]]
    return rows


def encoded(task: Task) -> Sequence[Encoded]:
    """The same two rows, tokenised."""
    from swift.core.template.chat import ChatTemplate

    return ChatTemplate(tokenizer(), max_length=128, task=task).encode(conversations(task))


def context(tokenizer: Any) -> ObjectiveContext:
    """The surroundings of an objective in a run on one CPU."""
    return ObjectiveContext(
        tokenizer=tokenizer,
        model_config=CONFIG,
        load_reference=lambda: model().eval().requires_grad_(False),
        per_device_batch_size=2,
    )
