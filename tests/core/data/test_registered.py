"""Data sets that the user registered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from swift.core import registry
from swift.core.config.named import Named
from swift.core.config.schema import DataConfig
from swift.core.data.source import find_source
from swift.core.data.sources import SourceReport, conversations, read_sources
from swift.core.errors import DataError, PluginError
from swift.core.types import Conversation
from swift.plugin import register_dataset


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    before = registry.datasets.registered()
    yield
    registry.datasets.restore(before)


def read(item: Any, **settings: Any) -> list[Conversation]:
    source = find_source(item)
    return list(conversations(source, DataConfig.model_validate(settings), SourceReport(source.name)))


def test_a_generator_takes_its_config_and_yields_any_format() -> None:
    @register_dataset("sums")
    def sums(count: int = 2, word: str = "is") -> Iterator[dict[str, Any]]:
        for number in range(count):
            yield {"question": f"{number}+1", "answer": f"{word} {number + 1}"}

    rows = read(Named(name="sums", config={"count": 3, "word": "gives"}))
    assert [row.messages[1]["content"] for row in rows] == ["gives 1", "gives 2", "gives 3"]
    assert rows[2].origin == "sums[2]"
    assert len(read("sums")) == 2
    drawn, reports = read_sources([find_source("sums#5")], DataConfig(), 0)
    assert (len(drawn), reports[0].drawn, drawn[0].origin) == (5, 5, "sums[0]")


def test_a_source_yields_conversations_as_they_are() -> None:
    label = object()

    @register_dataset("chats")
    class Chats:
        def __init__(self, subset: str = "all") -> None:
            self.subset = subset

        def conversations(self) -> Iterator[Conversation]:
            yield Conversation(messages=[{"role": "user", "content": self.subset}], label=label)

    assert [row.messages[0]["content"] for row in read("chats:one/two")] == ["one", "two"]
    (row,) = read("chats")
    assert row.label is label and row.origin == "chats[0]"


def test_subsets_are_checked() -> None:
    @register_dataset("declared", subsets=("easy", "hard"))
    def declared(subset: str = "easy") -> list[dict[str, str]]:
        return [{"text": subset}]

    @register_dataset("plain")
    def plain() -> list[dict[str, str]]:
        return [{"text": "x"}]

    assert [row.text for row in read("declared:hard")] == ["hard"]
    with pytest.raises(DataError, match="no subset 'hrad'") as error:
        read("declared:hrad")
    assert "'hard'" in error.value.remedy
    with pytest.raises(DataError, match=r"dataset 'plain' \(.*test_registered.py:\d+\) has no subsets"):
        read("plain:x")


def failing() -> Iterator[dict[str, str]]:
    yield {"text": "x"}
    raise ZeroDivisionError("oh")


@pytest.mark.parametrize(
    ("make", "config", "message"),
    [
        (failing, {}, "failed at row 1: ZeroDivisionError: oh"),
        (lambda: 3, {}, "gives int, which yields no rows"),
        (lambda: "rows.jsonl", {}, "gives str, which yields no rows"),
        (lambda: [{"text": "x"}], {"cuont": 3}, "cuont"),
    ],
)
def test_broken_ones_name_themselves(make: Callable[..., Any], config: dict[str, Any], message: str) -> None:
    register_dataset("broken")(make)
    with pytest.raises(PluginError, match=message) as error:
        read(Named(name="broken", config=config))
    assert "test_registered.py:" in error.value.problem


def test_a_row_that_is_none_is_a_row_that_cannot_be_used() -> None:
    register_dataset("odd")(lambda: [{"text": "x"}, "y"])
    with pytest.raises(DataError, match=r"odd\[1\]: the row is 'y'"):
        read("odd")
    assert len(read("odd", on_error="skip")) == 1
