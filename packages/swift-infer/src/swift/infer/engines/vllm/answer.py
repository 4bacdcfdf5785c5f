"""One request, from vLLM's first output to the last delta."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from vllm.exceptions import VLLMClientError
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from swift.core.errors import in_one_line
from swift.core.types import GenerationRequest, TokenDelta
from swift.infer.engines.vllm.deltas import delta, failure
from swift.infer.engines.vllm.prompts import prompt_of
from swift.infer.engines.vllm.sampling import vllm_sampling

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

    from swift.infer.engines.vllm.adapters import Loaded

DIED = "vLLM's process has ended (its log says why)"


async def answer(
    llm: AsyncLLM, request: GenerationRequest, adapter: Loaded | None
) -> AsyncGenerator[TokenDelta, None]:
    """Deltas of a request whose prompt fits the context; leaving early aborts it.

    What vLLM refuses, or fails at, ends with a delta that says so.
    """
    name, params = request.request_id, request.sampling
    lora = None if adapter is None else adapter.request
    try:
        sampling = vllm_sampling(params, llm.model_config.max_model_len - len(request.prompt_ids))
        outputs = llm.generate(await prompt_of(llm, request), sampling, name, lora_request=lora)
        async with aclosing(outputs):
            async for output in outputs:
                yield delta(name, output, params.logprobs)
    except EngineDeadError:
        yield failure(name, DIED)
    except EngineGenerateError as error:
        yield failure(name, f"vLLM failed: {in_one_line(error.__cause__ or error)}")
    except (VLLMClientError, ValueError) as error:
        yield failure(name, f"vLLM refuses the request: {str(error).strip()}", refused=True)
