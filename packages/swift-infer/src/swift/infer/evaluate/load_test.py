"""Speed under load: one engine, several runs with more and more requests at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from swift.core.console import say
from swift.infer.evaluate.child import Worker
from swift.infer.evaluate.results import write_speed
from swift.infer.evaluate.run import Subject, reached, seed_of

COLUMNS = (
    ("tok/s", "tokens_per_second", 1),
    ("req/s", "requests_per_second", 2),
    ("TTFT ms", "ttft_ms", 1),
    ("p50", "ttft_p50_ms", 1),
    ("p99", "ttft_p99_ms", 1),
    ("TPOT ms", "tpot_ms", 2),
    ("latency s", "latency_s", 2),
)
Figures = Mapping[str, float]


def load_tests(subjects: Sequence[Subject]) -> tuple[Path, dict[str, list[Figures]]]:
    """Figures of each model by concurrency, also written to OUT/perf.json.

    Raises:
        SwiftError: a model cannot be loaded, or a run failed.
    """
    run = subjects[0].run
    folder = Path(run.benchmark.output_dir)
    tested: dict[str, list[Figures]] = {}
    with Worker(folder, run.benchmark.stall_timeout) as worker:
        for subject in subjects:
            tested[subject.name] = load_one(worker, subject)
            path = write_speed(folder, _settings(subject), tested)
    return path, tested


def speed(tested: Mapping[str, Sequence[Figures]]) -> Table:
    """One row a model and concurrency; TTFT: time to the first token, TPOT: time for each further one."""
    table = Table("model", "at a time", "requests", "failed")
    for heading, _, _ in COLUMNS:
        table.add_column(heading, justify="right")
    for name, rows in tested.items():
        for row in rows:
            figures = (f"{row[key]:.{digits}f}" if key in row else "" for _, key, digits in COLUMNS)
            counts = (str(int(row[key])) for key in ("concurrency", "requests", "failed"))
            table.add_row(escape(name), *counts, *figures)
    return table


def load_one(worker: Worker, subject: Subject) -> list[Figures]:
    """Figures of one model, a run for each concurrency."""
    config = subject.run.load_test
    rows: list[Figures] = []
    with ExitStack() as stack:
        where = stack.enter_context(reached(subject.run))
        tokenizer = _tokenizer_folder(subject, subject.folder(worker.folder) / "tokenizer")
        for concurrency in config.perf_concurrency:
            say(f"{subject.name}: {concurrency} at a time")
            told: dict[str, Any] = {
                **where,
                "do": "load_test",
                "concurrency": concurrency,
                "requests": concurrency * config.perf_requests,
                "prompt_tokens": config.perf_prompt_tokens,
                "answer_tokens": config.perf_answer_tokens,
                "tokenizer": str(tokenizer),
                "seed": seed_of(subject.run),
                "folder": str(subject.folder(worker.folder) / f"perf-{concurrency}"),
            }
            rows.append({"concurrency": concurrency, **worker.ask(told)})
    return rows


def _tokenizer_folder(subject: Subject, folder: Path) -> Path:
    """The model's tokenizer as files: prompts are made to so many of its tokens."""
    from swift.core.models.load import load_tokenizer

    load_tokenizer(subject.run.model).save_pretrained(str(folder))
    return folder.resolve()


def _settings(subject: Subject) -> dict[str, Any]:
    run = subject.run
    return {
        **run.load_test.model_dump(mode="json"),
        "engine": run.infer.engine,
        "dtype": run.loop.dtype,
        "seed": seed_of(run),
    }
