"""Answers to the rows of a file."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from swift.core.config.run import RunConfig
from swift.core.config.schema import InferConfig
from swift.core.data.formats.recognise import to_conversation
from swift.core.data.read import ReadCounts, find_source, read_rows
from swift.core.engines import facts_of
from swift.core.errors import DataError, EngineError, SwiftError
from swift.core.protocols import Engine
from swift.core.types import EngineFacts, GenerationRequest, Message
from swift.infer.prompts import chat_request, sampling, text_ids


@dataclass(slots=True)
class Prompt:
    """One row and what is asked.

    Attributes:
        reference: the answer that the row itself gives.
        images: encoded files.
        image_names: the same as a row of another folder names them: absolute paths and data: URLs.
    """

    row: dict[str, Any]
    origin: str
    messages: list[Message] = field(default_factory=list)
    text: str | None = None
    tools: list[dict[str, Any]] | None = None
    reference: str | None = None
    images: tuple[bytes, ...] = ()
    image_names: tuple[str, ...] = ()


def read_prompts(path: Path, *, skip: bool = False) -> tuple[list[Prompt], int]:
    """Rows in any format that training reads, and how many were skipped.

    Turns after the last user's are what the model is to write.

    Args:
        skip: count a row that cannot be used and go on.

    Raises:
        DataError: not there, without a usable row, or a row that cannot be used (named with file and line).
    """
    if not path.is_file():
        raise DataError(f"input file {str(path)!r} does not exist", f"looked in {Path.cwd()}")
    prompts, counts = [], ReadCounts()
    rows = read_rows(find_source(str(path)), on_error="skip" if skip else "raise", counts=counts)
    for row, origin in rows:
        try:
            prompts.append(to_prompt(row, origin, path.absolute().parent))
        except DataError:
            if not skip:
                raise
            counts.skipped += 1
    if not prompts:
        skipped = f" that can be used ({counts.skipped} skipped)" if counts.skipped else ""
        raise DataError(f"input file {str(path)!r} holds no row{skipped}")
    return prompts, counts.skipped


def to_prompt(row: dict[str, Any], origin: str, folder: Path) -> Prompt:
    """What a row asks.

    Raises:
        DataError: nothing, something unknown, or about media.
    """
    found = to_conversation(row, origin, folder=folder)
    if found.videos or found.audios:
        raise DataError(
            f"{origin}: the row holds video or audio; infer reads text and images", "leave it out"
        )
    messages = list(found.messages)
    reference = None
    while messages and messages[-1]["role"] == "assistant":
        reference = str(messages.pop()["content"])
    if not messages and not found.text:
        raise DataError(f"{origin}: nothing is asked in this row", "give it a user's turn or a prompt")
    images = tuple(_image(image, origin) for image in found.images)
    names = tuple(
        source if isinstance(source, str) else "data:;base64," + base64.b64encode(image).decode()
        for source, image in zip(found.images, images, strict=True)
    )
    return Prompt(row, origin, messages, found.text, found.tools, reference, images, names)


def _image(source: Any, origin: str) -> bytes:
    """The encoded file that a row names or holds."""
    if isinstance(source, dict):  # as in `datasets`
        source = source.get("bytes") or source.get("path")
    if isinstance(source, bytes):
        return source
    if isinstance(source, str) and source.startswith("data:"):
        try:
            return base64.b64decode(source.partition(",")[2], validate=True)
        except (binascii.Error, ValueError) as error:
            raise DataError(
                f"{origin}: an image is not valid base64: {error}", "write data:image/png;base64,..."
            ) from error
    if isinstance(source, str) and "://" not in source:
        try:
            return Path(source).read_bytes()
        except OSError as error:
            raise DataError(f"{origin}: image {source!r} cannot be read: {error.strerror}") from error
    raise DataError(f"{origin}: an image is {str(source)[:60]!r}", "name a local file, or give a data: URL")


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


def requests(
    prompts: list[Prompt], tokenizer: Any, config: InferConfig, facts: EngineFacts, *, skip: bool
) -> Iterator[GenerationRequest]:
    """What the engine is asked, named by the number of the row."""
    for number, prompt in enumerate(prompts):
        try:
            yield request(number, prompt, tokenizer, config, facts)
        except DataError:
            if not skip:
                raise


def request(
    number: int, prompt: Prompt, tokenizer: Any, config: InferConfig, facts: EngineFacts
) -> GenerationRequest:
    """What the engine is asked for a row: a chat, or the continuation of a plain text.

    Raises:
        DataError: the engine cannot read such a row, or the tokenizer cannot encode it.
        ModelError: the tokenizer has no chat template.
    """
    try:
        if prompt.images and not facts.images:
            raise DataError("the row has images, and this model takes none", "name a model that does")
        if prompt.text is not None and facts.reads == "chat":
            raise DataError("plain text: this engine reads chats only", "give the row a user's turn")
        if prompt.text is not None:
            return GenerationRequest(str(number), text_ids(tokenizer, prompt.text), sampling(config, number))
        return chat_request(
            str(number),
            prompt.messages,
            tokenizer,
            config,
            number=number,
            tools=prompt.tools,
            images=prompt.images,
            reads=facts.reads,
        )
    except SwiftError as error:
        raise type(error)(f"{prompt.origin}: {error.problem}", error.remedy) from error


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
    columns = (
        TextColumn("answers"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[speed]}"),
    )
    with Progress(*columns) as progress:
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
