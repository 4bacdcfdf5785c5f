"""Answers to the rows of a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from swift.core.config.run import RunConfig
from swift.core.engines import facts_of
from swift.core.errors import DataError, EngineError
from swift.core.protocols import Engine
from swift.core.types import GenerationRequest
from swift.infer.rows import Prompt, requests


def staging(output: Path) -> Path:
    """The file beside the output that holds the answers until all are there.

    Raises:
        DataError: it cannot be written.
    """
    staged = output.with_name(output.name + ".part")
    try:
        if output.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        output.parent.mkdir(parents=True, exist_ok=True)
        staged.open("a").close()
        drop_empty(staged)
    except OSError as error:
        raise DataError(f"output {str(output)!r} cannot be written: {error.strerror}") from error
    return staged


def answer_file(
    prompts: list[Prompt], output: Path, engine: Engine, tokenizer: Any, config: RunConfig
) -> tuple[int, int]:
    """Write every row with its "response" as JSONL, in the order of the input; (answers, rows skipped).

    The output is replaced when all are there. Until then, and after Ctrl-C or an error, those that have
    come are in the file of staging().

    Raises:
        DataError: the output cannot be written.
        EngineError: a row cannot be answered (named by its origin), unless data.on_error is skip.
    """
    skip = config.data.on_error == "skip"
    staged = staging(output)
    facts = facts_of(engine)
    asked = list(requests(prompts, tokenizer, config.infer, facts, skip=skip))
    try:
        with staged.open("w", encoding="utf-8") as file:
            count = write_answers(asked, prompts, engine, file, skip=skip)
        staged.replace(output)
    finally:
        drop_empty(staged)
    return count, len(prompts) - count


def drop_empty(file: Path) -> None:
    """Delete a file without content."""
    if file.exists() and not file.stat().st_size:
        file.unlink()


def write_answers(
    asked: list[GenerationRequest], prompts: list[Prompt], engine: Engine, file: TextIO, *, skip: bool
) -> int:
    """Write each answer as soon as those before it are written, with a progress bar on a terminal."""
    ready: dict[str, str | None] = {}
    order = iter(asked)
    following = next(order, None)
    count = 0
    for name, answer in generate(asked, prompts, engine, skip=skip):
        ready[name] = answer
        while following is not None and following.request_id in ready:
            text = ready.pop(following.request_id)
            if text is not None:
                row = {**prompts[int(following.request_id)].row, "response": text}
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
                count += 1
            following = next(order, None)
    return count


def generate(
    asked: list[GenerationRequest], prompts: list[Prompt], engine: Engine, *, skip: bool
) -> Iterator[tuple[str, str | None]]:
    """(request id, answer) as they finish; None instead of an answer that failed and is skipped."""
    texts = {one.request_id: "" for one in asked}
    with progress_bar() as progress:
        task = progress.add_task("answers", total=len(asked), speed="")
        tokens = 0
        for delta in engine.generate(asked):
            if delta.finish_reason == "error" and not skip:
                raise EngineError(f"{prompts[int(delta.request_id)].origin}: {delta.error}")
            texts[delta.request_id] += delta.text
            tokens += len(delta.token_ids)
            if delta.finish_reason is None:
                continue
            elapsed = progress.tasks[0].elapsed or 1e-9
            progress.update(task, advance=1, speed=f"{tokens / elapsed:.0f} tokens/s")
            text = texts.pop(delta.request_id)
            yield delta.request_id, None if delta.finish_reason == "error" else text


def progress_bar() -> Progress:
    """On a terminal, and only there: results have stdout for themselves, and a log no use for a bar."""
    return Progress(
        TextColumn("answers"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[speed]}"),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
