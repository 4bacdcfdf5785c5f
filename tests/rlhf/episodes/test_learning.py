"""A task that takes two turns: ask, then use the reply."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from swift.core.types import Message
from swift.plugin import register_rollout
from swift.rlhf.rollout import Turn


def demonstrations(
    ids: dict[str, int], draw: np.random.Generator, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Half guess at once; half ask, and of those half repeat what they are told. Ids and what is learned."""
    asks, answers, ends, padding = (ids[mark] for mark in ("<u>", "<a>", "<e>", "<pad>"))
    opening = [asks, ids["!"], ends, answers]
    rows, learned = [], []
    for _ in range(count):
        secret, guess, other = (int(digit) for digit in draw.integers(10, size=3))
        if draw.random() < 0.5:
            rows.append([*opening, guess, ends, *[padding] * 6])
            learned.append([False] * 4 + [True] * 2 + [False] * 6)
        else:
            said = secret if draw.random() < 0.5 else other
            rows.append([*opening, ids["?"], ends, asks, secret, ends, answers, said, ends])
            learned.append([False] * 4 + [True] * 2 + [False] * 4 + [True] * 2)
    return torch.tensor(rows), torch.tensor(learned)


def fine_tune(model: nn.Module, letters: dict[str, int], steps: int = 250) -> None:
    draw = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(steps):
        ids, learned = demonstrations(letters, draw, 64)
        logits = model(input_ids=ids).logits[:, :-1][learned[:, 1:]]
        torch.autograd.backward(functional.cross_entropy(logits, ids[:, 1:][learned[:, 1:]]))
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def test_grpo_learns_to_ask_and_to_use_the_reply(episodes: Any) -> None:
    """A digit that only the environment knows: who guesses is right once in ten times."""

    @register_rollout("oracle")
    class Oracle:
        def reset(self, messages: list[Message], columns: Any) -> None:
            self.secret, self.asked = columns["secret"], False

        def step(self, completion: str) -> Turn:
            if completion == "?" and not self.asked:
                self.asked = True
                return Turn([{"role": "tool", "content": self.secret}])
            return Turn(done=True, reward=float(completion == self.secret))

    model = episodes.model()
    fine_tune(model, episodes.ids)
    objective = episodes.build(
        reward_funcs=[], rollout="oracle", max_turns=3, max_completion_length=6, num_generations=8,
        loss_type="dapo", epsilon_high=0.28,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=0.0)
    draw, history = random.Random(2), []
    for step in range(25):
        rows = episodes.prompts(["!"] * 16)
        for row in rows:
            row.columns = {**row.columns, "secret": str(draw.randrange(10))}
        (batch,) = objective.prepare(model, [objective.collate(rows)], step)
        history.append(episodes.means(objective, model, batch))
        torch.autograd.backward(objective.loss(model.train(), batch, objective.count(batch)).loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    objective.close()
    rewards = [figures["reward"] for figures in history]
    assert np.mean(rewards[:3]) < 0.45, "the demonstrations guess or forget"
    assert np.mean(rewards[-3:]) > 0.8, rewards
    assert np.mean([figures["turns"] for figures in history[-3:]]) > 1.8
