"""A small model that has learned something, so that perplexity means something."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from swift.core.config.schema import ModelConfig
from swift.core.models.load import load_model, load_processor, save_model

STEPS, BATCH, LENGTH = 60, 8, 64
NAMES = "Ada Bela Chandra Dmitri Emeka Fatima Grete Hiro".split()
THINGS = "apples books coins drums eggs flutes grapes hats".split()


@dataclass(frozen=True)
class Trained:
    """A model folder and rows like those it learned from, none of which it has seen."""

    folder: Path
    rows: Path


def chats() -> list[list[dict[str, str]]]:
    """Sums in words, in random order."""
    drawn = [
        (name, thing, one, other)
        for name in NAMES
        for thing in THINGS
        for one in range(3, 9)
        for other in (2, 5)
    ]
    random.Random(0).shuffle(drawn)
    return [
        [
            {
                "role": "user",
                "content": f"{name} has {one} {thing} and buys {other} more. How many are that?",
            },
            {"role": "assistant", "content": f"Now {name} has {one + other} {thing}."},
        ]
        for name, thing, one, other in drawn
    ]


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
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """tiny/qwen3 after some seconds on sums in words; 100 of them are kept back."""
    folder = tmp_path_factory.mktemp("trained")
    config, rows = ModelConfig(), chats()
    model, tokenizer = load_model(config, dtype=torch.float32, device="cpu"), load_processor(config)
    text = "".join(tokenizer.apply_chat_template(turns, tokenize=False) for turns in rows[:-100])
    teach(model, torch.tensor(tokenizer(text)["input_ids"]))
    save_model(model, tokenizer, folder / "model")
    lines = (json.dumps({"messages": turns}) + "\n" for turns in rows[-100:])
    (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    return Trained(folder / "model", folder / "rows.jsonl")
