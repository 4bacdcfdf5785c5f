"""Answers to the rows of a file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from swift.core.config.schema import InferConfig
from swift.core.data.formats.recognise import to_conversation
from swift.core.data.read import find_source, read_rows
from swift.core.errors import DataError, EngineError, SwiftError
from swift.core.protocols import Engine
from swift.core.types import GenerationRequest, Message
from swift.infer.prompts import chat_ids, sampling, with_system


@dataclass(slots=True)
class Prompt:
    """One row and what is asked."""

    row: dict[str, Any]
    origin: str
    messages: list[Message] = field(default_factory=list)
    text: str | None = None
    tools: list[dict[str, Any]] | None = None


def read_prompts(path: Path) -> list[Prompt]:
    """Rows in any format that training reads; turns after the last user's are what the model is to write.

    Raises:
        DataError: not there, empty, or a row that cannot be used (named with file and line).
    """
    if not path.is_file():
        raise DataError(f"input file {str(path)!r} does not exist", f"looked in {Path.cwd()}")
    prompts = []
    for row, origin in read_rows(find_source(str(path))):
        found = to_conversation(row, origin, folder=path.absolute().parent)
        messages = list(found.messages)
        while messages and messages[-1]["role"] == "assistant":
            messages.pop()
        if not messages and not found.text:
            raise DataError(f"{origin}: nothing is asked in this row", "give it a user's turn or a prompt")
        prompts.append(Prompt(row, origin, messages, found.text, found.tools))
    if not prompts:
        raise DataError(f"input file {str(path)!r} holds no row")
    return prompts


def answer_file(
    prompts: list[Prompt], output: Path, engine: Engine, tokenizer: Any, config: InferConfig
) -> int:
    """Write every row with its "response" as JSONL, in the order of the input; the number of answers.

    Raises:
        DataError: the output cannot be written.
        EngineError: a row cannot be answered (named by its origin).
    """
    requests = [request(number, prompt, tokenizer, config) for number, prompt in enumerate(prompts)]
    staged = output.with_name(output.name + ".part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        staged.touch()
    except OSError as error:
        raise DataError(f"output {str(output)!r} cannot be written: {error.strerror}") from error
    answers = generate(requests, prompts, engine)
    with staged.open("w", encoding="utf-8") as file:
        for prompt, answer in zip(prompts, answers, strict=True):
            file.write(json.dumps({**prompt.row, "response": answer}, ensure_ascii=False, default=str) + "\n")
    staged.replace(output)
    return len(answers)


def request(number: int, prompt: Prompt, tokenizer: Any, config: InferConfig) -> GenerationRequest:
    """What the engine is asked for a row: a chat, or the continuation of a plain text."""
    if prompt.text is not None:
        ids = tuple(tokenizer(prompt.text)["input_ids"])
    else:
        try:
            ids = chat_ids(tokenizer, with_system(prompt.messages, config.system), prompt.tools)
        except SwiftError as error:
            raise DataError(f"{prompt.origin}: {error.problem}", error.remedy) from error
    return GenerationRequest(str(number), ids, sampling(config, number))


def generate(requests: list[GenerationRequest], prompts: list[Prompt], engine: Engine) -> list[str]:
    """Texts in the order of the requests, with a progress bar on a terminal."""
    texts = [""] * len(requests)
    columns = (
        TextColumn("answers"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[speed]}"),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("answers", total=len(requests), speed="")
        tokens = 0
        for delta in engine.generate(requests):
            number = int(delta.request_id)
            if delta.finish_reason == "error":
                raise EngineError(f"{prompts[number].origin}: {delta.error}")
            texts[number] += delta.text
            tokens += len(delta.token_ids)
            if delta.finish_reason is not None:
                elapsed = progress.tasks[0].elapsed or 1e-9
                progress.update(task, advance=1, speed=f"{tokens / elapsed:.0f} tokens/s")
    return texts
