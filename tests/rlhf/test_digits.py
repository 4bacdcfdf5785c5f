"""GRPO and DPO on a task where success can be counted: reverse the digits, learned from mixed demonstrations.

The demonstrations copy more often than they reverse, so after fine-tuning the model knows the format and both
behaviours, and mostly shows the wrong one. Alignment has to find the right one.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from swift.core.config.schema import ModelConfig
from swift.core.registry import engines
from swift.core.train.context import ObjectiveContext
from swift.core.types import Encoded, SamplingParams
from swift.rlhf.objectives.dpo.config import DPOConfig
from swift.rlhf.objectives.dpo.objective import DPOObjective
from swift.rlhf.objectives.grpo.config import GRPOConfig
from swift.rlhf.objectives.grpo.objective import GRPOObjective
from swift.rlhf.rollout import roll_out

DIGITS, PAD, BOS, EOS, EQUALS = 3, 10, 11, 12, 13


class Digits:
    """The least tokenizer an engine and an objective need: ten digits and four marks."""

    pad_token_id, eos_token_id, bos_token_id = PAD, EOS, BOS
    all_special_ids = (PAD, BOS, EOS, EQUALS)

    def decode(self, ids: Sequence[int], **options: Any) -> str:
        return "".join(str(int(token)) for token in ids if int(token) < 10)


def prompt_of(digits: Sequence[int]) -> list[int]:
    return [BOS, *digits, EQUALS]


def new_model(seed: int) -> Any:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=16, hidden_size=64, intermediate_size=192, num_hidden_layers=3, num_attention_heads=4,
            max_position_embeddings=32, pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS,
        )
    )  # fmt: skip


def fine_tune(model: nn.Module, steps: int = 250, batch: int = 64) -> None:
    """Demonstrations: two thirds copies, one third reversals."""
    draw = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.99), weight_decay=0.0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 30) * (1 - 0.9 * step / steps)
        digits = draw.integers(10, size=(batch, DIGITS))
        answers = np.where(draw.random((batch, 1)) < 1 / 3, digits[:, ::-1], digits)
        marks = [np.full((batch, 1), mark) for mark in (BOS, EQUALS, EOS)]
        ids = torch.from_numpy(np.hstack([marks[0], digits, marks[1], answers, marks[2]]))
        logits = model(input_ids=ids).logits[:, DIGITS + 1 : -1]
        torch.autograd.backward(
            functional.cross_entropy(logits.flatten(0, 1), ids[:, DIGITS + 2 :].flatten())
        )
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture(scope="module")
def fine_tuned() -> nn.Module:
    model: nn.Module = new_model(0)
    fine_tune(model)
    return model.eval()


def held_out() -> list[list[int]]:
    draw = random.Random(1)
    return [[draw.randrange(10) for _ in range(DIGITS)] for _ in range(200)]


def accuracy(model: nn.Module) -> float:
    """Share of greedy answers that reverse their digits."""
    rows = held_out()
    engine = engines.build("transformers", model, Digits())
    sampling = SamplingParams(max_tokens=DIGITS + 2, temperature=0.0)
    answers = roll_out(engine, [prompt_of(row) for row in rows], 1, sampling, seed=0, step=0)
    engine.close()
    hits = [answer.token_ids == [*row[::-1], EOS] for row, answer in zip(rows, answers, strict=True)]
    return sum(hits) / len(hits)


def example(digits: list[int], answer: list[int] | None = None) -> Encoded:
    ids = prompt_of(digits) + ([*answer, EOS] if answer else [])
    labels = [-100] * (DIGITS + 2) + ids[DIGITS + 2 :]
    columns = {"answer": "".join(map(str, digits[::-1]))}
    return Encoded(np.asarray(ids, np.int32), np.asarray(labels, np.int32), columns=columns)


def optimise(
    model: nn.Module, objective: Any, draw_batch: Any, steps: int, lr: float
) -> list[dict[str, float]]:
    """The trainer's loop in its shortest form."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.0)
    history = []
    for step in range(steps):
        (batch,) = objective.prepare(model, [objective.collate(draw_batch())], step)
        output = objective.loss(model.train(), batch, objective.count(batch))
        torch.autograd.backward(output.loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        history.append({name: float(m.total / m.count) for name, m in output.metrics.items()})
    return history


def context(reference: nn.Module) -> ObjectiveContext:
    return ObjectiveContext(Digits(), ModelConfig(), lambda: copy.deepcopy(reference).requires_grad_(False))


@pytest.mark.parametrize("random_rewards", [False, True])
def test_grpo_finds_the_right_behaviour_only_when_it_is_rewarded(
    fine_tuned: nn.Module, random_rewards: bool
) -> None:
    before = accuracy(fine_tuned)
    assert before < 0.4, "the demonstrations favour copies"
    coin = random.Random(0)
    rewards = {"coin": lambda prompts, texts, **columns: [float(coin.random() < 0.5) for _ in texts]}
    config = GRPOConfig(
        reward_funcs=["coin" if random_rewards else "exact_match"], loss_type="dapo", epsilon_high=0.28,
        max_completion_length=DIGITS + 2,
    )  # fmt: skip
    model = copy.deepcopy(fine_tuned)
    objective = GRPOObjective(config, context(fine_tuned), rewards=rewards if random_rewards else None)
    draw = random.Random(2)
    history = optimise(
        model,
        objective,
        lambda: [example([draw.randrange(10) for _ in range(DIGITS)]) for _ in range(16)],
        steps=30,
        lr=3e-4,
    )
    objective.close()
    after = accuracy(model.eval())
    if random_rewards:
        assert after < 0.5
    else:
        assert after > 0.75, f"accuracy {before} -> {after}, rewards {[item['reward'] for item in history]}"
        assert history[-1]["reward"] > history[0]["reward"] + 0.3


def test_dpo_prefers_right_answers_to_unseen_questions(fine_tuned: nn.Module) -> None:
    def pair(digits: list[int]) -> Encoded:
        result = example(digits, digits[::-1])
        result.rejected = example(digits, digits)
        return result

    model = copy.deepcopy(fine_tuned)
    objective = DPOObjective(DPOConfig(), context(fine_tuned))
    draw = random.Random(3)
    different = [row for row in held_out() if row != row[::-1]]

    def batch() -> list[Encoded]:
        rows = [[draw.randrange(10) for _ in range(DIGITS)] for _ in range(64)]
        return [pair(row) for row in rows if row != row[::-1]]

    optimise(model, objective, batch, steps=25, lr=1e-4)
    with torch.no_grad():
        (ready,) = objective.prepare(model.eval(), [objective.collate([pair(row) for row in different])], 0)
        metrics = objective.loss(model, ready, objective.count(ready)).metrics
    right = metrics["rewards/accuracy"]
    assert float(right.total / right.count) > 0.95
    assert accuracy(model) > accuracy(fine_tuned) + 0.3
