"""vLLM as an engine: any thread and any event loop may ask, one thread of ours speaks with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from swift.core.engines import EngineSource
from swift.core.errors import EngineError, SwiftError, in_one_line
from swift.core.protocols import Engine
from swift.core.types import EngineFacts, EngineHealth, GenerationRequest, TokenDelta
from swift.infer.engines.vllm.config import VllmEngineConfig
from swift.infer.engines.vllm.deltas import failure
from swift.infer.engines.vllm.limits import problem
from swift.infer.engines.vllm.loop import Handover, LoopThread

if TYPE_CHECKING:
    from concurrent.futures import Future

    import torch
    from vllm.v1.engine.async_llm import AsyncLLM

    from swift.infer.engines.vllm.weights import Shapes

Sink = Callable[[TokenDelta], None]
CONSTRAINTS = frozenset({"json_schema", "json_object", "regex", "choice", "grammar"})
SHUTDOWN_SECONDS = 5.0


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
    loop = LoopThread()
    try:
        from swift.infer.engines.vllm.start import started

        llm, shapes = loop.call(started(source, config))
    except BaseException:
        loop.close()
        raise
    engine = VllmEngine(llm, loop, shapes, config.max_running)
    try:
        for name, folder in source.adapters.items():
            engine.load_adapter(name, folder)
    except BaseException:
        engine.close()
        raise
    return engine


class VllmEngine(Engine):
    """A started AsyncLLM behind our protocol.

    All of vLLM's asynchronous parts live in one thread; streams of other loops are fed from it. Its engine
    core and its workers are processes; when one dies, running requests end with an error and health() says
    so.

    Args:
        llm, loop: vLLM, and the loop it is bound to; the engine owns both.
        shapes: names and shapes of the model's weights as stored; empty for quantised ones, which stay.
        max_running: most sequences that it generates together.
    """

    def __init__(self, llm: AsyncLLM, loop: LoopThread, shapes: Shapes, max_running: int) -> None:
        from swift.infer.engines.vllm.adapters import Adapters

        self._llm = llm
        self._shapes = shapes
        self._max_running = max_running
        self._images = bool(llm.model_config.is_multimodal_model)
        self._vocab_size = int(llm.model_config.get_vocab_size())
        self._loads = llm.vllm_config.lora_config is not None
        self._adapters = Adapters()
        self._loop = loop
        self._handovers: list[Handover] = []
        self._guard = threading.Lock()
        self._open: set[str] = set()
        self._closed = False

    @property
    def max_length(self) -> int:
        """Longest prompt and answer together, in tokens."""
        return int(self._llm.model_config.max_model_len)

    def facts(self) -> EngineFacts:
        """What the model and this way of starting it allow."""
        return EngineFacts(
            max_length=self.max_length,
            images=self._images,
            constraints=CONSTRAINTS,
            adapters=tuple(self._adapters),
            loads_adapters=self._loads,
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
        if not self._shapes:
            raise EngineError(
                "vLLM was given quantised weights, which cannot be replaced while it runs",
                "start it on the plain weights, or use infer.engine=transformers",
            )
        from swift.infer.engines.vllm.weights import written

        self._check_alive()
        with written(weights, self._shapes) as paths:
            self._told(self._reload(paths), "could not take the new weights")

    def load_adapter(self, name: str, folder: Path) -> None:
        """Offer a LoRA adapter under a name from now on; one of that name is replaced.

        Raises:
            EngineError: vLLM was started without room for adapters, or the adapter does not fit.
            ModelError: no adapter in that folder.
        """
        if not self._loads:
            raise EngineError(
                f"the adapter {name!r} cannot be loaded: vLLM was started without room for adapters",
                "set infer.max_loras to how many one batch may use",
            )
        self._check_alive()
        adapter = self._adapters.prepared(name, folder)
        self._told(
            self._llm.add_lora(adapter.request),
            f"cannot serve the adapter {name!r} ({str(folder)!r})",
            "merge it into the weights (swift merge), raise infer.max_lora_rank if it is the rank, or use "
            "infer.engine=transformers",
        )
        self._adapters.offer(name, adapter)

    def unload_adapter(self, name: str) -> None:
        """Stop offering an adapter; requests that run with it are finished.

        Raises:
            EngineError: no adapter of that name.
        """
        self._adapters.drop(name)

    def health(self) -> EngineHealth:
        """Whether requests are taken, and how many run and wait."""
        detail = "closed" if self._closed else "dead: vLLM's process has ended" if self._llm.errored else ""
        count = len(self._open)
        running = min(count, self._max_running)
        return EngineHealth(ready=not detail, running=running, waiting=count - running, detail=detail)

    def close(self) -> None:
        """End vLLM's processes and fail what is unfinished; safe to call twice."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
        self._loop.call(self._shut_down())
        self._loop.close()
        self._adapters.clear()

    def _submit(self, request: GenerationRequest, sink: Sink) -> Future[None]:
        self._check_alive()
        with self._guard:
            if request.request_id in self._open:
                raise EngineError(
                    f"request id {request.request_id!r} is in use", "give every request its own id"
                )
            self._open.add(request.request_id)
        return self._loop.start(self._answer(request, sink))

    async def _answer(self, request: GenerationRequest, sink: Sink) -> None:
        """Feed one request's deltas to whoever asked; a last one comes whatever happens."""
        from swift.infer.engines.vllm.answer import answer

        last = failure(request.request_id, "the engine was closed")
        try:
            adapter = None if request.adapter is None else self._adapters.get(request.adapter)
            wrong = problem(request, self.max_length, self._vocab_size, self._images)
            if wrong:
                last = failure(request.request_id, wrong)
                return
            async with aclosing(answer(self._llm, request, adapter)) as deltas:
                async for delta in deltas:
                    if delta.finish_reason is not None:
                        last = delta
                        break
                    sink(delta)
        except EngineError as error:
            last = failure(request.request_id, f"{error.problem}; {error.remedy}")
        except Exception as error:
            last = failure(request.request_id, f"vLLM failed: {in_one_line(error)}")
            raise
        finally:
            self._open.discard(request.request_id)
            sink(last)

    async def _reload(self, paths: list[str]) -> None:
        await self._llm.pause_generation(mode="keep", clear_cache=False)
        try:
            await self._llm.collective_rpc("load_swift_weights", args=(paths,))
            if not await self._llm.reset_prefix_cache(reset_running_requests=True):
                raise EngineError("vLLM kept what it had computed with the former weights")
            await self._llm.reset_mm_cache()
        finally:
            await self._llm.resume_generation()

    async def _shut_down(self) -> None:
        self._llm.shutdown(timeout=SHUTDOWN_SECONDS)

    def _told(self, work: Coroutine[Any, Any, Any], failed: str, remedy: str = "") -> None:
        """Have vLLM do something.

        Raises:
            EngineError: it failed; vLLM reports what goes wrong in its process as a plain Exception.
        """
        try:
            self._loop.call(work)
        except SwiftError:
            raise
        except Exception as error:
            raise EngineError(f"vLLM {failed}: {in_one_line(error)}", remedy) from error

    def _handover(self, loop: asyncio.AbstractEventLoop) -> Handover:
        with self._guard:
            self._handovers = [one for one in self._handovers if not one.loop.is_closed()]
            known = next((one for one in self._handovers if one.loop is loop), None)
            if known is None:
                known = Handover(loop)
                self._handovers.append(known)
            return known

    def _check_alive(self) -> None:
        health = self.health()
        if not health.ready:
            raise EngineError(f"the engine is {health.detail}", "build another one")
