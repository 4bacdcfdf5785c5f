"""How well a model predicts rows: exp of the mean negative log-likelihood of a token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from swift.core.errors import ModelError


@torch.inference_mode()
def perplexity(model: Any, rows: Sequence[Tensor]) -> float | None:
    """exp(-1/N sum log p(x_t | x_<t)) over all N tokens but each row's first; None without rows.

    Args:
        rows: token ids [T] each; run one by one, without padding.

    Raises:
        ModelError: the model gives numbers that are not finite.
    """
    total, count = 0.0, 0
    for row in rows:
        if len(row) < 2:
            continue
        ids = row[None].to(model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        total += float(functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
        count += len(row) - 1
    if not count:
        return None
    mean = torch.tensor(total / count, dtype=torch.float64)
    if not bool(mean.isfinite()):
        raise ModelError("the model's log-probabilities are not finite", "check its weights and precision")
    return float(mean.exp())


@torch.inference_mode()
def first_answer(model: Any, tokenizer: Any, tokens: int = 16) -> str:
    """A greedy answer to a greeting, or to a plain beginning where there is no chat template.

    Raises:
        ModelError: it gives no token.
    """
    if getattr(tokenizer, "chat_template", None):
        turns = [{"role": "user", "content": "Hello"}]
        text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        encoded = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    else:
        encoded = tokenizer("Hello", return_tensors="pt")
    ids = encoded["input_ids"].to(model.device)
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    if output.shape[1] <= ids.shape[1]:
        raise ModelError("the exported model gave no token", "look at the perplexity that was printed")
    return str(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True))
