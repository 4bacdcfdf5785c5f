"""What the rows of a file ask, and the requests that ask it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swift.core.config.schema import InferConfig
from swift.core.data.formats.recognise import to_conversation
from swift.core.data.read import ReadCounts, find_source, read_rows
from swift.core.errors import DataError, SwiftError
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
