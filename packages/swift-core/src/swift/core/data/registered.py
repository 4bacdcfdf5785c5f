"""Rows of data sets that the user registered: a Source, or anything that yields rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from swift.core.data.source import Source
from swift.core.errors import RAISED_BY_PLUGINS, DataError, PluginError, SwiftError, did_you_mean, in_one_line
from swift.core.registry import Component, datasets
from swift.core.types import Conversation
from swift.plugin.parts import build_part, takes

CONTRACT = (
    "a data set is a function or generator that yields rows (dicts), or a class with conversations(), "
    "which yields swift.core.types.Conversation; it takes its config and, where it has subsets, subset=NAME"
)


class ConversationRow(dict[str, Any]):
    """A conversation as filters see it: the columns of a row, from which recognition would make it again.

    Attributes:
        conversation: the very one, for rows that no filter replaces.
    """

    def __init__(self, conversation: Conversation) -> None:
        turns = {"messages": conversation.messages}
        if conversation.rejected is not None:
            turns = {"chosen": conversation.messages, "rejected": conversation.rejected}
        others = {
            name: getattr(conversation, name)
            for name in ("positives", "negatives", "text", "tools", "label", "images", "videos", "audios")
        }
        columns = {**conversation.columns, **turns, **others}
        super().__init__({name: value for name, value in columns.items() if not _is_empty(value)})
        self.conversation = conversation


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, list) and not value)


def registered_rows(source: Source) -> Iterator[Any]:
    """Rows of one registered data set, its subsets one after the other.

    Raises:
        DataError: it has no such subset.
        PluginError: it cannot be built, breaks the contract, or fails while it is read.
    """
    component = datasets.get(source.registered)
    for subset in source.subsets or (None,):
        arguments = dict(source.config)
        if subset is not None:
            check_subset(component, subset)
            arguments["subset"] = subset
        yield from _guarded(component, build_part(datasets, component.name, arguments))


def check_subset(component: Component, subset: str) -> None:
    """Whether a data set has subsets, and where it says which, whether this is one of them.

    Raises:
        DataError: no.
    """
    known = dict(component.attributes).get("subsets")
    if known is not None and subset not in known:
        raise DataError(
            f"{component.described('dataset')} has no subset {subset!r}", did_you_mean(subset, known)
        )
    if known is None and not takes(component.load(), "subset"):
        raise DataError(
            f"{component.described('dataset')} has no subsets, and {subset!r} was asked for",
            "name it alone, or give it a parameter `subset`",
        )


def _guarded(component: Component, made: Any) -> Iterator[Any]:
    """Rows, with the failures of the code that makes them explained."""
    rows = _rows(component, made)
    index = 0
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except SwiftError:
            raise
        except RAISED_BY_PLUGINS as error:
            raise PluginError(
                f"{component.described('dataset')} failed at row {index}: {in_one_line(error)}",
                CONTRACT,
            ) from error
        yield ConversationRow(row) if isinstance(row, Conversation) else row
        index += 1


def _rows(component: Component, made: Any) -> Iterator[Any]:
    read = getattr(made, "conversations", None)
    try:
        if isinstance(made, str | bytes | dict):
            raise TypeError(f"{type(made).__name__} holds no rows")
        return iter(read() if callable(read) else made)
    except TypeError as error:
        raise PluginError(
            f"{component.described('dataset')} gives {type(made).__name__}, which yields no rows: {error}",
            CONTRACT,
        ) from error
