"""swift merge: a plain model folder that computes what base and adapter did, or nothing at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from click.testing import CliRunner, Result
from torch import nn

from swift.core.config.schema import ModelConfig
from swift.core.errors import CheckpointError, ModelError
from swift.core.models.load import load_model, load_tokenizer
from swift.core.new_folder import new_folder
from swift.tuners.adapters import find_adapter
from swift.tuners.commands.merge import command
from swift.tuners.lora.config import LoraConfig
from swift.tuners.lora.tuner import LoraTuner
from swift.tuners.merge import merge_notes

TOKENS = torch.arange(10)[None]


def trained(model_id: str, directory: Path, seed: int = 42) -> torch.Tensor:
    """Save an adapter that changes the function; the logits with it."""
    model = load_model(ModelConfig(model_id=model_id), dtype=torch.float32, device="cpu", seed=seed)
    tuner = LoraTuner(LoraConfig(lora_rank=4))
    torch.manual_seed(seed)
    adapted = tuner.apply(model)
    for name, value in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(value, std=0.05)  # rounding grows with it, up to the bound of 1e-5 at 0.1
    tuner.save(adapted, directory)
    with torch.no_grad():
        logits: torch.Tensor = adapted.eval()(TOKENS).logits
    return logits


def merge(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def logits_of(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = transformers.AutoModelForCausalLM.from_pretrained(folder)(TOKENS).logits
    return logits


def test_merged_folder_is_plain_and_exact(tiny_model_dir: Path, tmp_path: Path) -> None:
    expected = trained(str(tiny_model_dir), tmp_path / "adapter")
    result = merge(tmp_path / "adapter", "--output", tmp_path / "new" / "merged")
    assert result.exit_code == 0, result.output
    assert "swift infer" in result.output
    merged = tmp_path / "new" / "merged"
    assert torch.allclose(logits_of(merged), expected, atol=1e-5, rtol=0)
    assert not (merged / "adapter_config.json").exists()
    tokenizer = transformers.AutoTokenizer.from_pretrained(merged)
    assert tokenizer.chat_template == load_tokenizer(ModelConfig()).chat_template
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["merged"], "no working folder is left"
    assert merged.stat().st_mode & 0o777 == 0o755


def test_a_run_on_a_tiny_model_is_merged_with_its_own_random_weights(tmp_path: Path) -> None:
    run = tmp_path / "run"
    expected = trained("tiny/llama", run / "final", seed=7)
    adapter_config = json.loads((run / "final" / "adapter_config.json").read_text())
    assert adapter_config["base_model_name_or_path"] == "tiny/llama"
    record = {"seed": 7, "config": {"model": ModelConfig(model_id="tiny/llama").model_dump()}}
    (run / "run.json").write_text(json.dumps(record))
    assert merge(run, "--output", tmp_path / "merged").exit_code == 0
    assert torch.allclose(logits_of(tmp_path / "merged"), expected, atol=1e-5, rtol=0)


def test_precision_can_be_chosen(tiny_model_dir: Path, tmp_path: Path) -> None:
    trained(str(tiny_model_dir), tmp_path / "adapter")
    merge(tmp_path / "adapter", "--output", tmp_path / "merged", "--dtype", "bfloat16")
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == "bfloat16"


def test_another_base_leaves_nothing_behind(tmp_path: Path) -> None:
    trained("tiny/qwen3", tmp_path / "adapter")
    result = merge(tmp_path / "adapter", "--output", tmp_path / "merged", "--model", "tiny/phi3")
    assert isinstance(result.exception, ModelError)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_an_output_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    trained("tiny/qwen3", tmp_path / "adapter")
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "mine.txt").write_text("keep")
    result = merge(tmp_path / "adapter", "--output", tmp_path / "merged")
    assert isinstance(result.exception, CheckpointError)
    assert (tmp_path / "merged" / "mine.txt").read_text() == "keep"
    (tmp_path / "file").write_text("keep")
    assert isinstance(merge(tmp_path / "adapter", "--output", tmp_path / "file").exception, CheckpointError)


def test_an_empty_output_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    with new_folder(tmp_path / "merged") as folder:
        (folder / "x").write_text("x")
    assert [path.name for path in (tmp_path / "merged").iterdir()] == ["x"]


def test_adapters_are_found_in_runs(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a folder"):
        find_adapter(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="holds no adapter"):
        find_adapter(tmp_path)
    for name in ("checkpoint-9", "checkpoint-10"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text("{}")
    assert find_adapter(tmp_path).name == "checkpoint-10"
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "adapter_config.json").write_text("{}")
    assert find_adapter(tmp_path).name == "final"
    assert find_adapter(tmp_path / "checkpoint-9").name == "checkpoint-9"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="several adapters: final, other"):
        find_adapter(tmp_path)


def test_a_whole_model_needs_no_merging(tiny_model_dir: Path, tmp_path: Path) -> None:
    result = merge(tiny_model_dir, "--output", tmp_path / "merged")
    assert isinstance(result.exception, ModelError)
    assert "nothing to merge" in str(result.exception)
    assert not (tmp_path / "merged").exists()


def test_an_adapter_without_a_base_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    result = merge(tmp_path / "adapter", "--output", tmp_path / "merged")
    assert isinstance(result.exception, ModelError)
    assert "name it with --model" in str(result.exception)


def test_what_merging_changes_is_said(tmp_path: Path) -> None:
    adapter = tmp_path / "run" / "final"
    adapter.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "tiny/qwen3"}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    assert list(merge_notes(adapter)) == list(merge_notes(adapter, "tiny/qwen3")) == []
    (other,) = merge_notes(adapter, "tiny/llama")
    assert "trained on tiny/qwen3, and merged into tiny/llama" in other
    run = {"config": {"train": {"tuner_strategy": "qlora"}}}
    (adapter.parent / "run.json").write_text(json.dumps(run))
    (note,) = merge_notes(adapter)
    assert "quantised" in note
