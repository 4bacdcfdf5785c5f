"""Rows with images that the tests draw themselves, and one tiny Qwen2.5-VL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from swift.core.config.schema import ModelConfig
from swift.core.models.load import load_model, load_processor

MODEL = ModelConfig.model_validate({"model_id": "tiny/qwen2.5-vl", "attn_implementation": "swift_varlen"})
COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220), "white": (250, 250, 250)}
SIZES = ((60, 40), (90, 150), (31, 33), (300, 60))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small gain nothing from a second thread, and wait for it on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def processor() -> Any:
    return load_processor(MODEL)


@pytest.fixture
def model() -> Any:
    return load_model(MODEL, dtype=torch.float32, device="cpu")


@pytest.fixture(scope="session")
def image_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight rows: one image, two images in two turns, or none."""
    folder = tmp_path_factory.mktemp("images")
    rows = []
    for number, (name, colour) in enumerate(2 * list(COLOURS.items())):
        path = folder / f"{number}.png"
        Image.new("RGB", SIZES[number % len(SIZES)], colour).save(path)
        turns = [("user", "<image>Which colour is it?"), ("assistant", f"It is {name}.")]
        if number % 4 == 1:
            turns += [("user", "And this one?<image> Say it."), ("assistant", f"It is {name} again.")]
        if number == 7:
            turns = [("user", "Say hello."), ("assistant", "Hello!")]
        messages = [{"role": role, "content": content} for role, content in turns]
        count = sum(message["content"].count("<image>") for message in messages)
        rows.append({"messages": messages, "images": [path.name] * count})
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder / "rows.json"
