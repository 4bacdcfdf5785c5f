"""What Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from swift.infer.server.gateway.exchange import Exchange

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATENCIES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
GAPS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 5.0)


class Metrics:
    """Counters and histograms of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        self._requests = Counter(
            "swift_requests", "Requests answered", ["route", "model", "status"], registry=own
        )
        self._prompt = Counter("swift_prompt_tokens", "Tokens read", ["model"], registry=own)
        self._made = Counter("swift_completion_tokens", "Tokens made", ["model"], registry=own)
        self._rejected = Counter(
            "swift_rejected_requests",
            "Requests that failed, by error code",
            ["reason"],
            registry=own,
        )
        self._restarts = Counter("swift_engine_restarts", "Engines started anew", registry=own)
        self._total = self._histogram("request", "From the headers to the end of the answer", LATENCIES)
        self._first = self._histogram("time_to_first_token", "From the headers to a token", LATENCIES)
        self._queued = self._histogram("queue", "Waiting for the engine", LATENCIES)
        self._gap = self._histogram("inter_token", "Between two tokens of a request", GAPS)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add something that is looked up when it is asked for."""
        Gauge(f"swift_{name}", text, registry=self._registry).set_function(value)

    def gap_observer(self, model: str) -> Callable[[float], None]:
        """What takes the seconds between tokens of a model's answers."""
        observe: Callable[[float], None] = self._gap.labels(model).observe
        return observe

    def finished(self, exchange: Exchange, seconds: float) -> None:
        """Count a request that has ended."""
        self._requests.labels(exchange.route, exchange.model, str(exchange.status)).inc()
        if exchange.error is not None:
            self._rejected.labels(exchange.error).inc()
        if not exchange.model:
            return
        self._prompt.labels(exchange.model).inc(exchange.prompt_tokens)
        self._made.labels(exchange.model).inc(exchange.completion_tokens)
        self._total.labels(exchange.model).observe(seconds)
        self._queued.labels(exchange.model).observe(exchange.queued)
        if exchange.first is not None:
            self._first.labels(exchange.model).observe(exchange.first - exchange.started)

    def restarted(self) -> None:
        """Count an engine that was started anew."""
        self._restarts.inc()

    def text(self) -> bytes:
        """Everything in the text format."""
        return generate_latest(self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            f"swift_{name}_seconds",
            f"{text}, in seconds",
            ["model"],
            buckets=buckets,
            registry=self._registry,
        )
