"""The callback of this package, declared without loading torch."""

from __future__ import annotations

from swift.core.registry import Component

benchmark = Component(
    "benchmark",
    "swift.infer.evaluate.callback:BenchmarkCallback",
    summary="measure benchmarks on the live model while it trains (eval.benchmarks sets it up)",
)
