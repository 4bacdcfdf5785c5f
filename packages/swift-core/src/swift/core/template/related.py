"""Rows that become a class, a vector or a score: which texts they ask for, and one sample a row.

How a text reaches the model, so that inference can do the same:

| task | rows | text |
|---|---|---|
| seq_cls | text | tokenizer(text) |
| seq_cls | turns | the chat template, without generation prompt |
| embedding | one user turn (text columns) | tokenizer(text) |
| embedding | several turns | the chat template, without generation prompt |
| reranker, pairs for seq_cls | query and document | the chat template over PAIR as one user turn |
| generative_reranker | query and document | the chat template over JUDGE and JUDGED, with generation prompt |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swift.core.errors import DataError
from swift.core.template.request import Request
from swift.core.template.tokens import Tokens
from swift.core.types import Conversation, Encoded, Message, Task

RELATED_TASKS: frozenset[Task] = frozenset({"seq_cls", "embedding", "reranker", "generative_reranker"})

PAIR = "<Query>: {query}\n<Document>: {document}"
JUDGE = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".'
)
JUDGED = "<Instruct>: {instruct}\n" + PAIR
INSTRUCT = "Given a web search query, retrieve relevant passages that answer the query"
# JUDGE, JUDGED and INSTRUCT are the prompt that Qwen3-Reranker was trained with (arXiv 2506.05176).


def related_requests(row: Conversation, task: Task) -> list[Request]:
    """One request a text: the row's own first, then positives, then negatives.

    Raises:
        DataError: the row lacks what the task needs.
    """
    if task == "seq_cls":
        return [_classified(row)]
    others = [*row.positives, *row.negatives]
    if not others:
        raise DataError(
            f"{row.origin}: no text to compare with, and {task} needs a positive or a negative one",
            "add positive_messages or negative_messages (or positive, negative, documents + labels, "
            "sentence1 + sentence2 + score)",
        )
    if task == "embedding":
        return [_embedded(row, messages) for messages in (row.messages, *others)]
    return [_judged(row, document, task) for document in others]


def related_sample(
    row: Conversation, task: Task, tokens: Sequence[Tokens], columns: dict[str, Any]
) -> Encoded:
    """The sample of a row out of the tokens of its requests."""
    texts = [Encoded(ids, labels, columns=columns, origin=row.origin) for ids, labels, _ in tokens]
    labels = [row.label] if task == "seq_cls" else relevances(row)
    labelled = texts[1:] if task == "embedding" else texts
    for text, label in zip(labelled, labels, strict=True):
        text.label = label
    first, *others = texts
    first.others = tuple(others)
    return first


def relevances(row: Conversation) -> list[float]:
    """How related each positive and negative text is: the label of a scored pair, else 1 and 0.

    Raises:
        DataError: a label that is not a number.
    """
    if row.label is None:
        return [1.0] * len(row.positives) + [0.0] * len(row.negatives)
    if not isinstance(row.label, int | float) or len(row.positives) != 1 or row.negatives:
        raise DataError(
            f"{row.origin}: label {row.label!r} beside {len(row.positives)} positive and "
            f"{len(row.negatives)} negative texts",
            "a label is the similarity of one pair: write a number beside one positive text, or drop it",
        )
    return [row.label]


def _classified(row: Conversation) -> Request:
    if row.label is None:
        raise DataError(
            f"{row.origin}: the row has no label",
            "seq_cls needs a column label: a class (0, 1, ...), a list of 0 and 1, or a number; "
            "data.columns={your_column: label} renames one",
        )
    if row.text is not None:
        return Request(row, [], (), text=row.text)
    if row.positives:
        return _chat(row, _pair(row.messages, row.positives[0], PAIR))
    if not row.messages:
        raise DataError(f"{row.origin}: the row has no text", "remove the row or fill it")
    return _chat(row, row.messages)


def _embedded(row: Conversation, messages: list[Message]) -> Request:
    alone = len(messages) == 1 and messages[0]["role"] == "user" and isinstance(messages[0]["content"], str)
    return Request(row, [], (), text=messages[0]["content"]) if alone else _chat(row, messages)


def _judged(row: Conversation, document: list[Message], task: Task) -> Request:
    if task == "reranker":
        return _chat(row, _pair(row.messages, document, PAIR))
    systems = [str(message["content"]) for message in row.messages if message["role"] == "system"]
    asked = [message for message in row.messages if message["role"] != "system"]
    turns = _pair(asked, document, JUDGED, instruct=systems[-1] if systems else INSTRUCT)
    return _chat(row, [{"role": "system", "content": JUDGE}, *turns], generation_prompt=True)


def _chat(row: Conversation, messages: list[Message], *, generation_prompt: bool = False) -> Request:
    return Request(row, messages, (False,) * len(messages), generation_prompt=generation_prompt)


def _pair(query: list[Message], document: list[Message], layout: str, **more: str) -> list[Message]:
    """One user turn that holds both texts, after the query's system turn."""
    system = [message for message in query if message["role"] == "system"]
    body = layout.format(query=_words(query), document=_words(document), **more)
    return [*system, {"role": "user", "content": body}]


def _words(messages: list[Message]) -> str:
    return "\n".join(str(message["content"]) for message in messages if message["role"] != "system")
