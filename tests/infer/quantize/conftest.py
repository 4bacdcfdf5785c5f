"""A small model that has learned something, so that perplexity means something."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch

from swift.core.config.schema import ModelConfig
from swift.core.models.load import load_model, load_processor, save_model

STEPS, BATCH, LENGTH = 100, 8, 96
PIECE = 400  # characters of a row


@dataclass(frozen=True)
class Trained:
    """A model folder and rows like those it learned from, none of which it has seen."""

    folder: Path
    rows: Path


def pieces() -> list[str]:
    """Python's manual, cut up."""
    text = "\n\n".join(topics[topic] for topic in sorted(topics))
    return [text[start : start + PIECE] for start in range(0, len(text), PIECE)]


def write_rows(path: Path, texts: list[str]) -> Path:
    """As JSONL."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def teach(model: Any, ids: torch.Tensor, steps: int = STEPS, rate: float = 3e-3) -> None:
    """Next-token prediction on windows of a long row of ids."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    model.train()
    for _ in range(steps):
        starts = torch.randint(0, len(ids) - LENGTH, (BATCH,), generator=generator).tolist()
        batch = torch.stack([ids[start : start + LENGTH] for start in starts])
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """tiny/qwen3 after some seconds on Python's manual; the last fifth of the manual is kept back."""
    folder = tmp_path_factory.mktemp("trained")
    texts = pieces()
    known, held_out = texts[: len(texts) * 4 // 5], texts[len(texts) * 4 // 5 :]
    config = ModelConfig()
    model, tokenizer = load_model(config, dtype=torch.float32, device="cpu"), load_processor(config)
    teach(model, torch.tensor(tokenizer("\n".join(known))["input_ids"]))
    save_model(model, tokenizer, folder / "model")
    yield Trained(folder / "model", write_rows(folder / "rows.jsonl", held_out))
