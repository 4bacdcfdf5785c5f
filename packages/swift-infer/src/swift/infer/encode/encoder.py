"""Vectors or scores for many requests at once."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from swift.core.errors import EngineError
from swift.core.protocols import Engine
from swift.core.types import EngineFacts, EngineHealth, GenerationRequest, TokenDelta
from swift.infer.encode.forward import batch_of, forward_of
from swift.infer.encode.record import EncodeSettings
from swift.infer.encode.texts import Ids, TextReader

BATCH_TOKENS = 16384
"""Most tokens of one forward pass, padding included; a longer text goes alone."""

Result = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(slots=True)
class _Waiting:
    ids: Ids
    result: Future[Result] = field(default_factory=Future)


class Encoder(Engine):
    """A model that gives vectors or scores.

    Texts of all requests that wait go into one forward pass, those of like length together.

    It stands in an engine's place: its health is the server's; it writes no text.

    Args:
        max_length: most tokens of a text.
        batch_tokens: most tokens of a forward pass, padding included.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        settings: EncodeSettings,
        *,
        max_length: int | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        self.settings = settings
        self.reader = TextReader(tokenizer, settings, max_length)
        self._forward = forward_of(model, tokenizer, settings)
        self._device = next(model.parameters()).device
        self._pad_id = tokenizer.pad_token_id or 0
        self._max_length, self._batch_tokens = max_length, batch_tokens
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._running = 0
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="encoder", daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Last part of the route that asks for it."""
        return self.settings.endpoint

    async def encode(self, texts: Sequence[Ids]) -> list[Result]:
        """A unit vector float32 [D], or a score float32 [], of each text.

        Raises:
            EngineError: the encoder is closed, or the model fails.
        """
        return list(await asyncio.gather(*map(asyncio.wrap_future, self.submit(texts))))

    def submit(self, texts: Sequence[Ids]) -> list[Future[Result]]:
        """Queue texts; results come from another thread. A future that is cancelled in time costs nothing.

        Raises:
            EngineError: the encoder is closed.
        """
        waiting = [_Waiting(ids) for ids in texts]
        with self._changed:
            if self._closed:
                raise EngineError("the encoder is closed")
            self._waiting += waiting
            self._changed.notify()
        return [one.result for one in waiting]

    def facts(self) -> EngineFacts:
        """It enforces nothing, and takes no adapters."""
        return EngineFacts(max_length=self._max_length, shares_weights=True)

    def health(self) -> EngineHealth:
        """Whether texts are taken, and how many are on their way."""
        alive = self._thread.is_alive() and not self._closed
        return EngineHealth(alive, self._running, len(self._waiting), "" if alive else "closed")

    def close(self) -> None:
        """End the thread; texts that wait fail."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=30)
        for one in self._waiting:
            one.result.set_exception(EngineError("the encoder was closed"))
        self._waiting.clear()

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[TokenDelta]:
        """Not what this model does.

        Raises:
            EngineError: always.
        """
        raise self._silent()

    def stream(self, request: GenerationRequest) -> AsyncIterator[TokenDelta]:
        """Not what this model does.

        Raises:
            EngineError: always.
        """
        raise self._silent()

    def update_weights(self, weights: Iterable[tuple[str, torch.Tensor]] | None = None) -> None:
        """Shared weights need no telling.

        Raises:
            EngineError: others were sent.
        """
        if weights is not None:
            raise EngineError("an encoder takes no new weights")

    def _silent(self) -> EngineError:
        return EngineError(f"this model writes no text: it was trained for {self.settings.task}")

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                batch = self._taken()
                self._running = len(batch)
            try:
                self._run(batch)
            finally:
                self._running = 0

    def _taken(self) -> list[_Waiting]:
        """The text that waited longest, with as many others of like length as fit."""
        first = self._waiting[0]
        order = sorted(self._waiting, key=lambda one: abs(len(one.ids) - len(first.ids)))
        batch: list[_Waiting] = []
        longest = 0
        for one in order:
            longest = max(longest, len(one.ids))
            if batch and longest * (len(batch) + 1) > self._batch_tokens:
                break
            batch.append(one)
        taken = set(map(id, batch))
        self._waiting = deque(one for one in self._waiting if id(one) not in taken)
        return [one for one in batch if one.result.set_running_or_notify_cancel()]

    def _run(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        try:
            with torch.inference_mode():
                inputs = batch_of([one.ids for one in batch], self._pad_id, self._device)
                results = self._forward(inputs).float().cpu().numpy()
        except (RuntimeError, ValueError, IndexError, MemoryError) as error:
            for one in batch:
                one.result.set_exception(EngineError(f"the model fails: {error}"))
            return
        for one, result in zip(batch, results, strict=True):
            one.result.set_result(result)
