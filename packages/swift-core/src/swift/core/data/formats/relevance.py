"""Rows that say which texts belong together: an anchor with related and unrelated texts, or a scored pair.

A text column becomes one user turn; which tasks render it as a chat and which read its words alone is the
template's to decide.
"""

from __future__ import annotations

import math
from typing import Any

from swift.core.data.formats.chat import openai
from swift.core.data.formats.prompt import PROMPTS, first_of, prompt_messages
from swift.core.data.formats.turns import messages_from
from swift.core.errors import DataError
from swift.core.types import Conversation, Message

ANCHORS = ("anchor", *PROMPTS)
POSITIVES = ("positive_messages", "positives", "positive", "pos")
NEGATIVES = ("negative_messages", "negatives", "negative", "neg")
DOCUMENTS = ("documents", "document", "passages", "passage")
SCORES = ("score", "label", "similarity")
RELEVANCES = ("labels", "label")


def related(row: dict[str, Any], origin: str) -> Conversation:
    """An anchor (messages, anchor, query, ...), its positive and its negative texts."""
    anchor = _anchor(row, origin)
    return Conversation(
        messages=anchor,
        positives=_texts(row, POSITIVES, origin),
        negatives=_texts(row, NEGATIVES, origin),
    )


def scored_pair(row: dict[str, Any], origin: str) -> Conversation:
    """sentence1 and sentence2 with their similarity; a pair without one counts as related."""
    score = first_of(row, SCORES)
    value = row[score] if score else None
    if value is not None and not (isinstance(value, int | float) and math.isfinite(value)):
        raise DataError(
            f"{origin}: column {score!r} holds {value!r}", "write the similarity as a finite number"
        )
    return Conversation(
        messages=_turns(row["sentence1"], "sentence1", origin),
        positives=[_turns(row["sentence2"], "sentence2", origin)],
        label=value,
    )


def judged(row: dict[str, Any], origin: str) -> Conversation:
    """A query, its documents, and whether each of them is relevant: 1 or 0."""
    documents = _texts(row, DOCUMENTS, origin)
    column = first_of(row, RELEVANCES)
    assert column is not None  # the recogniser saw it
    labels = row[column] if isinstance(row[column], list) else [row[column]]
    if len(labels) != len(documents):
        raise DataError(
            f"{origin}: {len(documents)} documents, but {len(labels)} {column}", "give one label a document"
        )
    bad = next((label for label in labels if label not in (0, 1)), None)
    if bad is not None:
        raise DataError(
            f"{origin}: {column!r} holds {bad!r}", "write 1 for a relevant document and 0 for another"
        )
    groups = {
        wanted: [d for d, label in zip(documents, labels, strict=True) if label == wanted]
        for wanted in (0, 1)
    }
    return Conversation(messages=_anchor(row, origin), positives=groups[1], negatives=groups[0])


def _anchor(row: dict[str, Any], origin: str) -> list[Message]:
    if row.get("messages") is not None:
        return openai(row, origin).messages
    if row.get("anchor") is not None:
        return _turns(row["anchor"], "anchor", origin)
    return prompt_messages(row, origin)


def _texts(row: dict[str, Any], names: tuple[str, ...], origin: str) -> list[list[Message]]:
    """Every text of a column that holds one text, a list of texts, one conversation, or a list of them."""
    column = first_of(row, names)
    if column is None:
        return []
    value = row[column]
    several = isinstance(value, list) and not (value and isinstance(value[0], dict))
    return [_turns(item, column, origin) for item in (value if several else [value])]


def _turns(value: Any, column: str, origin: str) -> list[Message]:
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if isinstance(value, list | dict):
        return messages_from(value, origin)
    raise DataError(
        f"{origin}: column {column!r} holds a {type(value).__name__}", "it must hold text or lists of turns"
    )
