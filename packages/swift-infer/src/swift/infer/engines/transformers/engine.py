"""The engine as others see it: iterators and streams over one batcher that any thread may drive."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from swift.core.errors import EngineError
from swift.core.types import EngineFacts, EngineHealth, GenerationRequest, TokenDelta
from swift.infer.constraints import KINDS
from swift.infer.engines.transformers.batcher import Batcher
from swift.infer.engines.transformers.config import TransformersEngineConfig
from swift.infer.engines.transformers.detokenize import decoder
from swift.infer.engines.transformers.door import Door
from swift.infer.engines.transformers.driver import Driver
from swift.infer.engines.transformers.mail import Box, StreamBox
from swift.infer.engines.transformers.model import LiveModel
from swift.infer.engines.transformers.prepare import Preparer
from swift.infer.engines.transformers.refuse import Limits
from swift.infer.engines.transformers.sequence import begin

STEPS = 8  # steps that generate() makes at a time: borrowing the model costs a walk over its modules


class TransformersEngine:
    """Continuous batching over a live transformers model; the model object is shared, never copied.

    generate() works in the calling thread; the first stream() starts one background thread. Both may be used
    at once: whoever drives the loop serves every request. The owner may change weights between the deltas of
    generate() (then call update_weights()), but must not train while streams run.

    Args:
        model: causal language model, in any mode, with or without a peft wrapper.
        tokenizer: its tokenizer; for images its processor.
        config: limits of the batch.
        max_length: longest prompt and answer together, in tokens; default: the model's own limit.

    Raises:
        EngineError: a model whose state is not keys and values by position.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        config: TransformersEngineConfig | None = None,
        max_length: int | None = None,
    ) -> None:
        config = config or TransformersEngineConfig()
        self._model = LiveModel(model)
        text = getattr(tokenizer, "tokenizer", tokenizer)
        self._preparer = Preparer(
            tokenizer, self._model.base.config, self._model.vocab_size, config.prepare_seconds
        )
        self._door = Door(self._preparer)
        self._limits = Limits(
            max_length or self._model.max_length,
            config.kv_tokens,
            self._model.vocab_size,
            self._model.virtual_tokens,
        )
        self._batcher = Batcher(self._model, config)
        begun = partial(
            begin,
            limits=self._limits,
            decode=decoder(text),
            stops=stop_tokens(self._model.base, text),
            adapters=self._model.adapters,
        )
        self._driver = Driver(self._model, self._door, self._batcher, begun)
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def max_length(self) -> int:
        """Longest prompt and answer together, in tokens: the context, or the room for keys and values."""
        return min(self._limits.context or self._limits.kv_tokens, self._limits.kv_tokens)

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[TokenDelta]:
        """Deltas of all requests, interleaved as they come; leaving early aborts what is unfinished.

        Raises:
            EngineError: the engine is closed, or an id is in use. A request that cannot be run ends with a
                delta of finish_reason "error" instead.
        """
        mine: deque[TokenDelta] = deque()
        unfinished: set[str] = set()
        try:
            for request in requests:
                self._submit(request, mine)
                unfinished.add(request.request_id)
            while unfinished:
                if not mine:
                    self._driver.drive(lambda: not mine, STEPS)
                if not mine and self._driver.idle:  # all that is left is being prepared
                    self._door.wait_for_one()
                while mine:
                    delta = mine.popleft()
                    if delta.finish_reason is not None:
                        unfinished.discard(delta.request_id)
                    yield delta
        finally:
            for request_id in unfinished:
                self.abort(request_id)
            if unfinished:
                self._driver.drive(lambda: True)

    async def stream(self, request: GenerationRequest) -> AsyncIterator[TokenDelta]:
        """Deltas of one request; leaving the loop early aborts it.

        Raises:
            EngineError: the engine is closed, or the id is in use.
        """
        box = StreamBox(asyncio.get_running_loop())
        self._submit(request, box)
        self._start()
        finished = False
        try:
            while not finished:
                delta = await box.queue.get()
                finished = delta.finish_reason is not None
                yield delta
        finally:
            if not finished:
                self.abort(request.request_id)

    def abort(self, request_id: str) -> None:
        """End a request; unknown and finished ones are ignored."""
        self._door.leave(request_id)

    def update_weights(self, weights: Iterable[tuple[str, torch.Tensor]] | None = None) -> None:
        """Copy weights by parameter name between two steps; None: the shared tensors changed in place.

        Nothing of the old weights is kept beyond the keys and values of running requests.

        Raises:
            EngineError: unknown name or wrong shape; no weight has changed then.
        """
        with self._driver.between_steps():
            if weights is not None:
                self._model.load(weights)
            self._batcher.forget()

    def facts(self) -> EngineFacts:
        """What it can do with this model; the names of adapters are those of now."""
        return EngineFacts(
            max_length=self.max_length,
            shares_weights=True,
            images=self._preparer.media.reads,
            constraints=KINDS,
            adapters=self._model.adapters.names,
            loads_adapters=self._model.adapters.possible,
        )

    def load_adapter(self, name: str, folder: Path) -> None:
        """Offer a LoRA adapter under a name; requests that run with another one of that name keep it.

        Raises:
            EngineError: it cannot be read, is more than LoRA, or does not fit the model; nothing changes.
            ModelError: it was trained on another model; nothing changes.
        """
        adapter = self._model.adapters.read(name, folder)
        with self._driver.between_steps():
            self._model.adapters.load(adapter, self._batcher.adapters)

    def unload_adapter(self, name: str) -> None:
        """Offer an adapter no longer; requests that run with it keep it to their end.

        Raises:
            EngineError: no adapter of that name.
        """
        with self._driver.between_steps():
            self._model.adapters.unload(name, self._batcher.adapters)

    def health(self) -> EngineHealth:
        """Whether requests are taken, and how many run and wait."""
        waiting = len(self._batcher.waiting) + self._door.waiting
        running = len(self._batcher.rows) + len(self._batcher.reading)
        detail = self._driver.death or ("closed" if self._closed else "")
        return EngineHealth(ready=not detail, running=running, waiting=waiting, detail=detail)

    def close(self) -> None:
        """Fail what is unfinished and stop the thread; safe to call twice."""
        with self._guard:
            self._closed = True
            thread, self._thread = self._thread, None
        self._door.wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._preparer.close()
        self._driver.end("the engine was closed")

    def _submit(self, request: GenerationRequest, box: Box) -> None:
        with self._guard:
            if self._closed or self._driver.death:
                raise EngineError(f"the engine is {self._driver.death or 'closed'}", "build another one")
            self._door.enter(request, box)  # before close() can fail what has come

    def _start(self) -> None:
        with self._guard:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._serve, name="swift-engine", daemon=True)
                self._thread.start()

    def _serve(self) -> None:
        while not self._closed:
            if self._driver.idle:
                self._door.wake.wait()
                self._door.wake.clear()
            else:
                self._driver.drive(lambda: True, STEPS)


def stop_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids that end an answer: the generation config's and the tokenizer's.

    Both, because a base model that learned to chat often ends with its tokenizer's token only.
    """
    generation = getattr(model, "generation_config", None)
    ids = getattr(generation, "eos_token_id", None)
    listed = ids if isinstance(ids, list) else [ids]
    return frozenset(
        token for token in (*listed, getattr(tokenizer, "eos_token_id", None)) if token is not None
    )
