"""Adapters of server processes: copies that come and go, and what LMDeploy is given to read."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from swift.core.config.schema import ModelConfig
from swift.core.errors import EngineError
from swift.core.models.load import load_model
from swift.infer.engines.lmdeploy.adapter import rewrite
from swift.infer.engines.process.adapters import OfferedAdapters

RECORD = Path(__file__).parent / "records" / "lmdeploy.json"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def saved(folder: Path, **changes: Any) -> Path:
    """An adapter as peft writes it."""
    model = load_model(ModelConfig(model_id="tiny/qwen3"), dtype=torch.float32, device="cpu")
    config = LoraConfig(**{"r": 8, "lora_alpha": 24, "target_modules": ["q_proj", "v_proj"], **changes})
    get_peft_model(model, config).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("adapter"))


def test_copies_last_as_long_as_they_are_offered(adapter: Path, temporary: Path) -> None:
    offered = OfferedAdapters({"one": adapter})
    (first,) = offered.loadings()
    second = offered.prepared("one", adapter)
    assert first.served != second.served and (second.folder / "adapter_model.safetensors").is_file()
    assert offered.offer(second) is first
    offered.drop(first)
    assert not first.folder.exists() and offered.served("one") == second.served
    offered.close()
    assert not list(temporary.iterdir())


def test_one_that_is_refused_leaves_nothing_behind(adapter: Path, temporary: Path, tmp_path: Path) -> None:
    for name, folder in (("a b", adapter), ("two", tmp_path)):
        with pytest.raises(EngineError):
            OfferedAdapters({"one": adapter, name: folder})
    assert not list(temporary.iterdir())
    offered = OfferedAdapters({"one": adapter}, rewrite=rewrite)
    (copies,) = temporary.iterdir()
    before = list(copies.iterdir())
    with pytest.raises(EngineError, match="use_rslora"):
        offered.prepared("two", saved(tmp_path / "rs", use_rslora=True))
    assert list(copies.iterdir()) == before and offered.names() == ("one",)
    offered.close()


def test_lmdeploy_reads_a_record_that_its_peft_knows(adapter: Path) -> None:
    """The original has keys that it does not know, for which it would drop rank, scale and layers."""
    known = set(json.loads(RECORD.read_text())["requests"]["adapter_config.json"])
    assert not set(json.loads((adapter / "adapter_config.json").read_text())) <= known
    offered = OfferedAdapters({"one": adapter}, rewrite=rewrite)
    (loading,) = offered.loadings()
    told = json.loads((loading.folder / "adapter_config.json").read_text())
    assert set(told) <= known
    assert (told["r"], told["lora_alpha"], told["target_modules"]) == (8, 24, ["q_proj", "v_proj"])
    offered.close()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rank_pattern": {"v_proj": 4}}, "rank_pattern"),
        ({"alpha_pattern": {"v_proj": 4}}, "alpha_pattern"),
        ({"use_dora": True}, "lora_magnitude_vector"),
        ({"modules_to_save": ["lm_head"]}, "lm_head"),
    ],
)
def test_lmdeploy_is_given_nothing_that_it_would_serve_wrongly(
    changes: dict[str, Any], why: str, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match=f"{why}.*\n?.*swift merge"):
        rewrite("one", saved(tmp_path / "adapter", **changes))


def test_layers_are_those_that_have_factors(adapter: Path, tmp_path: Path) -> None:
    """Whatever the record says: a regular expression, for one."""
    record = json.loads((adapter / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**record, "target_modules": ".*v_proj"}))
    factors = load_file(adapter / "adapter_model.safetensors")
    kept = {name: value for name, value in factors.items() if "v_proj" in name}
    save_file(kept, tmp_path / "adapter_model.safetensors")
    rewrite("one", tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"] == ["v_proj"]
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(EngineError, match="no readable adapter_model"):
        rewrite("one", tmp_path)
