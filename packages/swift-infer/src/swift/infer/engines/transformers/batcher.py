"""The loop of continuous batching: sequences join and leave between two steps. One thread at a time."""

from __future__ import annotations

import logging
from collections import deque

import torch

from swift.core.types import TokenDelta
from swift.infer.engines.transformers.adapter_folder import Adapter
from swift.infer.engines.transformers.caches import build_cache
from swift.infer.engines.transformers.config import TransformersEngineConfig
from swift.infer.engines.transformers.model import LiveModel
from swift.infer.engines.transformers.reading import Reading
from swift.infer.engines.transformers.sampler import sample
from swift.infer.engines.transformers.sequence import Sequence, failure

logger = logging.getLogger(__name__)


class Batcher:
    """Waiting, being read, running: where every sequence is, and what one step does to it."""

    def __init__(self, model: LiveModel, config: TransformersEngineConfig) -> None:
        self._model = model
        self._config = config
        self._cache = build_cache(model, config)
        self._reading = Reading(model, config)
        self.waiting: deque[Sequence] = deque()
        self.rows: list[Sequence] = []

    @property
    def reading(self) -> list[Sequence]:
        """Sequences whose prompts are being read."""
        return self._reading.sequences

    @property
    def adapters(self) -> set[Adapter]:
        """Those that sequences here were begun with."""
        present = (*self.waiting, *self.reading, *self.rows)
        return {one.adapter for one in present if one.adapter is not None}

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self.waiting or self.rows or self.reading)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        self.waiting.append(sequence)

    def step(self) -> list[TokenDelta]:
        """Read some prompt tokens, then one new token for every running sequence.

        The model must be borrowed. Its failure (out of memory, say) ends the sequences that were in it, not
        the engine.
        """
        try:
            self._read_prompts()
            deltas = self._decode() if self.rows else []
        except RuntimeError as error:
            logger.exception("a step of the transformers engine failed")
            return self.drop_all(f"the model failed: {type(error).__name__}: {error}", keep_waiting=True)
        if not self.rows and not self.reading:
            self._cache.clear()
        return deltas

    def drop(self, request_ids: set[str]) -> list[TokenDelta]:
        """Abort requests wherever they are; the last deltas of those that were found."""
        dropped = [one for one in self.waiting if one.request.request_id in request_ids]
        self.waiting = deque(one for one in self.waiting if one.request.request_id not in request_ids)
        for one in (*self.rows, *self.reading):
            if one.request.request_id in request_ids:
                one.finish_reason = "abort"
                dropped.append(one)
        self._reading.drop_finished()
        self._compact()
        return [TokenDelta(request_id=one.request.request_id, finish_reason="abort") for one in dropped]

    def drop_all(self, problem: str, keep_waiting: bool = False) -> list[TokenDelta]:
        """Fail everything that runs, and what waits too unless it may be tried afterwards."""
        failed = [*self.rows, *self.reading]
        if not keep_waiting:
            failed += self.waiting
            self.waiting.clear()
        self.rows = []
        self._reading.clear()
        self._cache.clear()
        return [failure(one.request.request_id, problem) for one in failed]

    def forget(self) -> None:
        """The weights have changed: keep nothing of them beyond what running sequences need."""
        self._reading.forget()

    def _read_prompts(self) -> None:
        if self.waiting and not self._reading.full:
            self._admit()
        for sequence, cache, index, length in self._reading.advance(answering=bool(self.rows)):
            self._join(sequence)
            self._cache.place(len(self.rows) - 1, cache, index, length)
            sequence.length = length

    def _admit(self) -> None:
        """Take waiting sequences in their order while there is room; prompts of one token run at once."""
        admitted: list[Sequence] = []
        present = [one.most for one in (*self.rows, *self.reading)]
        while self.waiting and self._fits([*present, self.waiting[0].most]):
            one = self.waiting.popleft()
            present.append(one.most)
            if one.prefix:
                admitted.append(one)
            else:
                self._join(one)
        if admitted:
            self._reading.begin(admitted, self.waiting)

    def _fits(self, mosts: list[int]) -> bool:
        return len(mosts) <= self._config.max_running and self._cache.fits(mosts)

    def _join(self, sequence: Sequence) -> None:
        self.rows.append(sequence)
        self._reserve()

    def _reserve(self) -> None:
        needed = [max(one.length + 1, len(one.request.prompt_ids)) for one in self.rows]
        self._cache.reserve(needed, max(one.most for one in self.rows))

    def _decode(self) -> list[TokenDelta]:
        device = self._model.device
        counts = [one.length for one in self.rows]
        longest = max(counts)
        self._reserve()
        lengths = torch.tensor(counts, device=device)
        self._cache.begin(lengths, longest)
        with self._cache.attending():
            logits = self._model.logits(
                [one.adapter for one in self.rows],
                input_ids=torch.tensor([[one.last] for one in self.rows], device=device),
                position_ids=torch.tensor([[one.position] for one in self.rows], device=device),
                attention_mask=self._cache.masks(lengths, self._model.dtype),
                past_key_values=self._cache,
                **self._model.told(len(one.request.prompt_ids) for one in self.rows),
            )
        drawn = sample(logits, [one.draw() for one in self.rows])
        deltas = [one.accept(token) for one, token in zip(self.rows, drawn, strict=True)]
        self._compact()
        return deltas

    def _compact(self) -> None:
        """Let finished rows leave: the last running ones move into their places."""
        row = 0
        while row < len(self.rows):
            if self.rows[row].finish_reason is None:
                row += 1
                continue
            last = self.rows.pop()
            self._cache.leave(row, len(self.rows), last.length if last.finish_reason is None else 0)
            if row < len(self.rows):
                self.rows[row] = last
