"""DPO: its loss equals TRL's, its reference is the policy at the start."""

from __future__ import annotations

import contextlib
import copy
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from swift.core.config.schema import ModelConfig
from swift.core.errors import ConfigError, DataError
from swift.core.train.context import ObjectiveContext
from swift.core.types import Encoded
from swift.rlhf.objectives.dpo.config import DPOConfig
from swift.rlhf.objectives.dpo.objective import DPOObjective

VOCABULARY = 13


def refuse_to_load() -> nn.Module:
    raise AssertionError("no reference copy is needed here")


def context(load_reference: Callable[[], nn.Module] = refuse_to_load, **model: Any) -> ObjectiveContext:
    tokenizer = SimpleNamespace(pad_token_id=0)
    return ObjectiveContext(tokenizer, ModelConfig(**model), load_reference)


def pair(prompt: list[int], chosen: list[int], rejected: list[int]) -> Encoded:
    def sample(answer: list[int]) -> Encoded:
        labels = [-100] * len(prompt) + answer
        return Encoded(np.asarray(prompt + answer, np.int32), np.asarray(labels, np.int32))

    result = sample(chosen)
    result.rejected = sample(rejected)
    return result


PAIRS = [pair([1, 2], [3, 4, 5], [6, 7]), pair([8], [9], [10, 11, 12, 3]), pair([2, 2, 2], [4, 4], [5, 5])]


def tiny() -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=32,
        )
    )  # fmt: skip
    return model.eval()


class Table(nn.Module):
    """Logits looked up by position, for gradients that can be compared one by one."""

    def __init__(self, logits_BTV: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits_BTV)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: Tensor, use_cache: bool
    ) -> Any:
        return SimpleNamespace(logits=self.logits[:, logits_to_keep])


def trl_loss(batch: dict[str, Tensor], logits: Tensor, reference: Tensor, beta: float) -> tuple[Tensor, Any]:
    """TRL's own DPO loss of the same logits."""
    from trl.trainer import dpo_trainer

    class Policy(nn.Module):
        def __init__(self, table: Tensor) -> None:
            super().__init__()
            self.table = table

        def forward(self, labels: Tensor, **ignored: Any) -> Any:
            shifted = labels[:, 1:]
            logps = self.table.log_softmax(-1)[:, :-1].gather(2, shifted.clamp(min=0)[..., None])[..., 0]
            zeros = torch.zeros_like(logps)
            kept = torch.where(shifted != -100, logps, zeros)
            return SimpleNamespace(log_probs=kept, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())

    policy = Policy(logits)
    trainer = SimpleNamespace(
        model=policy, ref_model=Policy(reference), accelerator=SimpleNamespace(
            device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x
        ),
        aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=False, f_divergence_type="reverse_kl",
        loss_types=["sigmoid"], loss_weights=[1.0], beta=beta, label_smoothing=0.0, use_weighting=False,
        args=SimpleNamespace(gradient_checkpointing_kwargs=None), _metrics={"train": defaultdict(list)},
        _total_train_tokens=0, _tp_size=1,
    )  # fmt: skip
    inputs = {
        "input_ids": batch["input_ids"],
        "attention_mask": batch["attention_mask"],
        "completion_mask": (batch["labels"] != -100).long(),
    }
    with pytest.MonkeyPatch.context() as patch:
        untouched = contextlib.nullcontext
        patch.setattr(dpo_trainer, "disable_gradient_checkpointing", lambda model, kwargs: untouched())
        loss = dpo_trainer.DPOTrainer._compute_loss(trainer, policy, inputs, False)
    return loss, trainer._metrics["train"]


@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_loss_gradient_and_metrics_equal_trl(beta: float) -> None:
    torch.manual_seed(0)
    rows, reference = torch.randn(6, 6, VOCABULARY), torch.randn(6, 6, VOCABULARY)
    objective = DPOObjective(DPOConfig(beta=beta), context(lambda: Table(reference)))
    batch = objective.collate(PAIRS)
    assert batch["input_ids"].shape == (6, 5)
    model = Table(rows[:, :5].clone())
    objective.reference.load = lambda: Table(reference[:, :5])
    (ready,) = objective.prepare(model, [batch], 0)
    output = objective.loss(model, ready, objective.count(ready))
    torch.autograd.backward(output.loss)

    logits = rows[:, :5].clone().requires_grad_()
    expected, metrics = trl_loss(batch, logits, reference[:, :5], beta)
    torch.autograd.backward(expected)
    assert output.loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert model.logits.grad is not None
    assert logits.grad is not None
    assert (model.logits.grad - logits.grad).abs().max() <= 1e-6
    assert logits.grad.abs().max() > 1e-3
    ours = {name: float(metric.total / metric.count) for name, metric in output.metrics.items()}
    assert ours["rewards/accuracy"] == pytest.approx(metrics["rewards/accuracies"][0])
    assert ours["rewards/margin"] == pytest.approx(metrics["rewards/margins"][0], abs=1e-5)
    assert ours["rewards/chosen"] == pytest.approx(metrics["rewards/chosen"][0], abs=1e-5)


def test_micro_batches_add_up_to_the_whole_step() -> None:
    model, start = tiny(), copy.deepcopy(tiny()).requires_grad_(False)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.05)
    objective = DPOObjective(DPOConfig(), context(lambda: start))
    whole = objective.prepare(model, [objective.collate(PAIRS)], 0)
    parts = objective.prepare(model, [objective.collate(PAIRS[:1]), objective.collate(PAIRS[1:])], 0)
    count = torch.stack([objective.count(batch) for batch in parts]).sum()
    assert count == 3
    together = objective.loss(model, whole[0], count).loss
    summed = torch.stack([objective.loss(model, batch, count).loss for batch in parts]).sum()
    assert summed.item() == pytest.approx(together.item(), abs=1e-6)


def test_the_reference_of_a_fresh_adapter_is_its_base() -> None:
    from swift.tuners import apply_tuner

    base = tiny()
    adapted = apply_tuner(copy.deepcopy(base), "lora", lora_rank=4)
    for name, value in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(value, std=0.5)
    by_switch = DPOObjective(DPOConfig(), context())
    by_copy = DPOObjective(DPOConfig(), context(lambda: base, ref_model_id="elsewhere"))
    batch = by_switch.collate(PAIRS)
    (switched,) = by_switch.prepare(adapted.train(), [batch], 0)
    (copied,) = by_copy.prepare(adapted, [batch], 0)
    assert torch.allclose(switched["reference_logps"], copied["reference_logps"], atol=1e-6)
    assert not switched["reference_logps"].requires_grad
    assert adapted.training
    loss = by_switch.loss(adapted, switched, torch.tensor(3)).loss
    assert loss.item() != pytest.approx(np.log(2), abs=1e-3), "the adapter is on again"


def test_an_adapter_to_start_from_is_part_of_the_reference() -> None:
    from swift.tuners import apply_tuner

    asked = []

    def load() -> nn.Module:
        asked.append(1)
        return tiny()

    objective = DPOObjective(DPOConfig(), context(load, adapter="started/from"))
    adapted = apply_tuner(tiny(), "lora", lora_rank=4)
    for _ in range(2):
        objective.prepare(adapted, [objective.collate(PAIRS)], 0)
    assert asked == [1], "the copy is loaded, once"


def test_training_prefers_the_chosen_answers() -> None:
    model = tiny()
    start = copy.deepcopy(model).requires_grad_(False)
    objective = DPOObjective(DPOConfig(), context(lambda: start))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    results = []
    for step in range(20):
        (batch,) = objective.prepare(model, [objective.collate(PAIRS)], step)
        output = objective.loss(model.train(), batch, objective.count(batch))
        torch.autograd.backward(output.loss)
        optimizer.step()
        optimizer.zero_grad()
        margin = output.metrics["rewards/margin"]
        results.append((output.loss.item(), float(margin.total / margin.count)))
    assert results[0][0] == pytest.approx(np.log(2), abs=1e-6)
    assert results[0][1] == pytest.approx(0.0, abs=1e-6)
    assert results[-1][0] < 0.4
    assert results[-1][1] > 0.5


def test_rows_without_a_rejected_answer_are_refused() -> None:
    row = Encoded(np.zeros(2, np.int32), np.zeros(2, np.int32), origin="pairs.jsonl:7")
    with pytest.raises(DataError, match=r"pairs.jsonl:7: no rejected answer"):
        DPOObjective(DPOConfig(), context()).collate([PAIRS[0], row])


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="dpo knows sigmoid"):
        DPOConfig(loss_type="sigmod")
    with pytest.raises(ValidationError):
        DPOConfig(beta=0.0)
    flat = ObjectiveContext(SimpleNamespace(pad_token_id=0), ModelConfig(), refuse_to_load, flat=True)
    with pytest.raises(ConfigError, match="padded rows"):
        DPOObjective(DPOConfig(), flat)
