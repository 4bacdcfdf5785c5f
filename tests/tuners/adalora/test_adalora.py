"""AdaLoRA: fewer triplets as training goes on, an orthogonal penalty, and what a checkpoint knows of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from swift.core.errors import ConfigError, ModelError
from swift.tuners import apply_tuner, load_tuner, merge_tuner, switch_adapter
from swift.tuners.adalora.allocation import RankAllocation
from swift.tuners.adalora.config import AdaloraConfig
from swift.tuners.adalora.tuner import AdaloraTuner

TOKENS = torch.arange(24).reshape(2, 12) % 64


def build() -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model.eval()(input_ids=TOKENS).logits
    return result


class Run:
    """As much of a trainer as the callback looks at, and the steps it would take."""

    def __init__(self, tuner: AdaloraTuner, model: Any, steps: int) -> None:
        self.model, self.tuner, self.accelerator, self.steps = model, tuner, self, steps
        self.taken = 0
        (self.callback,) = tuner.callbacks()
        assert isinstance(self.callback, RankAllocation)
        self.callback.trainer = self  # type: ignore[assignment]
        self.optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)

    def unwrap_model(self, model: Any) -> Any:
        return model

    def state(self) -> transformers.TrainerState:
        return transformers.TrainerState(max_steps=self.steps, global_step=self.taken)

    def train(self, until: int) -> list[float]:
        losses = []
        self.callback.on_train_begin(None, self.state(), None)
        while self.taken < until:
            self.optimizer.zero_grad()
            value = self.model.train()(input_ids=TOKENS).logits
            loss = torch.nn.functional.cross_entropy(value[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten())
            (loss + (self.tuner.penalty(self.model) or 0.0)).backward()  # type: ignore[operator]
            self.optimizer.step()
            self.callback.on_optimizer_step(None, self.state(), None)
            self.taken += 1
            losses.append(loss.item())
        return losses


def triplets(model: Any) -> int:
    return sum(int((value != 0).sum()) for name, value in model.named_parameters() if "lora_E" in name)


def start(steps: int = 10, **settings: Any) -> Run:
    tuner = AdaloraTuner(AdaloraConfig(init_r=4, target_r=2, **settings))
    return Run(tuner, tuner.apply(build()), steps)


def test_triplets_fall_to_the_target_by_the_runs_own_steps() -> None:
    run = start()
    layers = 14
    losses = run.train(1)
    assert triplets(run.model) == 4 * layers
    run.train(5)
    assert 2 * layers < triplets(run.model) < 4 * layers
    losses += run.train(10)
    assert triplets(run.model) == 2 * layers
    ranks = {name: int((v != 0).sum()) for name, v in run.model.named_parameters() if "lora_E" in name}
    assert len(set(ranks.values())) > 1, "layers that need it keep more"
    assert losses[-1] < losses[0]


def test_the_penalty_is_that_of_peft() -> None:
    run = start(orth_reg_weight=0.3)
    expected = run.model(input_ids=TOKENS, labels=TOKENS).loss - _plain_loss(run.model)
    penalty = run.tuner.penalty(run.model)
    assert penalty is not None
    assert penalty.item() == pytest.approx(expected.item(), abs=1e-5)
    assert start(orth_reg_weight=0.0).tuner.penalty(run.model) is not None, "the model's own setting counts"


def _plain_loss(model: Any) -> torch.Tensor:
    loss: torch.Tensor = model.get_base_model()(input_ids=TOKENS, labels=TOKENS).loss
    return loss


@pytest.mark.parametrize("saved_at", [5, 9], ids=["while ranks fall", "when they are settled"])
def test_a_resumed_run_goes_on_to_the_same_weights(saved_at: int, tmp_path: Path) -> None:
    straight = start()
    straight.train(saved_at)
    straight.tuner.save(straight.model, tmp_path)
    torch.save(straight.callback.state_dict(), tmp_path / "callbacks.pt")
    straight.train(10)

    resumed = start()
    assert resumed.tuner.restore(resumed.model, tmp_path)
    resumed.callback.load_state_dict(torch.load(tmp_path / "callbacks.pt", weights_only=True))
    resumed.taken = saved_at
    resumed.train(10)
    expected = dict(straight.model.named_parameters())
    for name, value in resumed.model.named_parameters():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("steps", [11, 12, 20])
def test_a_finished_run_goes_on_longer_with_its_ranks(steps: int, tmp_path: Path) -> None:
    short = start()
    short.train(10)
    kept = triplets(short.model)
    short.tuner.save(short.model, tmp_path)
    longer = start(steps=steps)
    assert longer.tuner.restore(longer.model, tmp_path)
    longer.callback.load_state_dict(short.callback.state_dict())
    longer.taken = 10
    assert len(longer.train(steps)) == steps - 10
    assert triplets(longer.model) == kept


def test_saved_loaded_and_merged(tmp_path: Path) -> None:
    run = start()
    run.train(10)
    expected = logits(run.model)
    run.tuner.save(run.model, tmp_path)
    assert torch.equal(logits(load_tuner(build(), tmp_path)), expected)
    assert torch.equal(logits(peft.PeftModel.from_pretrained(build(), str(tmp_path))), expected)
    going_on = run.tuner.load(build(), tmp_path, trainable=True)
    assert any(value.requires_grad for value in going_on.parameters())
    assert torch.allclose(logits(merge_tuner(run.model)), expected, atol=1e-5)


def test_the_newest_of_two_adapters_trains() -> None:
    run = start()
    run.train(10)
    first = logits(run.model)
    model = apply_tuner(run.model, "adalora", adapter_name="second", init_r=4, target_r=2)
    moving = [name for name, value in model.named_parameters() if value.requires_grad]
    assert moving and all(".second" in name for name in moving)
    other = Run(run.tuner, model, 10)
    other.train(10)
    assert not torch.equal(logits(model), first)
    switch_adapter(model, "default")
    assert torch.equal(logits(model), first)


def test_schedules_and_ranks_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="target_r 4 must be below init_r 4"):
        apply_tuner(build(), "adalora", init_r=4, target_r=4)
    with pytest.raises(ModelError, match="init_r 40 exceeds"):
        apply_tuner(build(), "adalora", init_r=40)
    with pytest.raises(ConfigError, match=r"tinit=5 and train\.tfinal=5 leave none of 10 steps"):
        start(tinit=5, tfinal=5).train(1)
