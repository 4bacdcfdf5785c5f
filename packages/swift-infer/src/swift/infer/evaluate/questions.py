"""Own questions with free answers, as EvalScope's general_qa and general_vqa read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swift.core.data.formats.recognise import to_conversation
from swift.core.errors import DataError
from swift.core.types import Conversation, Message
from swift.infer.evaluate.rows import Questions, Row, convert

ANSWERS = ("answer", "target", "reference", "solution", "expected", "label")


def read_questions(path: Path, *, skip: bool = False) -> Questions:
    """Rows in any format that training reads, each with its messages and its answer.

    Raises:
        DataError: a row without question or answer, with its line.
    """
    folder = path.absolute().parent
    return convert(path, lambda row, origin: _question(row, origin, folder), skip=skip)


def with_images(questions: Questions) -> bool:
    """Whether some row shows an image."""
    return any(isinstance(turn["content"], list) for row in questions.rows for turn in row["messages"])


def _question(row: Row, origin: str, folder: Path) -> Row:
    found = to_conversation(row, origin, folder=folder)
    if found.videos or found.audios:
        raise DataError(f"{origin}: the row holds videos or sounds; questions have text and images")
    turns = list(found.messages)
    answer = _answer(turns, found, row)
    if not turns or turns[-1]["role"] == "assistant":
        raise DataError(f"{origin}: nothing is asked in this row", 'name the columns "question" and "answer"')
    if answer is None:
        raise DataError(f"{origin}: the row has no answer", f"in a column {' or '.join(ANSWERS[:3])}")
    images = iter(found.images)
    return {"messages": [_openai(turn, images, origin) for turn in turns], "answer": answer}


def _answer(turns: list[Message], found: Conversation, row: Row) -> str | None:
    """The reference answer; a last turn of the assistant's is taken off the question."""
    if turns and turns[-1]["role"] == "assistant":
        return str(turns.pop()["content"])
    known = {**row, **found.columns}
    return next((str(known[name]) for name in ANSWERS if known.get(name) not in (None, "")), None)


def _openai(turn: Message, images: Any, origin: str) -> Message:
    """A turn with its images as URLs, which EvalScope reads from the disk."""
    content = turn["content"]
    if isinstance(content, str):
        return {"role": turn["role"], "content": content}
    parts = [_part(part, images, origin) for part in content]
    return {"role": turn["role"], "content": parts}


def _part(part: dict[str, Any], images: Any, origin: str) -> dict[str, Any]:
    if part.get("type") != "image":
        return part
    image = next(images, None)
    if not isinstance(image, str):
        raise DataError(f"{origin}: an image is not the path of a file", "name files in the column images")
    if "://" not in image and not Path(image).is_file():
        raise DataError(f"{origin}: no image {image!r}", "give its path beside the file of questions")
    return {"type": "image_url", "image_url": {"url": image}}
