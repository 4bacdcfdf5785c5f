"""A load test by EvalScope: random prompts of one length, so many at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evalscope.perf.arguments import Arguments
from evalscope.perf.main import run_perf_benchmark
from evalscope.perf.utils.perf_constants import Metrics, PercentileMetrics

FIGURES = {
    "requests": Metrics.TOTAL_REQUESTS,
    "failed": Metrics.FAILED_REQUESTS,
    "seconds": Metrics.TIME_TAKEN_FOR_TESTS,
    "requests_per_second": Metrics.REQUEST_THROUGHPUT,
    "tokens_per_second": Metrics.OUTPUT_TOKEN_THROUGHPUT,
    "prompt_tokens": Metrics.AVERAGE_INPUT_TOKENS_PER_REQUEST,
    "answer_tokens": Metrics.AVERAGE_OUTPUT_TOKENS_PER_REQUEST,
    "ttft_ms": Metrics.AVERAGE_TIME_TO_FIRST_TOKEN,
    "tpot_ms": Metrics.AVERAGE_TIME_PER_OUTPUT_TOKEN,
    "latency_s": Metrics.AVERAGE_LATENCY,
}


def load_test(order: dict[str, Any]) -> dict[str, float]:
    """Figures of one run with order["concurrency"] requests at a time (units in their names)."""
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
            outputs_dir=str(Path(order["folder"])),
            no_timestamp=True,
        )
    )
    (run,) = found.values()
    figures = {name: run["metrics"][column] for name, column in FIGURES.items()}
    return figures | _percentiles(run["percentiles"])


def _percentiles(found: Any) -> dict[str, float]:
    """The median and the slowest of a hundred."""
    rows = {str(row[PercentileMetrics.PERCENTILES]): row for row in found.to_list()}
    return {
        f"ttft_p{share}_ms": rows[f"{share}%"][PercentileMetrics.TTFT]
        for share in (50, 99)
        if f"{share}%" in rows
    }
