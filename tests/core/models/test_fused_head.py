"""A head that answers with losses: where it is put, what it leaves as it was, and that losses stay equal."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GraniteConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from swift.core.config.run import run_from_dict
from swift.core.models.fused_head import FusedHead, Question, fuse_head, fused_head
from swift.core.objectives.logits import logits_at, losses_at
from swift.core.train.run import train_in_process

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
}
TIED, UNTIED = {"tie_word_embeddings": True}, {"tie_word_embeddings": False}
ARCHITECTURES = {
    "llama": LlamaConfig(**SIZES, **UNTIED),
    "tied": LlamaConfig(**SIZES, **TIED),
    "softcap": Gemma2Config(**SIZES, **TIED, final_logit_softcapping=2.0),
    "logit_scale": CohereConfig(**SIZES, **TIED, logit_scale=3.0),
    "logits_scaling": GraniteConfig(**SIZES, **UNTIED, logits_scaling=0.2),
}


def build(config: PreTrainedConfig) -> PreTrainedModel:
    """A small model with random weights, and logits that are no near zeros."""
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(copy.deepcopy(config))
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(10)
    return model


def batch() -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Inputs of two rows, the second padded; which tokens are learned, and they themselves."""
    ids = torch.randint(1, 97, (2, 12), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    wanted = torch.zeros(2, 11, dtype=torch.bool)
    wanted[0, 4:], wanted[1, 2:8] = True, True
    return {"input_ids": ids, "attention_mask": mask}, wanted, ids[:, 1:][wanted]


def plain_losses(model: nn.Module, temperature: float = 1.0) -> Tensor:
    inputs, wanted, targets = batch()
    logits = logits_at(model, inputs, wanted) / temperature
    return nn.functional.cross_entropy(logits, targets, reduction="none")


@pytest.mark.parametrize("trains", [True, False])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_losses_and_gradients_equal_those_of_the_logits(name: str, trains: bool) -> None:
    model = build(ARCHITECTURES[name])
    if not trains:
        model.requires_grad_(False)
        model.get_decoder().layers[0].self_attn.q_proj.requires_grad_(True)
    names = [key for key, parameter in model.named_parameters() if parameter.requires_grad]
    expected = plain_losses(model, 0.8)
    expected.sum().backward()
    gradients = {key: model.get_parameter(key).grad for key in names}
    model.zero_grad()
    assert fuse_head(model) is None
    inputs, wanted, targets = batch()
    found = losses_at(model, inputs, wanted, targets, temperature=0.8, entropy=True)
    assert found is not None
    assert found.entropy_N is not None
    torch.testing.assert_close(found.nll_N, expected, rtol=1e-5, atol=1e-5)
    found.nll_N.sum().backward()
    for key in names:
        truth = gradients[key]
        assert truth is not None
        assert (model.get_parameter(key).grad - truth).abs().max() <= 1e-5 * max(1, truth.abs().max())
    torch.testing.assert_close(plain_losses(model, 0.8), expected)  # asked nothing, it gives logits


def test_the_parameters_stay_what_they_were(tmp_path: Path) -> None:
    model = build(ARCHITECTURES["tied"])
    before = model.get_output_embeddings()
    names = list(model.state_dict())
    fuse_head(model)
    head = model.get_output_embeddings()
    assert isinstance(head, FusedHead)
    assert head.weight is before.weight is model.get_input_embeddings().weight
    assert list(model.state_dict()) == names
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(again.get_output_embeddings()) is nn.Linear
    torch.testing.assert_close(plain_losses(again), plain_losses(model))
    twin = copy.deepcopy(model)
    inputs, wanted, targets = batch()
    found = losses_at(twin, inputs, wanted, targets)
    assert found is not None
    torch.testing.assert_close(found.nll_N, plain_losses(model))


class OwnFactor(nn.Module):
    """What no configuration tells of."""

    def __call__(self, module: Any, inputs: Any, output: Any) -> Any:
        output.logits = output.logits * 1.5
        return output


def test_a_model_that_changes_its_logits_keeps_its_head() -> None:
    model = build(ARCHITECTURES["llama"])
    model.register_forward_hook(OwnFactor())
    head = model.get_output_embeddings()
    assert fuse_head(model) == "the model changes its logits in a way of its own"
    assert model.get_output_embeddings() is head
    assert fused_head(model) is None
    inputs, wanted, targets = batch()
    assert losses_at(model, inputs, wanted, targets) is None


def test_heads_that_are_no_plain_linear_layer_stay() -> None:
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(
        build(ARCHITECTURES["llama"]), peft.LoraConfig(target_modules=["lm_head", "q_proj"])
    )
    reason = fuse_head(adapted)
    assert reason is not None
    assert "adapter" in reason
    assert fused_head(adapted) is None
    assert fuse_head(nn.Linear(2, 2)) == "the model has no head for next tokens"


def test_under_an_adapter_elsewhere_the_head_answers() -> None:
    peft = pytest.importorskip("peft")
    model = build(ARCHITECTURES["llama"])
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    assert fuse_head(adapted) is None
    inputs, wanted, targets = batch()
    found = losses_at(adapted.eval(), inputs, wanted, targets)
    assert found is not None
    torch.testing.assert_close(found.nll_N, plain_losses(adapted))
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(plain_losses(merged), found.nll_N.detach())


def test_a_question_is_forgotten_when_the_model_fails() -> None:
    model = build(ARCHITECTURES["llama"])
    fuse_head(model)
    head = fused_head(model)
    assert head is not None
    with pytest.raises(RuntimeError), head.asked(Question(torch.ones(1, 1).bool(), torch.zeros(1).long())):
        raise RuntimeError
    assert model(input_ids=torch.ones(1, 3).long()).logits.shape == (1, 3, 97)


WORDS = "red green blue dog cat sun moon tree".split()


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[float]]:
    """Losses, gradient norms and the evaluation loss of a short run, plain or fused."""
    folder = tmp_path_factory.mktemp("fused-head")
    draw = random.Random(0)
    turns = [
        (draw.choices(WORDS, k=draw.randint(2, 9)), draw.choices(WORDS, k=draw.randint(1, 12)))
        for _ in range(40)
    ]
    rows = [{"instruction": " ".join(asked), "output": " ".join(said)} for asked, said in turns]
    (folder / "rows.json").write_text(json.dumps(rows))

    def run(fused: bool, train: dict[str, Any], data: dict[str, Any], model: str) -> list[float]:
        output = folder / f"run-{len(list(folder.iterdir()))}"
        train_in_process(
            run_from_dict(
                {
                    "model": {"model_id": model},
                    "data": {"dataset_name": str(folder / "rows.json"), "split_ratio": 0.2, **data},
                    "train": {
                        "output_dir": str(output),
                        "max_steps": 3,
                        "per_device_train_batch_size": 4,
                        "learning_rate": 1e-3,
                        "progress": False,
                        "fused_head": fused,
                        **train,
                    },
                }
            )
        )
        assert json.loads((output / "run.json").read_text())["resolved"]["fused_head"] is fused
        lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
        return [line[key] for line in lines for key in ("loss", "grad_norm", "eval_loss") if key in line]

    return run


@pytest.mark.parametrize(
    ("train", "data", "model"),
    [
        pytest.param({}, {}, "tiny/qwen3", id="full, untied"),
        pytest.param({"gradient_accumulation_steps": 2}, {}, "tiny/gemma3", id="full, tied, accumulation"),
        pytest.param(
            {"tuner_strategy": "lora"}, {"padding_free": True}, "tiny/llama", id="LoRA, padding-free"
        ),
        pytest.param(
            {"gradient_checkpointing": True},
            {"loss_scale": "last_round"},
            "tiny/qwen3-moe",
            id="checkpointing",
        ),
        pytest.param(
            {"loss_type": [{"name": "cross_entropy", "weight": 0.5}]}, {}, "tiny/qwen2", id="weight"
        ),
    ],
)
def test_training_is_the_same_with_and_without(
    train: dict[str, Any], data: dict[str, Any], model: str, losses: Callable[..., list[float]]
) -> None:
    fused, plain = (losses(switch, train, data, model) for switch in (True, False))
    assert len(fused) == 7  # three steps and an evaluation
    assert fused == pytest.approx(plain, rel=1e-5)


def test_other_losses_get_logits(losses: Callable[..., list[float]]) -> None:
    train = {"loss_type": "label_smoothing"}
    assert losses(True, train, {}, "tiny/qwen3") == losses(False, train, {}, "tiny/qwen3")
