"""Evaluation by generation: greedy answers to held-out rows, once for all metrics that read texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from swift.core.config.run import RunConfig
from swift.core.data.pipeline import Datasets
from swift.core.engines import build_engine
from swift.core.errors import DataError
from swift.core.metrics.use import Metrics
from swift.core.protocols import Engine
from swift.core.template.build import shown_rows
from swift.core.template.chat import ChatTemplate
from swift.core.template.request import last_assistant
from swift.core.types import Conversation, GenerationRequest, SamplingParams


def measure_answers(
    model: nn.Module, tokenizer: Any, datasets: Datasets, metrics: Metrics, run: RunConfig
) -> dict[str, float]:
    """eval_NAME of every metric of texts, over the first eval.num_samples held-out rows.

    The metrics get (answers, references), and by name the rows' prompts (turns) and columns.

    Raises:
        DataError: nothing is held out.
    """
    rows = shown_rows(datasets.eval_conversations[: run.eval.num_samples], run.data, tokenizer)
    if not rows:
        raise DataError("eval.metrics needs held-out rows", "set data.split_ratio or data.val_dataset_name")
    engine = build_engine(run.infer.engine, run.engine, model, tokenizer, run.model, seed=run.loop.seed)
    try:
        answers = greedy_answers(engine, tokenizer, rows, run.data.max_length, run.eval.max_new_tokens)
    finally:
        engine.close()
    extras = {
        "prompts": [row.messages[: last_assistant(row.messages)] for row in rows],
        "columns": [row.columns for row in rows],
    }
    values = metrics.generated(answers, [reference(row) for row in rows], extras)
    return {f"eval_{name}": value for name, value in values.items()}


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
