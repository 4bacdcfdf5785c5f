"""Adapters by name: offered, chosen, loaded and unloaded by clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import openai
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from swift.core.config.schema import InferConfig, ModelConfig
from swift.core.models.load import load_model, load_tokenizer
from swift.infer.engines.transformers.engine import TransformersEngine
from swift.infer.server.served import ServedModel

CONFIG = ModelConfig.model_validate({"model_id": "tiny/qwen3"})


def base() -> Any:
    return load_model(CONFIG, dtype=torch.float32, device="cpu")


def adapter(folder: Path, model: Any, seed: int) -> Path:
    """A LoRA with weights that change every answer."""
    torch.manual_seed(seed)
    adapted = peft.get_peft_model(
        model, peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    )
    adapted.save_pretrained(folder)
    return folder


def test_adapters_come_and_go(tmp_path: Path, serve: Any) -> None:
    tokenizer = load_tokenizer(CONFIG)
    engine = TransformersEngine(base(), tokenizer, max_length=256)
    folder = adapter(tmp_path / "one", base(), 1)
    engine.load_adapter("first", folder)
    defaults = InferConfig.model_validate({"max_new_tokens": 8})
    served = ServedModel("tiny", engine, tokenizer, 256, defaults, adapter_loading=True)
    with serve(served) as client:

        def said(name: str) -> str:
            return str(client.completions.create(model=name, prompt="one", temperature=0).choices[0].text)

        def post(what: str, **body: str) -> httpx.Response:
            return httpx.post(f"{client.base_url}{what}_lora_adapter", json=body, timeout=60)

        cards = {card.id: card.model_dump() for card in client.models.list()}
        assert cards["first"]["parent"] == "tiny" and "parent" not in cards["tiny"]
        assert said("first") != said("tiny")
        second = str(adapter(tmp_path / "two", base(), 2))
        assert post("load", lora_name="second", lora_path=second).status_code == 200
        assert len({said(name) for name in ("tiny", "first", "second")}) == 3
        assert client.completions.create(model="second", prompt="x").model == "second"
        for body, code in [
            ({"lora_name": "second", "lora_path": second}, "name_taken"),
            ({"lora_name": "tiny", "lora_path": second}, "name_taken"),
            ({"lora_name": "x", "lora_path": str(tmp_path)}, "invalid_value"),
            ({"lora_name": "x", "lora_path": "a\0b"}, "invalid_value"),
            ({"lora_name": "x", "lora_path": "n" * 5000}, "invalid_value"),
        ]:
            answer = post("load", **body)
            assert answer.status_code == 400 and answer.json()["error"]["code"] == code, body
        assert post("unload", lora_name="second").status_code == 200
        with pytest.raises(openai.NotFoundError) as caught:
            said("second")
        assert caught.value.code == "model_not_found"
        assert post("unload", lora_name="second").status_code == 404
        assert post("unload", lora_name="tiny").status_code == 400


def test_an_adapter_of_another_base_is_refused(tmp_path: Path, serve: Any) -> None:
    folder = adapter(tmp_path / "other", base(), 1)
    file = folder / "adapter_model.safetensors"
    wider = {name: torch.cat([value, value], dim=-1) for name, value in load_file(file).items()}
    save_file(wider, file)
    tokenizer = load_tokenizer(CONFIG)
    engine = TransformersEngine(base(), tokenizer, max_length=256)
    with serve(ServedModel("tiny", engine, tokenizer, 256, adapter_loading=True)) as client:
        answer = httpx.post(
            f"{client.base_url}load_lora_adapter",
            json={"lora_name": "x", "lora_path": str(folder)},
            timeout=60,
        )
        assert answer.status_code == 400 and answer.json()["error"]["code"] == "adapter_refused"
        assert "\n" not in answer.json()["error"]["message"]
        assert [card.id for card in client.models.list()] == ["tiny"]


def test_clients_change_nothing_unless_they_may(client: Any) -> None:
    answer = httpx.post(
        f"{client.base_url}load_lora_adapter", json={"lora_name": "x", "lora_path": "/"}, timeout=60
    )
    assert answer.status_code == 403 and answer.json()["error"]["code"] == "not_allowed"
