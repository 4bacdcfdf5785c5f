"""Which format a row has, decided by the columns that it fills, so that mixed files work."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift.core.data.formats import chat, preference, prompt, relevance
from swift.core.data.formats.media import KINDS, attach_media
from swift.core.data.formats.tools import check_called, tools_from
from swift.core.errors import DataError
from swift.core.types import Conversation

Columns = frozenset[str]
LABELS = ("label", "kto_tag")
_MEDIA = frozenset({*KINDS, *KINDS.values()})
_COMMON = frozenset({"system", "tools", *LABELS})


@dataclass(frozen=True)
class Format:
    """One layout of rows.

    Attributes:
        name: as errors call it.
        description: its columns, for errors.
        matches: whether these columns, those that the row fills, are of this format.
        convert: (row, origin) -> conversation; tools, label and media are added by the caller.
        uses: columns that do not go to Conversation.columns.
        labels_itself: convert reads the label columns, in a meaning of its own.
    """

    name: str
    description: str
    matches: Callable[[Columns], bool]
    convert: Callable[[dict[str, Any], str], Conversation]
    uses: frozenset[str]
    labels_itself: bool = False


def _needs(*names: str) -> Callable[[Columns], bool]:
    return frozenset(names).issubset


def _any(*names: str) -> Callable[[Columns], bool]:
    return lambda columns: not columns.isdisjoint(names)


_prompt, _response = _any(*prompt.PROMPTS), _any(*prompt.RESPONSES)


def _is_pair_of_columns(columns: Columns) -> bool:
    """A prompt and a response: "input" beside "output" counts, a lone "answer" does not."""
    return _prompt(columns) and _response(columns)


_anchor = _any("messages", *relevance.ANCHORS)
_positive, _negative = _any(*relevance.POSITIVES), _any(*relevance.NEGATIVES)
_documents, _relevances = _any(*relevance.DOCUMENTS), _any(*relevance.RELEVANCES)
_ANCHORS = frozenset({"messages", *relevance.ANCHORS})


def _is_related(columns: Columns) -> bool:
    return _anchor(columns) and (_positive(columns) or _negative(columns))


def _is_judged(columns: Columns) -> bool:
    """Documents without labels are context of a prompt."""
    return _anchor(columns) and _documents(columns) and _relevances(columns)


FORMATS: tuple[Format, ...] = (
    Format(
        "related texts",
        "messages | anchor | query + positive(s) | positive_messages + negative(s) | negative_messages",
        _is_related,
        relevance.related,
        frozenset({*relevance.POSITIVES, *relevance.NEGATIVES, *_ANCHORS}),
    ),
    Format(
        "sentence pair",
        "sentence1 + sentence2 + score | label",
        _needs("sentence1", "sentence2"),
        relevance.scored_pair,
        frozenset({"sentence1", "sentence2", *relevance.SCORES}),
        labels_itself=True,
    ),
    Format(
        "judged documents",
        "query + documents + labels",
        _is_judged,
        relevance.judged,
        frozenset({*relevance.DOCUMENTS, *relevance.RELEVANCES, *_ANCHORS}),
        labels_itself=True,
    ),
    Format(
        "preference",
        "chosen + rejected [+ prompt | conversations | messages]",
        _needs("chosen", "rejected"),
        preference.preference,
        frozenset({"chosen", "rejected", "messages", "conversations", "conversation", *prompt.PROMPTS}),
    ),
    Format("OpenAI messages", "messages [+ tools]", _needs("messages"), chat.openai, frozenset({"messages"})),
    Format(
        "ShareGPT",
        "conversations [+ tools]",
        _any("conversations", "conversation"),
        chat.sharegpt,
        frozenset({"conversations", "conversation"}),
    ),
    Format(
        "alpaca",
        "instruction + output [+ input, history, system]",
        _needs("instruction", "output"),
        prompt.alpaca,
        frozenset({"instruction", "input", "context", "output", "history"}),
    ),
    Format(
        "prompt/response",
        f"one of {' | '.join(prompt.PROMPTS)} + one of {' | '.join(prompt.RESPONSES)}",
        _is_pair_of_columns,
        prompt.prompt_response,
        frozenset(),  # which of the names are used depends on the row
    ),
    Format("plain text", "text", _needs("text"), prompt.plain_text, frozenset({"text"})),
    Format("prompt only", " | ".join(prompt.PROMPTS), _prompt, prompt.prompt_only, frozenset()),
)


@functools.lru_cache(maxsize=4096)
def recognise(columns: Columns) -> tuple[Format, frozenset[str]] | None:
    """The format of a row that fills these columns, and the columns it leaves over."""
    for format_ in FORMATS:
        if format_.matches(columns):
            return format_, columns - format_.uses - _used_names(format_, columns) - _COMMON - _MEDIA
    return None


def _used_names(format_: Format, columns: Columns) -> frozenset[str]:
    names = [prompt.PROMPTS] if format_.name == "prompt only" else [prompt.PROMPTS, prompt.RESPONSES]
    if format_.uses:
        return frozenset()
    filled = dict.fromkeys(columns, True)
    used = {name for group in names if (name := prompt.first_of(filled, group))}
    if "instruction" in used:
        used |= {*prompt.CONTEXTS}
    return frozenset(used)


def to_conversation(
    row: dict[str, Any], origin: str, columns: Mapping[str, str] | None = None, *, folder: Path | None = None
) -> Conversation:
    """Recognise one row and bring it into the common form.

    Args:
        columns: own column name -> standard column name.
        folder: where relative media paths start.

    Raises:
        DataError: no format has these columns, or a column holds what its format does not allow.
    """
    if columns:
        row = {columns.get(name, name): value for name, value in row.items()}
    filled = frozenset([name for name, value in row.items() if value is not None])
    found = recognise(filled)
    if found is None:
        raise _unrecognised(row, origin)
    format_, rest = found
    conversation = format_.convert(row, origin)
    conversation.origin = origin
    if not filled.isdisjoint(_COMMON):
        if not format_.labels_itself:
            conversation.label = next((row[name] for name in LABELS if row.get(name) is not None), None)
        conversation.tools = tools_from(row.get("tools"), origin)
        if conversation.tools:
            check_called([*conversation.messages, *(conversation.rejected or ())], conversation.tools, origin)
    if not filled.isdisjoint(_MEDIA):
        attach_media(conversation, row, folder)
    if rest:
        conversation.columns = {name: row[name] for name in row if name in rest}
    return conversation


def _unrecognised(row: dict[str, Any], origin: str) -> DataError:
    known = "\n".join(f"     {format_.name}: {format_.description}" for format_ in FORMATS)
    return DataError(
        f"{origin}: no known format has the columns {', '.join(map(str, row)) or '(none)'}; "
        f"known formats:\n{known}",
        "name your columns with data.columns, for example data.columns={my_question: prompt, "
        "my_answer: response}",
    )
