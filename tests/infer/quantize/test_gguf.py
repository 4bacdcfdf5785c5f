"""GGUF files beside what llama.cpp's own reader library says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from swift.core.config.schema import ModelConfig
from swift.core.errors import ModelError
from swift.core.models.load import load_model, load_processor
from swift.core.models.tiny.family import TEXT_SIZES
from swift.infer.quantize.gguf.config import GgufConfig
from swift.infer.quantize.gguf.quantizer import described, quantize
from swift.infer.quantize.gguf.tensors import rope_factors
from swift.infer.quantize.gguf.tokenizer import vocabulary
from swift.infer.quantize.job import Job

TOLERANCE = {
    "f32": 1e-6,
    "f16": 1e-3,
    "bf16": 1e-2,
    "q8_0": 2e-2,
    "q5_1": 0.1,
    "q5_0": 0.1,
    "q4_1": 0.2,
    "q4_0": 0.2,
}


def write(family: str, folder: Path, **keys: Any) -> tuple[Any, Any]:
    """(model, tokenizer) of a tiny family, written into a folder."""
    config = ModelConfig(model_id=f"tiny/{family}")
    model, tokenizer = load_model(config, dtype=torch.float32, device="cpu"), load_processor(config)
    if family == "mistral":
        model.config.sliding_window = None  # as its later models have it
    folder.mkdir()
    device = torch.device("cpu")
    quantize(Job(model, tokenizer, folder, [], device, "5GB"), GgufConfig.model_validate(keys))
    return model, tokenizer


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_transformers_reads_back_every_family(family: str, tmp_path: Path) -> None:
    model, _ = write(family, tmp_path / "out", gguf_type="f32")
    again = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", gguf_file="model.gguf", config=AutoConfig.from_pretrained(tmp_path / "out")
    )
    ids = torch.arange(20)[None]
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", TOLERANCE)
def test_every_type_stays_near_the_weights(kind: str, tmp_path: Path) -> None:
    model, _ = write("qwen2", tmp_path / "out", gguf_type=kind)
    reader = gguf.GGUFReader(tmp_path / "out" / "model.gguf")
    found = {tensor.name: tensor for tensor in reader.tensors}
    up = found["blk.1.ffn_up.weight"]
    assert up.tensor_type.name == kind.upper() and found["blk.0.attn_norm.weight"].tensor_type.name == "F32"
    few = kind.startswith(("q4", "q5"))
    assert found["token_embd.weight"].tensor_type.name == ("Q8_0" if few else kind.upper())
    read = gguf.quants.dequantize(up.data, up.tensor_type)
    weight = model.model.layers[1].mlp.up_proj.weight.detach().numpy()
    assert np.linalg.norm(read - weight) / np.linalg.norm(weight) < TOLERANCE[kind]


def test_metadata_and_tokenizer(tmp_path: Path) -> None:
    model, tokenizer = write("qwen3", tmp_path / "out")
    fields = gguf.GGUFReader(tmp_path / "out" / "model.gguf").fields
    said = {name: field.contents() for name, field in fields.items()}
    assert said["general.architecture"] == "qwen3" and said["qwen3.attention.key_length"] == 32
    assert said["qwen3.attention.head_count_kv"] == model.config.num_key_value_heads
    assert said["qwen3.rope.freq_base"] == model.config.rope_parameters["rope_theta"]
    assert (said["tokenizer.ggml.model"], said["tokenizer.ggml.pre"]) == ("gpt2", "qwen2")
    assert said["tokenizer.ggml.tokens"] == tokenizer.convert_ids_to_tokens(range(model.config.vocab_size))
    kinds = said["tokenizer.ggml.token_type"]
    assert kinds[tokenizer.eos_token_id] == gguf.TokenType.CONTROL and kinds[50] == gguf.TokenType.NORMAL
    assert kinds[tokenizer.convert_tokens_to_ids("<think>")] == gguf.TokenType.USER_DEFINED
    assert said["tokenizer.ggml.eos_token_id"] == tokenizer.eos_token_id
    assert said["tokenizer.chat_template"] == tokenizer.chat_template
    assert len(said["tokenizer.ggml.merges"]) > 1000


def test_llamas_heads_are_reordered_as_llama_cpp_turns_them(tmp_path: Path) -> None:
    model, _ = write("llama", tmp_path / "out", gguf_type="f32")
    tensors = {
        tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "out" / "model.gguf").tensors
    }
    weight = model.model.layers[0].self_attn.q_proj.weight.detach().numpy()
    head = weight[:32]  # halves: row i turns with row i + 16
    np.testing.assert_array_equal(tensors["blk.0.attn_q.weight"][:4], head[[0, 16, 1, 17]])


def test_rope_factors_are_those_of_llama3() -> None:
    rope = {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
    }  # fmt: skip
    config = LlamaConfig(**TEXT_SIZES, rope_parameters=rope)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 1.0 / 500000.0 ** (torch.arange(0, 32, 2) / 32)
    factors = rope_factors(config)
    assert factors is not None and factors.min() == 1 and factors.max() == 8
    torch.testing.assert_close(plain / torch.from_numpy(factors), scaled)


def test_refuses_what_it_would_write_wrong(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="architecture 'phi3' is not written as GGUF"):
        write("phi3", tmp_path / "phi3")
    with pytest.raises(ModelError, match="a window of 256 tokens"):
        described(load_model(ModelConfig(model_id="tiny/mistral"), dtype=torch.float32, device="cpu").config)
    tokenizer = load_processor(ModelConfig())
    state = tokenizer.backend_tokenizer.to_str().replace(r"\\p{N}|", r"\\p{N}{1,7}|")
    from tokenizers import Tokenizer

    class Other:
        backend_tokenizer = Tokenizer.from_str(state)

    with pytest.raises(ModelError, match=r"set export\.tokenizer_pre"):
        vocabulary(Other(), 2048, None)
    assert vocabulary(Other(), 2050, "gpt-2").tokens[2049] == "[PAD2049]"
