"""One judge for all: the loss of a trained adapter on the rows that it learned."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, Qwen3ForCausalLM

from peers.job import Job


def answer_loss(job: Job, adapter: Path | None) -> float:
    """Mean over all answer tokens of -log p, of the base or of the base with an adapter.

    Adapters are read as peft's files alone, so that a contender's version of peft does not matter.
    """
    import peft

    model = Qwen3ForCausalLM.from_pretrained(job.model).eval()
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    judged = model if adapter is None else peft.PeftModel.from_pretrained(model, adapter)
    total, count = 0.0, 0
    for line in job.rows.read_text(encoding="utf-8").splitlines():
        row = tokenizer.apply_chat_template(
            json.loads(line)["messages"], return_dict=True, return_assistant_tokens_mask=True
        )
        ids = torch.tensor(row["input_ids"][: job.max_length])
        learned = torch.tensor(row["assistant_masks"][: job.max_length])[1:].bool()
        with torch.no_grad():
            logits = judged(input_ids=ids[None]).logits[0, :-1][learned]
        total += float(cross_entropy(logits, ids[1:][learned], reduction="sum"))
        count += int(learned.sum())
    return total / count
