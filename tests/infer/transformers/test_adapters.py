"""Rows of several LoRA adapters in one batch against peft with each adapter alone."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3Config, Qwen3ForCausalLM

from swift.core.errors import EngineError, ModelError
from swift.core.models.tiny.family import tiny_tokenizer
from swift.core.types import GenerationRequest, SamplingParams
from swift.infer.engines.transformers.config import TransformersEngineConfig
from swift.infer.engines.transformers.engine import TransformersEngine

KINDS: dict[str, dict[str, Any]] = {
    "two": {"r": 4, "target_modules": ["q_proj", "v_proj"]},
    "all": {"r": 8, "target_modules": "all-linear", "use_rslora": True},
    "patterns": {
        "r": 4,
        "lora_alpha": 7,
        "target_modules": ["q_proj", "k_proj", "down_proj"],
        "rank_pattern": {"k_proj": 2},
        "alpha_pattern": {"layers.1.self_attn.q_proj": 20},
    },
}
GREEDY = SamplingParams(16, 0.0, ignore_eos=True)
PROMPT = tuple(range(100, 112))


def build(width: int = 64, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tiny_tokenizer()),
        hidden_size=width,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=512,
    )
    model = Qwen3ForCausalLM(config).eval()
    model.name_or_path = "models/served"
    return model


def save(folder: Path, config: peft.PeftConfig, seed: int, width: int = 64) -> Path:
    adapted = peft.get_peft_model(build(width), config)
    torch.manual_seed(seed)
    for name, value in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(value, std=0.3)
    adapted.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {
        name: save(root / name, peft.LoraConfig(task_type="CAUSAL_LM", **kind), number)
        for number, (name, kind) in enumerate(KINDS.items(), 1)
    }


def alone(folder: Path | None, prompt: Sequence[int], count: int = 16) -> list[int]:
    model = build()
    if folder is not None:
        model = peft.PeftModel.from_pretrained(model, str(folder)).eval()
    ids = torch.tensor([prompt])
    mask = torch.ones_like(ids)
    output = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=count,
        do_sample=False,
        eos_token_id=[],
        pad_token_id=0,
    )
    return output[0, len(prompt) :].tolist()  # type: ignore[no-any-return]


def answers(engine: TransformersEngine, asked: Sequence[GenerationRequest]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {one.request_id: [] for one in asked}
    for delta in engine.generate(asked):
        assert delta.error is None, delta.error
        found[delta.request_id] += delta.token_ids
    return found


def ask(name: str | None, prompt: Sequence[int] = PROMPT, key: str = "") -> GenerationRequest:
    return GenerationRequest(key or str(name), tuple(prompt), GREEDY, adapter=name)


@pytest.fixture
def engine(folders: dict[str, Path]) -> TransformersEngine:
    made = TransformersEngine(build(), tiny_tokenizer())
    for name, folder in folders.items():
        made.load_adapter(name, folder)
    return made


@pytest.mark.parametrize("config", [{}, {"max_running": 3, "max_batch_tokens": 16}])
def test_each_row_answers_as_its_adapter_alone(folders: dict[str, Path], config: dict[str, int]) -> None:
    engine = TransformersEngine(build(), tiny_tokenizer(), TransformersEngineConfig(**config))
    for name, folder in folders.items():
        engine.load_adapter(name, folder)
    assert engine.facts().adapters == tuple(KINDS)
    kinds = [None, *KINDS]
    asked = [ask(name, PROMPT[skip:], f"{name}/{skip}") for name in kinds for skip in (0, 5)]
    found = answers(engine, asked)
    for request in asked:
        expected = alone(folders[request.adapter] if request.adapter else None, request.prompt_ids)
        assert found[request.request_id] == expected, request.request_id
    assert len({tuple(found[f"{name}/0"]) for name in kinds}) == len(kinds)  # they do differ


def test_a_long_prompt_read_before_is_not_taken_for_another_adapter(
    engine: TransformersEngine, folders: dict[str, Path]
) -> None:
    long = tuple(range(200, 280))
    for name in (None, "two", "all", None):
        expected = alone(folders[name] if name else None, long)
        assert answers(engine, [ask(name, long)])[str(name)] == expected


def test_replacing_an_adapter_changes_later_requests_only(
    engine: TransformersEngine, folders: dict[str, Path], tmp_path: Path
) -> None:
    running = engine.generate([ask("two", key="early")])
    early = list(next(running).token_ids)
    newer = save(tmp_path / "newer", peft.LoraConfig(task_type="CAUSAL_LM", **KINDS["two"]), 77)
    engine.load_adapter("two", newer)
    late = answers(engine, [ask("two", key="late")])["late"]
    early += [token for delta in running for token in delta.token_ids]
    assert early == alone(folders["two"], PROMPT)
    assert late == alone(newer, PROMPT) != early
    engine.unload_adapter("all")
    assert engine.facts().adapters == ("two", "patterns")
    assert answers(engine, [ask("patterns")])["patterns"] == alone(folders["patterns"], PROMPT)


def test_unloading_lets_running_requests_finish_and_refuses_new_ones(
    engine: TransformersEngine, folders: dict[str, Path]
) -> None:
    running = engine.generate([ask("all")])
    tokens = list(next(running).token_ids)
    engine.unload_adapter("all")
    tokens += [token for delta in running for token in delta.token_ids]
    assert tokens == alone(folders["all"], PROMPT)
    refused = list(engine.generate([ask("all", key="late"), ask("tow", key="typo")]))
    assert {delta.finish_reason for delta in refused} == {"error"}
    assert any("did you mean 'two'" in (delta.error or "") for delta in refused)
    with pytest.raises(EngineError, match="no adapter 'all' is loaded"):
        engine.unload_adapter("all")


def test_adapters_come_while_another_thread_generates(folders: dict[str, Path]) -> None:
    engine = TransformersEngine(build(), tiny_tokenizer())
    long = SamplingParams(300, 0.0, ignore_eos=True)
    plain: list[int] = []

    def work() -> None:
        for delta in engine.generate([GenerationRequest("plain", PROMPT, long)]):
            plain.extend(delta.token_ids)

    thread = threading.Thread(target=work)
    thread.start()
    engine.load_adapter("two", folders["two"])
    found = answers(engine, [ask("two")])["two"]
    thread.join()
    assert found == alone(folders["two"], PROMPT)
    assert plain == alone(None, PROMPT, 300)


def test_one_of_another_base_is_refused_and_changes_nothing(
    engine: TransformersEngine, folders: dict[str, Path], tmp_path: Path
) -> None:
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj"])
    wide = save(tmp_path / "wide", config, 5, width=128)
    with pytest.raises(EngineError, match=r"(?s)does not fit 'models/served'.*the adapter's 128 to"):
        engine.load_adapter("two", wide)
    alien = tmp_path / "alien"
    shutil.copytree(folders["two"], alien)
    weights = load_file(alien / "adapter_model.safetensors")
    renamed = {key.replace("self_attn", "attention"): value for key, value in weights.items()}
    save_file(renamed, alien / "adapter_model.safetensors")
    with pytest.raises(EngineError, match="the model has no layer"):
        engine.load_adapter("two", alien)
    assert answers(engine, [ask("two")])["two"] == alone(folders["two"], PROMPT)


def test_a_base_of_equal_shapes_is_named_where_the_record_says_another(
    engine: TransformersEngine, folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folders["two"], other)
    record = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(
        json.dumps({**record, "base_model_name_or_path": "models/elsewhere"})
    )
    with caplog.at_level(logging.WARNING):
        engine.load_adapter("fits", folders["two"])
        assert not caplog.records
        engine.load_adapter("other", other)
    assert "models/elsewhere" in caplog.text and "models/served" in caplog.text


def recorded_on(folder: Path, base: str, copy: Path) -> Path:
    """A copy of an adapter whose record names a base."""
    shutil.copytree(folder, copy)
    file = copy / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": base}))
    return copy


def test_one_of_another_model_is_refused_though_its_factors_fit(
    engine: TransformersEngine, folders: dict[str, Path], tmp_path: Path
) -> None:
    other = recorded_on(folders["two"], "tiny/llama", tmp_path / "other")
    with pytest.raises(ModelError, match=r"(?s)'tiny/llama' by its record.*model_type 'llama' and 'qwen3'"):
        engine.load_adapter("other", other)
    assert "other" not in engine.facts().adapters
    for number, (base, fits) in enumerate([({"vocab_size": 7}, True), ({"num_hidden_layers": 99}, False)]):
        here = tmp_path / f"base-{number}"  # a copy under another name is the same base
        here.mkdir()
        (here / "config.json").write_text(json.dumps({**build().config.to_dict(), **base}))
        adapter = recorded_on(folders["two"], str(here), tmp_path / f"adapter-{number}")
        with (
            contextlib.nullcontext()
            if fits
            else pytest.raises(ModelError, match="num_hidden_layers 99 and 2")
        ):
            engine.load_adapter("copy", adapter)


def test_what_is_no_lora_is_refused_with_the_reason(engine: TransformersEngine, tmp_path: Path) -> None:
    causal: dict[str, Any] = {"task_type": "CAUSAL_LM"}
    made: dict[str, peft.PeftConfig] = {
        "PROMPT_TUNING": peft.PromptTuningConfig(**causal, num_virtual_tokens=4),
        "IA3": peft.IA3Config(**causal, target_modules=["k_proj"], feedforward_modules=[]),
        "DoRA": peft.LoraConfig(**causal, target_modules=["q_proj"], use_dora=True),
        "replaces whole modules": peft.LoraConfig(
            **causal, target_modules=["q_proj"], modules_to_save=["lm_head"]
        ),
        "biases": peft.LoraConfig(**causal, target_modules=["q_proj"], bias="all"),
    }
    for number, (reason, config) in enumerate(made.items()):
        folder = save(tmp_path / str(number), config, 1)
        with pytest.raises(EngineError, match=f"(?s){reason}.*swift merge"):
            engine.load_adapter("new", folder)
    reft = tmp_path / "reft"
    reft.mkdir()
    (reft / "swift_adapter.json").write_text('{"method": "reft"}')
    with pytest.raises(EngineError, match="of type reft"):
        engine.load_adapter("new", reft)
    with pytest.raises(EngineError, match="holds no adapter"):
        engine.load_adapter("new", tmp_path / "nothing")
    assert "new" not in engine.facts().adapters


def test_damaged_files_are_refused(
    engine: TransformersEngine, folders: dict[str, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folders["two"], broken)
    (broken / "adapter_model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(EngineError, match="cannot be read"):
        engine.load_adapter("two", broken)
    (broken / "adapter_model.safetensors").unlink()
    with pytest.raises(EngineError, match=r"has no adapter_model\.safetensors"):
        engine.load_adapter("two", broken)
    (broken / "adapter_config.json").write_text("{")
    with pytest.raises(EngineError, match="cannot be read"):
        engine.load_adapter("two", broken)


def test_a_model_that_carries_an_adapter_takes_no_more(folders: dict[str, Path]) -> None:
    adapted = peft.PeftModel.from_pretrained(build(), str(folders["two"])).eval()
    engine = TransformersEngine(adapted, tiny_tokenizer())
    assert not engine.facts().loads_adapters
    with pytest.raises(EngineError, match=r"infer\.adapters"):
        engine.load_adapter("all", folders["all"])
