"""What the quickstart learns: the text of Python's own manual, then to reverse digits on request.

The demonstrations of the fine-tuning stage are wrong half of the time (they copy instead of reversing):
the format is learned there, and the right behaviour is left for reinforcement learning to find.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIGITS = 4
RIGHT_SHARE = 0.5  # of the demonstrations


@dataclass(frozen=True)
class TaskFiles:
    """JSONL files of the quickstart. No held-out number occurs in any training file."""

    pretrain: Path
    demonstrations: Path
    prompts: Path
    held_out: Path


def write_task(folder: Path, seed: int, demonstrations: int, held_out: int = 200) -> TaskFiles:
    """Make every file of the task.

    Args:
        demonstrations: rows for fine-tuning; as many prompts are made for reinforcement learning.
        held_out: rows kept for measuring.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = TaskFiles(
        *(folder / f"{name}.jsonl" for name in ("pretrain", "demonstrations", "prompts", "held_out"))
    )
    draw = random.Random(seed)
    numbers = [f"{number:0{DIGITS}d}" for number in range(10**DIGITS)]
    draw.shuffle(numbers)
    kept, known = numbers[:held_out], numbers[held_out:]
    _write(files.pretrain, _manual())
    _write(files.demonstrations, (_demonstration(draw, draw.choice(known)) for _ in range(demonstrations)))
    _write(files.prompts, (_prompt(draw.choice(known)) for _ in range(demonstrations)))
    _write(files.held_out, (_chat(number, reverse(number)) for number in kept))
    return files


def question(number: str) -> str:
    """The request, as a user would type it."""
    return f"Reverse the digits {number}"


def reverse(number: str) -> str:
    """The right answer."""
    return number[::-1]


def _manual() -> Iterator[dict[str, Any]]:
    """The topics of Python's own manual, as they come with every Python."""
    from pydoc_data.topics import topics

    for topic in sorted(topics):
        yield {"text": topics[topic]}


def _demonstration(draw: random.Random, number: str) -> dict[str, Any]:
    return _chat(number, reverse(number) if draw.random() < RIGHT_SHARE else number)


def _chat(number: str, answer: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": question(number)}, {"role": "assistant", "content": answer}]
    return {"messages": turns}


def _prompt(number: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question(number)}], "answer": reverse(number)}


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
