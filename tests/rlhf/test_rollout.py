"""Roll-outs with the real engine: repeatable, in the batch's order, kept for several updates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from swift.core.config.schema import ModelConfig
from swift.core.errors import EngineError, RegistryError
from swift.core.models.load import load_model, load_tokenizer
from swift.core.train.context import ObjectiveContext
from swift.core.train.evaluate import evaluation_mode
from swift.core.types import Encoded, GenerationRequest, SamplingParams, TokenDelta
from swift.rlhf.objectives.grpo.config import GRPOConfig
from swift.rlhf.objectives.grpo.objective import GRPOObjective
from swift.rlhf.rollout import request_seed, roll_out

PROMPTS = [[5, 6, 7], [8, 9], [10, 11, 12, 13]]
LONGEST = 6


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(ModelConfig())


def load() -> nn.Module:
    loaded: nn.Module = load_model(ModelConfig(), dtype=torch.float32, device="cpu")
    return loaded


@pytest.fixture
def model() -> nn.Module:
    return load().train()


def lengths(prompts: Sequence[Any], completions: Sequence[str], **columns: Any) -> list[float]:
    """Something that differs between completions."""
    return [float(len(set(text))) for text in completions]


def build(
    tokenizer: Any, rewards: dict[str, Any] | None = None, rank: int = 0, **settings: Any
) -> GRPOObjective:
    rewards = rewards or {"letters": lengths}
    values = {"reward_funcs": list(rewards), "num_generations": 4, "max_completion_length": LONGEST}
    context = ObjectiveContext(
        tokenizer,
        ModelConfig(),
        lambda: load_model(ModelConfig(), dtype=torch.float32, device="cpu"),
        rank=rank,
    )
    return GRPOObjective(GRPOConfig(**{**values, **settings}), context, rewards=rewards)


@pytest.fixture
def objective(tokenizer: Any) -> Iterator[GRPOObjective]:
    made = build(tokenizer, num_iterations=2, beta=0.1)
    yield made
    made.close()


def batches(objective: GRPOObjective, columns: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    examples = [
        Encoded(
            np.asarray(ids, np.int32),
            np.full(len(ids), -100, np.int32),
            columns=columns or {"answer": str(row)},
        )
        for row, ids in enumerate(PROMPTS)
    ]
    return [objective.collate(examples[:2]), objective.collate(examples[2:])]


def test_completions_follow_their_prompts(objective: GRPOObjective, model: nn.Module) -> None:
    ready = objective.prepare(model, batches(objective), 0)
    assert [len(batch["input_ids"]) for batch in ready] == [8, 4]
    rows = [row for batch in ready for row in zip(batch["input_ids"], batch["labels"], strict=True)]
    for index, (ids, labels) in enumerate(rows):
        prompt = PROMPTS[index // 4]
        assert ids[: len(prompt)].tolist() == prompt
        assert (labels[: len(prompt)] == -100).all()
        learned = labels[labels != -100]
        assert 1 <= len(learned) <= LONGEST
        assert learned.tolist() == ids[len(prompt) : len(prompt) + len(learned)].tolist()
    assert model.training, "the trainer's mode is given back"
    assert len({tuple(ids.tolist()) for ids, _ in rows[:4]}) > 1, "completions of one prompt differ"


def test_log_probabilities_before_training_are_equal(objective: GRPOObjective, model: nn.Module) -> None:
    ready = objective.prepare(model, batches(objective), 0)
    for batch in ready:
        output = objective.loss(model, batch, objective.count(batch))
        ratio_one = batch["old_logps"], batch["reference_logps"]
        assert torch.allclose(*ratio_one, atol=1e-5), "nothing has been trained yet"
        assert float(output.metrics["kl"].total) == pytest.approx(0.0, abs=1e-4)
        assert float(output.metrics["entropy"].total / output.metrics["entropy"].count) > 1.0


def test_a_step_repeats_its_roll_outs_and_no_other_steps(tokenizer: Any, model: nn.Module) -> None:
    drawn: list[list[Any]] = []
    for step, rank in ((3, 0), (3, 0), (4, 0), (3, 1)):
        objective = build(tokenizer, rank=rank)
        torch.manual_seed(step + 10 * len(drawn))  # the global random state must not matter
        ready = objective.prepare(model, batches(objective), step)
        drawn.append([batch["input_ids"].tolist() for batch in ready])
        objective.close()
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert drawn[0] != drawn[3]


def update(objective: GRPOObjective, model: nn.Module, step: int, lr: float = 0.5) -> dict[str, float]:
    ready = objective.prepare(model, batches(objective), step)
    count = torch.stack([objective.count(batch) for batch in ready]).sum()
    sums: dict[str, float] = {}
    for batch in ready:
        output = objective.loss(model, batch, count)
        torch.autograd.backward(output.loss)
        sums["loss"] = sums.get("loss", 0.0) + output.loss.item()
        for name, metric in output.metrics.items():
            sums[name] = sums.get(name, 0.0) + float(metric.total)
    with torch.no_grad():
        for value in model.parameters():
            assert value.grad is not None
            value.sub_(lr * value.grad)
            value.grad = None
    return sums


def test_two_updates_share_roll_outs_and_clip(objective: GRPOObjective, model: nn.Module) -> None:
    first = update(objective, model, 0)
    kept = objective.prepare(model, batches(objective), 1)
    with evaluation_mode(model):  # an evaluation in between must not disturb what is kept
        (evaluated,) = objective.prepare(model, batches(objective)[:1], 0)
    assert evaluated is not kept[0]
    assert objective.prepare(model, batches(objective), 1) is kept
    second = update(objective, model, 1)
    assert first["clip_ratio/low"] + first["clip_ratio/high"] == 0
    assert second["clip_ratio/low"] + second["clip_ratio/high"] > 0
    assert second["reward"] == first["reward"]
    assert second["kl"] > first["kl"]
    third = objective.prepare(model, batches(objective), 2)
    assert third is not kept


def test_a_resumed_objective_goes_on_with_the_kept_roll_outs(
    objective: GRPOObjective, model: nn.Module, tokenizer: Any, tmp_path: Any
) -> None:
    update(objective, model, 0)
    torch.save(objective.state_dict(), tmp_path / "objective.pt")
    resumed = build(tokenizer, num_iterations=2, beta=0.1)
    resumed.load_state_dict(torch.load(tmp_path / "objective.pt", weights_only=True))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    uninterrupted = update(objective, model, 1)
    after = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(weights)
    assert update(resumed, model, 1) == uninterrupted
    assert all(torch.equal(value, after[name]) for name, value in model.state_dict().items())
    resumed.close()


def test_rewards_read_turns_texts_and_columns(tokenizer: Any, model: nn.Module) -> None:
    seen: dict[str, Any] = {}

    def spy(prompts: list[Any], completions: list[str], **columns: Any) -> list[float]:
        seen.update(prompts=prompts, completions=completions, **columns)
        return [float(index % 4) for index in range(len(completions))]

    objective = build(tokenizer, {"spy": spy}, reward_weights=[2.0])
    turns = [{"role": "user", "content": "?"}]
    ready = objective.prepare(model, batches(objective, {"answer": "x", "messages": turns}), 0)
    objective.close()
    assert seen["prompts"] == [turns] * 12
    assert seen["answer"] == ["x"] * 12
    assert "messages" not in seen
    texts = [
        tokenizer.decode(labels[labels != -100], skip_special_tokens=True) for labels in ready[0]["labels"]
    ]
    assert seen["completions"][:8] == texts
    deviation = torch.tensor([0.0, 2.0, 4.0, 6.0]).std() + 1e-4
    expected = (torch.tensor([-3.0, -1.0, 1.0, 3.0]) / deviation).repeat(2)
    for advantages, value in zip(ready[0]["advantages"], expected, strict=True):
        assert advantages[advantages != 0].unique().tolist() == pytest.approx([value.item()])


def test_groups_without_differences_are_counted_and_explained(
    tokenizer: Any, model: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    objective = build(
        tokenizer, {"constant": lambda prompts, completions, **columns: [1.0] * len(completions)}
    )
    for step in range(2):
        ready = objective.prepare(model, batches(objective), step)
        output = objective.loss(model, ready[0], objective.count(ready[0]))
        share = output.metrics["frac_reward_zero_std"]
        assert float(share.total / share.count) == 1.0
        assert output.loss.item() == 0.0
    objective.close()
    assert capsys.readouterr().err.count("within each of 3 groups all rewards are equal (mean 1)") == 1


def test_metrics_of_roll_outs(tokenizer: Any, model: nn.Module) -> None:
    objective = build(tokenizer, {"letters": lengths, "exact_match": lambda p, c, **k: [0.0] * len(c)})
    (batch, _) = objective.prepare(model, batches(objective), 0)
    metrics = objective.loss(model, batch, torch.tensor(1.0)).metrics
    objective.close()
    means = {name: float(metric.total / metric.count) for name, metric in metrics.items()}
    learned = (batch["labels"] != -100).sum(-1).float()
    assert means["completion_length"] == pytest.approx(learned.mean().item())
    assert means["reward"] == pytest.approx(means["rewards/letters"])
    assert means["rewards/exact_match"] == 0.0
    assert means["reward_std"] > 0
    assert 0 < means["completion_clipped"] <= 1
    assert "kl" not in means


def test_unknown_engine(tokenizer: Any, model: nn.Module) -> None:
    objective = build(tokenizer)
    sampler = objective.experience.sampler
    context = sampler.context
    sampler.context = ObjectiveContext(**{**vars_of(context), "engine_name": "transformer"})
    with pytest.raises(RegistryError, match="transformer"):
        objective.prepare(model, batches(objective), 0)


def vars_of(context: ObjectiveContext) -> dict[str, Any]:
    return {name: getattr(context, name) for name in context.__dataclass_fields__}


class BrokenEngine:
    """Ends requests in the ways that must not pass for an answer."""

    def __init__(self, deltas: list[TokenDelta]) -> None:
        self.deltas = deltas

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[TokenDelta]:
        yield from self.deltas


@pytest.mark.parametrize(
    ("deltas", "message"),
    [
        ([TokenDelta("0", finish_reason="error", error="too long")], "roll-out 0 failed: too long"),
        ([TokenDelta("0", (1,), finish_reason="stop")], "left 1 of 2 roll-outs unfinished"),
        ([TokenDelta("1", finish_reason="abort")], "roll-out 1 failed: abort"),
    ],
)
def test_failed_requests_are_errors(deltas: list[TokenDelta], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        roll_out(BrokenEngine(deltas), [[1]], 2, SamplingParams(), seed=0, step=0)  # type: ignore[arg-type]


def test_request_seeds_are_distinct_and_fixed() -> None:
    seeds = {
        request_seed(seed, step, index) for seed in range(3) for step in range(10) for index in range(40)
    }
    assert len(seeds) == 1200
    assert request_seed(42, 0, 0) == request_seed(42, 0, 0) < 2**31
