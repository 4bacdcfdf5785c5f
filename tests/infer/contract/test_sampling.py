"""How tokens are drawn."""

from __future__ import annotations

from typing import Any

import pytest
import torch

pytestmark = pytest.mark.timeout(600)
STEPS = 8


def test_seeds_repeat_whatever_runs_beside(subject: Any) -> None:
    drawn = {"temperature": 1.0, "top_p": 0.95}
    alone = subject.ask(seed=7, **drawn)
    others = [subject.request(f"other {n}", seed=n + 100, **drawn) for n in range(5)]
    beside = subject.ask_all([*others[:3], subject.request("mine", seed=7, **drawn), *others[3:]])
    assert beside["mine"].tokens == alone.tokens
    assert len({tuple(answer.tokens) for answer in beside.values()}) == 6


def test_no_seed_no_repetition(subject: Any) -> None:
    answers = subject.ask_all([subject.request(str(n), temperature=1.0) for n in range(4)])
    assert len({tuple(answer.tokens) for answer in answers.values()}) == 4


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}], ids=str)
def test_filters_down_to_one_token_are_greedy(subject: Any, narrow: dict[str, Any]) -> None:
    assert subject.ask(temperature=1.0, **narrow).tokens == subject.ask().tokens


def test_draws_follow_the_temperature(subject: Any) -> None:
    ids = subject.ids()
    probabilities = (subject.rows(ids, [0])[0] / 0.5).softmax(-1)
    likely = int(probabilities.argmax())
    count = 300
    requests = [
        subject.request(str(n), ids, temperature=0.5, seed=n, max_tokens=1, ignore_eos=True)
        for n in range(count)
    ]
    hits = sum(answer.tokens == [likely] for answer in subject.ask_all(requests).values())
    share = float(probabilities[likely])
    spread = (share * (1 - share) / count) ** 0.5
    assert abs(hits / count - share) < 5 * spread


@pytest.mark.parametrize(
    "penalty",
    [
        {"repetition_penalty": 1.5},
        {"frequency_penalty": 1.0},
        {"presence_penalty": 2.0},
        {"repetition_penalty": 1.2, "frequency_penalty": 0.5, "presence_penalty": -0.5},
    ],
    ids=str,
)
def test_penalties(subject: Any, penalty: dict[str, float]) -> None:
    ids = subject.ids("one one one two two three")
    bias = {int(token): 1.5 for token in subject.ask(ids).tokens[:2]}  # likely, so that penalties show
    sampling = {**penalty, "logit_bias": tuple(bias.items()), "max_tokens": STEPS}
    assert subject.ask(ids, **sampling).tokens == penalised(subject, ids, bias, **penalty)


def penalised(subject: Any, ids: Any, bias: dict[int, float], **penalty: float) -> list[int]:
    """Greedy tokens, step by step, by the definitions of the penalties."""
    tokens: list[int] = []
    for _ in range(STEPS):
        with torch.no_grad():
            logits = subject.model(torch.tensor([[*ids, *tokens]])).logits[0, -1].float()
        for token, value in bias.items():
            logits[token] += value
        seen = torch.tensor(sorted({*ids, *tokens}))
        factor = penalty.get("repetition_penalty", 1.0)
        logits[seen] = torch.where(logits[seen] > 0, logits[seen] / factor, logits[seen] * factor)
        for token in set(tokens):
            logits[token] -= penalty.get("frequency_penalty", 0.0) * tokens.count(token)
            logits[token] -= penalty.get("presence_penalty", 0.0)
        tokens.append(int(logits.argmax()))
        if tokens[-1] == subject.tokenizer.eos_token_id:
            break
    return tokens
