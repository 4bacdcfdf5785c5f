"""GRPO's loss equals TRL's for every loss type, with and without clipping and KL."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from swift.core.config.schema import ModelConfig
from swift.core.errors import ConfigError
from swift.core.train.context import ObjectiveContext
from swift.rlhf.advantage.discount import discounted
from swift.rlhf.logprobs import learned
from swift.rlhf.objectives.grpo.config import GRPOConfig
from swift.rlhf.objectives.grpo.objective import GRPOObjective

ROWS, PROMPT, COMPLETION, VOCABULARY = 4, 3, 6, 11
LENGTHS = ([6, 2, 4, 1], [3, 3, 5, 6])
EPSILON, EPSILON_HIGH = 0.2, 0.28


class Table(nn.Module):
    """Logits looked up by position, for gradients that can be compared one by one."""

    def __init__(self, logits_BTV: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits_BTV)

    def forward(self, logits_to_keep: Tensor, **ignored: Any) -> Any:
        return SimpleNamespace(logits=self.logits[:, logits_to_keep])


def context() -> ObjectiveContext:
    return ObjectiveContext(SimpleNamespace(pad_token_id=0), ModelConfig(), lambda: nn.Identity())


def objective(**settings: Any) -> GRPOObjective:
    config = GRPOConfig(reward_funcs=["mine"], max_completion_length=COMPLETION, **settings)
    return GRPOObjective(config, context(), rewards={"mine": lambda prompts, completions, **columns: [0.0]})


def micro_batch(lengths: list[int], seed: int) -> dict[str, Any]:
    """A prepared batch whose old and reference policies are far enough away for clipping to bite."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(VOCABULARY, (ROWS, PROMPT + COMPLETION), generator=generator)
    mask = torch.arange(COMPLETION) < torch.tensor(lengths)[:, None]
    labels = ids.masked_fill(~torch.cat([torch.zeros(ROWS, PROMPT, dtype=torch.bool), mask], 1), -100)
    noise = torch.randn(2, ROWS, PROMPT + COMPLETION - 1, generator=generator) * 0.4
    logits = torch.randn(ROWS, PROMPT + COMPLETION, VOCABULARY, generator=generator)
    logps = logits.log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
    advantages = torch.randn(ROWS, generator=generator)
    batch = {"input_ids": ids, "labels": labels, "row_metrics": {}, "logits": logits, "per_row": advantages}
    batch["advantages"] = discounted(advantages, learned(batch), 1.0)
    batch["old_logps"] = (logps + noise[0]) * learned(batch)
    batch["reference_logps"] = (logps + noise[1]) * learned(batch)
    return batch


def trl_loss(
    batch: dict[str, Any], logits: Tensor, loss_type: str, beta: float, tokens: int
) -> tuple[Tensor, dict[str, list[float]]]:
    """TRL's own loss of one of two accumulated micro-batches."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    ids, completion = batch["input_ids"], slice(PROMPT - 1, None)
    logps = logits.log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0][:, completion]
    mask = learned(batch)[:, completion].long()
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *a, **k: (logps, torch.zeros_like(logps), None),
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None,
        importance_sampling_level="token", beta=beta, loss_type=loss_type, use_vllm=False,
        epsilon_low=EPSILON, epsilon_high=EPSILON_HIGH, model=SimpleNamespace(training=True),
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=2),
        current_gradient_accumulation_steps=2, max_completion_length=COMPLETION,
        _entropy_bonus_enabled=False, _metrics={"train": defaultdict(list)},
        accelerator=SimpleNamespace(
            num_processes=1, gather=lambda value: value, reduce=lambda value, reduction: value
        ),
    )  # fmt: skip
    inputs = {
        "prompt_ids": ids[:, :PROMPT], "completion_ids": ids[:, PROMPT:],
        "prompt_mask": torch.ones(ROWS, PROMPT),
        "completion_mask": mask, "advantages": batch["per_row"], "num_items_in_batch": torch.tensor(tokens),
        "old_per_token_logps": batch["old_logps"][:, completion],
        "ref_per_token_logps": batch["reference_logps"][:, completion],
    }  # fmt: skip
    return GRPOTrainer._compute_loss(trainer, None, inputs), trainer._metrics["train"]


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dapo", "dr_grpo"])
def test_accumulated_loss_and_gradient_equal_trl(loss_type: str, beta: float) -> None:
    ours = objective(loss_type=loss_type, beta=beta, epsilon=EPSILON, epsilon_high=EPSILON_HIGH)
    batches = [micro_batch(lengths, seed) for seed, lengths in enumerate(LENGTHS)]
    count = torch.stack([ours.count(batch) for batch in batches]).sum()
    tokens = sum(map(sum, LENGTHS))
    clipped_share = 0.0
    for batch in batches:
        model = Table(batch["logits"].clone())
        output = ours.loss(model, {k: v for k, v in batch.items() if k not in ("logits", "per_row")}, count)
        torch.autograd.backward(output.loss)
        logits = batch["logits"].clone().requires_grad_()
        expected, metrics = trl_loss(batch, logits, loss_type, beta, tokens)
        torch.autograd.backward(expected)
        assert abs(output.loss.item() - expected.item()) <= 1e-7
        assert model.logits.grad is not None
        assert logits.grad is not None
        assert (model.logits.grad - logits.grad).abs().max() <= 1e-7
        assert logits.grad.abs().max() > 1e-3
        means = {name: float(metric.total / metric.count) for name, metric in output.metrics.items()}
        for side in ("low", "high"):
            assert means[f"clip_ratio/{side}"] == pytest.approx(metrics[f"clip_ratio/{side}_mean"][0])
        if beta:
            assert means["kl"] == pytest.approx(metrics["kl"][0], rel=1e-5)
        clipped_share += means["clip_ratio/low"] + means["clip_ratio/high"]
    assert clipped_share > 0.1, "the comparison must reach the clipped region"


def test_one_update_has_ratio_one_and_the_policy_gradient() -> None:
    ours = objective()
    batch = micro_batch(LENGTHS[0], 0)
    logits, _ = batch.pop("logits"), batch.pop("per_row")
    del batch["old_logps"]
    model = Table(logits.clone())
    output = ours.loss(model, batch, ours.count(batch))
    torch.autograd.backward(output.loss)
    assert float(output.metrics["clip_ratio/low"].total) == 0.0
    plain = logits.clone().requires_grad_()
    logps = plain.log_softmax(-1)[:, :-1].gather(2, batch["input_ids"][:, 1:, None])[..., 0]
    mask = learned(batch)
    torch.autograd.backward((-(logps * batch["advantages"] * mask).sum(-1) / mask.sum(-1)).mean())
    assert model.logits.grad is not None
    assert plain.grad is not None
    assert torch.allclose(model.logits.grad, plain.grad, atol=1e-7)


def test_temperature_enters_the_log_probabilities() -> None:
    batch = micro_batch(LENGTHS[0], 0)
    logits, _ = batch.pop("logits"), batch.pop("per_row")
    batch["old_logps"] = torch.zeros_like(batch["old_logps"])
    warm = objective(temperature=0.5).loss(Table(logits), batch, torch.tensor(1.0)).loss
    same = objective().loss(Table(logits / 0.5), batch, torch.tensor(1.0)).loss
    cold = objective().loss(Table(logits), batch, torch.tensor(1.0)).loss
    assert warm.item() == pytest.approx(same.item(), abs=1e-6)
    assert warm.item() != pytest.approx(cold.item(), abs=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_p": 0.9}, "another distribution"),
        ({"top_k": 20}, "another distribution"),
        ({"loss_type": "grop"}, "grpo knows grpo, bnpo, dapo, dr_grpo"),
        ({"reward_weights": [1.0, 2.0]}, "2 reward_weights for 1 reward_funcs"),
        ({"num_generations": 1}, "at least 2"),
        ({"reward_funcs": []}, "at least one reward"),
        ({"reward_funcs": ["mine", "mine"]}, "named twice"),
        ({"temperature": 0.0}, "greater than 0"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GRPOConfig(**{"reward_funcs": ["mine"], **settings})


def test_a_missing_reward_is_asked_for() -> None:
    with pytest.raises(ValidationError, match="name at least one reward"):
        GRPOConfig()


def test_flat_batches_are_refused() -> None:
    flat = ObjectiveContext(SimpleNamespace(pad_token_id=0), ModelConfig(), nn.Identity, flat=True)
    with pytest.raises(ConfigError, match="padded rows"):
        GRPOObjective(GRPOConfig(reward_funcs=["exact_match"]), flat)
