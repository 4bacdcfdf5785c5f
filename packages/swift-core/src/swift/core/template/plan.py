"""A shape whose tokens are known up to its slots: literals are tokenised once, contents by memory."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from swift.core.template.shape import PROBES, Shape
from swift.core.template.tokens import Tokens, tokenise
from swift.core.template.words import WordMemory
from swift.core.types import IGNORE_INDEX


@dataclass(frozen=True)
class Fixed:
    """Tokens that every row of the shape has."""

    ids: bytes
    learned: bool


@dataclass(frozen=True)
class Slot:
    """Text between two added tokens with one content in it; what is learned starts at head[border]."""

    head: str
    index: int
    tail: str
    border: int
    learned: bool


Flags = list[bool]
_Text = tuple[str, Flags]


class Plan:
    """The parts of a row in order.

    Args:
        parts: as plan_tokens() found them.
        memory: tokenises the slots.
    """

    def __init__(self, parts: Sequence[Fixed | Slot], memory: WordMemory) -> None:
        self.parts = tuple(parts)
        self.memory = memory

    def encode(self, rows: Sequence[Sequence[str]]) -> list[Tokens]:
        """Tokens and labels of rows, each given by its exchangeable contents."""
        count = len(rows)
        columns: list[list[bytes]] = []
        lengths: list[npt.NDArray[np.int64]] = []
        learned: list[bool] = []
        for part in self.parts:
            if isinstance(part, Fixed):
                columns.append([part.ids] * count)
                lengths.append(np.full(count, len(part.ids) // 4))
                learned.append(part.learned)
                continue
            texts = [part.head + row[part.index] + part.tail for row in rows]
            encoded, borders = self.memory.encode(texts, part.border)
            columns.append(encoded)
            before = np.array(borders, dtype=np.int64)
            lengths += [before, np.fromiter(map(len, encoded), np.int64, count) // 4 - before]
            learned += [False, part.learned]
        ids = np.frombuffer(b"".join(itertools.chain.from_iterable(zip(*columns, strict=True))), "<i4")
        table = np.stack(lengths, axis=1)
        mask = np.repeat(np.tile(np.array(learned), count), table.ravel())
        labels = np.where(mask, ids, np.int32(IGNORE_INDEX))
        ends = np.cumsum(table.sum(axis=1)).tolist()
        pieces = zip([0, *ends[:-1]], ends, strict=True)
        return [(ids[start:end], labels[start:end], None) for start, end in pieces]


def plan_tokens(shape: Shape, backend: Tokenizer, memory: WordMemory) -> Plan | None:
    """Cut a shape at the tokenizer's added tokens, or None where that would not be exact."""
    added = {token.content: number for number, token in backend.get_added_tokens_decoder().items()}
    if _may_join(shape, list(added)):
        return None
    parts: list[Fixed | Slot] = []
    for run in _runs(shape, added):
        if isinstance(run, Fixed):
            parts.append(run)
            continue
        made = (
            _fixed_run(run, backend) if all(not isinstance(item, int) for item, _ in run) else _slot_run(run)
        )
        if made is None:
            return None
        parts += made
    plan = Plan(parts, memory)
    return plan if _agrees(plan, shape, backend) else None


def _may_join(shape: Shape, added: list[str]) -> bool:
    """An added token could arise where a literal meets a content (which has no white space at its ends)."""
    for begin, rest in ((token[:cut], token[cut:]) for token in added for cut in range(1, len(token))):
        after_literal = (
            any(literal.endswith(begin) for literal in shape.literals[:-1]) and not rest[0].isspace()
        )
        before_literal = (
            any(literal.startswith(rest) for literal in shape.literals[1:]) and not begin[-1].isspace()
        )
        if after_literal or before_literal:
            return True
    return False


_Item = tuple[str | int, Flags]
_Run = list[_Item]


def _runs(shape: Shape, added: dict[str, int]) -> list[Fixed | _Run]:
    """Added tokens as fixed parts; between them runs of literal text and slots, each with its flags."""
    pattern = re.compile("|".join(map(re.escape, sorted(added, key=len, reverse=True))) or r"(?!)")
    runs: list[Fixed | _Run] = [[]]
    for number, literal in enumerate(shape.literals):
        flags = _literal_flags(shape, number)
        position = 0
        for match in pattern.finditer(literal):
            _add_text(runs, literal, flags, position, match.start())
            token = np.array([added[match[0]]], dtype="<i4").tobytes()
            runs += [Fixed(token, any(flags[match.start() : match.end()])), []]
            position = match.end()
        _add_text(runs, literal, flags, position, len(literal))
        if number < len(shape.slots):
            learned = any(first == number for (first, _), _ in shape.spans)
            _last_run(runs).append((shape.slots[number], [learned]))
    return [run for run in runs if run]


def _last_run(runs: list[Fixed | _Run]) -> _Run:
    run = runs[-1]
    assert not isinstance(run, Fixed)  # _runs() opens a new run after every token
    return run


def _add_text(runs: list[Fixed | _Run], literal: str, flags: Flags, start: int, end: int) -> None:
    if end > start:
        _last_run(runs).append((literal[start:end], flags[start:end]))


def _literal_flags(shape: Shape, number: int) -> Flags:
    """Which characters of a literal are learned."""
    flags = [False] * len(shape.literals[number])
    for (first, start), (last, end) in shape.spans:
        if first == number:
            flags[start:] = [True] * (len(flags) - start)
        if last == number:
            flags[:end] = [True] * end
    return flags


def _fixed_run(run: _Run, backend: Tokenizer) -> list[Fixed | Slot]:
    text = "".join(str(item) for item, _ in run)
    flags = [flag for _, item_flags in run for flag in item_flags]
    encoding = backend.encode(text, add_special_tokens=False)
    learned = [any(flags[start:end]) for start, end in encoding.offsets]
    pairs = itertools.groupby(zip(encoding.ids, learned, strict=True), key=lambda pair: pair[1])
    return [
        Fixed(np.array([token for token, _ in group], dtype="<i4").tobytes(), flag) for flag, group in pairs
    ]


def _slot_run(run: _Run) -> list[Fixed | Slot] | None:
    """One content with its surroundings, if what is learned begins at or before it and covers the rest."""
    places = [place for place, (item, _) in enumerate(run) if isinstance(item, int)]
    if len(places) != 1:
        return None
    place = places[0]
    head = "".join(str(item) for item, _ in run[:place])
    tail = "".join(str(item) for item, _ in run[place + 1 :])
    head_flags = [flag for _, flags in run[:place] for flag in flags]
    tail_flags = [flag for _, flags in run[place + 1 :] for flag in flags]
    index, (learned,) = run[place]
    assert isinstance(index, int)
    border = head_flags.index(True) if True in head_flags else len(head)
    if any(flag != learned for flag in (*head_flags[border:], *tail_flags)):
        return None
    if not learned:
        border = 0
    if any(
        head[place] == " " and not head[place - 1].isspace() for place in range(1, min(border + 1, len(head)))
    ):
        return None
    return [Slot(head, index, tail, border, learned)]


def _agrees(plan: Plan, shape: Shape, backend: Tokenizer) -> bool:
    """The plan and the tokenizer give the same tokens and labels for every probe."""
    width = len(shape.slots)
    rows = [
        [f"{PROBES[(turn + index) % len(PROBES)]} {index}" for index in range(width)]
        for turn in range(len(PROBES))
    ]
    expected = tokenise(backend, [shape.render(row) for row in rows])
    return all(
        np.array_equal(ids, other_ids) and np.array_equal(labels, other_labels)
        for (ids, labels, _), (other_ids, other_labels, _) in zip(plan.encode(rows), expected, strict=True)
    )
