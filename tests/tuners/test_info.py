"""swift tuners info: adapters of peft, of our own format, and in the output folders of runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers
from click.testing import CliRunner
from safetensors.torch import save_file

from swift.core.errors import ModelError
from swift.tuners import apply_tuner, save_tuner
from swift.tuners.commands.info import command
from swift.tuners.info import adapter_info

SIZES: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
}  # fmt: skip


SETTINGS: dict[str, dict[str, Any]] = {"boft": {"boft_block_size": 4}, "fourierft": {"n_frequency": 100}}


def saved(directory: Path, method: str, **settings: Any) -> int:
    """Save a fresh adapter; the parameters that train."""
    model = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**SIZES))
    model.name_or_path = "base/of-it"
    adapted = apply_tuner(model, method, **settings)
    save_tuner(adapted, directory)
    return sum(value.numel() for value in adapted.parameters() if value.requires_grad)


def test_lora(tmp_path: Path) -> None:
    count = saved(tmp_path, "lora", lora_rank=4, lora_alpha=12, target_modules=["q_proj", "v_proj"])
    found = adapter_info(tmp_path)
    assert (found.method, found.base, found.task) == ("lora", "base/of-it", "CAUSAL_LM")
    assert (found.rank, found.alpha, found.layers) == ([4], 12, 4)
    assert found.targets == ["q_proj", "v_proj"]
    assert (found.parameters, found.size, found.dtypes) == (count, 4 * count, ["float32"])
    assert found.settings == {}


@pytest.mark.parametrize("method", ["dora", "rslora", "ia3", "vera", "oft", "boft", "fourierft"])
def test_the_method_is_told_from_the_files(method: str, tmp_path: Path) -> None:
    saved(tmp_path, method, **SETTINGS.get(method, {}))
    found = adapter_info(tmp_path)
    assert found.method == method
    assert found.parameters > 0
    assert found.layers in (6, 14)
    assert not any("_" in target and "proj" not in target for target in found.targets)


@pytest.mark.parametrize("method", ["adapter", "reft"])
def test_an_adapter_of_our_own(method: str, tmp_path: Path) -> None:
    count = saved(tmp_path, method)
    found = adapter_info(tmp_path)
    assert (found.method, found.layers, found.base) == (method, 2, "base/of-it")
    assert found.parameters >= count
    assert found.settings


def test_layers_that_train_in_full_are_named(tmp_path: Path) -> None:
    saved(tmp_path, "lora", target_modules=["q_proj"], modules_to_save=["lm_head"])
    found = adapter_info(tmp_path)
    assert (found.targets, found.whole, found.layers) == (["q_proj"], ["lm_head"], 2)


def test_a_run_is_described_by_its_final_adapter_and_its_record(tmp_path: Path) -> None:
    saved(tmp_path / "final", "lora")
    saved(tmp_path / "checkpoint-3", "lora")
    (tmp_path / "run.json").write_text(json.dumps({"config": {"train": {"tuner_strategy": "qlora"}}}))
    found = adapter_info(tmp_path)
    assert found.folder == tmp_path / "final"
    assert found.method == "qlora"


def test_sixteen_bit_numbers_take_two_bytes(tmp_path: Path) -> None:
    saved(tmp_path, "lora")
    file = tmp_path / "adapter_model.safetensors"
    from safetensors.torch import load_file

    save_file({name: value.bfloat16() for name, value in load_file(file).items()}, file)
    found = adapter_info(tmp_path)
    assert (found.dtypes, found.size) == (["bfloat16"], 2 * found.parameters)


def test_the_command_prints_it_without_torch(tmp_path: Path) -> None:
    saved(tmp_path, "lora", lora_rank=4)
    code = (
        "import sys; from swift.tuners.cli import group\n"
        f"try: group().main(['info', {str(tmp_path)!r}])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'transformers', 'peft'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    shown = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert (shown["method"], shown["rank"], shown["alpha"]) == ("lora", "4", "16")
    assert shown["layers"].startswith("14: down_proj, gate_proj")
    as_json = json.loads(CliRunner().invoke(command, [str(tmp_path), "--json"]).output)
    assert (as_json["rank"], as_json["base"]) == ([4], "base/of-it")


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no adapter"):
        adapter_info(tmp_path)
    with pytest.raises(ModelError, match="is not a folder"):
        adapter_info(tmp_path / "absent")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(ModelError, match="no weights"):
        adapter_info(tmp_path)
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"only torch can read") as error:
        adapter_info(tmp_path)
    assert "adapter_model.safetensors" in error.value.remedy
    (tmp_path / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="cannot be read"):
        adapter_info(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        adapter_info(tmp_path)
