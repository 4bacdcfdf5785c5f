"""New blocks: where they go, that they start as the identity, that they alone train, and what is saved."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from swift.core.errors import ConfigError, ModelError
from swift.tuners import apply_tuner, load_tuner, merge_tuner
from swift.tuners.llamapro.config import LlamaproConfig
from swift.tuners.llamapro.placement import from_record, place
from swift.tuners.llamapro.tuner import LlamaproTuner

PLAIN: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4,
    "num_attention_heads": 4,
}  # fmt: skip
SIZES = {**PLAIN, "num_key_value_heads": 2, "head_dim": 8}
EXPERTS = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
SLIDING = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
ARCHITECTURES: dict[str, Any] = {
    "qwen3": transformers.Qwen3Config(**SIZES, tie_word_embeddings=True),
    "llama": transformers.LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
    "qwen3-moe": transformers.Qwen3MoeConfig(**SIZES, **EXPERTS, mlp_only_layers=[1]),
    "gemma2": transformers.Gemma2Config(**SIZES, layer_types=SLIDING),
    "gpt2": transformers.GPT2Config(
        vocab_size=64, n_embd=32, n_layer=4, n_head=4, eos_token_id=0, bos_token_id=0
    ),
    "gpt-neox": transformers.GPTNeoXConfig(**PLAIN, eos_token_id=0, bos_token_id=0),
}
TOKENS = torch.arange(24).reshape(2, 12)


def build(name: str, **changes: Any) -> Any:
    config = copy.deepcopy(ARCHITECTURES[name])
    for key, value in changes.items():
        setattr(config, key, value)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for value in model.parameters():
        if value.dim() == 1:  # biases and norms that would show if they were left out
            nn.init.normal_(value, 0.5, 0.2)
    return model


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=TOKENS).logits
    return found


def trained_names(model: nn.Module) -> set[str]:
    return {name for name, value in model.named_parameters() if value.requires_grad}


def train(model: nn.Module, steps: int = 3) -> list[float]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    losses = []
    for _ in range(steps):
        loss = model.train()(input_ids=TOKENS, labels=TOKENS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_placement() -> None:
    assert place(4, 2).sources == (0, 1, 1, 2, 3, 3)
    assert place(4, 2).new == (2, 5)
    assert place(4, 4, 2).sources == (0, 1, 1, 1, 2, 3, 3, 3)
    assert place(32, 8).new == tuple(range(4, 40, 5)), "one behind each group of four, as in the paper"
    assert place(5, 2).sources == (0, 1, 1, 2, 3, 4, 4), "groups of 2 and 3"
    for depth, blocks, groups in ((4, 2, None), (5, 3, None), (6, 6, 3), (1, 2, 1)):
        placed = place(depth, blocks, groups)
        assert from_record(placed.new, len(placed.sources)) == placed
        assert len(placed.sources) == depth + blocks
    with pytest.raises(ModelError, match="5 groups cannot be made of 4 layers"):
        place(4, 5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_starts_as_the_base_exactly_and_only_new_blocks_train(name: str, tmp_path: Path) -> None:
    model = build(name)
    base: Any = copy.deepcopy(model)
    expected = logits(model)
    tuner = LlamaproTuner(LlamaproConfig(num_new_blocks=2))
    assert id(tuner.apply(model)) == id(model)
    assert torch.equal(logits(model), expected)
    assert model.config.num_hidden_layers == 6
    assert {name.split(".")[2] for name in trained_names(model)} == {"2", "5"}
    before = {name: value.clone() for name, value in model.named_parameters()}
    losses = train(model)
    assert losses[-1] < losses[0]
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert {name.split(".")[2] for name in moved} == {"2", "5"}
    tuner.save(model, tmp_path)
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(logits(plain), logits(model))
    again = tuner.load(copy.deepcopy(base), tmp_path, trainable=True)
    assert torch.equal(logits(again), logits(model))
    assert trained_names(again) == trained_names(model)
    assert torch.equal(logits(load_tuner(base, tmp_path)), logits(model))
    assert torch.equal(logits(tuner.load(plain, tmp_path)), logits(model)), "a model that is expanded already"
    merged = merge_tuner(model)
    assert merged is model


def test_the_configuration_says_what_each_layer_is(tmp_path: Path) -> None:
    tuner = LlamaproTuner(LlamaproConfig(num_new_blocks=2))
    gemma: Any = tuner.apply(build("gemma2"))
    assert gemma.config.layer_types == [*SLIDING[:2], SLIDING[1], *SLIDING[2:], SLIDING[3]]
    tuner.save(gemma, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["llamapro_blocks"] == [2, 5]
    mixture: Any = tuner.apply(build("qwen3-moe"))
    assert mixture.config.mlp_only_layers == [1, 2]
    numbers = [layer.self_attn.layer_idx for layer in mixture.model.layers]
    assert numbers == list(range(6))


def test_generation_keeps_a_cache_for_every_block() -> None:
    model = build("qwen3")
    expected = model.generate(TOKENS[:1], max_new_tokens=4, do_sample=False)
    expanded: Any = apply_tuner(model, "llamapro", num_new_blocks=4, num_groups=2)
    assert torch.equal(expanded.generate(TOKENS[:1], max_new_tokens=4, do_sample=False), expected)


def test_gradient_checkpointing_reaches_the_new_blocks() -> None:
    model = build("llama")
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    apply_tuner(model, "llamapro", num_new_blocks=1)
    model.train()(input_ids=TOKENS, labels=TOKENS).loss.backward()
    outputs = model.model.layers[4].self_attn.o_proj.weight
    assert outputs.grad is not None
    assert float(outputs.grad.abs().sum()) > 0


def refused(model: Any, said: str, **settings: Any) -> None:
    """The refusal, after which the model is as it was."""
    before = logits(model)
    depth = model.config.num_hidden_layers
    with pytest.raises(ModelError, match=said):
        apply_tuner(model, "llamapro", **settings)
    assert torch.equal(logits(model), before)
    assert model.config.num_hidden_layers == depth
    assert not hasattr(model.config, "llamapro_blocks")


def test_layers_that_depend_on_their_number_are_refused() -> None:
    refused(build("qwen3-moe", decoder_sparse_step=2, mlp_only_layers=[]), "decides by a layer's number")
    refused(build("gpt2", scale_attn_by_inverse_layer_idx=True), "decides by a layer's number")
    refused(build("qwen3"), "9 groups cannot be made of 4 layers", num_new_blocks=9)


def test_layers_without_residual_are_refused() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.o_proj = nn.Linear(8, 8)

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.o_proj(hidden)
            return output

    class Model(transformers.PreTrainedModel):  # type: ignore[misc]
        config_class = transformers.LlamaConfig

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.embed = nn.Embedding(64, 8)
            self.layers = nn.ModuleList(Layer() for _ in range(config.num_hidden_layers))
            self.post_init()

        def forward(self, input_ids: torch.Tensor) -> Any:
            hidden = self.embed(input_ids)
            for layer in self.layers:
                hidden = layer(hidden)
            return (hidden,)

    model = Model(transformers.LlamaConfig(**SIZES))
    with pytest.raises(ModelError, match="new blocks change what Model computes"):
        apply_tuner(model, "llamapro", num_new_blocks=2)
    assert len(model.layers) == 4
    model.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))
    with pytest.raises(ModelError, match="no last projection of a known name"):
        apply_tuner(model, "llamapro", num_new_blocks=2)
    with pytest.raises(ModelError, match="no configuration that says how many layers"):
        apply_tuner(nn.Linear(2, 2), "llamapro")


def test_bad_settings_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be shared out evenly"):
        apply_tuner(build("llama"), "llamapro", num_new_blocks=3, num_groups=2)
    build("llama").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="was not written by llamapro"):
        LlamaproTuner().load(build("llama"), tmp_path)
