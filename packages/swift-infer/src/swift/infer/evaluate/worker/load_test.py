"""A load test by EvalScope: random prompts of one length, so many at a time."""

from __future__ import annotations

import shutil
from typing import Any

from evalscope.perf.arguments import Arguments
from evalscope.perf.main import run_perf_benchmark

FIGURES = {
    "requests": "total_requests",
    "failed": "failed_requests",
    "seconds": "time_taken",
    "requests_per_second": "request_throughput",
    "tokens_per_second": "output_token_throughput",
    "prompt_tokens": "avg_input_tokens",
    "answer_tokens": "avg_output_tokens",
    "ttft_ms": "avg_ttft",
    "tpot_ms": "avg_tpot",
    "latency_s": "avg_latency",
}
"""Our names, with their units, and EvalScope's."""


def load_test(order: dict[str, Any]) -> dict[str, float]:
    """Figures of one run with order["concurrency"] requests at a time (units in their names)."""
    shutil.rmtree(order["folder"], ignore_errors=True)  # EvalScope refuses a folder that it has used
    found = run_perf_benchmark(
        Arguments(
            model=order["model"],
            url=f"{order['url']}/chat/completions",
            api_key=order["key"],
            api="openai",
            dataset="random",
            tokenizer_path=order["tokenizer"],
            number=order["requests"],
            parallel=order["concurrency"],
            min_prompt_length=order["prompt_tokens"],
            max_prompt_length=order["prompt_tokens"],
            max_tokens=order["answer_tokens"],
            extra_args={"ignore_eos": True},
            temperature=0.0,
            seed=order["seed"],
            outputs_dir=order["folder"],
            no_timestamp=True,
        )
    )
    (run,) = found.values()
    figures = {name: float(getattr(run["metrics"], theirs)) for name, theirs in FIGURES.items()}
    return figures | {
        f"ttft_p{share}_ms": run["percentiles"].get_p(f"{share}%", "ttft") for share in (50, 99)
    }
