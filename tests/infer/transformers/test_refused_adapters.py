"""Adapters that the embedded engine does not take: of another base, of another kind, damaged."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
from safetensors.torch import load_file, save_file

from swift.core.errors import EngineError, ModelError
from swift.core.models.tiny.family import tiny_tokenizer
from swift.infer.engines.transformers.engine import TransformersEngine

CAUSAL: dict[str, Any] = {"task_type": "CAUSAL_LM"}


@pytest.fixture(scope="module")
def engine(adapters: Any) -> Any:
    """One for all tests here: what is refused changes nothing."""
    return adapters.engine()


def recorded_on(folder: Path, base: str, copy: Path) -> Path:
    """A copy of an adapter whose record names a base."""
    shutil.copytree(folder, copy)
    file = copy / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": base}))
    return copy


def test_one_of_another_width_changes_nothing(
    adapters: Any, engine: TransformersEngine, tmp_path: Path
) -> None:
    config = peft.LoraConfig(**CAUSAL, r=4, target_modules=["q_proj"])
    wide = adapters.save(tmp_path / "wide", config, 5, width=128)
    with pytest.raises(EngineError, match=r"(?s)does not fit 'models/served'.*the adapter's 128 to"):
        engine.load_adapter("two", wide)
    assert adapters.answer(engine, "two") == adapters.alone(adapters.folders["two"])


def test_layers_that_the_model_has_not_change_nothing(
    adapters: Any, engine: TransformersEngine, tmp_path: Path
) -> None:
    alien = tmp_path / "alien"
    shutil.copytree(adapters.folders["two"], alien)
    weights = load_file(alien / "adapter_model.safetensors")
    renamed = {key.replace("self_attn", "attention"): value for key, value in weights.items()}
    save_file(renamed, alien / "adapter_model.safetensors")
    with pytest.raises(EngineError, match="the model has no layer"):
        engine.load_adapter("two", alien)
    assert adapters.answer(engine, "two") == adapters.alone(adapters.folders["two"])


def test_a_base_of_unknown_sizes_is_named_where_the_record_says_another(
    adapters: Any, engine: TransformersEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = recorded_on(adapters.folders["two"], "models/elsewhere", tmp_path / "other")
    with caplog.at_level(logging.WARNING):
        engine.load_adapter("fits", adapters.folders["two"])
        assert not caplog.records
        engine.load_adapter("other", other)
    assert "models/elsewhere" in caplog.text and "models/served" in caplog.text
    for name in ("fits", "other"):
        engine.unload_adapter(name)


def test_one_of_another_model_is_refused_though_its_factors_fit(
    adapters: Any, engine: TransformersEngine, tmp_path: Path
) -> None:
    other = recorded_on(adapters.folders["two"], "tiny/llama", tmp_path / "other")
    with pytest.raises(ModelError, match=r"(?s)'tiny/llama' by its record.*model_type 'llama' and 'qwen3'"):
        engine.load_adapter("other", other)
    deeper = tmp_path / "deeper"
    deeper.mkdir()
    (deeper / "config.json").write_text(
        json.dumps({**adapters.model().config.to_dict(), "num_hidden_layers": 99})
    )
    with pytest.raises(ModelError, match="num_hidden_layers 99 and 2"):
        engine.load_adapter("other", recorded_on(adapters.folders["two"], str(deeper), tmp_path / "copy"))
    assert engine.facts().adapters == tuple(adapters.folders)


def test_the_same_base_under_another_name_is_taken(
    adapters: Any, engine: TransformersEngine, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    resized = {**adapters.model().config.to_dict(), "vocab_size": 7}  # a vocabulary may grow
    (copy / "config.json").write_text(json.dumps(resized))
    engine.load_adapter("same", recorded_on(adapters.folders["two"], str(copy), tmp_path / "adapter"))
    assert adapters.answer(engine, "same") == adapters.alone(adapters.folders["two"])
    engine.unload_adapter("same")


@pytest.mark.parametrize(
    ("reason", "config"),
    [
        ("PROMPT_TUNING", peft.PromptTuningConfig(**CAUSAL, num_virtual_tokens=4)),
        ("IA3", peft.IA3Config(**CAUSAL, target_modules=["k_proj"], feedforward_modules=[])),
        ("DoRA", peft.LoraConfig(**CAUSAL, target_modules=["q_proj"], use_dora=True)),
        (
            "replaces whole modules",
            peft.LoraConfig(**CAUSAL, target_modules=["q_proj"], modules_to_save=["lm_head"]),
        ),
        ("biases", peft.LoraConfig(**CAUSAL, target_modules=["q_proj"], bias="all")),
    ],
)
def test_what_is_no_lora_is_refused_with_the_reason(
    adapters: Any, engine: TransformersEngine, tmp_path: Path, reason: str, config: peft.PeftConfig
) -> None:
    folder = adapters.save(tmp_path / "new", config, 1)
    with pytest.raises(EngineError, match=f"(?s){reason}.*swift merge"):
        engine.load_adapter("new", folder)
    assert "new" not in engine.facts().adapters


def test_what_peft_does_not_know_is_refused(engine: TransformersEngine, tmp_path: Path) -> None:
    (tmp_path / "swift_adapter.json").write_text('{"method": "reft"}')
    with pytest.raises(EngineError, match="of type reft"):
        engine.load_adapter("new", tmp_path)
    with pytest.raises(EngineError, match="holds no adapter"):
        engine.load_adapter("new", tmp_path / "nothing")
    assert "new" not in engine.facts().adapters


def test_damaged_files_are_refused(adapters: Any, engine: TransformersEngine, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(adapters.folders["two"], broken)
    (broken / "adapter_model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(EngineError, match="cannot be read"):
        engine.load_adapter("two", broken)
    (broken / "adapter_model.safetensors").unlink()
    with pytest.raises(EngineError, match=r"has no adapter_model\.safetensors"):
        engine.load_adapter("two", broken)
    (broken / "adapter_config.json").write_text("{")
    with pytest.raises(EngineError, match="cannot be read"):
        engine.load_adapter("two", broken)
    assert adapters.answer(engine, "two") == adapters.alone(adapters.folders["two"])


def test_a_model_that_carries_an_adapter_takes_no_more(adapters: Any) -> None:
    adapted = peft.PeftModel.from_pretrained(adapters.model(), str(adapters.folders["two"])).eval()
    engine = TransformersEngine(adapted, tiny_tokenizer())
    assert not engine.facts().loads_adapters
    with pytest.raises(EngineError, match=r"infer\.adapters"):
        engine.load_adapter("all", adapters.folders["all"])
