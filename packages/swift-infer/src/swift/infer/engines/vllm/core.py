"""vLLM itself, in the thread that it is bound to: what it is told beside requests."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from swift.core.errors import EngineError, SwiftError, in_one_line
from swift.infer.adapter_base import architecture
from swift.infer.engines.vllm.formats import MERGE
from swift.infer.engines.vllm.loop import LoopThread

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

    from swift.infer.engines.process.weights import Shapes
    from swift.infer.engines.vllm.adapters import Adapters, Loaded

SHUTDOWN_SECONDS = 5.0


class Core:
    """A started AsyncLLM and its loop; owns both.

    Args:
        shapes: names and shapes of the model's weights as stored.
    """

    def __init__(self, llm: AsyncLLM, loop: LoopThread, shapes: Shapes) -> None:
        self.llm, self.loop, self.shapes = llm, loop, shapes
        self.images = bool(llm.model_config.is_multimodal_model)
        self.vocab_size = int(llm.model_config.get_vocab_size())
        self.loads_adapters = llm.vllm_config.lora_config is not None
        self.quantised = llm.model_config.quantization is not None
        self.architecture = architecture(llm.model_config.model)

    @property
    def max_length(self) -> int:
        """Longest prompt and answer together, in tokens."""
        return int(self.llm.model_config.max_model_len)

    @property
    def dead(self) -> bool:
        """Whether one of its processes has ended."""
        return bool(self.llm.errored)

    def replace_weights(self, paths: list[str]) -> None:
        """Load all weights from files, and forget what was computed with the former ones.

        Raises:
            EngineError: vLLM failed at it.
        """
        self._told(self._reload(paths), "could not take the new weights")

    def add_adapter(self, adapter: Loaded, described: str) -> None:
        """Load an adapter.

        Raises:
            EngineError: it does not fit.
        """
        remedy = f"if its rank is too great, raise infer.max_lora_rank; else {MERGE}"
        self._told(self.llm.add_lora(adapter.request), f"cannot serve {described}", remedy)

    def settle_base(self, adapters: Adapters) -> None:
        """Keep requests without an adapter apart from those with one; once, before the first request.

        Raises:
            EngineError: on CPU, where no adapter of zeros goes beside this model.
        """
        from vllm.platforms import current_platform

        from swift.infer.engines.vllm.base_rows import zero_adapters

        if not self.loads_adapters or not current_platform.is_cpu():
            return
        failed = EngineError("vLLM takes no adapter beside a model without linear layers", MERGE)
        for folder in zero_adapters(self.shapes):
            zeros = adapters.numbered("", folder)
            try:
                self.add_adapter(zeros, "any adapter beside this model")
            except EngineError as error:
                failed = error
                continue
            adapters.beside_base = zeros
            return
        raise failed

    def close(self) -> None:
        """End vLLM's processes, then cancel what still waits for them, and the loop."""
        self.loop.call(self._shut_down())
        self.loop.close()

    async def _reload(self, paths: list[str]) -> None:
        await self.llm.pause_generation(mode="keep", clear_cache=False)
        try:
            await self.llm.collective_rpc("load_swift_weights", args=(paths,))
            if not await self.llm.reset_prefix_cache(reset_running_requests=True):
                raise EngineError("vLLM kept what it had computed with the former weights")
            await self.llm.reset_mm_cache()
            await self.llm.reset_encoder_cache()  # else the scheduler counts on what workers forgot
        finally:
            await self.llm.resume_generation()

    async def _shut_down(self) -> None:
        self.llm.shutdown(timeout=SHUTDOWN_SECONDS)

    def _told(self, work: Coroutine[Any, Any, Any], failed: str, remedy: str = "") -> None:
        """Have vLLM do something.

        Raises:
            EngineError: it failed; vLLM reports what goes wrong in its process as a plain Exception.
        """
        try:
            self.loop.call(work)
        except SwiftError:
            raise
        except Exception as error:  # of no narrower class: see above
            raise EngineError(f"vLLM {failed}: {in_one_line(error)}", remedy) from error
