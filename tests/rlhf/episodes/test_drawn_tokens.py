"""Drawn tokens stay exact over several turns, and they alone are learned."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from swift.core.config.schema import ModelConfig
from swift.core.models.load import load_tokenizer
from swift.core.types import IGNORE_INDEX, GenerationRequest, TokenDelta
from swift.infer.engines.transformers.engine import TransformersEngine
from swift.plugin import register_engine, register_rollout
from swift.rlhf.logprobs import batch_logprobs
from swift.rlhf.rollout.chat import ChatTokens


def gradients(model: nn.Module) -> list[torch.Tensor]:
    return [value.grad.clone() for value in model.parameters() if value.grad is not None]


@pytest.mark.parametrize("roles", [("user",), ("tool",), ("tool", "tool"), ("tool", "user")])
def test_replies_are_what_the_whole_conversation_would_be_tokenised_to(
    episodes: Any, roles: tuple[str, ...]
) -> None:
    real = load_tokenizer(ModelConfig())
    chat = ChatTokens(real)
    before = [{"role": "system", "content": "Be brief."}, episodes.user("2 + 2?")]
    reply = [{"role": role, "content": f" It's\n{role} <b> 4 "} for role in roles]
    answer = real("Let me see: four", add_special_tokens=False)["input_ids"]
    pieces = [*chat.prompt(before), *answer, real.eos_token_id]
    whole = chat.prompt([*before, {"role": "assistant", "content": "Let me see: four"}, *reply])
    assert [*pieces, *chat.reply(before, reply, real.eos_token_id)] == whole
    open_ended = chat.reply(before, reply, answer[-1])  # not closed by the model: the template closes it
    assert [*pieces[:-1], *open_ended] == whole


def test_drawn_tokens_stay_as_they_were_drawn_and_alone_are_learned(episodes: Any) -> None:
    seen: dict[tuple[str, tuple[int, ...]], tuple[tuple[int, ...], tuple[float, ...]]] = {}

    @register_engine("recording")
    class Recording(TransformersEngine):
        """The real engine; it also keeps what it was asked, what it drew and how likely that was."""

        def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[TokenDelta]:
            asked = {request.request_id: request.prompt_ids for request in requests}
            drawn: dict[str, tuple[tuple[int, ...], tuple[float, ...]]] = dict.fromkeys(asked, ((), ()))
            with_logprobs = [
                dataclasses.replace(one, sampling=dataclasses.replace(one.sampling, logprobs=0))
                for one in requests
            ]
            for delta in super().generate(with_logprobs):
                ids, logprobs = drawn[delta.request_id]
                drawn[delta.request_id] = (ids + delta.token_ids, logprobs + (delta.logprobs or ()))
                yield delta
            seen.update({(name, asked[name]): value for name, value in drawn.items()})

    register_rollout("again")(episodes.again(2))
    model = episodes.model()
    objective = episodes.build(engine="recording", rollout="again", temperature=1.0)
    batch = episodes.gather(objective, model)
    objective.close()
    with torch.no_grad():
        fresh = batch_logprobs(model, {key: batch[key] for key in ("input_ids", "attention_mask", "labels")})
    several = 0
    for row, labels in enumerate(batch["labels"]):
        ids = batch["input_ids"][row][batch["attention_mask"][row].bool()].tolist()
        learned = (labels[: len(ids)] != IGNORE_INDEX).tolist()
        place, turns = learned.index(True), 0
        while place < len(ids):
            drawn, logprobs = seen[str(row), tuple(ids[:place])]
            end = place + len(drawn)
            assert tuple(ids[place:end]) == drawn
            assert all(learned[place:end])
            assert fresh.values[row, place - 1 : end - 1].tolist() == pytest.approx(logprobs, abs=1e-5)
            turns += 1
            if end < len(ids):
                assert episodes.tokenizer.decode(ids[end : end + 5]) == f"<u>{turns - 1}!<e><a>"
                assert not any(learned[end : end + 5])
            place = end + 5
        several += turns == 3
    assert several >= 2, "most episodes have several turns"


def test_one_turn_is_bit_for_bit_a_rollout_without_environment(episodes: Any) -> None:
    register_rollout("once")(episodes.again(0))
    results = []
    choices: tuple[dict[str, Any], ...] = ({}, {"rollout": "once"})
    for settings in choices:
        model = episodes.model()
        objective = episodes.build(beta=0.1, num_iterations=2, gamma=0.9, **settings)
        batch = episodes.gather(objective, model, step=3)
        output = objective.loss(model, batch, objective.count(batch))
        torch.autograd.backward(output.loss)
        results.append((batch, output.loss, gradients(model)))
        objective.close()
    (plain, plain_loss, plain_grads), (turned, turned_loss, turned_grads) = results
    for name in ("input_ids", "labels", "attention_mask", "advantages", "old_logps", "reference_logps"):
        assert torch.equal(plain[name], turned[name]), name
    assert torch.equal(plain_loss, turned_loss)
    assert all(torch.equal(a, b) for a, b in zip(plain_grads, turned_grads, strict=True))


def test_replies_take_no_part_in_the_loss(episodes: Any) -> None:
    """Advantages, old and reference log-probabilities at replies do not change loss or gradient."""
    register_rollout("again")(episodes.again(2))
    model = episodes.model()
    objective = episodes.build(rollout="again", beta=0.1, num_iterations=2, gamma=0.9, loss_type="dapo")
    batch = episodes.gather(objective, model)
    objective.close()
    learned = batch["labels"][:, 1:] != IGNORE_INDEX
    assert int(objective.count(batch)) == int(learned.sum())
    assert (batch["advantages"][~learned] == 0).all()
    results = []
    for noise in (0.0, 7.0):
        changed = dict(batch)
        for name in ("advantages", "old_logps", "reference_logps"):
            changed[name] = batch[name] + noise * ~learned
        model.zero_grad()
        loss = objective.loss(model, changed, objective.count(changed)).loss
        torch.autograd.backward(loss)
        results.append((loss.item(), gradients(model)))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-7)
    for one, other in zip(results[0][1], results[1][1], strict=True):
        assert torch.allclose(one, other, atol=1e-7)
    # the discount counts drawn tokens only: the last has the whole advantage, the first gamma^(n - 1) of it
    for advantages, mask in zip(batch["advantages"], learned, strict=True):
        values = advantages[mask]
        expected = values[-1] * 0.9 ** torch.arange(len(values) - 1, -1, -1)
        assert torch.allclose(values, expected)
