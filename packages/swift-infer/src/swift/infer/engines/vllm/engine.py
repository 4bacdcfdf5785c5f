"""vLLM as an engine: any thread and any event loop may ask, one thread of ours speaks with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from swift.core.engines import EngineSource
from swift.core.errors import EngineError, in_one_line
from swift.core.protocols import Engine
from swift.core.types import EngineFacts, EngineHealth, GenerationRequest, TokenDelta
from swift.infer.adapter_base import check_base
from swift.infer.engines.vllm.config import VllmEngineConfig
from swift.infer.engines.vllm.core import Core
from swift.infer.engines.vllm.deltas import failure
from swift.infer.engines.vllm.limits import problem
from swift.infer.engines.vllm.loop import Handover

if TYPE_CHECKING:
    from concurrent.futures import Future

    import torch

Sink = Callable[[TokenDelta], None]
CONSTRAINTS = frozenset({"json_schema", "json_object", "regex", "choice", "grammar"})


def build_vllm(source: EngineSource, tokenizer: Any, config: VllmEngineConfig | None = None) -> Engine:
    """vLLM over a model folder, here or (infer.server) as a server process in its own environment.

    Raises:
        EngineError: vLLM is not installed, cannot read these weights, or does not start.
        ModelError: no such model.
    """
    config = config or VllmEngineConfig.model_validate({})
    if config.server:
        from swift.infer.engines.vllm.server import VllmServerEngine

        server: Engine = VllmServerEngine(source, tokenizer, config=config)
        return server
    from swift.infer.engines.vllm.start import started

    engine = VllmEngine(started(source, config), config.max_running)
    try:
        for name, folder in source.adapters.items():
            engine.load_adapter(name, folder)
    except BaseException:  # an interrupt too: vLLM's processes would live on
        engine.close()
        raise
    return engine


class VllmEngine(Engine):
    """A started vLLM behind our protocol.

    All of vLLM's asynchronous parts live in one thread; streams of other loops are fed from it. Its engine
    core and its workers are processes; when one dies, running requests end with an error and health() says
    so.

    Args:
        core: vLLM, which the engine owns.
        max_running: most sequences that it generates together.

    Raises:
        EngineError: vLLM was started with room for adapters, and takes none beside this model.
    """

    def __init__(self, core: Core, max_running: int) -> None:
        from swift.infer.engines.vllm.adapters import Adapters

        self._core = core
        self._max_running = max_running
        self._adapters = Adapters()
        self._handovers: list[Handover] = []
        self._guard = threading.Lock()
        self._open: set[str] = set()
        self._closed = False
        try:
            core.settle_base(self._adapters)
        except BaseException:  # an interrupt too: vLLM's processes would live on
            self.close()
            raise

    def facts(self) -> EngineFacts:
        """What the model and this way of starting it allow."""
        return EngineFacts(
            max_length=self._core.max_length,
            images=self._core.images,
            constraints=CONSTRAINTS,
            adapters=tuple(self._adapters),
            loads_adapters=self._core.loads_adapters,
        )

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[TokenDelta]:
        """Deltas of all requests, interleaved as they come; leaving early aborts what is unfinished.

        Raises:
            EngineError: the engine is closed or dead, or an id is in use. A request that cannot be run ends
                with a delta of finish_reason "error" instead.
        """
        arrived: SimpleQueue[TokenDelta] = SimpleQueue()
        running: dict[str, Future[None]] = {}
        try:
            for request in requests:
                running[request.request_id] = self._submit(request, arrived.put)
            while running:
                delta = arrived.get()
                if delta.finish_reason is not None:
                    del running[delta.request_id]
                yield delta
        finally:
            for future in running.values():
                future.cancel()

    async def stream(self, request: GenerationRequest) -> AsyncIterator[TokenDelta]:
        """Deltas of one request; leaving the loop early aborts it.

        Raises:
            EngineError: the engine is closed or dead, or the id is in use.
        """
        handover = self._handover(asyncio.get_running_loop())
        queue: asyncio.Queue[TokenDelta] = asyncio.Queue()
        future = self._submit(request, lambda delta: handover.put(queue, delta))
        finished = False
        try:
            while not finished:
                delta = await queue.get()
                finished = delta.finish_reason is not None
                yield delta
        finally:
            if not finished:
                future.cancel()

    def update_weights(self, weights: Iterable[tuple[str, torch.Tensor]] | None = None) -> None:
        """Replace all weights between two steps; what was computed with the old ones is forgotten.

        Running requests keep the tokens they have and go on with the new weights. None changes nothing: no
        tensors are shared.

        Raises:
            EngineError: unknown name, wrong shape, or not all weights (nothing has changed then); quantised
                weights, which cannot be replaced; or vLLM failed at it.
        """
        if weights is None:
            return
        if self._core.quantised:
            raise EngineError("vLLM cannot replace quantised weights", "start it on the plain ones")
        from swift.infer.engines.process.weights import written

        self._check_alive()
        with written(weights, self._core.shapes) as paths:
            self._core.replace_weights(paths)

    def load_adapter(self, name: str, folder: Path) -> None:
        """Offer a LoRA adapter under a name from now on; one of that name is replaced.

        Raises:
            EngineError: vLLM was started without room for adapters, or the adapter does not fit.
            ModelError: no adapter in that folder, or one of another model.
        """
        if not self._core.loads_adapters:
            raise EngineError(
                f"the adapter {name!r} cannot be loaded: vLLM was started without room for adapters",
                "set infer.max_loras to how many one batch may use",
            )
        self._check_alive()
        check_base(folder, self._core.architecture, self._core.llm.model_config.model)
        adapter = self._adapters.prepared(name, folder)
        self._core.add_adapter(adapter, f"the adapter {name!r} ({str(folder)!r})")
        self._adapters.offer(name, adapter)

    def unload_adapter(self, name: str) -> None:
        """Stop offering an adapter; requests that run with it are finished.

        Raises:
            EngineError: no adapter of that name.
        """
        self._adapters.drop(name)

    def health(self) -> EngineHealth:
        """Whether requests are taken, and how many run and wait."""
        detail = "closed" if self._closed else "dead: vLLM's process has ended" if self._core.dead else ""
        count = len(self._open)
        running = min(count, self._max_running)
        return EngineHealth(ready=not detail, running=running, waiting=count - running, detail=detail)

    def close(self) -> None:
        """End vLLM's processes and fail what is unfinished; safe to call twice."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
        self._core.close()
        self._adapters.clear()

    def _submit(self, request: GenerationRequest, sink: Sink) -> Future[None]:
        self._check_alive()
        with self._guard:
            if request.request_id in self._open:
                raise EngineError(
                    f"request id {request.request_id!r} is in use", "give every request its own id"
                )
            self._open.add(request.request_id)
        return self._core.loop.start(self._answer(request, sink))

    async def _answer(self, request: GenerationRequest, sink: Sink) -> None:
        """Feed one request's deltas to whoever asked; a last one comes whatever happens."""
        from swift.infer.engines.vllm.answer import answer

        core = self._core
        last = failure(request.request_id, "the engine was closed")
        try:
            adapter = self._adapters.chosen(request.adapter)
            wrong = problem(request, core.max_length, core.vocab_size, core.images)
            if wrong:
                last = failure(request.request_id, wrong, refused=True)
                return
            async with aclosing(answer(core.llm, request, adapter)) as deltas:
                async for delta in deltas:
                    if delta.finish_reason is not None:
                        last = delta
                        break
                    sink(delta)
        except EngineError as error:
            last = failure(request.request_id, f"{error.problem}; {error.remedy}")
        except Exception as error:  # raised again below; whoever asked has to learn of it too
            last = failure(request.request_id, f"vLLM failed: {in_one_line(error)}")
            raise
        finally:
            self._open.discard(request.request_id)
            sink(last)

    def _handover(self, loop: asyncio.AbstractEventLoop) -> Handover:
        with self._guard:
            others = [one for one in self._handovers if one.loop is not loop and not one.loop.is_closed()]
            known = next((one for one in self._handovers if one.loop is loop), None) or Handover(loop)
            self._handovers = [*others, known]
            return known

    def _check_alive(self) -> None:
        if detail := self.health().detail:
            raise EngineError(f"the engine is {detail}", "build another one")
