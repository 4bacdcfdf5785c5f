"""Generation-based evaluation: does the greedy answer equal the reference answer?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from swift.core.config.run import RunConfig
from swift.core.errors import DataError
from swift.core.protocols import Engine
from swift.core.registry import engines
from swift.core.template.chat import ChatTemplate
from swift.core.types import Conversation, GenerationRequest, SamplingParams


def measure_exact_match(
    model: nn.Module, tokenizer: Any, conversations: Sequence[Conversation], run: RunConfig
) -> float:
    """Share of held-out rows whose greedy answer equals the last assistant turn, but for outer white space.

    Raises:
        DataError: nothing is held out.
    """
    if not conversations:
        raise DataError(
            "eval.exact_match needs held-out rows", "set data.split_ratio or data.val_dataset_name"
        )
    rows = list(conversations)[: run.eval.num_samples]
    engine: Engine = engines.build(run.infer.engine, model, tokenizer, config=run.engine)
    try:
        answers = greedy_answers(engine, tokenizer, rows, run.data.max_length, run.eval.max_new_tokens)
    finally:
        engine.close()
    hits = [answer.strip() == reference(row).strip() for answer, row in zip(answers, rows, strict=True)]
    return sum(hits) / len(hits)


def reference(conversation: Conversation) -> str:
    """Text of the last assistant turn, or of the "answer" column of a prompt-only row."""
    for message in reversed(conversation.messages):
        if message["role"] == "assistant":
            return str(message["content"])
    return str(conversation.columns.get("answer", ""))


def greedy_answers(
    engine: Engine, tokenizer: Any, rows: Sequence[Conversation], max_length: int, max_new_tokens: int
) -> list[str]:
    """One greedy answer a row, in order."""
    template = ChatTemplate(
        tokenizer, max_length=max_length, truncation="left", loss_turns="last", task="prompt", media=None
    )
    sampling = SamplingParams(max_tokens=max_new_tokens, temperature=0.0)
    requests = [
        GenerationRequest(str(index), tuple(int(token) for token in encoded.input_ids), sampling)
        for index, encoded in enumerate(template.encode(list(rows)))
    ]
    texts = {request.request_id: "" for request in requests}
    for delta in engine.generate(requests):
        texts[delta.request_id] += delta.text
    return [texts[request.request_id] for request in requests]
