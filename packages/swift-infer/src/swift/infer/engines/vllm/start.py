"""Starting vLLM, and its many ways to say that it cannot."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from swift.core.engines import EngineSource
from swift.core.errors import EngineError, in_one_line
from swift.core.models.hub import locate
from swift.infer.engines.vllm.arguments import check_installed, engine_arguments
from swift.infer.engines.vllm.config import VllmEngineConfig
from swift.infer.engines.vllm.core import Core
from swift.infer.engines.vllm.formats import EMBEDDED, quantisation
from swift.infer.engines.vllm.loop import LoopThread

if TYPE_CHECKING:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

NO_REASON = "Engine core initialization failed"  # vLLM's own words where the reason is in its log only


def started(source: EngineSource, config: VllmEngineConfig) -> Core:
    """vLLM over the source's model, in a thread of its own.

    Raises:
        EngineError: vLLM is not installed, cannot read these weights, or does not start.
        ModelError: no such model.
    """
    check_installed()
    from swift.infer.engines.process.weights import stored_shapes

    folder = locate(source.model, revision=source.revision)
    arguments = engine_arguments(source, folder, config)
    loop = LoopThread()
    try:
        llm = loop.call(_made(arguments, folder))
    except BaseException:  # an interrupt too: the thread would live on
        loop.close()
        raise
    return Core(llm, loop, stored_shapes(folder))


async def _made(arguments: AsyncEngineArgs, folder: Path) -> AsyncLLM:
    """vLLM, bound to the running loop."""
    from vllm.v1.engine.async_llm import AsyncLLM

    try:
        llm = AsyncLLM.from_engine_args(arguments)
        await llm.collective_rpc("end_with_server", args=(os.getpid(),))
        return llm
    except (ValueError, RuntimeError, OSError, NotImplementedError) as error:
        raise EngineError(_problem(folder, error), _remedy(folder)) from error


def _problem(folder: Path, error: Exception) -> str:
    if NO_REASON in str(error):
        return f"vLLM could not start on {str(folder)!r}: the lines above, from its process, say why"
    return f"vLLM could not start on {str(folder)!r}: {in_one_line(error)}"


def _remedy(folder: Path) -> str:
    quantised = quantisation(folder)
    if quantised:
        return f"if it cannot read weights quantised with {quantised.get('quant_method')!r}: {EMBEDDED}"
    return (
        "lower infer.kv_cache_gb or infer.max_length where memory is short, or use infer.engine=transformers"
    )
