"""The model that all servers serve: that of the fine-tuning job, with texts made up for its tokenizer."""

from __future__ import annotations

import json
import random
from pathlib import Path

from peers.job import make_job
from tokenizers import Tokenizer  # type: ignore[import-untyped]

SYLLABLES = [
    f"{start}{vowel}{end}" for start in "bcdfghklmnprstvz" for vowel in "aeiou" for end in ("", "n", "r", "s")
]
WORDS, ROWS, ROW_WORDS = 60_000, 4000, 60


def vocabulary() -> list[str]:
    """Made-up words, the same every time."""
    source = random.Random(0)
    return sorted({"".join(source.choices(SYLLABLES, k=source.randint(1, 4))) for _ in range(WORDS)})


def words_within(tokens: int, model: Path, words: list[str]) -> int:
    """How many words, drawn at random, take at most so many tokens.

    A long draw keeps close to the mean; two percent are left for how far it strays.
    """
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    each = len(tokenizer.encode(" ".join(words), add_special_tokens=False).ids) / len(words)
    return int(0.98 * tokens / each)


def make_model(folder: Path, context: int) -> Path:
    """Write a random Qwen3 of 13M parameters in fp32 and its tokenizer; the folder.

    Args:
        context: positions that its configuration allows. The weights are the same for all.
    """
    source, words = random.Random(1), vocabulary()
    rows = [
        {"instruction": " ".join(source.choices(words, k=ROW_WORDS)), "input": "", "output": "yes"}
        for _ in range(ROWS)
    ]
    data = folder / "data.json"
    data.write_text(json.dumps(rows), encoding="utf-8")
    model = make_job(data, folder, rows=1, steps=1, checkpointing=None).model
    _set(model / "config.json", "max_position_embeddings", context)
    _set(model / "tokenizer_config.json", "model_max_length", context)
    return model


def _set(file: Path, key: str, value: int) -> None:
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**config, key: value}, indent=1), encoding="utf-8")
