"""An evaluation from its configuration: plan, check, then one model after the other."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swift.core.config.run import RunConfig
from swift.core.config.schema import BenchmarkConfig, InferConfig
from swift.core.console import say
from swift.core.errors import SwiftError
from swift.infer.evaluate.child import Worker
from swift.infer.evaluate.host import endpoint, serving
from swift.infer.evaluate.plan import Asked, order, plan
from swift.infer.evaluate.results import Measured, Result, write_record

REMOTE = "remote"


@dataclass(frozen=True)
class Subject:
    """A model that is measured: the name of its column and its resolved run."""

    name: str
    run: RunConfig

    def folder(self, output: Path) -> Path:
        """Where its answers go: a name that a file system takes, and that leads nowhere else."""
        return output / "models" / (re.sub(r"[^\w.+-]", "_", self.name).strip(".") or "model")


def evaluate(subjects: Sequence[Subject]) -> tuple[list[Measured], list[str]]:
    """Measure models on the benchmarks of the first one's configuration; (figures, labels of benchmarks).

    Every benchmark's name, data and judge are checked before a model is loaded. OUT/eval.json is written
    after each model, so that nothing measured is lost.

    Raises:
        SwiftError: a benchmark cannot be run here. What goes wrong later is part of the figures.
    """
    run = subjects[0].run
    config = run.benchmark
    folder = Path(config.output_dir)
    asked = plan(config, folder, skip=run.data.on_error == "skip")
    measured: list[Measured] = []
    with Worker(folder, config.stall_timeout) as worker:
        counts = check(worker, asked, run)
        for subject in subjects:
            measured.append(measure(worker, subject, asked, counts))
            write_record(folder, settings(run), measured)
    return measured, [one.label for one in asked]


def check(worker: Worker, asked: Sequence[Asked], run: RunConfig) -> dict[str, int]:
    """How many questions each benchmark has.

    Raises:
        SwiftError: one cannot be run here.
    """
    config = run.benchmark
    where = endpoint("http://127.0.0.1:1/v1", "nobody")
    counts = {}
    for one in asked:
        say(f"checking {one.label}")
        told = order(
            one, config, worker.folder / "check", seed=seed_of(run), hub=run.model.hub, endpoint=where
        )
        counts[one.label] = int(worker.ask({"do": "check", **told}))
    return counts


def measure(worker: Worker, subject: Subject, asked: Sequence[Asked], counts: Mapping[str, int]) -> Measured:
    """What one model makes of all benchmarks; failures are part of it."""
    run = subject.run
    results: list[Result] = []
    error = ""
    try:
        with reached(run) as where:
            for one in asked:
                say(f"{subject.name}: {one.label} ({counts[one.label]} questions)")
                results.append(
                    grade(worker, one, run, where, subject.folder(worker.folder), counts[one.label])
                )
    except SwiftError as raised:
        error = raised.problem
    return Measured(
        subject.name, asked_model(run), run.model.adapter, run.infer.engine, tuple(results), error
    )


def grade(
    worker: Worker, asked: Asked, run: RunConfig, where: Mapping[str, Any], folder: Path, questions: int
) -> Result:
    """One benchmark's figures, or why there are none."""
    started = time.monotonic()
    told = order(
        asked,
        run.benchmark,
        folder / asked.label,
        seed=seed_of(run),
        hub=run.model.hub,
        endpoint=where,
    )
    try:
        figures = worker.ask({"do": "grade", **told})
    except SwiftError as error:
        return Result(asked.label, questions, skipped=asked.skipped, error=str(error))
    seconds = round(time.monotonic() - started, 3)
    return Result(asked.label, skipped=asked.skipped, seconds=seconds, **figures)


@contextmanager
def reached(run: RunConfig) -> Iterator[Mapping[str, Any]]:
    """Where the run's model answers: its engine behind our server, started here and ended afterwards.

    Raises:
        SwiftError: model or engine cannot be loaded.
    """
    if run.infer.engine == REMOTE:
        yield elsewhere(run)
        return
    from swift.infer.load import load_engine
    from swift.infer.server.offer import served_model

    engine, tokenizer = load_engine(run)
    told = replace(run, infer=answering(run.benchmark, run.infer))
    served = served_model(told, engine, tokenizer, [], engine)
    with serving(served) as url:
        yield endpoint(url, served.name, temperature=run.benchmark.temperature, seed=seed_of(run))


def elsewhere(run: RunConfig) -> Mapping[str, Any]:
    """A model that somebody else serves: it is asked directly.

    Raises:
        EngineError: no such server, key or model.
    """
    from swift.infer.engines.http.client import HttpClient, Limits
    from swift.infer.engines.remote.config import RemoteEngineConfig
    from swift.infer.engines.remote.engine import checked_url, offered
    from swift.infer.engines.remote.key import api_key

    config = run.engine if isinstance(run.engine, RemoteEngineConfig) else RemoteEngineConfig()
    limits = Limits(config.timeout, config.retries, config.connections, through_proxies=True)
    url, key = checked_url(config.base_url), api_key(config)
    client = HttpClient(url, limits, key)
    try:
        model, _ = offered(client, config.model)
    finally:
        client.close()
    answers = run.benchmark
    sampling = {"temperature": answers.temperature, "max_tokens": answers.answer_tokens}
    return endpoint(url, model, key or "EMPTY", seed=seed_of(run), **sampling)


def asked_model(run: RunConfig) -> str:
    """What stands for the model in records: folder, hub id, or the URL of one that is served elsewhere."""
    return str(getattr(run.engine, "base_url", None) or run.model.model_id)


def answering(config: BenchmarkConfig, infer: InferConfig) -> InferConfig:
    """The server's defaults for benchmarks: no length is asked for, so a short context may cut it."""
    return infer.model_copy(
        update={"temperature": config.temperature, "max_new_tokens": config.answer_tokens}
    )


def seed_of(run: RunConfig) -> int:
    """infer.seed, or else train.seed."""
    return run.loop.seed if run.infer.seed is None else run.infer.seed


def settings(run: RunConfig) -> dict[str, Any]:
    """What decided the figures."""
    return {
        **run.benchmark.model_dump(mode="json"),
        "engine": run.infer.engine,
        "system": run.infer.system,
        "dtype": run.loop.dtype,
        "seed": seed_of(run),
    }
